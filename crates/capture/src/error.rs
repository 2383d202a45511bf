use std::{io, path::PathBuf};

use model::LinkType;

/// Why a capture could not begin, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] sys::Error),
    /// A file could not be opened.
    #[error("cannot create {path}: {source}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {path}: {source}", path = path.display())]
    Write {
        /// The file, or what was written to.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What a recorder had on disk could not be read back into a file.
    #[error("cannot read back what was spilled: {source}")]
    ReadBack {
        /// Why.
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start a thread: {source}")]
    Thread {
        /// Why.
        source: io::Error,
    },
    /// The format has one link type for all, and interfaces differ.
    #[error("{interface} has link type {other}, and the file, being pcap, has {first} for all")]
    LinkTypesDiffer {
        /// The interface that does not fit, under its full name.
        interface: String,
        /// Its link type.
        other: LinkType,
        /// The file's.
        first: LinkType,
    },
    /// What is spoken on the line to a far side is not what it should be.
    #[error("the far side: {source}")]
    Wire {
        /// What is wrong.
        #[from]
        source: wire::Error,
    },
    /// A far side has ended, or cannot be heard any more.
    #[error("the far side is gone: {why}")]
    FarGone {
        /// How that is known. Text from outside: not safe for a terminal.
        why: String,
    },
    /// A far side could not capture a namespace.
    #[error("the far side cannot capture it: {text}", text = refused.text)]
    FarRefused {
        /// Its words. Text from outside: not safe for a terminal.
        refused: wire::Refused,
    },
    /// A far side could not look into a namespace.
    #[error("{text}", text = refused.text)]
    FarUnseen {
        /// Its words. Text from outside: not safe for a terminal.
        refused: wire::Refused,
    },
    /// The pipeline has ended meanwhile: how is in its report.
    #[error("the capture has ended")]
    Ended,
    /// One of the threads ended in a panic.
    #[error("the {thread} thread ended in a panic")]
    Panicked {
        /// Which.
        thread: &'static str,
    },
    /// A name for files cannot be used.
    #[error("file name `{name}`: {why}")]
    FileName {
        /// As it was written.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
}
