//! What the flags mean: requests for a session, with every default filled in and every
//! contradiction refused.

mod capture;
mod engine;
mod list;
mod reach;
mod record;
mod runtime_directory;
mod surroundings;

pub(crate) use capture::capture;
pub(crate) use engine::endpoint;
pub(crate) use list::query;
pub(crate) use reach::reach;
pub(crate) use record::record;
pub(crate) use runtime_directory::runtime_directory;
pub(crate) use surroundings::Surroundings;
