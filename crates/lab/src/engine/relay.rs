use std::{
    io::{Read as _, Write as _},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use tempfile::TempDir;

use crate::{Engine, Error};

/// What is copied at once, in bytes.
const CHUNK: usize = 16 * 1024;
/// What stands in the path of a request for events.
const ASKS: &str = "/events?";

/// What a [`Relay`] does with the stream of an engine's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Events {
    /// It goes through.
    Pass,
    /// It stays open, and nothing comes: who listens has no way to know.
    Swallow,
    /// It is cut, and so is every new one before an answer.
    Cut,
}

/// A socket in front of a real engine's. Everything goes through, both ways, but for events.
///
/// Whoever asks for the process behind this socket finds the test's, not the engine's.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    directory: TempDir,
}

#[derive(Debug)]
struct Shared {
    engine: PathBuf,
    state: Mutex<State>,
    swallowed: AtomicU64,
    cut: AtomicU64,
}

#[derive(Debug)]
struct State {
    events: Events,
    /// Those on which events were asked for.
    streams: Vec<Arc<Connection>>,
}

/// Somebody's connection, and ours for it.
#[derive(Debug)]
struct Connection {
    client: UnixStream,
    engine: UnixStream,
    tells_events: AtomicBool,
}

impl Connection {
    fn cut(&self) {
        // The other side may have hung up before.
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.engine.shutdown(Shutdown::Both);
    }
}

impl Relay {
    /// A relay in front of an engine that listens on a unix socket.
    ///
    /// # Errors
    ///
    /// [`Error::File`] when there is no place for its socket; [`Error::NoEngine`] for an engine
    /// that is reached in another way.
    pub fn to(engine: &Engine) -> Result<Self, Error> {
        let path = engine.host().strip_prefix("unix://");
        let path = path.ok_or_else(|| Error::NoEngine { tried: engine.host().to_owned() })?;
        let directory = tempfile::tempdir().map_err(Error::file("a temporary directory"))?;
        let socket = directory.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).map_err(Error::file(&socket))?;
        let state = Mutex::new(State { events: Events::Pass, streams: Vec::new() });
        let (swallowed, cut) = (AtomicU64::new(0), AtomicU64::new(0));
        let engine = Path::new(path).to_owned();
        let shared = Arc::new(Shared { engine, state, swallowed, cut });
        let served = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&served);
                thread::spawn(move || shared.relay(client));
            }
        });
        Ok(Self { shared, directory })
    }

    /// Its endpoint: what `--host` takes.
    #[must_use]
    pub fn host(&self) -> String {
        format!("unix://{}", self.directory.path().join("docker.sock").display())
    }

    /// What becomes of events from now on.
    pub fn events(&self, events: Events) {
        let mut state = self.shared.state();
        state.events = events;
        if events == Events::Cut {
            self.shared.cut.fetch_add(state.streams.len() as u64, Ordering::SeqCst);
            for stream in state.streams.drain(..) {
                stream.cut();
            }
        }
    }

    /// How many bytes of events were swallowed.
    #[must_use]
    pub fn swallowed(&self) -> u64 {
        self.shared.swallowed.load(Ordering::SeqCst)
    }

    /// How many streams of events were cut.
    #[must_use]
    pub fn cut(&self) -> u64 {
        self.shared.cut.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies both ways until one side hangs up.
    fn relay(self: &Arc<Self>, client: UnixStream) {
        let Ok(engine) = UnixStream::connect(&self.engine) else { return };
        let tells_events = AtomicBool::new(false);
        let connection = Arc::new(Connection { client, engine, tells_events });
        let answers = {
            let (shared, connection) = (Arc::clone(self), Arc::clone(&connection));
            thread::spawn(move || shared.answers(&connection))
        };
        self.requests(&connection);
        connection.cut();
        // A panic over there is told there.
        let _ = answers.join();
        self.state().streams.retain(|stream| !Arc::ptr_eq(stream, &connection));
    }

    fn requests(&self, connection: &Arc<Connection>) {
        let mut chunk = [0; CHUNK];
        while let Ok(n @ 1..) = (&connection.client).read(&mut chunk) {
            // A request for events has no body, and comes in one piece.
            let line = chunk[..n].split(|byte| *byte == b'\r').next().unwrap_or_default();
            let is_for_events = line.starts_with(b"GET ")
                && line.windows(ASKS.len()).any(|part| part == ASKS.as_bytes());
            if is_for_events && !self.may_ask(connection) {
                return;
            }
            if (&connection.engine).write_all(&chunk[..n]).is_err() {
                return;
            }
        }
    }

    /// Remembers a connection on which events are asked for, unless they are cut.
    fn may_ask(&self, connection: &Arc<Connection>) -> bool {
        let mut state = self.state();
        if state.events == Events::Cut {
            self.cut.fetch_add(1, Ordering::SeqCst);
            return false;
        }
        connection.tells_events.store(true, Ordering::SeqCst);
        state.streams.push(Arc::clone(connection));
        true
    }

    fn answers(&self, connection: &Connection) {
        let mut chunk = [0; CHUNK];
        while let Ok(n @ 1..) = (&connection.engine).read(&mut chunk) {
            // The answer's head is no event.
            let is_event = connection.tells_events.load(Ordering::SeqCst)
                && !chunk[..n].starts_with(b"HTTP/1.");
            if is_event && self.state().events == Events::Swallow {
                self.swallowed.fetch_add(n as u64, Ordering::SeqCst);
            } else if (&connection.client).write_all(&chunk[..n]).is_err() {
                break;
            }
        }
        connection.cut();
    }
}
