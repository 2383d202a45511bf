//! Blocks of any byte order, put together by hand: what our own writer never writes.

use whaletap_pcapng::read::ByteOrder;

/// Writes fields in the byte order of some machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Assembler(pub(crate) ByteOrder);

impl Assembler {
    pub(crate) fn u16(self, value: u16) -> [u8; 2] {
        match self.0 {
            ByteOrder::Little => value.to_le_bytes(),
            ByteOrder::Big => value.to_be_bytes(),
        }
    }

    pub(crate) fn u32(self, value: u32) -> [u8; 4] {
        match self.0 {
            ByteOrder::Little => value.to_le_bytes(),
            ByteOrder::Big => value.to_be_bytes(),
        }
    }

    pub(crate) fn u64(self, value: u64) -> [u8; 8] {
        match self.0 {
            ByteOrder::Little => value.to_le_bytes(),
            ByteOrder::Big => value.to_be_bytes(),
        }
    }

    /// 32-bit words one after the other.
    pub(crate) fn words(self, words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| self.u32(*word)).collect()
    }

    /// A block around `parts`, padded.
    pub(crate) fn block(self, block_type: u32, parts: &[&[u8]]) -> Vec<u8> {
        let mut body = parts.concat();
        body.resize(body.len().next_multiple_of(4), 0);
        let length = u32::try_from(body.len() + 12).unwrap();
        [&self.u32(block_type)[..], &self.u32(length), &body, &self.u32(length)].concat()
    }

    /// An option, or a record of a name block, padded.
    pub(crate) fn option(self, code: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len()).unwrap();
        let mut option = [&self.u16(code)[..], &self.u16(length), value].concat();
        option.resize(option.len().next_multiple_of(4), 0);
        option
    }

    /// A section header of version `major.minor`.
    pub(crate) fn section(self, major: u16, minor: u16) -> Vec<u8> {
        let version = [self.u16(major), self.u16(minor)].concat();
        self.block(0x0A0D_0D0A, &[&self.u32(0x1A2B_3C4D), &version, &self.u64(u64::MAX)])
    }

    /// An interface block of link type 1 with these options.
    pub(crate) fn interface(self, snaplen: u32, options: &[&[u8]]) -> Vec<u8> {
        let fixed = [&self.u16(1)[..], &self.u16(0), &self.u32(snaplen)].concat();
        self.block(1, &[&fixed, &options.concat()])
    }

    /// An enhanced packet block without options.
    pub(crate) fn packet(self, interface: u32, units: u64, bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap();
        let [upper, lower] =
            [units >> 32, units & 0xFFFF_FFFF].map(|half| u32::try_from(half).unwrap());
        self.block(6, &[&self.words(&[interface, upper, lower, length, length]), bytes])
    }
}
