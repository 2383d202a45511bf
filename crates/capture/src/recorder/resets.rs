//! TCP resets, counted in a window that slides.

use std::{collections::VecDeque, time::Duration};

use model::LinkType;

use crate::clock::nanoseconds;

/// More than so many TCP resets of one target in so much time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResetLimit {
    /// So many are none too many: at most [`ResetLimit::MAX_COUNT`].
    pub count: u32,
    /// In so much time.
    pub span: Duration,
}

impl ResetLimit {
    /// The largest count: a timestamp is kept for each.
    pub const MAX_COUNT: u32 = 10_000;
}

/// The latest resets of one target.
#[derive(Debug, Default)]
pub(crate) struct Resets(VecDeque<u64>);

impl Resets {
    /// Counts one. `true`: these are more than the limit, and counting begins anew.
    pub(crate) fn count(&mut self, timestamp: u64, limit: ResetLimit) -> bool {
        let since = timestamp.saturating_sub(nanoseconds(limit.span));
        while self.0.front().is_some_and(|first| *first < since) {
            self.0.pop_front();
        }
        self.0.push_back(timestamp);
        let is_over = self.0.len() > limit.count.min(ResetLimit::MAX_COUNT) as usize;
        if is_over {
            self.0.clear();
        }
        is_over
    }
}

const VLAN: [u16; 2] = [0x8100, 0x88A8];
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86DD;
const TCP: u8 = 6;
const RST: u8 = 0x04;
/// Extension headers of IPv6 that are stepped over: hop by hop, routing, destination.
const EXTENSIONS: [u8; 3] = [0, 43, 60];
const FRAGMENT: u8 = 44;
/// The most of them, and of VLAN tags.
const MAX_HEADERS: usize = 8;

/// Whether a frame is a TCP segment with the reset flag.
///
/// Source: RFC 9293 section 3.1, RFC 791 section 3.1, RFC 8200 sections 3 and 4.
pub(crate) fn is_reset(link_type: LinkType, frame: &[u8]) -> bool {
    flags(link_type, frame).is_some_and(|flags| flags & RST != 0)
}

/// The flags of a TCP segment.
fn flags(link_type: LinkType, frame: &[u8]) -> Option<u8> {
    let (protocol, packet) = match link_type {
        LinkType::ETHERNET => {
            let (mut protocol, mut rest) = (half(frame, 12)?, frame.get(14..)?);
            for _ in 0..MAX_HEADERS {
                if !VLAN.contains(&protocol) {
                    break;
                }
                (protocol, rest) = (half(rest, 2)?, rest.get(4..)?);
            }
            (protocol, rest)
        }
        LinkType::RAW => (if frame.first()? >> 4 == 6 { IPV6 } else { IPV4 }, frame),
        _ => return None,
    };
    let segment = match protocol {
        IPV4 => {
            let first = packet.first()?;
            let fragment = half(packet, 6)? & 0x1FFF;
            if first >> 4 != 4 || *packet.get(9)? != TCP || fragment != 0 {
                return None;
            }
            packet.get(usize::from(first & 0x0F) * 4..)?
        }
        IPV6 => {
            let (mut next, mut rest) = (*packet.get(6)?, packet.get(40..)?);
            for _ in 0..MAX_HEADERS {
                if EXTENSIONS.contains(&next) {
                    let length = (usize::from(*rest.get(1)?) + 1) * 8;
                    (next, rest) = (*rest.first()?, rest.get(length..)?);
                } else if next == FRAGMENT && half(rest, 2)? & 0xFFF8 == 0 {
                    (next, rest) = (*rest.first()?, rest.get(8..)?);
                } else {
                    break;
                }
            }
            if next != TCP {
                return None;
            }
            rest
        }
        _ => return None,
    };
    segment.get(13).copied()
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn tcp(flags: u8) -> Vec<u8> {
        let mut segment = vec![0; 20];
        segment[13] = flags;
        segment
    }

    fn ipv4(protocol: u8, options: usize, fragment: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 20 + options];
        packet[0] = 0x45 + u8::try_from(options / 4).unwrap();
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        packet[9] = protocol;
        [&packet, payload].concat()
    }

    fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x60;
        packet[6] = next;
        [&packet, payload].concat()
    }

    fn ethernet(types: &[u8], packet: &[u8]) -> Vec<u8> {
        [&[0; 12], types, packet].concat()
    }

    #[test]
    fn resets_are_found_where_they_may_stand() {
        let plain = ipv4(6, 0, 0, &tcp(0x14));
        let hop_by_hop = [&[44, 1][..], &[0; 14], &[6, 0, 0, 1, 0, 0, 0, 0], &tcp(0x04)].concat();
        for (link_type, frame) in [
            (LinkType::ETHERNET, ethernet(&[8, 0], &plain)),
            (LinkType::ETHERNET, ethernet(&[0x81, 0, 0, 7, 8, 0], &plain)),
            (
                LinkType::ETHERNET,
                ethernet(&[0x88, 0xA8, 0, 7, 0x81, 0, 0, 8, 0x86, 0xDD], &ipv6(6, &tcp(4))),
            ),
            (LinkType::ETHERNET, ethernet(&[8, 0], &ipv4(6, 40, 0x4000, &tcp(4)))),
            (LinkType::RAW, plain.clone()),
            (LinkType::RAW, ipv6(0, &hop_by_hop)),
        ] {
            assert!(is_reset(link_type, &frame), "{frame:?}");
            for length in 0..frame.len() - 6 {
                assert!(!is_reset(link_type, &frame[..length]), "cut to {length}");
            }
        }
    }

    #[test]
    fn other_frames_are_none() {
        for (link_type, frame) in [
            (LinkType::ETHERNET, ethernet(&[8, 0], &ipv4(6, 0, 0, &tcp(0x12)))),
            (LinkType::ETHERNET, ethernet(&[8, 0], &ipv4(17, 0, 0, &tcp(4)))),
            (LinkType::ETHERNET, ethernet(&[8, 0], &ipv4(6, 0, 0x2001, &tcp(4)))),
            (LinkType::ETHERNET, ethernet(&[8, 6], &ipv4(6, 0, 0, &tcp(4)))),
            (LinkType::RAW, ipv6(17, &tcp(4))),
            (LinkType::RAW, ipv6(44, &[&[6, 0, 0, 8, 0, 0, 0, 0], &*tcp(4)].concat())),
            (LinkType::LINUX_SLL2, ipv4(6, 0, 0, &tcp(4))),
        ] {
            assert!(!is_reset(link_type, &frame), "{frame:?}");
        }
    }

    #[test]
    fn more_than_the_limit_within_the_span_are_too_many() {
        let limit = ResetLimit { count: 2, span: Duration::from_secs(1) };
        let mut resets = Resets::default();
        let fired: Vec<bool> = [0, 1, 2, 3, 4, 5]
            .map(|half| resets.count(10 * SECOND + half * SECOND / 2, limit))
            .into();
        // Both ends of the span count; and behind a trigger counting begins anew.
        assert_eq!(fired, [false, false, true, false, false, true]);
        let slow = [0, 1, 2, 3].map(|second| resets.count((20 + second) * SECOND, limit));
        assert_eq!(slow, [false; 4]);
    }
}
