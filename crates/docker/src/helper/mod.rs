//! Helper containers: what does for a user without rights what takes rights, because the engine has
//! them and does as that user says.
//!
//! An image with one static program is made in memory and loaded where it is not there yet. Of it a
//! container is made that has only what its work takes ([`Shape`]), keeps no log, and is removed by
//! the engine when its program ends. One that is made and never started stays; so somebody has to be
//! ready to remove it ([`Engine::remove_helper`](crate::Engine::remove_helper)) before it is made.
//!
//! A helper on an engine elsewhere is spoken to over its program's own streams: its client is attached
//! to them before it starts ([`Engine::attach_helper`](crate::Engine::attach_helper)).
//!
//! Helpers are nobody's targets, and programs of images beside targets are not either: lists,
//! inspections and events leave them out.

use std::collections::BTreeMap;

mod archive;
mod attached;
mod calls;
mod container;
mod images;
mod program;

pub use attached::{AttachedInput, AttachedOutput, Piece};
pub use container::{Calls, HelperSpec, LeftContainer, Purpose, Shape};
pub use program::HelperProgram;

/// The name of the images, without their tags.
pub(crate) const REPOSITORY: &str = "whaletap-agent";
/// The label of images: the release of the program in it.
pub(crate) const IMAGE_LABEL: &str = "whaletap.agent";
/// The label of helper containers: whose it is, in words of the client's.
pub(crate) const HELPER_LABEL: &str = "whaletap.helper";
/// The label of containers in which an image's program runs beside a target, with the same words. What is
/// left of one is removed, and never started.
pub const EXEC_LABEL: &str = "whaletap.exec";

/// Whether labels say that a container is of ours.
pub(crate) fn is_ours(labels: &BTreeMap<String, String>) -> bool {
    [HELPER_LABEL, EXEC_LABEL].iter().any(|label| labels.contains_key(*label))
}
