//! What `whaletap status` sees of sessions that run, and who is told.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, symlink},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use lab::{Finished, Net, Program};

use crate::{
    names, scratch, send,
    whaletap::{LIMIT, Whaletap, eventually, selector, send_signal, whaletap},
};

/// Somebody who is not root, and need not have a name; of no other test.
const PERSON: u32 = 54_330;
/// And somebody else.
const OTHER: u32 = 54_331;

/// `whaletap status` with these words, where sessions have this runtime directory.
fn status(runtime: &Path, words: &[&str]) -> Finished {
    whaletap(["status"]).args(words).env("XDG_RUNTIME_DIR", runtime).finish().unwrap()
}

/// A JSON field of a line, as text: enough for one that comes once in it.
fn field<'a>(line: &'a str, key: &str) -> &'a str {
    let key = format!("\"{key}\":");
    let (_, rest) = line.split_once(&key).unwrap_or_else(|| panic!("no {key} in {line}"));
    rest.split([',', '}']).next().unwrap()
}

fn socket(runtime: &Path, pid: u32) -> PathBuf {
    runtime.join("whaletap").join(format!("{pid}.sock"))
}

#[test]
fn two_sessions_at_once_are_told_apart() {
    let (_net, a, b) = Net::pair().unwrap();
    let (runtime, at) = scratch();
    let runtime = runtime.path();
    let start = |words: &[String]| {
        let program = whaletap(["capture"]).args(words).env("XDG_RUNTIME_DIR", runtime);
        Whaletap::start(program)
    };
    let file = |name: &str| at(name).display().to_string();
    let mut both = start(&[selector(&a), selector(&b), "-w".into(), file("both.pcapng")]);
    let one = start(&[selector(&b), "-w".into(), file("one.pcapng"), "-i".into(), "eth0".into()]);
    let sent = send(&a, "send --dev eth0 --count 700");
    both.wait_for(2 * sent);

    let finished = status(runtime, &["--format", "json"]);
    assert_eq!((finished.code(), &*finished.stderr), (Some(0), ""));
    let text = finished.stdout_text();
    let line = |pid: u32| {
        let begin = format!("{{\"pid\":{pid},");
        text.lines().find(|line| line.starts_with(&begin)).unwrap_or_else(|| panic!("{text}"))
    };
    let (first, second) = (line(both.pid()), line(one.pid()));
    for key in [
        "version",
        "command_line",
        "since",
        "user",
        "uid",
        "name",
        "state",
        "engine",
        "file",
        "files",
        "packets",
        "bytes",
        "received",
        "dropped_by_kernel",
        "dropped_by_us",
        "targets",
    ] {
        assert!(first.contains(&format!("\"{key}\":")), "{key} is not in {first}");
    }
    assert_eq!(field(first, "packets"), (2 * sent).to_string());
    assert_eq!(field(first, "state"), "\"capturing\"");
    assert_eq!(field(first, "file"), format!("{:?}", file("both.pcapng")));
    assert_eq!(field(second, "file"), format!("{:?}", file("one.pcapng")));
    assert_eq!((first.matches("\"ids\":").count(), second.matches("\"ids\":").count()), (2, 1));
    for namespace in [&a, &b] {
        let ino = fs::metadata(namespace.path()).unwrap().ino();
        let netns = format!("\"name\":{:?},\"ids\":[],\"netns\":{{", namespace.name());
        let (_, rest) = first.split_once(&netns).unwrap_or_else(|| panic!("{netns} in {first}"));
        assert_eq!(field(rest, "ino"), ino.to_string());
        let since: u64 = field(rest, "since").parse().unwrap();
        assert!(since > 1_600_000_000_000_000_000);
        assert_eq!((field(rest, "ended"), field(rest, "blind")), ("null", "null"));
    }

    // The table has a row for each target; of one session alone where its process is named.
    let table = status(runtime, &[&both.pid().to_string()]).stdout_text();
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 3, "{table}");
    assert!(rows[0].trim_start().starts_with("PID   NAME"), "{table}");
    for (row, namespace) in rows[1..].iter().zip([&a, &b]) {
        for part in [&both.pid().to_string(), namespace.name(), "capturing", "ago", "700"] {
            assert!(row.contains(part), "{part} is not in {row}");
        }
        assert!(row.ends_with("   both.pcapng"), "{row}");
    }
    let whole = status(runtime, &["--no-trunc", &both.pid().to_string()]).stdout_text();
    assert!(whole.contains(&file("both.pcapng")), "{whole}");

    // An end in good order takes the socket away, out of Landlock's reach or not.
    let pid = both.pid();
    assert!(socket(runtime, pid).exists());
    both.stop().assert_adds_up();
    assert!(!socket(runtime, pid).exists());
    let gone = status(runtime, &[&pid.to_string()]);
    assert_eq!((gone.code(), &*gone.stdout_text()), (Some(3), ""));
    assert!(gone.stderr.contains(&format!("no session of yours runs as process {pid}")));
    one.stop();
    assert_eq!(names(&runtime.join("whaletap")), [""; 0]);
}

