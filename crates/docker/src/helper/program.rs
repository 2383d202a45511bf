//! The program of helper containers, as a file on this machine.

use std::{fmt::Write as _, fs, path::Path};

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{
    IMAGE_LABEL, REPOSITORY,
    archive::{Entry, archive},
};
use crate::Error;

/// The longest program, in bytes: it is read into memory, and sent to the engine from there.
const MAX_PROGRAM: u64 = 64 << 20;
/// How much of the content's hash is the image's tag, in hexadecimal digits.
const TAG: usize = 12;
/// What stands before the release in the file.
const RELEASE: &[u8] = b"whaletap-agent release ";
/// The longest release.
const MAX_RELEASE: usize = 64;
/// The program's name in its image.
pub(super) const NAME: &str = "whaletap-agent";

/// `e_machine` of elf(5), and the architecture in Go's words, by which engines call theirs.
const MACHINES: [(u16, &str); 5] =
    [(0x3e, "amd64"), (0xb7, "arm64"), (0xf3, "riscv64"), (0x15, "ppc64le"), (0x102, "loong64")];

/// The program of helper containers: a static one of one architecture.
#[derive(Debug, Clone)]
pub struct HelperProgram {
    bytes: Vec<u8>,
    architecture: &'static str,
    release: String,
    tag: String,
}

impl HelperProgram {
    /// Reads it, and sees what it is without running it.
    ///
    /// # Errors
    /// [`Error::HelperProgram`] when it cannot be read, is no static program of a known
    /// architecture, or does not tell its release.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let failed = |reason: String| Error::HelperProgram { path: path.to_owned(), reason };
        let length = fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
        if length > MAX_PROGRAM {
            return Err(failed(format!("it is longer than {} MiB", MAX_PROGRAM >> 20)));
        }
        let bytes = fs::read(path).map_err(|error| failed(error.to_string()))?;
        Self::of(bytes).map_err(|reason| failed(reason.to_owned()))
    }

    fn of(bytes: Vec<u8>) -> Result<Self, &'static str> {
        let architecture = architecture(&bytes)?;
        let release = release(&bytes).ok_or("it is not whaletap-agent")?;
        let tag = hexadecimal(&Sha256::digest(&bytes)).chars().take(TAG).collect();
        Ok(Self { bytes, architecture, release, tag })
    }

    /// The architecture that it runs on, in Go's words: `amd64`.
    #[must_use]
    pub fn architecture(&self) -> &'static str {
        self.architecture
    }

    /// Its release: `0.1.0`.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The image that has it and nothing else. Its tag follows from the content.
    #[must_use]
    pub fn image(&self) -> String {
        format!("{REPOSITORY}:{}", self.tag)
    }

    /// The image as `docker save` would write it.
    pub(super) fn archive(&self) -> Vec<u8> {
        // Engines call namespaces' files by /var/run, where /run is meant.
        let layer = archive(&[
            Entry::Directory("run/"),
            Entry::Directory("var/"),
            Entry::Link("var/run", "../run"),
            Entry::Program(NAME, &self.bytes),
        ]);
        let config = json!({
            "architecture": self.architecture,
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "Entrypoint": [format!("/{NAME}")],
                "Labels": { IMAGE_LABEL: self.release },
            },
            "rootfs": {
                "type": "layers",
                "diff_ids": [format!("sha256:{}", hexadecimal(&Sha256::digest(&layer)))],
            },
        })
        .to_string();
        let config_name = format!("{}.json", hexadecimal(&Sha256::digest(config.as_bytes())));
        let manifest = json!([{
            "Config": config_name,
            "RepoTags": [self.image()],
            "Layers": ["layer.tar"],
        }])
        .to_string();
        archive(&[
            Entry::File(&config_name, config.as_bytes()),
            Entry::File("layer.tar", &layer),
            Entry::File("manifest.json", manifest.as_bytes()),
        ])
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What a program of elf(5) runs on, provided that it needs nothing beside itself.
fn architecture(bytes: &[u8]) -> Result<&'static str, &'static str> {
    /// `PT_INTERP`: a loader is needed, and libraries.
    const INTERPRETER: u32 = 3;
    let short = "it is cut short";
    let u16_at = |at: usize| bytes.get(at..at + 2)?.try_into().ok().map(u16::from_le_bytes);
    let u32_at = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let u64_at = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    // Magic number, 64 bits, the lowest byte first.
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        return Err("it is no program of 64 bits");
    }
    let machine = u16_at(18).ok_or(short)?;
    let known = MACHINES.iter().find(|(number, _)| *number == machine);
    let (_, name) = known.ok_or("it is of an architecture that is not known here")?;
    let headers = usize::try_from(u64_at(32).ok_or(short)?).map_err(|_| short)?;
    let (size, count) = (u16_at(54).ok_or(short)?, u16_at(56).ok_or(short)?);
    for index in 0..usize::from(count) {
        let at = headers.checked_add(index * usize::from(size)).ok_or(short)?;
        if u32_at(at).ok_or(short)? == INTERPRETER {
            return Err("it is not linked statically");
        }
    }
    Ok(name)
}

/// What stands behind the first of these words. (Comparing them at each place would take as long as
/// the rest of a start.)
fn behind<'a>(mut bytes: &'a [u8], words: &[u8]) -> Option<&'a [u8]> {
    loop {
        let at = bytes.iter().position(|byte| words.first() == Some(byte))?;
        bytes = bytes.get(at..)?;
        if let Some(behind) = bytes.strip_prefix(words) {
            return Some(behind);
        }
        bytes = bytes.get(1..)?;
    }
}

/// The release that is told in the file.
fn release(bytes: &[u8]) -> Option<String> {
    let rest = behind(bytes, RELEASE)?;
    let end = rest.iter().take(MAX_RELEASE).position(|byte| *byte == b'\n')?;
    String::from_utf8(rest.get(..end)?.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header and one program header.
    fn elf(machine: u16, kind: u32) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56_u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&1_u16.to_le_bytes());
        bytes.extend_from_slice(&kind.to_le_bytes());
        bytes.resize(64 + 56, 0);
        bytes.extend_from_slice(b"whaletap-agent release 1.2.3\nrest");
        bytes
    }

    #[test]
    fn a_program_tells_what_it_is() {
        let program = HelperProgram::of(elf(0x3e, 1)).unwrap();
        assert_eq!((program.architecture(), program.release()), ("amd64", "1.2.3"));
        let image = program.image();
        assert!(image.len() == REPOSITORY.len() + 1 + TAG, "{image}");
        assert_ne!(image, HelperProgram::of(elf(0xb7, 1)).unwrap().image());
    }

    #[test]
    fn what_would_not_run_in_an_image_is_refused() {
        for (bytes, reason) in [
            (elf(0x3e, 3), "it is not linked statically"),
            (elf(0x1234, 1), "it is of an architecture that is not known here"),
            (b"#!/bin/sh\n".to_vec(), "it is no program of 64 bits"),
            (elf(0x3e, 1)[..60].to_vec(), "it is cut short"),
            (elf(0x3e, 1)[..120].to_vec(), "it is not whaletap-agent"),
        ] {
            assert_eq!(HelperProgram::of(bytes).unwrap_err(), reason);
        }
        // This test needs libraries.
        let own = std::env::current_exe().unwrap();
        let error = HelperProgram::read(&own).unwrap_err().to_string();
        assert!(error.contains("not linked statically"), "{error}");
    }
}
