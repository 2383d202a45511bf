//! A directory of the test's own, with files as an engine makes them.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use lab::{Namespace, Net, Program};
use sys::{inotify::Event, process::PidFd};
use whaletap_opener::{EngineAt, Opener, Place, Reason, Scope, Spec};

use crate::opening::{LIMIT, is_readable_within, next_events, now, open, sandbox, spec};

/// A namespace that is mounted on a file, until this is dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn on(path: &Path, namespace: &Namespace) -> Self {
        Program::new("mount").arg("--bind").arg(namespace.path()).arg(path).run().unwrap();
        Self(path.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Program::new("umount").arg(&self.0).run();
    }
}

fn netns_directory() -> (tempfile::TempDir, PathBuf, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("netns");
    fs::create_dir(&path).unwrap();
    let text = path.to_str().unwrap().to_owned();
    (directory, path, text)
}

pub(crate) fn a_sandbox_is_opened_once_it_is_mounted() {
    let (_net, _a, b) = Net::pair().unwrap();
    let (_directory, path, text) = netns_directory();
    let opener = Opener::start(None).unwrap();
    let watched = opener.watch(&text).unwrap();
    assert_eq!((watched.directory, watched.names.len()), (0, 0));

    let file = "0123456789ab";
    let place = sandbox(watched.directory, file);
    fs::write(path.join(file), "").unwrap();
    assert_eq!(next_events(&watched.watch, LIMIT), [Event::Appeared(file.to_owned())]);
    let refused = opener.open(place.clone(), spec()).unwrap_err();
    assert_eq!(refused.reason(), Reason::NotReady, "{refused}");

    let before = now();
    let mounted = Mounted::on(&path.join(file), &b);
    let (opened, _) = open(&opener, &place).unwrap();
    assert_eq!((opened.netns.dev, opened.netns.ino), b.id().unwrap());
    assert_eq!(opened.sockets.len(), 1);
    assert!(opened.container.is_none() && opened.pidfd.is_none(), "nobody lives there");
    // Mounted before by the lab, as a name for `ip netns`.
    let created = opened.created.unwrap();
    assert!(created < opened.attached && opened.attached > before, "{created} {before}");
    let seen = opener.look(place.clone()).unwrap();
    assert_eq!((seen.netns, seen.created, seen.container), (opened.netns, Some(created), None));
    // More than one request holds.
    let nowhere = Place::Netns { path: "/nonexistent/netns".to_owned() };
    let places = vec![[place.clone(), nowhere]; 20].concat();
    let identities = opener.identify_all(&places).unwrap();
    assert_eq!(identities.len(), places.len());
    for pair in identities.chunks(2) {
        assert_eq!(*pair[0].as_ref().unwrap(), opened.netns);
        assert_eq!(pair[1].as_ref().unwrap_err().reason(), Reason::NotFound);
    }

    symlink(b.path(), path.join("link")).unwrap();
    assert_eq!(next_events(&watched.watch, LIMIT), [Event::Appeared("link".to_owned())]);
    let refused = opener.open(sandbox(watched.directory, "link"), spec()).unwrap_err();
    assert_eq!(refused.reason(), Reason::Failed, "no link is followed: {refused}");

    let again = opener.watch(&text).unwrap();
    let mut names = again.names;
    names.sort_unstable();
    assert_eq!((again.directory, names), (watched.directory, vec![file.to_owned(), "link".into()]));

    drop(mounted);
    fs::remove_file(path.join(file)).unwrap();
    assert_eq!(next_events(&watched.watch, LIMIT), [Event::Vanished(file.to_owned())]);
    let refused = opener.open(place, spec()).unwrap_err();
    assert_eq!(refused.reason(), Reason::NotFound, "{refused}");
    fs::remove_dir_all(&path).unwrap();
    let ended = next_events(&again.watch, LIMIT);
    assert_eq!(ended.last(), Some(&Event::Gone), "{ended:?}");
}

