//! What `whaletap status` sees of sessions that run, and who is told.

use std::{
    fs,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::MetadataExt,
            net::{SocketAddr, UnixStream},
        },
    },
    path::Path,
};

use lab::{Finished, Namespace, Net, Program};

use crate::{
    names, scratch, send,
    whaletap::{LIMIT, Whaletap, eventually, selector, send_signal, whaletap},
};

/// Somebody who is not root, and need not have a name; of no other test.
const PERSON: u32 = 54_330;
/// And somebody else.
const OTHER: u32 = 54_331;
/// And one more, of the test where /proc hides something.
const HIDDEN: u32 = 54_332;

/// `whaletap status PID`. Without a number it would tell of other tests' sessions, too: they are all
/// root's.
fn status(pid: u32) -> Finished {
    whaletap(["status", &pid.to_string()]).finish().unwrap()
}

/// Under which name a session listens, if it does.
fn name(pid: u32) -> Option<String> {
    let sockets = fs::read_to_string("/proc/net/unix").unwrap();
    let begin = format!("@whaletap/{pid}/");
    let mut words = sockets.split_ascii_whitespace();
    words.find(|word| word.starts_with(&begin)).map(|word| word[1..].to_owned())
}

fn connect(pid: u32) -> UnixStream {
    let address = SocketAddr::from_abstract_name(name(pid).unwrap()).unwrap();
    UnixStream::connect_addr(&address).unwrap()
}

/// A JSON field of a line, as text: enough for one that comes once in it.
fn field<'a>(line: &'a str, key: &str) -> &'a str {
    let key = format!("\"{key}\":");
    let (_, rest) = line.split_once(&key).unwrap_or_else(|| panic!("no {key} in {line}"));
    rest.split([',', '}']).next().unwrap()
}

#[test]
fn two_sessions_at_once_are_told_apart() {
    let (mut net, a, b) = Net::pair().unwrap();
    let (directory, at) = scratch();
    // Sessions of one network namespace see each other, and here are no other tests'.
    let room = net.namespace().unwrap();
    let start = |words: &[String]| Whaletap::start(whaletap(["capture"]).args(words).inside(&room));
    let status = |words: &[&str]| status_inside(&room, words);
    let file = |name: &str| at(name).display().to_string();
    let mut both = start(&[selector(&a), selector(&b), "-w".into(), file("both.pcapng")]);
    let one = start(&[selector(&b), "-w".into(), file("one.pcapng"), "-i".into(), "eth0".into()]);
    let sent = send(&a, "send --dev eth0 --count 700");
    both.wait_for(2 * sent);

    let finished = status(&["--format", "json"]);
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
    let table = status(&[&both.pid().to_string()]).stdout_text();
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 3, "{table}");
    assert!(rows[0].trim_start().starts_with("PID   NAME"), "{table}");
    for (row, namespace) in rows[1..].iter().zip([&a, &b]) {
        for part in [&both.pid().to_string(), namespace.name(), "capturing", "ago", "700"] {
            assert!(row.contains(part), "{part} is not in {row}");
        }
        assert!(row.ends_with("   both.pcapng"), "{row}");
    }
    let whole = status(&["--no-trunc", &both.pid().to_string()]).stdout_text();
    assert!(whole.contains(&file("both.pcapng")), "{whole}");

    let pid = both.pid();
    both.stop().assert_adds_up();
    let gone = status(&[&pid.to_string()]);
    assert_eq!((gone.code(), &*gone.stdout_text()), (Some(3), ""));
    assert!(gone.stderr.contains(&format!("no session of yours runs as process {pid}")));
    one.stop();
    let nothing = status(&[]);
    assert_eq!((nothing.code(), &*nothing.stdout_text()), (Some(0), ""));
    assert!(nothing.stderr.contains("no session of yours runs"), "{nothing:?}");
    assert_eq!(names(directory.path()), ["both.pcapng", "one.pcapng"]);
}

fn status_inside(room: &Namespace, words: &[&str]) -> Finished {
    whaletap(["status"]).args(words).inside(room).finish().unwrap()
}

