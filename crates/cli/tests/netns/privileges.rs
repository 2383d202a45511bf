//! What the process that reads packets may do, and whose the files are.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::Path,
};

use lab::{Net, Program};

use crate::{
    names, scratch, send,
    whaletap::{LIMIT, Whaletap, eventually, selector, whaletap},
};

/// Somebody who is not root, and need not have a name.
const PERSON: u32 = 54_321;
const GROUP: u32 = 54_322;

/// `/proc/PID/task/*/status`, for each thread by the names of its lines.
fn threads(pid: u32) -> Vec<BTreeMap<String, String>> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let texts = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("status")).unwrap());
    texts
        .map(|text| {
            let lines = text.lines().filter_map(|line| line.split_once(':'));
            lines.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect()
        })
        .collect()
}

fn assert_powerless(pid: u32, uid: u32) {
    let threads = threads(pid);
    assert!(threads.len() > 2, "main, reader and writer at least");
    for thread in threads {
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(thread[set], "0000000000000000", "{set} of {}", thread["Name"]);
        }
        assert_eq!(thread["NoNewPrivs"], "1", "{}", thread["Name"]);
        assert_eq!(thread["Uid"], [uid; 4].map(|uid| uid.to_string()).join("\t"));
    }
}

/// A directory that a person may write into.
fn persons_directory(path: &Path) {
    fs::create_dir(path).unwrap();
    chown(path, Some(PERSON), Some(GROUP)).unwrap();
    // The way there is open to all.
    let parent = path.parent().unwrap();
    fs::set_permissions(parent, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn every_thread_is_without_capabilities() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let words = ["-b", "packets:50", "-z", "true", "--", "udp or vlan"];
    let mut ours = Whaletap::capture(&[&b], &at("x.pcapng"), words);
    send(&a, "send --dev eth0 --count 200");
    ours.wait_for(200);
    assert_powerless(ours.pid(), 0);
    ours.stop();
    for name in names(&at("")) {
        let metadata = fs::metadata(at(&name)).unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o600, "{name}");
    }
}

#[test]
fn behind_sudo_everything_is_the_persons() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    persons_directory(&at("own"));
    let program = whaletap(["capture", &selector(&b), "-b", "packets:50", "-w"])
        .arg(at("own/x.pcapng"))
        .env("SUDO_UID", PERSON.to_string())
        .env("SUDO_GID", GROUP.to_string())
        .env("SUDO_USER", "somebody");
    let mut ours = Whaletap::start(program);
    send(&a, "send --dev eth0 --count 120");
    ours.wait_for(120);
    assert_powerless(ours.pid(), PERSON);
    assert!(threads(ours.pid()).iter().all(|thread| thread["Gid"].starts_with("54322\t54322")));
    ours.stop().assert_adds_up();
    let files = names(&at("own"));
    assert_eq!(files.len(), 3, "{files:?}");
    for name in files {
        let metadata = fs::metadata(at("own").join(name)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (PERSON, GROUP));
        assert_eq!(metadata.mode() & 0o7777, 0o600);
    }

    // Where that person may not write it stays root, powerless all the same, and says so.
    fs::create_dir(at("roots")).unwrap();
    let program = whaletap(["capture", &selector(&b), "-w"])
        .arg(at("roots/x.pcapng"))
        .env("SUDO_UID", PERSON.to_string())
        .env("SUDO_GID", GROUP.to_string())
        .env("SUDO_USER", "somebody");
    let ours = Whaletap::start(program);
    assert_powerless(ours.pid(), 0);
    let summary = ours.stop();
    let told = format!("uid {PERSON} cannot write into {}", at("roots").display());
    assert!(summary.text.contains(&told), "{}", summary.text);
    assert_eq!(fs::metadata(at("roots/x.pcapng")).unwrap().uid(), 0);
}

