use std::{
    io::{Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::Arc,
    thread,
};

use tempfile::TempDir;

use crate::Error;

/// A container as a [`PlayedEngine`] tells of it.
#[derive(Debug, Clone)]
pub struct PlayedContainer {
    /// Its name, without docker's slash.
    pub name: String,
    /// Its full id.
    pub id: String,
    /// Its state, in docker's words.
    pub state: &'static str,
    /// The process id of its first process.
    pub pid: u32,
}

impl PlayedContainer {
    /// One that runs, with an id that ends in `number`.
    #[must_use]
    pub fn running(name: &str, number: u32, pid: u32) -> Self {
        Self { name: name.to_owned(), id: format!("{number:064x}"), state: "running", pid }
    }

    fn listed(&self) -> String {
        let Self { name, id, state, .. } = self;
        format!(r#"{{"Id":"{id}","Names":["/{name}"],"Image":"i","State":"{state}"}}"#)
    }

    fn inspected(&self) -> String {
        let Self { name, id, state, pid } = self;
        format!(
            r#"{{"Id":"{id}","Name":"/{name}","State":{{"Status":"{state}","Pid":{pid}}},
                "NetworkSettings":{{"SandboxKey":"/nonexistent/{name}"}}}}"#
        )
    }
}

/// An engine that is played: it answers what a test wants it to, also what is not true, or nothing.
///
/// Its socket goes with this; the threads that play it end with the connections and with the
/// test's process.
#[derive(Debug)]
pub struct PlayedEngine {
    directory: TempDir,
}

impl PlayedEngine {
    /// One that has these containers. `before` is called before each answer, with the request's
    /// path.
    ///
    /// # Errors
    ///
    /// [`Error::File`] when there is no place for its socket.
    pub fn with(
        containers: Vec<PlayedContainer>,
        before: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        Self::answering(move |path| {
            before(path);
            let known = || containers.iter().find(|container| path.contains(&container.id));
            Some(if path.ends_with("/_ping") {
                "OK".to_owned()
            } else if path.contains("/containers/json") {
                let listed: Vec<String> = containers.iter().map(PlayedContainer::listed).collect();
                format!("[{}]", listed.join(","))
            } else {
                known().map(PlayedContainer::inspected).unwrap_or_default()
            })
        })
    }

    /// One that answers a request's path with this body; where there is none it says nothing, and
    /// waits until the other side hangs up.
    ///
    /// # Errors
    ///
    /// Those of [`PlayedEngine::with`].
    pub fn answering(
        reply: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        Self::playing(move |path, _| reply(path).map(|body| Self::answer("200 OK", &body)))
    }

    /// One whose answers are the test's to the last byte: `play` gets each request's path, and gives
    /// what is to be said. It may also speak for itself, and hang up, through the connection.
    ///
    /// # Errors
    ///
    /// Those of [`PlayedEngine::with`].
    pub fn playing(
        play: impl Fn(&str, &mut UnixStream) -> Option<String> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let directory = tempfile::tempdir().map_err(Error::file("a temporary directory"))?;
        let engine = Self { directory };
        let listener = UnixListener::bind(engine.socket()).map_err(Error::file(engine.socket()))?;
        let play = Arc::new(play);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let play = Arc::clone(&play);
                thread::spawn(move || serve(stream, &*play));
            }
        });
        Ok(engine)
    }

    /// An answer with a body of JSON, as [`PlayedEngine::playing`] gives it.
    #[must_use]
    pub fn answer(status: &str, body: &str) -> String {
        let length = body.len();
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nApi-Version: 1.41\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
    }

    /// The path of its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("docker.sock")
    }
}

/// Reads requests, one after the other, and says what `play` says to each. Bodies are passed over.
fn serve(mut stream: UnixStream, play: &dyn Fn(&str, &mut UnixStream) -> Option<String>) {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut chunk) {
        request.extend_from_slice(&chunk[..n]);
        let Some(head) = request.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let text = String::from_utf8_lossy(&request[..head]).into_owned();
        let body = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        if request.len() < head + 4 + body.unwrap_or(0) {
            continue;
        }
        request.clear();
        if let Some(answer) = play(text.split(' ').nth(1).unwrap_or_default(), &mut stream)
            && stream.write_all(answer.as_bytes()).is_err()
        {
            return;
        }
    }
}
