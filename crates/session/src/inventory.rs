//! What can be captured.

use docker::Endpoint;
use model::{Interface, NetnsId, Target};

use crate::{Error, Selection};

/// A target with what can be learned about it without capturing it.
#[derive(Debug)]
pub struct Entry {
    /// The target.
    pub target: Target,
    /// Its namespace; `None` when it has none now, or may not be looked at.
    pub netns: Option<NetnsId>,
    /// Its interfaces, where they were asked for and may be looked at.
    pub interfaces: Vec<Interface>,
    /// Why it may not be looked at.
    pub problem: Option<Error>,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Query {
    /// The engine.
    pub endpoint: Endpoint,
    /// Which targets; all containers when there is no selector.
    pub selection: Selection,
    /// Containers that do not run, too.
    pub all: bool,
    /// Look into the namespaces.
    pub interfaces: bool,
}