/// However it ends, there is no name and no file left.
#[test]
fn a_killed_session_leaves_nothing() {
    let (_net, _a, b) = Net::pair().unwrap();
    let (directory, at) = scratch();
    let places = ["own", "tmp"].map(at);
    places.iter().for_each(|place| fs::create_dir(place).unwrap());
    let start = |file: &str| {
        let program = whaletap(["capture", &selector(&b), "-w", file]);
        let program = program.current_dir(directory.path());
        program.env("XDG_RUNTIME_DIR", &places[0]).env("TMPDIR", &places[1])
    };
    let ours_in_run = || {
        let mut ours = names(Path::new("/run"));
        ours.retain(|name| name.contains("whaletap") && !name.starts_with("whaletap-lab"));
        ours
    };
    let before = ours_in_run();
    let ours = Whaletap::start(start("x.pcapng"));
    let pid = ours.pid();
    assert!(name(pid).is_some());
    ours.running.kill();
    assert_eq!(name(pid), None);
    assert_eq!(status(pid).code(), Some(3));
    // And where two signals end it without its own doing.
    let (reader, writer) = std::io::pipe().unwrap();
    let ours = Whaletap::start(start("-").stdout_to(writer));
    let pid = ours.pid();
    assert!(name(pid).is_some());
    ours.signal("INT");
    ours.signal("INT");
    ours.running.wait_at_most(LIMIT).unwrap();
    assert_eq!(name(pid), None);
    drop(reader);
    assert_eq!(names(directory.path()), ["own", "tmp", "x.pcapng"]);
    assert!(places.iter().all(|place| names(place).is_empty()));
    assert_eq!(ours_in_run(), before);
}

/// A command as somebody.
fn as_user(uid: u32, command: &Path) -> Program {
    let ids = [format!("--reuid={uid}"), format!("--regid={uid}"), "--clear-groups".to_owned()];
    Program::new("setpriv").args(ids).arg(command)
}

/// Connects to the name in `$ARGV[0]`, and prints what it is told. A perl is in every Debian.
const CONNECTS: &str = "socket(S, AF_UNIX, SOCK_STREAM, 0) or die $!; \
                        connect(S, pack('Sa*', AF_UNIX, \"\\0$ARGV[0]\")) or die $!; print <S>";

#[test]
fn behind_sudo_it_is_the_persons_and_nobody_elses() {
    let (_net, _a, b) = Net::pair().unwrap();
    let (directory, at) = scratch();
    let everybodys = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(directory.path(), everybodys).unwrap();
    // Not every directory on the way to the one that cargo built in is everybody's.
    let command = at("whaletap");
    fs::copy(env!("CARGO_BIN_EXE_whaletap"), &command).unwrap();
    fs::create_dir(at("own")).unwrap();
    std::os::unix::fs::chown(at("own"), Some(PERSON), Some(PERSON)).unwrap();
    let program = whaletap(["capture", &selector(&b), "-w"])
        .arg(at("own/x.pcapng"))
        .env("SUDO_UID", PERSON.to_string())
        .env("SUDO_GID", PERSON.to_string())
        .env("SUDO_USER", "somebody");
    let ours = Whaletap::start(program);
    let begin = format!("{{\"pid\":{},", ours.pid());
    let sees = |finished: &Finished| finished.stdout_text().contains(&begin);
    let status = ["status", "--format", "json"];
    let own = as_user(PERSON, &command).args(status).finish().unwrap();
    assert!(sees(&own) && own.code() == Some(0), "{own:?}");
    let user = format!("\"user\":{{\"uid\":{PERSON},\"name\":\"somebody\"}}");
    assert!(own.stdout_text().contains(&user), "{own:?}");
    let root = whaletap(status).finish().unwrap();
    assert!(sees(&root), "{root:?}");
    // Another user, and root of a container with the machine's network.
    let other = as_user(OTHER, &command).args(status);
    let contained = Program::new("unshare").args(["--pid", "--fork", "--mount-proc"]);
    for stranger in [other, contained.arg(&command).args(status)] {
        let told = stranger.finish().unwrap();
        assert_eq!((told.code(), &*told.stdout_text()), (Some(0), ""), "{told:?}");
        assert!(told.stderr.contains("no session of yours runs"), "{told:?}");
    }

    // They do not even ask: the session itself tells them nothing, either.
    let name = name(ours.pid()).unwrap();
    let asks = |program: Program| {
        let program = program.args(["-MSocket", "-e", CONNECTS, &name]);
        program.finish().unwrap().success().unwrap().stdout_text()
    };
    let perl = Path::new("/usr/bin/perl");
    for may in [as_user(PERSON, perl), Program::new(perl)] {
        assert!(asks(may).starts_with(&begin));
    }
    let contained = Program::new("unshare").args(["--pid", "--fork"]).arg(perl);
    for stranger in [as_user(OTHER, perl), contained] {
        assert_eq!(asks(stranger), "");
    }
    ours.stop();
}

