//! An engine that is played: it answers what a test wants it to, also what is not true.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::Arc,
    thread,
};

use tempfile::TempDir;

/// A container as a played engine tells of it.
#[derive(Debug, Clone)]
pub(crate) struct Played {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) state: &'static str,
    pub(crate) pid: u32,
}

impl Played {
    pub(crate) fn running(name: &str, number: u32, pid: u32) -> Self {
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

/// Its socket, which goes with this.
#[derive(Debug)]
pub(crate) struct PlayedEngine {
    directory: TempDir,
}

impl PlayedEngine {
    /// One that has these containers. `before` is called before each answer, with the request's
    /// path.
    pub(crate) fn with(
        containers: Vec<Played>,
        before: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        let reply = move |path: &str| {
            before(path);
            let known = || containers.iter().find(|c| path.contains(&c.id));
            if path.ends_with("/_ping") {
                "OK".to_owned()
            } else if path.contains("/containers/json") {
                let listed: Vec<String> = containers.iter().map(Played::listed).collect();
                format!("[{}]", listed.join(","))
            } else {
                known().map(Played::inspected).unwrap_or_default()
            }
        };
        Self::answering(move |path| Some(reply(path)))
    }

    /// One that answers a request's path with this body; where there is none it says nothing, and
    /// waits.
    pub(crate) fn answering(
        reply: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("docker.sock")).unwrap();
        let reply = Arc::new(reply);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let reply = Arc::clone(&reply);
                thread::spawn(move || serve(stream, &*reply));
            }
        });
        Self { directory }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("docker.sock")
    }
}

/// Reads requests without a body, and answers each; `None` says nothing.
fn serve(mut stream: UnixStream, reply: &dyn Fn(&str) -> Option<String>) {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut chunk) {
        request.extend_from_slice(&chunk[..n]);
        if !request.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8_lossy(&request).into_owned();
        request.clear();
        if let Some(body) = reply(text.split(' ').nth(1).unwrap_or_default()) {
            let length = body.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Type: application/json\r\n\
                 Content-Length: {length}\r\n\r\n"
            );
            if stream.write_all((head + &body).as_bytes()).is_err() {
                return;
            }
        }
    }
}
