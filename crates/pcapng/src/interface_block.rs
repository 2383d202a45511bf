use std::net::{Ipv4Addr, Ipv6Addr};

use crate::{
    INTERFACE_DESCRIPTION,
    option_list::{MAX_STRING_LEN, OpenBlock, cut},
};

/// Most addresses of each family that one interface block carries; further ones are left out.
pub const MAX_ADDRESSES: usize = 16_384;

/// Value of `if_tsresol`: timestamps count units of 10⁻⁹ seconds.
const NANOSECONDS: u8 = 9;
/// First byte of `if_filter`: what follows is a capture expression in text form.
const FILTER_IS_TEXT: u8 = 0;

/// An Interface Description Block: an interface and how its packets were captured.
///
/// Packets refer to it by its place among the interface blocks of its section, from 0.
/// Timestamps are always nanoseconds (`if_tsresol` 9).
///
/// Source: draft-ietf-opsawg-pcapng, "Interface Description Block".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InterfaceBlock<'a> {
    /// `LINKTYPE_` value of its packets.
    pub link_type: u16,
    /// Most bytes kept of a packet; 0 for no limit.
    pub snaplen: u32,
    /// Name (`if_name`): what Wireshark shows and filters by.
    pub name: &'a str,
    /// Free text (`if_description`).
    pub description: Option<&'a str>,
    /// IPv4 addresses with the length of their prefix in bits (`if_IPv4addr`).
    pub ipv4: &'a [(Ipv4Addr, u8)],
    /// IPv6 addresses with the length of their prefix in bits (`if_IPv6addr`).
    pub ipv6: &'a [(Ipv6Addr, u8)],
    /// Link-layer address (`if_MACaddr`).
    pub mac: Option<[u8; 6]>,
    /// Capture expression in text form (`if_filter`).
    pub filter: Option<&'a str>,
    /// Operating system of the interface's machine (`if_os`), which may be another than ours.
    pub os: Option<&'a str>,
    /// What kind of device it is (`if_hardware`).
    pub hardware: Option<&'a str>,
    /// Seconds that a reader adds to each timestamp (`if_tsoffset`). The writer subtracts
    /// nothing: timestamps of packets and statistics must be given without them.
    pub tsoffset: Option<i64>,
    /// Free text.
    pub comments: &'a [&'a str],
}

impl InterfaceBlock<'_> {
    /// Appends the block to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut block = OpenBlock::begin(out, INTERFACE_DESCRIPTION);
        block.fixed(&self.link_type.to_ne_bytes());
        block.fixed(&0_u16.to_ne_bytes());
        block.fixed(&self.snaplen.to_ne_bytes());
        block.string(2, self.name);
        block.string_if(3, self.description);
        for (address, prefix) in self.ipv4.iter().take(MAX_ADDRESSES) {
            let mut value = [0; 8];
            value[..4].copy_from_slice(&address.octets());
            value[4..].copy_from_slice(&netmask(*prefix));
            block.option(4, &value);
        }
        for (address, prefix) in self.ipv6.iter().take(MAX_ADDRESSES) {
            let mut value = [0; 17];
            value[..16].copy_from_slice(&address.octets());
            value[16] = (*prefix).min(128);
            block.option(5, &value);
        }
        if let Some(mac) = self.mac {
            block.option(6, &mac);
        }
        block.option(9, &[NANOSECONDS]);
        if let Some(filter) = self.filter {
            let text = cut(filter, MAX_STRING_LEN - 1);
            block.option_of(11, &[&[FILTER_IS_TEXT], text.as_bytes()]);
        }
        block.string_if(12, self.os);
        if let Some(seconds) = self.tsoffset {
            block.option(14, &seconds.to_ne_bytes());
        }
        block.string_if(15, self.hardware);
        block.comments(self.comments);
        block.end();
    }
}

/// The netmask of a prefix, as four octets: the option holds no number and has no byte order.
fn netmask(prefix: u8) -> [u8; 4] {
    let host_bits = 32 - u32::from(prefix.min(32));
    u32::MAX.checked_shl(host_bits).unwrap_or(0).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::{InterfaceBlock, MAX_ADDRESSES, netmask};
    use crate::MAX_BLOCK_LEN;

    #[test]
    fn netmasks_of_every_kind_of_prefix() {
        assert_eq!(netmask(0), [0, 0, 0, 0]);
        assert_eq!(netmask(1), [128, 0, 0, 0]);
        assert_eq!(netmask(16), [255, 255, 0, 0]);
        assert_eq!(netmask(31), [255, 255, 255, 254]);
        assert_eq!(netmask(32), [255; 4]);
        assert_eq!(netmask(200), [255; 4]);
    }

    #[test]
    fn the_smallest_interface_has_a_name_and_a_resolution() {
        let mut out = Vec::new();
        InterfaceBlock { link_type: 1, snaplen: 262_144, name: "lo", ..InterfaceBlock::default() }
            .encode(&mut out);
        let mut expected = Vec::new();
        expected.extend_from_slice(&1_u32.to_ne_bytes());
        expected.extend_from_slice(&40_u32.to_ne_bytes());
        expected.extend_from_slice(&1_u16.to_ne_bytes());
        expected.extend_from_slice(&[0, 0]);
        expected.extend_from_slice(&262_144_u32.to_ne_bytes());
        expected.extend_from_slice(&2_u16.to_ne_bytes());
        expected.extend_from_slice(&2_u16.to_ne_bytes());
        expected.extend_from_slice(b"lo\0\0");
        expected.extend_from_slice(&9_u16.to_ne_bytes());
        expected.extend_from_slice(&1_u16.to_ne_bytes());
        expected.extend_from_slice(&[9, 0, 0, 0]);
        expected.extend_from_slice(&[0; 4]);
        expected.extend_from_slice(&40_u32.to_ne_bytes());
        assert_eq!(out, expected);
    }

    #[test]
    fn the_largest_interface_stays_within_the_bound() {
        let long = "x".repeat(100_000);
        let mut out = Vec::new();
        InterfaceBlock {
            name: &long,
            description: Some(&long),
            ipv4: &[(Ipv4Addr::LOCALHOST, 8); MAX_ADDRESSES + 1],
            ipv6: &[(Ipv6Addr::LOCALHOST, 128); MAX_ADDRESSES + 1],
            filter: Some(&long),
            os: Some(&long),
            hardware: Some(&long),
            comments: &[long.as_str(); 64],
            ..InterfaceBlock::default()
        }
        .encode(&mut out);
        assert!(out.len() <= MAX_BLOCK_LEN);
        assert_eq!(out.len() % 4, 0);
        let length = u32::try_from(out.len()).unwrap().to_ne_bytes();
        assert_eq!(out[4..8], length);
        assert_eq!(out[out.len() - 4..], length);
    }
}
