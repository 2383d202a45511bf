use model::Program;

use crate::{
    Error,
    field::{Field, Reader, fields_of, kinds_of},
};

/// What a client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// How frames are to be sent. Before the first [`Order::Attach`].
    Settings(Settings),
    /// Capture a namespace. [`crate::Report::Attached`] or [`crate::Report::Refused`] answers.
    Attach(Box<Attach>),
    /// Let it go once what it has is sent. [`crate::Report::Detached`] answers.
    Detach(Detach),
    /// So much of what was sent has been used: see [`crate::Allowance`].
    Acknowledge(Acknowledge),
    /// What is the time over there? [`crate::Report::Clock`] answers at once.
    Clock(Question),
    /// Look into a namespace. [`crate::Report::Seen`] or [`crate::Report::Unseen`] answers.
    Look(Look),
    /// The client is there.
    Heartbeat,
    /// Let everything go, send what there is, and end.
    End,
}

/// How frames are to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Compress batches (lz4) where that makes them smaller.
    pub compress: bool,
    /// Bytes that may wait on the far side. What exceeds them is dropped, and counted.
    pub memory: u64,
    /// How long a frame may wait for others to travel with, in milliseconds.
    pub linger: u32,
    /// How long frames may wait because the link is slower than they come, in milliseconds. Older
    /// ones are dropped, and counted: what arrives is never older than this and the link's own
    /// delay.
    pub patience: u32,
}

/// What to capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attach {
    /// The number that everything about this capture carries from now on: the client's choice.
    pub capture: u32,
    /// Where the namespace is.
    pub place: Place,
    /// How its sockets are set up.
    pub spec: Spec,
}

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The number that the answer carries: the client's choice.
    pub number: u32,
    /// Where the namespace is.
    pub place: Place,
}

/// Where a namespace is, in the far side's world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A container's.
    Container(ContainerPlace),
    /// A process's, by its pid.
    Process(u32),
    /// A namespace file's, by its path.
    Netns(String),
    /// That of the host's first process.
    Host,
    /// That in which the far side itself is.
    Own,
}

/// A container's namespace: through its first process, whose cgroup must carry the id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerPlace {
    /// `State.Pid`.
    pub pid: u32,
    /// Full id.
    pub id: String,
    /// `NetworkSettings.SandboxKey`; empty where there is none.
    pub sandbox_key: String,
}

/// Which interfaces a capture listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All of the namespace, those that come later too, through one socket.
    Namespace,
    /// All, through a socket each.
    EachInterface,
    /// Those of these names.
    Named(Vec<String>),
}

/// How sockets are set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The kernel's program; what it returns is the snaplen.
    pub program: Program,
    /// A short one, for a kernel that refuses the first for its length.
    pub fallback: Program,
    /// Bytes of all rings together.
    pub ring: u32,
    /// Retire timeout of the rings in microseconds.
    pub retire: u32,
    /// What to listen on.
    pub scope: Scope,
    /// Whether to put the interfaces into promiscuous mode.
    pub promiscuous: bool,
}

/// Which capture to let go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detach {
    /// Its number.
    pub capture: u32,
}

/// How much was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledge {
    /// The [weights](crate::Batch::weight) of batches together, since the beginning.
    pub bytes: u64,
}

/// A question about the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What the answer repeats.
    pub number: u64,
}

fields_of! {
    Settings { compress: bool, memory: u64, linger: u32, patience: u32 }
    ContainerPlace { pid: u32, id: String, sandbox_key: String }
    Spec {
        program: Program,
        fallback: Program,
        ring: u32,
        retire: u32,
        scope: Scope,
        promiscuous: bool,
    }
    Attach { capture: u32, place: Place, spec: Spec }
    Detach { capture: u32 }
    Acknowledge { bytes: u64 }
    Question { number: u64 }
    Look { number: u32, place: Place }
}
kinds_of!(Place {
    0 Container(ContainerPlace),
    1 Process(u32),
    2 Netns(String),
    3 Host,
    4 Own,
});
kinds_of!(Scope { 0 Namespace, 1 EachInterface, 2 Named(Vec<String>) });
kinds_of!(Order {
    1 Settings(Settings),
    2 Attach(Box<Attach>),
    3 Detach(Detach),
    4 Acknowledge(Acknowledge),
    5 Clock(Question),
    6 Heartbeat,
    7 End,
    8 Look(Look),
});

impl Order {
    /// As a message.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.put(&mut bytes);
        bytes
    }

    /// Reads a message.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`].
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        Reader::whole(bytes).ok_or(Error::Malformed { what: "an order" })
    }
}

impl<T: Field> Field for Box<T> {
    fn put(&self, out: &mut Vec<u8>) {
        (**self).put(out);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        T::take(from).map(Self::new)
    }

    #[cfg(test)]
    fn describe(schema: &mut crate::field::Schema) -> String {
        T::describe(schema)
    }
}
