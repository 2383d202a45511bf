//! The devices of a network namespace: listing them, hearing of changes, bringing one up.
//!
//! A netlink socket speaks for the namespace in which it was opened, whoever uses it later. So a
//! privileged process opens it inside ([`open`]) and passes it on, and the one that reads needs no
//! rights at all. Like every socket it also keeps its namespace alive: close it when the target
//! is gone.
//!
//! The message formats are those of `rtnetlink(7)` and `linux/if_link.h`. The crates
//! netlink-packet-core and netlink-packet-route build requests and split answers; attributes are
//! read here, one by one, because netlink-packet-route refuses a whole message when one attribute
//! in it (a statistic that a newer kernel made longer, say) is not what it knows. None of their
//! types is public.

mod changes;
mod message;
mod socket;

pub use changes::Changes;
pub use socket::{Netlink, open};
