//! The program of helper containers, which tests of the command need and cargo does not build for
//! them: it is another binary, static, and for a named target. And one in its place that says
//! something else: what one of another release would say, or nothing.

use std::{
    fs,
    io::{self, Write as _},
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, socket,
};

use crate::{Error, static_program::StaticProgram};

/// The variable by which the command finds it.
pub const VARIABLE: &str = "WHALETAP_AGENT";

/// Where it is: what [`VARIABLE`] names, or what cargo builds, once.
///
/// # Errors
///
/// [`Error::Failed`] with what cargo said.
pub fn program() -> Result<PathBuf, Error> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let (package, name) = ("whaletap-agent", "whaletap-agent");
    StaticProgram { package, name, variable: VARIABLE }.path(&BUILT)
}

/// Makes a program for its place that is of `release` by what stands in its file, and `says` something
/// when it is spoken to; where that is nothing, it stays silent. It ends with its client.
///
/// # Errors
///
/// [`Error::Failed`] with what cargo said; [`Error::File`].
pub fn make_stand_in(path: &Path, release: &str, says: &[u8]) -> Result<(), Error> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let (package, name) = ("whaletap-lab", "whaletap-stand-in");
    let program = StaticProgram { package, name, variable: "WHALETAP_STAND_IN" };
    let built = program.path(&BUILT)?;
    let mut bytes = fs::read(&built).map_err(Error::file(&built))?;
    bytes.extend_from_slice(format!("{} release {release}\n", "whaletap-agent").as_bytes());
    bytes.extend_from_slice(says);
    bytes.extend_from_slice(&(says.len() as u64).to_le_bytes());
    // With the program's permissions.
    fs::copy(&built, path).map_err(Error::file(path))?;
    fs::write(path, bytes).map_err(Error::file(path))
}

/// The program's main, with the words that an agent is given.
///
/// # Errors
///
/// When it is not spoken to as an agent is.
pub fn stand_in(words: &[String]) -> io::Result<()> {
    let own = fs::read("/proc/self/exe")?;
    let (rest, length) = own.split_last_chunk().ok_or(io::ErrorKind::InvalidData)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(io::Error::other)?;
    let from = rest.len().checked_sub(length).ok_or(io::ErrorKind::InvalidData)?;
    let says = &rest[from..];
    match words {
        [word] if word == "stdio" => {
            io::stdout().write_all(says)?;
            io::stdout().flush()?;
            io::copy(&mut io::stdin(), &mut io::sink()).map(drop)
        }
        [word, path] if word == "opener" => answer(path, says),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// Connects there, says it once behind the first message, and waits for the end.
fn answer(path: &str, says: &[u8]) -> io::Result<()> {
    let (family, kind) = (AddressFamily::Unix, SockType::SeqPacket);
    let channel = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    connect(channel.as_raw_fd(), &UnixAddr::new(path)?)?;
    let mut message = vec![0; 1 << 16];
    let mut is_first = true;
    while recv(channel.as_raw_fd(), &mut message, MsgFlags::empty())? > 0 {
        if is_first && !says.is_empty() {
            send(channel.as_raw_fd(), says, MsgFlags::MSG_NOSIGNAL)?;
        }
        is_first = false;
    }
    Ok(())
}
