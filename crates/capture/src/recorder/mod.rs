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

mod config;
mod desk;
mod held;
mod memory;
mod record;
mod resets;
mod track;
mod window;

pub use config::{Keep, RecorderConfig, Trigger};
pub(crate) use desk::Recorder;
pub(crate) use held::{CHUNK, Held};
pub use record::{Record, Recorded};
pub use resets::ResetLimit;
pub(crate) use track::Track;