/// root, in whose place no person is known, has no right to pass over permissions any more when it
/// writes: another's directory is another's.
#[test]
fn root_without_sudo_does_not_write_into_the_directory_of_somebody_else() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    persons_directory(&at("persons"));
    let capture = |file: &Path| {
        let words = ["capture", &selector(&b), "-a", "packets:5", "-w"];
        whaletap(words).arg(file).start().unwrap()
    };
    let file = at("persons/x.pcapng");
    let finished = capture(&file).wait().unwrap();
    assert_eq!(finished.code(), Some(1), "{finished:?}");
    let path = file.display().to_string();
    for part in [&*path, "ermission denied", "hint: ", "without the right to pass over permissions"]
    {
        assert!(finished.stderr.contains(part), "{part} is not in {}", finished.stderr);
    }
    assert!(names(&at("persons")).is_empty());
    // Where everybody may write it is root's, and nobody else's.
    fs::set_permissions(at("persons"), fs::Permissions::from_mode(0o1777)).unwrap();
    let mut running = capture(&file);
    running.wait_for_line("capturing ", LIMIT).unwrap();
    send(&a, "send --dev eth0 --count 5");
    let finished = running.wait().unwrap();
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    let metadata = fs::metadata(&file).unwrap();
    assert_eq!((metadata.uid(), metadata.mode() & 0o7777), (0, 0o600));
}

/// Whether this kernel enforces anything: the strictest mode is refused where it does not.
fn has_landlock(b: &lab::Namespace, file: &Path) -> bool {
    let program =
        whaletap(["capture", &selector(b), "--sandbox", "strict", "-a", "duration:0.1", "-w"]);
    let finished = program.arg(file).finish().unwrap();
    if !finished.status.success() {
        assert!(finished.stderr.contains("landlock"), "{}", finished.stderr);
    }
    finished.status.success()
}

/// The output directory is moved away, and another one is where it was: the next file of the ring
/// would be written there, by a process of root, were it not for Landlock.
#[test]
fn writing_elsewhere_is_refused_by_the_kernel() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let has_landlock = has_landlock(&b, &at("strict.pcapng"));
    for (sandbox, enforced) in [("auto", has_landlock), ("off", false)] {
        let [out, moved, other] =
            ["out", "moved", "other"].map(|name| at(&format!("{sandbox}-{name}")));
        fs::create_dir(&out).unwrap();
        fs::create_dir(&other).unwrap();
        let words = ["-b", "packets:100", "--sandbox", sandbox, "-v"];
        let mut ours = Whaletap::capture(&[&b], &out.join("x.pcapng"), words);
        let told = ours.running.stderr();
        assert_eq!(told.contains("writes only beneath the output directory"), enforced, "{told}");
        send(&a, "send --dev eth0 --count 90");
        ours.wait_for(90);
        fs::rename(&out, &moved).unwrap();
        symlink(&other, &out).unwrap();
        send(&a, "send --dev eth0 --count 50");
        if enforced {
            let summary = ours.ended(1);
            summary.assert_adds_up();
            assert!(summary.text.contains("ermission denied"), "{}", summary.text);
            assert!(names(&other).is_empty(), "{:?}", names(&other));
            // What was captured is where it was written, and whole.
            lab::judge::all(moved.join(&names(&moved)[0]), true).unwrap();
        } else {
            eventually("it writes elsewhere", LIMIT, || names(&other).len() == 1);
            ours.stop();
        }
    }
}

#[test]
fn a_missing_capability_is_named() {
    let (_net, _a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    for (bounding, inherited, parts) in [
        ("-all", "-all", &["CAP_SYS_ADMIN", "CAP_NET_RAW"][..]),
        ("-sys_admin", "-all", &["CAP_SYS_ADMIN"]),
        ("-net_raw", "-all", &["CAP_NET_RAW"]),
    ] {
        let finished = Program::new("setpriv")
            .arg(format!("--bounding-set={bounding}"))
            .arg(format!("--inh-caps={inherited}"))
            .arg(env!("CARGO_BIN_EXE_whaletap"))
            .args(["capture", "--via", "host", &selector(&b), "-w"])
            .arg(at("x.pcapng"))
            .finish()
            .unwrap();
        assert_eq!(finished.code(), Some(4), "{finished:?}");
        for part in parts.iter().chain(&["hint: ", "sudo"]) {
            assert!(finished.stderr.contains(part), "{part} is not in {}", finished.stderr);
        }
        let first = finished.stderr.lines().next().unwrap();
        for capability in ["CAP_SYS_ADMIN", "CAP_NET_RAW"] {
            assert_eq!(first.contains(capability), parts.contains(&capability), "{first}");
        }
        assert!(!at("x.pcapng").exists());
    }
}
