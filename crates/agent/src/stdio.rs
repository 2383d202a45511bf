//! The far side of a session, over its standard input and output.

use std::{
    fs::File,
    io::{stdin, stdout},
    os::fd::AsFd,
    thread,
};

use opener::Opener;
use sys::{machine, netns::Netns, privileges};
use wire::Host;

use crate::{error::Error, far_side::FarSide, line::Line};

/// What both sides must have been built from.
const BUILD: &str = env!("CARGO_PKG_VERSION");

/// Descriptors for some hundred captures.
const DESCRIPTORS: u64 = 8192;

/// Starts an opener with the rights that there are, gives them up, and serves whoever is at the
/// other end of the standard input and output.
///
/// # Errors
/// When rights cannot be given up, and when the client says what cannot be understood, says nothing
/// for too long, or goes away in the middle of it.
///
/// # Privileges
/// Those of the opener.
pub(crate) fn serve() -> Result<(), Error> {
    let opener = Opener::start(None).map_err(Error::Opener)?;
    let host = host()?;
    // As far as it goes: what then has no room is refused one by one.
    privileges::raise_descriptor_limit(DESCRIPTORS)?;
    privileges::give_up(None)?;
    let owned = |fd: &dyn AsFd| fd.as_fd().try_clone_to_owned().map(File::from);
    let input = owned(&stdin()).map_err(Error::Read)?;
    let output = owned(&stdout()).map_err(Error::Write)?;
    FarSide::new(Line::new(input, output)?, opener, BUILD, host)?.serve()
}

fn host() -> Result<Host, Error> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    Ok(Host {
        name: machine::hostname(),
        kernel: machine::kernel_release(),
        architecture: machine::architecture(),
        boot: machine::boot_id()?,
        netns: Netns::current()?.id(),
        processors: u32::try_from(processors).unwrap_or(u32::MAX),
    })
}
