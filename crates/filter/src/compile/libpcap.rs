//! The only caller of libpcap.

use model::{Instruction, LinkType, Program, Snaplen};
use pcap::{Activated, Capture, Linktype};

use crate::{Error, opcode};

/// Something that expressions can be compiled for.
pub(crate) struct Handle(Capture<dyn Activated>);

/// libpcap's refusal, in its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) String);

impl Handle {
    /// A handle that stands for frames in files.
    pub(crate) fn dead(link_type: LinkType) -> Result<Self, Error> {
        let capture = Capture::dead(dlt(link_type)).map_err(failure)?;
        Ok(Self(capture.into()))
    }

    /// A handle on the loopback device of the calling thread's namespace: Ethernet.
    pub(crate) fn live() -> Result<Self, Error> {
        // Nothing is captured with it: the smallest ring will do.
        let capture = Capture::from_device("lo").map_err(failure)?;
        let capture = capture.snaplen(64).buffer_size(4096).open().map_err(failure)?;
        Ok(Self(capture.into()))
    }

    /// Compiles an expression, optimised, for frames kept to `snaplen`.
    pub(crate) fn compile(&self, text: &str, snaplen: Snaplen) -> Result<Program, Refusal> {
        let program = self.0.compile(text, true).map_err(|error| Refusal(words(error)))?;
        let instructions = program.get_instructions().iter().map(|instruction| {
            let mut instruction = read(instruction)?;
            // Handles of the pcap crate have a snaplen of their own.
            if instruction.code == opcode::RET && instruction.k != 0 {
                instruction.k = snaplen.bytes();
            }
            Some(instruction)
        });
        let program = instructions.collect::<Option<Vec<_>>>().map(Program);
        program.ok_or_else(|| Refusal("libpcap made a program that cannot be read".to_owned()))
    }
}

/// The number that libpcap's API has for a link type, which is not always the one that files have.
fn dlt(link_type: LinkType) -> Linktype {
    match link_type {
        LinkType::RAW => Linktype(12),
        other => Linktype(i32::from(other.0)),
    }
}

/// The pcap crate shows an instruction's fields in its `Display` only.
fn read(instruction: &pcap::BpfInstruction) -> Option<Instruction> {
    let text = instruction.to_string();
    let mut fields = text.split(' ');
    Some(Instruction {
        code: fields.next()?.parse().ok()?,
        jt: fields.next()?.parse().ok()?,
        jf: fields.next()?.parse().ok()?,
        k: fields.next()?.parse().ok()?,
    })
}

fn failure(error: pcap::Error) -> Error {
    Error::Libpcap { message: words(error) }
}

fn words(error: pcap::Error) -> String {
    match error {
        pcap::Error::PcapError(message) => message.trim_end().to_owned(),
        other => other.to_string(),
    }
}
