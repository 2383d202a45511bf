use sys::netlink::Netlink;
use wire::{Look, Report, Seen};

use super::FarSide;
use crate::{error::Error, opening};

impl FarSide {
    /// Tells what is in a namespace that is not captured for that.
    pub(super) fn look_into(&mut self, Look { number, place }: Look) -> Result<(), Error> {
        let seen = match self.opener.look(opening::place(place)) {
            Ok(seen) => seen,
            Err(error) => return self.line.tell(&opening::unseen(number, &error)),
        };
        let interfaces = match Netlink::from_fd(seen.netlink).interfaces() {
            Ok(interfaces) => interfaces,
            Err(error) => return self.line.tell(&opening::unseen_here(number, error.to_string())),
        };
        let seen = Seen { number, netns: seen.netns, interfaces };
        match self.line.tell(&Report::Seen(seen)) {
            Err(Error::Wire(wire::Error::TooLong { .. })) => {
                let text = "its interfaces are too many to be told".to_owned();
                self.line.tell(&opening::unseen_here(number, text))
            }
            other => other,
        }
    }
}
