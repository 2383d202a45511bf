//! Room on a file system.

use std::os::fd::AsFd;

use crate::Error;

/// How much room a file system has, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Its size.
    pub total: u64,
    /// What the calling user may still fill.
    pub free: u64,
}

/// The room on the file system of an open file; `None` for pipes, sockets and devices.
///
/// # Errors
/// When the file system does not answer.
pub fn room(file: impl AsFd) -> Result<Option<Room>, Error> {
    let stat = rustix::fs::fstat(&file).map_err(Error::call("fstat"))?;
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
        return Ok(None);
    }
    let stat = rustix::fs::fstatvfs(&file).map_err(Error::call("fstatvfs"))?;
    Ok(Some(Room {
        total: stat.f_blocks.saturating_mul(stat.f_frsize),
        free: stat.f_bavail.saturating_mul(stat.f_frsize),
    }))
}
