//! Everything that a reader says about a file, as text: two readers agree when their texts do,
//! and no field escapes being looked at.

use std::{fmt::Write, io::Read};

use whaletap_pcapng::{
    Error,
    read::{Block, End, Reader, SliceReader},
};

/// One line for a block, with every field and every option that has a name.
pub(crate) fn line(block: &Result<Block<'_>, Error>) -> String {
    let mut text = String::new();
    let written = match block {
        Ok(Block::Section(it)) => write!(
            text,
            "section {:?} {:?} {:?} {:?} {:?} {:?}",
            it.byte_order,
            it.length,
            it.hardware(),
            it.os(),
            it.application(),
            it.comments().collect::<Vec<_>>(),
        ),
        Ok(Block::Interface(it)) => write!(
            text,
            "interface {} type {} snaplen {} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} \
             {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
            it.number,
            it.link_type,
            it.snaplen,
            it.resolution,
            it.name(),
            it.description(),
            it.ipv4().collect::<Vec<_>>(),
            it.ipv6().collect::<Vec<_>>(),
            it.mac(),
            it.eui(),
            (it.speed(), it.txspeed(), it.rxspeed()),
            it.filter(),
            it.os(),
            it.fcslen(),
            it.tsoffset(),
            it.hardware(),
            it.time_zone(),
            it.comments().collect::<Vec<_>>(),
            it.resolution.units_per_second(),
            it.options.count(),
        ),
        Ok(Block::Packet(it)) => write!(
            text,
            "packet {} {:?} {} {:?} {:?} {:?} {:?} {:?} {:?} {}",
            it.interface,
            it.timestamp,
            it.original_length,
            it.bytes,
            it.flags().map(|flags| (flags, flags.direction(), flags.reception())),
            it.dropcount,
            it.packet_id(),
            it.queue(),
            it.comments().collect::<Vec<_>>(),
            it.options.count(),
        ),
        Ok(Block::Names(it)) => write!(
            text,
            "names {:?} {:?}",
            it.names().collect::<Vec<_>>(),
            it.comments().collect::<Vec<_>>()
        ),
        Ok(Block::Statistics(it)) => write!(
            text,
            "statistics {} {} {:?} {:?} {:?} {:?}",
            it.interface,
            it.timestamp,
            (it.starttime(), it.endtime()),
            (it.ifrecv(), it.ifdrop(), it.filteraccept()),
            (it.osdrop(), it.usrdeliv()),
            it.comments().collect::<Vec<_>>(),
        ),
        Ok(Block::Unknown { block_type, body }) => {
            write!(text, "unknown {block_type} {}", body.len())
        }
        Err(error) => write!(text, "error: {error}"),
    };
    written.expect("a string takes everything");
    text
}

/// What the reader of slices says.
pub(crate) fn of_slice(file: &[u8]) -> (Vec<String>, End) {
    let mut reader = SliceReader::new(file);
    let lines = reader.by_ref().map(|block| line(&block)).collect();
    (lines, reader.end().expect("an iterator that is done has an end"))
}

/// What the reader of streams says.
pub(crate) fn of_stream(source: impl Read) -> (Vec<String>, End) {
    let mut reader = Reader::new(source);
    let mut lines = Vec::new();
    loop {
        match reader.next_block() {
            Ok(None) => break,
            Ok(Some(block)) => lines.push(line(&Ok(block))),
            Err(error) => lines.push(line(&Err(error))),
        }
    }
    (lines, reader.end().expect("a reader that is done has an end"))
}