pub(crate) fn a_directory_that_is_made_later_is_told() {
    let (_directory, path, text) = netns_directory();
    fs::remove_dir(&path).unwrap();
    let opener = Opener::start(None).unwrap();
    assert_eq!(opener.watch(&text).unwrap_err().reason(), Reason::NotFound);
    let told = opener.expect(&text).unwrap();
    // Neighbours, also those that are called like it and are something else, are not told.
    fs::create_dir(path.with_file_name("other")).unwrap();
    fs::write(&path, "").unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(opener.watch(&text).unwrap_err().reason(), Reason::NotFound);
    assert!(!is_readable_within(&told, Duration::ZERO));

    fs::create_dir(&path).unwrap();
    assert!(is_readable_within(&told, LIMIT));
    fs::write(path.join("first"), "").unwrap();
    let watched = opener.watch(&text).unwrap();
    assert_eq!((watched.directory, watched.names), (0, vec!["first".to_owned()]));
    // What is there is told at once.
    let told = opener.expect(&text).unwrap();
    assert!(is_readable_within(&told, LIMIT));

    // Where it can never be is told as well.
    let below = path.with_file_name("below");
    fs::create_dir(&below).unwrap();
    let told = opener.expect(below.join("netns").to_str().unwrap()).unwrap();
    fs::remove_dir(&below).unwrap();
    assert!(is_readable_within(&told, LIMIT));
    for (directory, reason) in
        [("/etc", Reason::Failed), ("/nonexistent/netns", Reason::NotFound), ("", Reason::Failed)]
    {
        let refused = opener.expect(directory).unwrap_err();
        assert_eq!(refused.reason(), reason, "{directory:?}: {refused}");
    }
    let waiting: Vec<_> = (0..8)
        .map(|number| {
            let above = path.with_file_name(format!("above-{number}"));
            fs::create_dir(&above).unwrap();
            opener.expect(above.join("netns").to_str().unwrap()).unwrap()
        })
        .collect();
    assert!(opener.expect(&text).unwrap_err().to_string().contains("more than 8"));
    drop(opener);
    for told in waiting {
        assert!(is_readable_within(&told, LIMIT), "the opener's end is an end of waiting");
    }
}

