//! Engines that are absent, closed, silent, or something else: played by a few lines each.

#![expect(clippy::unwrap_used, reason = "whatever fails here fails a test")]

use std::{
    io::{self, Write as _},
    net::Shutdown,
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use lab::PlayedEngine;
use whaletap_docker::{Dial, Endpoint, Engine, Error, Line, PathDial};

/// For engines that must answer; generous, because the machine may be busy.
const PATIENT: Duration = Duration::from_secs(20);

/// For engines that never will.
const SHORT: Duration = Duration::from_millis(200);

const VERSION: &str = r#"{"Version":"20.10.24","ApiVersion":"1.41","Os":"linux","Arch":"amd64"}"#;

fn answer(status: &str, body: &str) -> String {
    PlayedEngine::answer(status, body)
}

/// An engine that answers every request like this; `None` says nothing.
fn engine(reply: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> PlayedEngine {
    PlayedEngine::playing(move |path, _| reply(path)).unwrap()
}

/// The same, and it hangs up behind its answer.
fn once(reply: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> PlayedEngine {
    PlayedEngine::playing(move |path, stream| {
        stream.write_all(reply(path).unwrap_or_default().as_bytes()).unwrap();
        stream.shutdown(Shutdown::Both).unwrap();
        None
    })
    .unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn connect_within(path: &Path, deadline: Duration) -> Result<Engine, Error> {
    let endpoint = Endpoint::unix(path);
    let dial = Arc::new(PathDial(path.to_owned()));
    block_on(Engine::connect_through(&endpoint, dial, deadline))
}

/// The error of an engine that answers every request like this.
fn error_of(reply: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Error {
    connect_within(&engine(reply).socket(), PATIENT).unwrap_err()
}

#[test]
fn an_absent_socket_is_told_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none.sock");
    let error = connect_within(&path, PATIENT).unwrap_err();
    assert!(matches!(error, Error::SocketAbsent { .. }), "{error:?}");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn a_socket_without_a_listener_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dead.sock");
    drop(UnixListener::bind(&path).unwrap());
    let error = connect_within(&path, PATIENT).unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("not running"));
}

/// Root may open every socket, so the dialer says what the kernel says to others.
#[test]
fn a_forbidden_socket_names_the_group() {
    struct Forbidden;
    impl Dial for Forbidden {
        fn dial(&self) -> io::Result<Line> {
            Err(io::Error::from_raw_os_error(13))
        }
    }
    let endpoint = Endpoint::unix("/x.sock");
    let connect = Engine::connect_through(&endpoint, Arc::new(Forbidden), PATIENT);
    let error = block_on(connect).unwrap_err();
    assert!(matches!(error, Error::PermissionDenied { .. }), "{error:?}");
    let hint = error.hint().unwrap();
    assert!(hint.contains("docker") && hint.contains("sudo"), "{hint}");
}

/// The same from the kernel itself, where the test does not run as root.
#[test]
fn a_socket_without_write_permission_is_forbidden_or_open_to_root() {
    let played = engine(|_| Some(answer("200 OK", VERSION)));
    let path = played.socket();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    match (UnixStream::connect(&path), connect_within(&path, PATIENT)) {
        (Ok(_), result) => assert!(result.is_ok(), "{result:?}"),
        (Err(_), result) => {
            assert!(matches!(result, Err(Error::PermissionDenied { .. })), "{result:?}");
        }
    }
}

#[test]
fn an_engine_that_never_answers_is_given_up() {
    let played = engine(|_| None);
    let path = played.socket();
    let start = Instant::now();
    let error = connect_within(&path, SHORT).unwrap_err();
    assert!(matches!(error, Error::Timeout { after: SHORT, .. }), "{error:?}");
    assert!(start.elapsed() >= SHORT && start.elapsed() < PATIENT, "{:?}", start.elapsed());
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()) && text.contains("0.2 s"), "{text}");
}

#[test]
fn an_engine_that_never_accepts_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("docker.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    let error = connect_within(&path, SHORT).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
}

/// Dialing blocks (a full backlog, a busy opener): neither the request nor the runtime's shutdown
/// waits for it.
#[test]
fn a_dialer_that_hangs_is_given_up() {
    struct Hanging(std::sync::Mutex<std::sync::mpsc::Receiver<()>>);
    impl Dial for Hanging {
        fn dial(&self) -> io::Result<Line> {
            let _ = self.0.lock().unwrap().recv();
            Err(io::Error::other("released"))
        }
    }
    let (release, blocked) = std::sync::mpsc::channel();
    let dial = Arc::new(Hanging(std::sync::Mutex::new(blocked)));
    let start = Instant::now();
    let result = block_on(Engine::connect_through(&Endpoint::unix("/x.sock"), dial, SHORT));
    assert!(matches!(result, Err(Error::Timeout { .. })), "{result:?}");
    assert!(start.elapsed() < PATIENT, "{:?}", start.elapsed());
    drop(release);
}

#[test]
fn an_engine_that_stops_in_the_middle_of_an_answer_is_given_up() {
    let played = engine(|_| Some("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nO".to_owned()));
    let error = connect_within(&played.socket(), SHORT).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
}

/// What it says is kept until its end, which never comes.
#[test]
fn an_engine_that_answers_without_end_is_given_up() {
    let played = PlayedEngine::playing(|path, stream| {
        if path == "/_ping" {
            return Some(answer("200 OK", "OK"));
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        while stream.write_all(&[b' '; 1 << 16]).is_ok() {}
        None
    });
    let path = played.as_ref().unwrap().socket();
    let error = block_on(async {
        let dial = Arc::new(PathDial(path.clone()));
        let engine = Engine::connect_through(&Endpoint::unix(path), dial, PATIENT).await.unwrap();
        engine.list(&[], true).await.unwrap_err()
    });
    assert!(matches!(error, Error::NotAnEngine { .. }), "{error:?}");
    let said = format!("{error} {error:?}");
    assert!(said.contains("longer than 128 MiB"), "{said}");
}

#[test]
fn an_engine_that_hangs_up_breaks_the_connection() {
    for words in ["", "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nO"] {
        let played = once(|_| Some(words.to_owned()));
        let error = connect_within(&played.socket(), PATIENT).unwrap_err();
        assert!(matches!(error, Error::Broken { .. }), "{words:?}: {error:?}");
    }
}

#[test]
fn what_is_no_engine_is_told_as_such() {
    for reply in ["SSH-2.0-OpenSSH_9.2p1\r\n".to_owned(), "\u{0}\u{1}\u{2}\u{3}".repeat(64)] {
        let reply_copy = reply.clone();
        let error = error_of(move |_| Some(reply_copy.clone()));
        assert!(matches!(error, Error::NotAnEngine { .. }), "{reply:?}: {error:?}");
    }
    for version in ["", "Api-Version: new\r\n", "Api-Version: 1.x\r\n", "Api-Version: -1.2\r\n"] {
        let error = error_of(move |_| {
            Some(format!("HTTP/1.1 200 OK\r\n{version}Content-Length: 2\r\n\r\nOK"))
        });
        assert!(matches!(error, Error::NoApiVersion { .. }), "{version:?}: {error:?}");
    }
}

#[test]
fn garbage_behind_a_good_beginning_is_told_as_such() {
    for body in
        ["<html>hello</html>", "", "[1, 2", "{}", r#"[{"Id":7}]"#, r#"[{"State":"melting"}]"#]
    {
        let played =
            engine(|path| Some(answer("200 OK", if path == "/_ping" { "OK" } else { body })));
        let error = block_on(async {
            let endpoint = Endpoint::unix(played.socket());
            Engine::connect(&endpoint).await.unwrap().list(&[], true).await.unwrap_err()
        });
        assert!(matches!(error, Error::NotAnEngine { .. }), "{body:?}: {error:?}");
    }
}

/// The version that is asked for is the older one of the engine's newest and ours.
#[test]
fn every_request_behind_the_first_names_the_agreed_version() {
    for (theirs, agreed) in [("1.41", "1.41"), ("1.9", "1.9"), ("1.999", "1.53"), ("2.0", "1.53")] {
        let played = engine(move |path| {
            let body = if path == "/_ping" { "OK" } else { VERSION };
            let good = path == "/_ping" || path == format!("/v{agreed}/version");
            let status = if good { "200 OK" } else { "400 Bad Request" };
            Some(answer(status, body).replace("1.41\r\nC", &format!("{theirs}\r\nC")))
        });
        let version = block_on(async {
            let endpoint = Endpoint::unix(played.socket());
            Engine::connect(&endpoint).await.unwrap().version().await.unwrap()
        });
        assert_eq!((version.negotiated_api.as_str(), version.api.as_str()), (agreed, "1.41"));
    }
}

#[test]
fn a_refusal_is_told_in_the_engine_s_words_and_within_bounds() {
    let error = error_of(|_| Some(answer("503 Busy", r#"{"message":"not\u001b[2J now"}"#)));
    let Error::Api { status: 503, message, .. } = &error else { panic!("{error:?}") };
    assert_eq!(message, "not\u{1b}[2J now");

    let error = error_of(|_| Some(answer("404 Not Found", &"é".repeat(100_000))));
    let Error::Api { status: 404, message, .. } = &error else { panic!("{error:?}") };
    assert_eq!(message.chars().count(), 512);
}

#[test]
fn a_container_that_vanishes_between_list_and_inspection_is_left_out() {
    let played = engine(|path| {
        Some(match path {
            "/_ping" => answer("200 OK", "OK"),
            "/v1.41/containers/json?all=false&size=false" => answer(
                "200 OK",
                r#"[{"Id":"aa","Names":["/a"]},{"Id":"bb","Names":["/b"]},{"Id":"cc","Names":["/c"]}]"#,
            ),
            "/v1.41/containers/bb/json" => {
                answer("404 Not Found", r#"{"message":"No such container: bb"}"#)
            }
            path => {
                let id = path.split('/').nth_back(1).unwrap();
                answer("200 OK", &format!(r#"{{"Id":"{id}","Name":"/{id}"}}"#))
            }
        })
    });
    let path = played.socket();
    let dial = Arc::new(PathDial(path.clone()));
    let (containers, gone) = block_on(async {
        let engine = Engine::connect_through(&Endpoint::unix(&path), dial, PATIENT).await.unwrap();
        (engine.containers(&[], false).await.unwrap(), engine.inspect("bb").await)
    });
    let ids: Vec<_> = containers.iter().map(|container| container.id.as_str()).collect();
    assert_eq!(ids, ["aa", "cc"]);
    assert!(matches!(gone, Err(Error::NoSuchContainer { .. })), "{gone:?}");
}

/// Words that would be another path of the API are no container's name.
#[test]
fn an_id_cannot_leave_its_place_in_the_path() {
    let played = engine(|path| {
        // Any other answer would be another error.
        Some(if path == "/_ping" { answer("200 OK", "OK") } else { answer("500 Asked", path) })
    });
    let engine = connect_within(&played.socket(), PATIENT).unwrap();
    for id in ["", "..", "../images", "a/../b", "a?x", "a#x", "%2e%2e"] {
        let result = block_on(engine.inspect(id));
        assert!(matches!(result, Err(Error::NoSuchContainer { .. })), "{id:?}: {result:?}");
    }
}

/// Idle connections are used again; one that the engine closed meanwhile is replaced by a new one,
/// through the same dialer.
#[test]
fn connections_are_kept_and_made_anew() {
    struct Counting(PathBuf, AtomicUsize);
    impl Dial for Counting {
        fn dial(&self) -> io::Result<Line> {
            self.1.fetch_add(1, Ordering::SeqCst);
            UnixStream::connect(&self.0).map(Line::from)
        }
    }
    let played = PlayedEngine::playing(|path, stream| {
        if path.ends_with("/info") {
            stream.shutdown(Shutdown::Both).unwrap();
        }
        Some(answer("200 OK", VERSION))
    })
    .unwrap();
    let path = played.socket();
    let dial = Arc::new(Counting(path.clone(), AtomicUsize::new(0)));
    let dialed = || dial.1.load(Ordering::SeqCst);
    block_on(async {
        let through: Arc<dyn Dial> = Arc::<Counting>::clone(&dial);
        let engine =
            Engine::connect_through(&Endpoint::unix(&path), through, PATIENT).await.unwrap();
        for _ in 0..5 {
            assert_eq!(engine.version().await.unwrap().engine, "20.10.24");
        }
        assert_eq!(dialed(), 1);
        assert!(engine.node().await.is_err());
        assert_eq!(engine.version().await.unwrap().negotiated_api, "1.41");
        assert_eq!(dialed(), 2);
    });
}

/// A session asks from a task that may move between threads: this fails to compile otherwise.
#[test]
fn questions_can_be_asked_from_any_thread() {
    fn movable<T: Send>(future: T) -> T {
        future
    }
    let played = engine(|path| Some(answer("200 OK", if path == "/_ping" { "OK" } else { "[]" })));
    let endpoint = Endpoint::unix(played.socket());
    let containers = block_on(async {
        let engine = movable(Engine::connect(&endpoint)).await.unwrap();
        movable(engine.containers(&[], true)).await.unwrap()
    });
    assert!(containers.is_empty());
}
