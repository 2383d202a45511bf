//! The flight recorder: nothing is written until something happens, and then what was before it.
//!
//! ```text
//!  frames ─► chunk of the target ─► window of the target ─► (oldest goes)
//!                                        │ trigger
//!                                        ▼
//!                                   pen ─► file: the window, and what comes for a while
//! ```
//!
//! Chunks of a window are shared with the pen and not given away: recording goes on while a file
//! is written, and the next trigger has its whole window again. What windows and waiting writes
//! occupy comes out of the session's one [budget](crate::Config::memory).
//!
//! Where there is a [spill](SpillConfig), a thread of its own writes the oldest chunks to disk before
//! memory is used up. A chunk is the same thing in either place, for the window as for the pen: the
//! bytes move behind it. When the disk is full the oldest chunk on disk goes; when it is too slow,
//! the oldest one in memory, as without a spill.

mod about;
mod config;
mod desk;
mod held;
mod memory;
mod record;
mod resets;
mod space;
mod spill;
mod spiller;
mod spilling;
mod track;
mod window;

pub use config::{Keep, RecorderConfig, Trigger};
pub(crate) use desk::Recorder;
pub(crate) use held::{CHUNK, Held};
pub use record::{HeldBytes, Record, Recorded};
pub use resets::ResetLimit;
pub(crate) use spill::NotStored;
pub use spill::SpillConfig;
pub use spiller::SpillTrouble;
pub(crate) use spiller::Spiller;
pub(crate) use track::Track;
