//! Giving up rights, and knowing which ones there are.
//!
//! Rights belong to threads, and the calls that give them up change the calling thread only. So
//! they are given up while there is one thread, and the threads that are started later inherit
//! the loss. The order, which [`give_up()`] keeps:
//!
//! 1. everything that needs rights is done, and no thread was started;
//! 2. the bounding set is emptied and the securebits are locked, while `CAP_SETPCAP` is there;
//! 3. groups, then group, then user change, while `CAP_SETGID` and `CAP_SETUID` are there;
//! 4. all capabilities go, and the process becomes undumpable, so that other processes of the
//!    same user cannot take its descriptors through ptrace;
//! 5. `no_new_privs`;
//! 6. the result is read back from /proc, for every thread.
//!
//! Landlock follows ([`crate::landlock`]), then the parent-death signal
//! ([`crate::process::die_with_parent`]: changing the user clears it), and then threads.
//!
//! Sources: `capabilities(7)`, `credentials(7)`, `prctl(2)`, `proc_pid_status(5)`.

mod account;
mod capability;
mod descriptor_limit;
mod give_up;
mod on_behalf;
mod sudo_user;
mod thread_rights;

pub use account::Account;
pub use capability::{Capability, CapabilitySet};
pub use descriptor_limit::raise_descriptor_limit;
pub use give_up::{
    GivenUp, User, become_user, drop_all_capabilities, effective, give_up, keep_capabilities,
    no_new_privs,
};
pub use on_behalf::{on_behalf, own_uid};
pub use sudo_user::{SudoUser, sudo_user};
pub use thread_rights::{ThreadRights, thread_rights, verify_unprivileged};

pub(crate) use thread_rights::require_single_thread;
