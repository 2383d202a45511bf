use std::borrow::Cow;

use super::{Options, clock::Clock};

/// Statistics of an interface. Times are nanoseconds since 1970, counts are packets.
#[derive(Debug, Clone, Copy)]
pub struct Statistics<'a> {
    /// Number of the interface within the section.
    pub interface: u32,
    /// When the counts were taken.
    pub timestamp: u64,
    /// All options, uninterpreted.
    pub options: Options<'a>,
    pub(super) clock: Clock,
}

impl<'a> Statistics<'a> {
    /// When the capture began on this interface (`isb_starttime`).
    #[must_use]
    pub fn starttime(&self) -> Option<u64> {
        self.time(2)
    }

    /// When it ended (`isb_endtime`).
    #[must_use]
    pub fn endtime(&self) -> Option<u64> {
        self.time(3)
    }

    /// Received from the device (`isb_ifrecv`).
    #[must_use]
    pub fn ifrecv(&self) -> Option<u64> {
        self.options.u64(4)
    }

    /// Dropped by the device (`isb_ifdrop`).
    #[must_use]
    pub fn ifdrop(&self) -> Option<u64> {
        self.options.u64(5)
    }

    /// Accepted by the filter (`isb_filteraccept`).
    #[must_use]
    pub fn filteraccept(&self) -> Option<u64> {
        self.options.u64(6)
    }

    /// Dropped by the operating system (`isb_osdrop`).
    #[must_use]
    pub fn osdrop(&self) -> Option<u64> {
        self.options.u64(7)
    }

    /// Delivered to the user (`isb_usrdeliv`).
    #[must_use]
    pub fn usrdeliv(&self) -> Option<u64> {
        self.options.u64(8)
    }

    /// Comments, in their order.
    pub fn comments(&self) -> impl Iterator<Item = Cow<'a, str>> {
        self.options.comments()
    }

    fn time(&self, code: u16) -> Option<u64> {
        let units = self.options.order().halves(self.options.array(code)?);
        Some(self.clock.nanoseconds(units))
    }
}
