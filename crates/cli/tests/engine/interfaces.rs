//! The interface blocks of a pcapng file that is still being written: by hand, because readers of
//! whole files do not like an end that is not there yet.
//!
//! Source: draft-ietf-opsawg-pcapng, sections 3.1 and 4.2.

use std::{fs, path::Path};

const INTERFACE: u32 = 1;
const IF_NAME: u16 = 2;

/// The names of a file's interface blocks, in their order; of the blocks that are there whole.
pub(crate) fn interfaces(file: &Path) -> Vec<String> {
    let bytes = fs::read(file).unwrap_or_default();
    let mut rest = &*bytes;
    let mut names = Vec::new();
    while let Some(length) = rest.get(4..8).map(word) {
        let length = usize::try_from(length).unwrap();
        let Some(block) = rest.get(..length).filter(|_| length >= 12) else { break };
        if word(block) == INTERFACE {
            // Behind the link type and the snaplen; the length again stands at the end.
            names.push(name(&block[16..length - 4]));
        }
        rest = &rest[length..];
    }
    names
}

fn name(mut options: &[u8]) -> String {
    while options.len() >= 4 {
        let code = u16::from_le_bytes([options[0], options[1]]);
        let length = usize::from(u16::from_le_bytes([options[2], options[3]]));
        if code == IF_NAME {
            return String::from_utf8(options[4..4 + length].to_vec()).unwrap();
        }
        options = &options[4 + length.next_multiple_of(4)..];
    }
    panic!("an interface block without a name");
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().unwrap())
}
