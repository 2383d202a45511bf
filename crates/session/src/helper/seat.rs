//! The directory in which a helper finds our socket.
//!
//! ```text
//!  whaletap-4711-81723-3f2a9d0c   0700, ours: nobody else of this machine gets any further
//!  └─ open                        0711, mounted into the helper, whose root has no more rights
//!     └─ socket                   0666   than anybody: it may pass, and may connect
//! ```

use std::{
    env,
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::{
        fs::{DirBuilderExt, MetadataExt, PermissionsExt},
        net::UnixListener as StdListener,
    },
    path::{Path, PathBuf},
};

use sys::{
    channel::{self, Channel},
    lifetime::{Lifetime, State},
    privileges,
};
use tokio::net::UnixListener;

use crate::{Error, is_own_directory};

/// What the names of our directories begin with.
const PREFIX: &str = "whaletap-";
/// Only for its owner.
const PRIVATE: u32 = 0o700;
/// The part that a helper sees.
const OPEN: &str = "open";
/// Whoever is there may pass.
const PASSABLE: u32 = 0o711;
/// Whoever is there may connect.
const CONNECTABLE: u32 = 0o666;

/// A directory with a socket. It is removed by the reaper.
#[derive(Debug)]
pub(super) struct Seat {
    directory: PathBuf,
    listener: StdListener,
}

impl Seat {
    /// The socket's name in the part that a helper sees.
    pub(super) const SOCKET: &'static str = "socket";

    /// Where the directory of this process is to be: below `runtime`, which is believed where it is
    /// its user's, or among temporary files.
    pub(super) fn place(runtime: Option<&Path>, owner: &Lifetime) -> PathBuf {
        let own = runtime.filter(|path| is_own_directory(path));
        let above = own.map_or_else(env::temp_dir, Path::to_owned);
        above.join(format!("{PREFIX}{}", owner.short()))
    }

    /// Makes it, where nothing stands yet, and listens.
    pub(super) fn make(directory: PathBuf) -> Result<Self, Error> {
        sweep(&directory);
        let failed = |source: io::Error| Error::Output {
            what: "cannot make the directory for a helper container,",
            path: directory.clone(),
            source,
        };
        DirBuilder::new().mode(PRIVATE).create(&directory).map_err(failed)?;
        let open = directory.join(OPEN);
        DirBuilder::new().mode(PASSABLE).create(&open).map_err(failed)?;
        let socket = open.join(Self::SOCKET);
        let listener = channel::listen(&socket)?;
        // For who waits for other things as well.
        listener.set_nonblocking(true).map_err(sys::Error::call("ioctl(FIONBIO)"))?;
        // Both were made under the user's mask.
        fs::set_permissions(&open, Permissions::from_mode(PASSABLE)).map_err(failed)?;
        fs::set_permissions(&socket, Permissions::from_mode(CONNECTABLE)).map_err(failed)?;
        Ok(Self { directory, listener })
    }

    /// The part that a helper sees.
    pub(super) fn mounted(&self) -> PathBuf {
        self.directory.join(OPEN)
    }

    /// Waits until somebody connects.
    pub(super) async fn accept(&self) -> Result<Channel, Error> {
        let accepted = async {
            let listener = UnixListener::from_std(self.listener.try_clone()?)?;
            let (connected, _) = listener.accept().await?;
            let connected = connected.into_std()?;
            connected.set_nonblocking(false)?;
            Ok::<_, io::Error>(Channel::from_fd(connected.into()))
        };
        Ok(accepted.await.map_err(sys::Error::call("accept4"))?)
    }
}

/// Removes a directory with all that [`Seat::make`] has made in it. No link is followed.
pub(super) fn remove(directory: &Path) {
    // What is not there need not be removed, and of what cannot be nobody is left to be told.
    let _ = fs::remove_file(directory.join(OPEN).join(Seat::SOCKET));
    let _ = fs::remove_dir(directory.join(OPEN));
    let _ = fs::remove_dir(directory);
}

/// Removes what processes have left that were killed together with their reapers.
fn sweep(beside: &Path) {
    let Some(above) = beside.parent() else { return };
    let Ok(own) = Lifetime::own() else { return };
    let entries = fs::read_dir(above).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let theirs = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let theirs = theirs.and_then(|short| own.beside(short));
        let is_ours = |path: &Path| {
            let found = fs::symlink_metadata(path);
            found.is_ok_and(|found| found.is_dir() && found.uid() == privileges::own_uid())
        };
        if theirs.is_some_and(|theirs| matches!(theirs.state(), Ok(State::Over)))
            && is_ours(&entry.path())
        {
            remove(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_seat_is_ours_alone_and_leaves_nothing() {
        let above = tempfile::tempdir().unwrap();
        let own = Lifetime::own().unwrap();
        let directory = Seat::place(Some(above.path()), &own);
        assert_eq!(directory.parent(), Some(above.path()));
        // Of a process with our number that began before us: it has ended, then.
        let mut parts: Vec<String> = own.short().split('-').map(str::to_owned).collect();
        parts[1] = "1".to_owned();
        let stale = above.path().join(format!("{PREFIX}{}", parts.join("-")));
        fs::create_dir_all(stale.join(OPEN)).unwrap();
        let foreign = above.path().join(format!("{PREFIX}of-somebody-else"));
        fs::create_dir(&foreign).unwrap();
        let seat = Seat::make(directory.clone()).unwrap();
        assert!(!stale.exists() && foreign.exists());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&directory), mode(&seat.mounted())), (PRIVATE, PASSABLE));
        assert_eq!(mode(&seat.mounted().join(Seat::SOCKET)), CONNECTABLE);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let nobody = async { tokio::time::timeout(Duration::from_millis(1), seat.accept()).await };
        assert!(runtime.block_on(nobody).is_err(), "nobody has connected");
        let _far = Channel::connect(&seat.mounted().join(Seat::SOCKET)).unwrap();
        runtime.block_on(seat.accept()).unwrap();
        assert!(Seat::make(directory.clone()).is_err(), "something stands there");
        remove(&directory);
        assert!(!directory.exists());
    }

    #[test]
    fn a_runtime_directory_of_somebody_else_is_not_believed() {
        let own = Lifetime::own().unwrap();
        let place = Seat::place(Some(Path::new("/does/not/exist")), &own);
        assert_eq!(place.parent(), Some(&*env::temp_dir()));
    }
}