#[test]
fn what_a_killed_session_leaves_is_swept() {
    let (_net, _a, b) = Net::pair().unwrap();
    let (runtime, at) = scratch();
    let runtime = runtime.path();
    let start = |name: &str| {
        let program = whaletap(["capture", &selector(&b), "-w"]).arg(at(name));
        Whaletap::start(program.env("XDG_RUNTIME_DIR", runtime))
    };
    // By whoever asks, and by the next one that starts.
    for way in ["asked", "started"] {
        let ours = start("x.pcapng");
        let left = socket(runtime, ours.pid());
        let pid = ours.pid().to_string();
        ours.running.kill();
        assert!(left.exists(), "nobody was there to remove it");
        if way == "asked" {
            assert_eq!(status(runtime, &[&pid]).code(), Some(3));
        } else {
            start("y.pcapng").stop();
        }
        assert!(!left.exists(), "{way}");
    }
    // Two signals leave nothing, either.
    let (reader, writer) = std::io::pipe().unwrap();
    let program = whaletap(["capture", &selector(&b), "-w", "-"]).stdout_to(writer);
    let ours = Whaletap::start(program.env("XDG_RUNTIME_DIR", runtime));
    let left = socket(runtime, ours.pid());
    assert!(left.exists());
    ours.signal("INT");
    ours.signal("INT");
    ours.running.wait_at_most(LIMIT).unwrap();
    assert!(!left.exists());
    drop(reader);
}

/// `command status` as somebody.
fn status_as(command: &Path, uid: u32, runtime: Option<&Path>) -> Finished {
    let program = Program::new("setpriv")
        .args([format!("--reuid={uid}"), format!("--regid={uid}"), "--clear-groups".to_owned()])
        .arg(command)
        .args(["status", "--format", "json"]);
    let program = match runtime {
        Some(runtime) => program.env("XDG_RUNTIME_DIR", runtime),
        None => program.env_remove("XDG_RUNTIME_DIR"),
    };
    program.finish().unwrap()
}