/// Frames that eth0 has counted, as `ip` tells it: below a heading, the second number.
fn counted(namespace: &Namespace) -> u64 {
    let told = namespace.ip("-s link show dev eth0").unwrap();
    let lines: Vec<_> = told.lines().map(str::trim_start).collect();
    let behind = |heading: &str| {
        let at = lines.iter().position(|line| line.starts_with(heading)).unwrap();
        lines[at + 1].split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    behind("RX:") + behind("TX:")
}

pub(crate) fn frames_before_are_counted() {
    let (_net, _a, b) = Net::pair().unwrap();
    let opener = Opener::start(None).unwrap();
    let place = Place::Netns { path: b.path().to_str().unwrap().to_owned() };
    let ping = |to: &str| {
        Program::new("ping").args(["-q", "-c", "3", "-i", "0.01", to]).inside(&b).run().unwrap();
    };
    ping("127.0.0.1");
    ping(&lab::Station::A.ipv4.to_string());
    let before = counted(&b);
    let opened = opener.open(place, spec()).unwrap();
    let after = counted(&b);
    assert!(before >= 6, "{before}: three were sent, and answered");
    let range = before..=after;
    assert!(range.contains(&opened.frames_before), "{range:?} {}", opened.frames_before);
    let host =
        opener.open(Place::Host, Spec { scope: Scope::Named(Vec::new()), ..spec() }).unwrap();
    assert_eq!(host.created, None);
}

pub(crate) fn strange_requests_are_refused() {
    let opener = Opener::start(None).unwrap();
    for (directory, reason) in [
        ("/etc", Reason::Failed),
        ("/proc/1/root/run", Reason::Failed),
        ("netns", Reason::Failed),
        ("/etc/netns/..", Reason::Failed),
        ("", Reason::Failed),
        ("/nonexistent/netns", Reason::NotFound),
        ("/run\0/netns", Reason::Failed),
    ] {
        let refused = opener.watch(directory).unwrap_err();
        assert_eq!(refused.reason(), reason, "{directory:?}: {refused}");
    }
    let directories: Vec<_> = (0..9).map(|_| netns_directory()).collect();
    let mut watched = Vec::new();
    for (number, (_, _, text)) in directories.iter().enumerate().take(8) {
        let one = opener.watch(text).unwrap();
        assert_eq!(usize::try_from(one.directory).unwrap(), number);
        watched.push(one);
    }
    let refused = opener.watch(&directories[8].2).unwrap_err();
    assert!(refused.to_string().contains("more than 8"), "{refused}");
    assert_eq!(opener.watch(&directories[3].2).unwrap().directory, 3);

    let long = "x".repeat(256);
    for file in ["", ".", "..", "../netns", "a/b", "/etc/passwd", "\x1b[2J", "a b", &long] {
        let refused = opener.look(sandbox(0, file)).unwrap_err();
        assert_eq!(refused.to_string(), "the request does not read", "{file:?}");
    }
    for directory in [8, u32::MAX] {
        let refused = opener.look(sandbox(directory, "fine")).unwrap_err();
        assert_eq!(refused.reason(), Reason::Failed, "{refused}");
    }
    assert_eq!(opener.look(sandbox(0, "fine")).unwrap_err().reason(), Reason::NotFound);
    assert!(whaletap_opener::prove(&sandbox(0, "fine"), &EngineAt::Unknown).is_err());
}

pub(crate) fn several_are_opened_at_once_and_each_has_its_answer() {
    let (_net, a, b) = Net::pair().unwrap();
    let opener = Opener::start(None).unwrap();
    let place = |path: &Path| Place::Netns { path: path.to_str().unwrap().to_owned() };
    let long = "/x".repeat(2000);
    // More than one request has.
    let mut places = vec![place(&a.path()), place(Path::new(&long)), place(&b.path())];
    places.extend((0..17).map(|_| place(&a.path())));
    let outcomes = opener.open_all(places, spec()).unwrap();
    assert_eq!(outcomes.len(), 20);
    for (number, outcome) in outcomes.iter().enumerate() {
        let expected = match number {
            1 => None,
            2 => Some(b.id().unwrap()),
            _ => Some(a.id().unwrap()),
        };
        let found = outcome.as_ref().ok().map(|opened| (opened.netns.dev, opened.netns.ino));
        assert_eq!(found, expected, "{number}: {outcome:?}");
    }
    assert_eq!(opener.open_all(Vec::new(), spec()).unwrap().len(), 0);

    // Not so many sockets as that go into one message.
    for number in 0..15 {
        a.ip(&format!("link add name c{number} type veth peer name d{number}")).unwrap();
        a.ip(&format!("link set c{number} up")).unwrap();
        a.ip(&format!("link set d{number} up")).unwrap();
    }
    let each = Spec { scope: Scope::EachInterface, ..spec() };
    let outcomes = opener.open_all(vec![place(&a.path()); 6], each).unwrap();
    let (fit, rest): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert!(fit.len() == 3 && rest.len() == 3, "of 34 descriptors each: {}", fit.len());
    for refused in rest {
        assert_eq!(refused.unwrap_err().reason(), Reason::NotReady);
    }
    // It is closing what did not fit, which takes longer than a client waits for its end.
    let ended = PidFd::open(opener.pid()).unwrap();
    drop((fit, opener));
    assert!(is_readable_within(&ended, LIMIT), "it ends once it has closed them");
}

pub(crate) fn stamps_are_shared_with_company_only() {
    let (_net, _a, b) = Net::pair().unwrap();
    let opener = Opener::start(None).unwrap();
    let place = Place::Netns { path: b.path().to_str().unwrap().to_owned() };
    let open = |scope| {
        let opened = opener.open(place.clone(), Spec { scope, ..spec() }).unwrap();
        let shared = opened.sockets.iter().filter(|(_, s)| s.shares_stamps().unwrap()).count();
        (opened, shared)
    };
    let (each, shared) = open(Scope::EachInterface);
    assert_eq!((each.sockets.len(), shared), (2, 0), "its own are no company");
    let (_second, shared) = open(Scope::EachInterface);
    assert_eq!(shared, 1, "one is enough");
    let (elsewhere, shared) = {
        let (net, a, _) = Net::pair().unwrap();
        let place = Place::Netns { path: a.path().to_str().unwrap().to_owned() };
        let opened = opener.open(place, spec()).unwrap();
        let shared = opened.sockets[0].1.shares_stamps().unwrap();
        (net, shared)
    };
    assert!(!shared, "company in another namespace is none");
    drop(elsewhere);
}
