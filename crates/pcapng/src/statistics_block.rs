use crate::{
    INTERFACE_STATISTICS,
    option_list::{OpenBlock, halves},
};

/// An Interface Statistics Block: what became of an interface's packets since the capture began.
///
/// Times are nanoseconds since 1970 (less the interface's `tsoffset`); the others count packets.
///
/// Source: draft-ietf-opsawg-pcapng, "Interface Statistics Block".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatisticsBlock<'a> {
    /// Number of the interface within its section.
    pub interface: u32,
    /// When the counts were taken.
    pub timestamp: u64,
    /// When the capture began on this interface (`isb_starttime`).
    pub starttime: Option<u64>,
    /// When it ended (`isb_endtime`).
    pub endtime: Option<u64>,
    /// Received from the device (`isb_ifrecv`).
    pub ifrecv: Option<u64>,
    /// Dropped by the device for lack of resources (`isb_ifdrop`).
    pub ifdrop: Option<u64>,
    /// Accepted by the filter (`isb_filteraccept`).
    pub filteraccept: Option<u64>,
    /// Dropped by the operating system (`isb_osdrop`).
    pub osdrop: Option<u64>,
    /// Delivered to the user (`isb_usrdeliv`).
    pub usrdeliv: Option<u64>,
    /// Free text.
    pub comments: &'a [&'a str],
}

impl StatisticsBlock<'_> {
    /// Appends the block to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut block = OpenBlock::begin(out, INTERFACE_STATISTICS);
        block.fixed(&self.interface.to_ne_bytes());
        block.fixed(&halves(self.timestamp));
        for (code, time) in [(2, self.starttime), (3, self.endtime)] {
            if let Some(time) = time {
                block.option(code, &halves(time));
            }
        }
        let counts = [
            (4, self.ifrecv),
            (5, self.ifdrop),
            (6, self.filteraccept),
            (7, self.osdrop),
            (8, self.usrdeliv),
        ];
        for (code, count) in counts {
            if let Some(count) = count {
                block.option(code, &count.to_ne_bytes());
            }
        }
        block.comments(self.comments);
        block.end();
    }
}

#[cfg(test)]
mod tests {
    use super::StatisticsBlock;

    #[test]
    fn times_are_halves_and_counts_are_whole() {
        let mut out = Vec::new();
        StatisticsBlock {
            interface: 7,
            timestamp: 1 << 32,
            endtime: Some((2 << 32) + 3),
            osdrop: Some((4 << 32) + 5),
            ..StatisticsBlock::default()
        }
        .encode(&mut out);
        let mut expected = Vec::new();
        for word in [5_u32, 52, 7, 1, 0] {
            expected.extend_from_slice(&word.to_ne_bytes());
        }
        expected.extend_from_slice(&3_u16.to_ne_bytes());
        expected.extend_from_slice(&8_u16.to_ne_bytes());
        expected.extend_from_slice(&2_u32.to_ne_bytes());
        expected.extend_from_slice(&3_u32.to_ne_bytes());
        expected.extend_from_slice(&7_u16.to_ne_bytes());
        expected.extend_from_slice(&8_u16.to_ne_bytes());
        expected.extend_from_slice(&((4_u64 << 32) + 5).to_ne_bytes());
        expected.extend_from_slice(&[0; 4]);
        expected.extend_from_slice(&52_u32.to_ne_bytes());
        assert_eq!(out, expected);
    }

    #[test]
    fn nothing_known_is_a_block_without_options() {
        let mut out = Vec::new();
        StatisticsBlock::default().encode(&mut out);
        assert_eq!(out.len(), 24);
    }
}