#[test]
fn behind_sudo_it_is_the_persons_and_nobody_elses() {
    let (_net, _a, b) = Net::pair().unwrap();
    let (directory, at) = scratch();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Not every directory on the way to the one that cargo built in is everybody's.
    let command = at("whaletap");
    fs::copy(env!("CARGO_BIN_EXE_whaletap"), &command).unwrap();
    fs::create_dir(at("own")).unwrap();
    std::os::unix::fs::chown(at("own"), Some(PERSON), Some(PERSON)).unwrap();
    let program = whaletap(["capture", &selector(&b), "-w"])
        .arg(at("own/x.pcapng"))
        .env_remove("XDG_RUNTIME_DIR")
        .env("SUDO_UID", PERSON.to_string())
        .env("SUDO_GID", PERSON.to_string())
        .env("SUDO_USER", "somebody");
    let ours = Whaletap::start(program);
    let listening = PathBuf::from(format!("/run/whaletap-{PERSON}"));
    let socket = listening.join(format!("{}.sock", ours.pid()));
    for (path, mode) in [(&listening, 0o700), (&socket, 0o600)] {
        let found = fs::symlink_metadata(path).unwrap();
        assert_eq!((found.uid(), found.gid()), (PERSON, PERSON), "{}", path.display());
        assert_eq!(found.mode() & 0o777, mode, "{}", path.display());
    }
    let begin = format!("{{\"pid\":{},", ours.pid());
    let sees = |finished: &Finished| finished.stdout_text().contains(&begin);
    let own = status_as(&command, PERSON, None);
    assert!(sees(&own) && own.code() == Some(0), "{own:?}");
    let user = format!("\"user\":{{\"uid\":{PERSON},\"name\":\"somebody\"}}");
    assert!(own.stdout_text().contains(&user), "{own:?}");
    let root = whaletap(["status", "--format", "json"]).finish().unwrap();
    assert!(sees(&root), "{root:?}");
    let other = status_as(&command, OTHER, None);
    assert_eq!((other.code(), &*other.stdout_text()), (Some(0), ""), "{other:?}");
    assert!(other.stderr.contains("no session of yours runs"), "{other:?}");

    // Nor does the session itself tell anything when the way there was opened.
    for path in [&listening, &socket] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    fs::create_dir(at("view")).unwrap();
    symlink(&listening, at("view/whaletap")).unwrap();
    let look = |uid: u32| status_as(&command, uid, Some(&at("view")));
    assert!(sees(&look(PERSON)));
    let refused = look(OTHER);
    assert_eq!((refused.code(), &*refused.stdout_text()), (Some(5), ""), "{refused:?}");
    assert!(refused.stderr.contains("does not answer"), "{refused:?}");
    ours.stop();
    assert!(!socket.exists());
    let _ = fs::remove_dir(&listening);
}

/// Whoever connects and does not read, or goes away, holds up neither the capture nor others.
#[test]
fn a_hostile_reader_holds_up_nobody() {
    let (_net, a, b) = Net::pair().unwrap();
    let (runtime, at) = scratch();
    let runtime = runtime.path();
    let program = whaletap(["capture", &selector(&b), "-w"]).arg(at("x.pcapng"));
    let mut ours = Whaletap::start(program.env("XDG_RUNTIME_DIR", runtime));
    let socket = socket(runtime, ours.pid());
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", ours.pid())).unwrap().count();
    let before = descriptors();
    let held: Vec<UnixStream> = (0..300).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    (0..300).for_each(|_| drop(UnixStream::connect(&socket).unwrap()));
    let found = status(runtime, &[&ours.pid().to_string()]);
    assert_eq!(found.code(), Some(0), "{found:?}");
    eventually("no descriptor is held for them", LIMIT, || descriptors() == before);
    drop(held);
    let sent = send(&a, "send --dev eth0 --count 500");
    ours.wait_for(sent);
    let summary = ours.stop();
    summary.assert_adds_up();
    assert_eq!(summary.captured, sent, "{summary:?}");
}

/// A session that stands still is told, and waited for only for a while.
#[test]
fn a_session_that_does_not_answer_is_told() {
    let (_net, _a, b) = Net::pair().unwrap();
    let (runtime, at) = scratch();
    let runtime = runtime.path();
    let program = whaletap(["capture", &selector(&b), "-w"]).arg(at("x.pcapng"));
    let ours = Whaletap::start(program.env("XDG_RUNTIME_DIR", runtime));
    send_signal(ours.pid(), "STOP");
    let found = status(runtime, &[&ours.pid().to_string()]);
    send_signal(ours.pid(), "CONT");
    assert_eq!((found.code(), &*found.stdout_text()), (Some(5), ""), "{found:?}");
    let told = format!("session {} does not answer", ours.pid());
    assert!(found.stderr.contains(&told), "{found:?}");
    ours.stop();
}
