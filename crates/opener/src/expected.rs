//! Directories of sandboxes' files that are not there yet: an engine makes its own with its first
//! container.

use std::{
    io::{PipeReader, PipeWriter, pipe},
    path::Path,
};

use sys::{
    inotify::{Event, Watch},
    mount::Root,
    poll::{Poller, Trigger},
};

use crate::{
    directories::{MAX_DIRECTORIES, check},
    engine::Engine,
    error::{Reason, Refusal},
};

/// Those that somebody waits for.
#[derive(Debug, Default)]
pub(crate) struct Expected(Vec<Expectation>);

/// A directory that is waited for, by the news of the one in which it will be. These stay here:
/// they name everything that comes and goes there, and nobody else has to know that.
#[derive(Debug)]
struct Expectation {
    root: Root,
    path: String,
    parent: Watch,
    /// Its end tells whoever waits.
    _told: PipeWriter,
}

impl Expected {
    /// Waits for a directory of the engine: what is given back is readable once it is there, or
    /// will never be. `news` wakes for [`Expected::look`], under this key.
    pub(crate) fn expect(
        &mut self,
        path: &str,
        engine: &Engine,
        (news, key): (&Poller, u64),
    ) -> Result<PipeReader, Refusal> {
        check(path)?;
        self.0.retain(|known| known.path != path);
        if self.0.len() >= MAX_DIRECTORIES {
            let message = format_args!("more than {MAX_DIRECTORIES} directories are waited for");
            return Err(Refusal::new(Reason::Failed, message));
        }
        let root = engine.root()?;
        let above = Path::new(path).parent().unwrap_or(Path::new("/"));
        let parent = Watch::open(root.directory(above)?)?;
        let (waits, told) = pipe().map_err(sys::Error::call("pipe2"))?;
        news.add(&parent, key, Trigger::Level)?;
        self.0.push(Expectation { root, path: path.to_owned(), parent, _told: told });
        // It may have come between the caller's own look and the watch.
        self.look();
        Ok(waits)
    }

    /// Looks which of them are there now, and tells those who wait.
    pub(crate) fn look(&mut self) {
        self.0.retain(|Expectation { root, path, parent, .. }| {
            let is_over = match parent.read() {
                Ok(events) => events.contains(&Event::Gone),
                Err(_) => true,
            };
            !is_over && root.directory(Path::new(path)).is_err()
        });
    }
}