/// Where /proc hides other users' processes, and a session that has given up rights from its own user.
#[test]
fn what_proc_hides_is_found() {
    let (_net, _a, b) = Net::pair().unwrap();
    let (directory, at) = scratch();
    let everybodys = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(directory.path(), everybodys).unwrap();
    let command = at("whaletap");
    fs::copy(env!("CARGO_BIN_EXE_whaletap"), &command).unwrap();
    fs::create_dir(at("own")).unwrap();
    std::os::unix::fs::chown(at("own"), Some(HIDDEN), Some(HIDDEN)).unwrap();
    let hiding = || {
        let script = "mount -t proc -o hidepid=2 proc /proc && exec \"$@\"";
        Program::new("unshare").args(["--mount", "sh", "-c", script, "sh"])
    };
    let capture = hiding().arg(&command).args(["capture", &selector(&b), "-w"]);
    let capture = capture
        .arg(at("own/x.pcapng"))
        .env("SUDO_UID", HIDDEN.to_string())
        .env("SUDO_GID", HIDDEN.to_string())
        .env("SUDO_USER", "somebody");
    let ours = Whaletap::start(capture);
    let pid = ours.pid().to_string();
    let id = HIDDEN.to_string();
    let person = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"];
    // What the test is about: its own user does not see it there.
    let looks = hiding().args(person).args(["ls", &format!("/proc/{pid}/status")]);
    assert_ne!(looks.finish().unwrap().code(), Some(0));
    for asks in [hiding().args(person), hiding()] {
        let told = asks.arg(&command).args(["status", &pid]).finish().unwrap();
        assert_eq!(told.code(), Some(0), "{told:?}");
        assert!(told.stdout_text().contains("x.pcapng"), "{told:?}");
    }
    ours.stop();
}

/// Without /proc nobody is found, which is no "none runs".
#[test]
fn what_keeps_sessions_from_being_seen_is_told() {
    let script = "umount --lazy /proc && exec \"$@\"";
    let without = Program::new("unshare").args(["--mount", "sh", "-c", script, "sh"]);
    let told = without.arg(env!("CARGO_BIN_EXE_whaletap")).arg("status").finish().unwrap();
    assert_eq!((told.code(), &*told.stdout_text()), (Some(1), ""), "{told:?}");
    for part in ["cannot see which sessions run", "/net/unix: No such file", "hint: "] {
        assert!(told.stderr.contains(part), "{part} is not in {told:?}");
    }
    let mistaken = whaletap(["status", "web"]).finish().unwrap();
    assert_eq!(mistaken.code(), Some(2));
    assert!(mistaken.stderr.contains("expected the number of a process"), "{mistaken:?}");
}

/// Whoever connects and does not read, or goes away, holds up neither the capture nor others.
#[test]
fn a_hostile_reader_holds_up_nobody() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let mut ours = Whaletap::start(whaletap(["capture", &selector(&b), "-w"]).arg(at("x.pcapng")));
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", ours.pid())).unwrap().count();
    let before = descriptors();
    let held: Vec<UnixStream> = (0..300).map(|_| connect(ours.pid())).collect();
    (0..300).for_each(|_| drop(connect(ours.pid())));
    let found = status(ours.pid());
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
    let (_directory, at) = scratch();
    let ours = Whaletap::start(whaletap(["capture", &selector(&b), "-w"]).arg(at("x.pcapng")));
    send_signal(ours.pid(), "STOP");
    let found = status(ours.pid());
    send_signal(ours.pid(), "CONT");
    assert_eq!((found.code(), &*found.stdout_text()), (Some(5), ""), "{found:?}");
    let told = format!("session {} does not answer", ours.pid());
    assert!(found.stderr.contains(&told), "{found:?}");
    ours.stop();
}
