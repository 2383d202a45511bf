use crate::Container;

/// One resolved thing to capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What it is called in summaries and files.
    pub name: String,
    /// What it is.
    pub origin: Origin,
}

/// What a target is, and so how its namespace is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A container of an engine.
    Container(Box<Container>),
    /// A process of this machine.
    Process {
        /// Its pid here.
        pid: u32,
    },
    /// A namespace file of this machine.
    Netns {
        /// Path of the file: `/run/netns/blue`.
        path: String,
    },
    /// This machine's own namespace.
    Host,
}

impl Target {
    /// The target that a running container is.
    #[must_use]
    pub fn container(container: Container) -> Self {
        Self {
            name: container.display_name().to_owned(),
            origin: Origin::Container(Box::new(container)),
        }
    }

    /// The container behind it, if it is one.
    #[must_use]
    pub fn as_container(&self) -> Option<&Container> {
        match &self.origin {
            Origin::Container(container) => Some(container),
            _ => None,
        }
    }
}
