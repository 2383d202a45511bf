//! What a member of the group gets through a helper is what root gets on the host: the same file, the
//! same counts, the same messages.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use lab::{Container, Engine, Finished, Program, Records, Running, judge};

use crate::{
    member::Member,
    tap::{FILE, LIMIT, assert_ended, idle, send, signal, whaletap},
};

/// What only who uses a helper is told.
const THROUGH: &str = "through a helper container";
/// Datagrams of a round.
const COUNT: u32 = 300;

/// Two containers of which one is captured, and two who capture it.
struct Both {
    web: Container,
    db: Container,
    member: Member,
    /// The member's directory, and root's.
    outs: [PathBuf; 2],
    /// The member's.
    runtime: PathBuf,
    _roots: tempfile::TempDir,
}

impl Both {
    fn new() -> Self {
        let engine = Engine::shared().unwrap();
        let (web, db) = (engine.run(idle("web")).unwrap(), engine.run(idle("db")).unwrap());
        let (member, roots) = (Member::new(), tempfile::tempdir().unwrap());
        let outs = [member.directory("out"), roots.path().join("out")];
        fs::create_dir(&outs[1]).unwrap();
        let runtime = member.directory("run");
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o700)).unwrap();
        Self { web, db, member, outs, runtime, _roots: roots }
    }

    /// `whaletap WORDS…` by the member, and by root.
    fn given(&self, words: &[&str]) -> [Program; 2] {
        let (command, rest) = words.split_at(1);
        let roots = whaletap(&[command, &["--via", "host"], rest].concat());
        // As everybody has one who has logged in.
        let members = self.member.whaletap(&self.outs[0], words);
        let members = members.env("XDG_RUNTIME_DIR", &self.runtime);
        [members, roots.current_dir(&self.outs[1])]
    }

    /// The same, when both have said this.
    fn begun(&self, words: &[&str], said: &str) -> [Running; 2] {
        let mut both = self.given(words).map(|program| program.start().unwrap());
        for running in &mut both {
            running.wait_for_line(said, LIMIT).unwrap();
        }
        both
    }

    fn finished(&self, words: &[&str]) -> [Finished; 2] {
        self.given(words).map(|program| program.finish().unwrap())
    }
}

/// What was told, but for what has to differ: the helper itself, and where files are.
fn told(finished: &Finished, out: &Path) -> Vec<String> {
    let text = finished.stderr.replace(out.to_str().unwrap(), "OUT");
    text.lines().filter(|line| !line.contains(THROUGH)).map(str::to_owned).collect()
}

/// The frames with their stamps, interfaces and flags, and what tshark tells of the interfaces.
fn assert_same_file(files: [&Path; 2]) {
    for file in files {
        judge::all(file, true).unwrap();
    }
    let [ours, theirs] = files.map(|file| Records::read(file).unwrap());
    assert_eq!(ours.all, theirs.all);
    let interfaces = |file: &Path| {
        let output = Command::new("capinfos").args(["-I", "-M"]).arg(file).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let rest: Vec<String> = text.lines().skip(1).map(str::to_owned).collect();
        // Times of the capture itself, and sizes that follow from the command line in the file.
        let kept = |line: &&String| line.contains('=') || line.contains("interface");
        rest.iter().filter(kept).cloned().collect::<Vec<_>>()
    };
    let [ours, theirs] = files.map(interfaces);
    assert!(ours.iter().any(|line| line.contains("eth0")), "{ours:?}");
    assert_eq!(ours, theirs);
}

#[test]
fn a_capture_is_the_same() {
    let both = Both::new();
    for more in [&[][..], &["--no-follow"]] {
        let words = ["capture", both.web.name(), "-w", FILE];
        let words = [&words[..], more, &["--", "udp", "port", "9"]].concat();
        let running = both.begun(&words, "capturing ");
        send(&both.db, &both.web, COUNT, "--run 1 --rate 5000");
        let finished = running.map(|running| running.interrupt().unwrap());
        let captured = format!("{COUNT} packets captured");
        for finished in &finished {
            assert_ended(finished, 0, &[&captured, "0 packets dropped by kernel"]);
        }
        assert!(finished[0].stderr.contains(THROUGH) && !finished[1].stderr.contains(THROUGH));
        let [ours, theirs] = [0, 1].map(|who| told(&finished[who], &both.outs[who]));
        assert_eq!(ours, theirs);
        let files = both.outs.each_ref().map(|out| out.join(FILE));
        assert_same_file([&files[0], &files[1]]);
        files.iter().for_each(|file| fs::remove_file(file).unwrap());
    }
}

#[test]
fn a_flight_recorder_keeps_the_same() {
    let both = Both::new();
    let words = ["record", both.web.name(), "--after", "200ms", "--", "udp", "port", "9"];
    let mut running = both.begun(&words, "recording ");
    send(&both.db, &both.web, COUNT, "--run 1 --rate 5000");
    for running in &mut running {
        signal(running.pid(), "USR2");
        running.wait_for_line(" before it and ", LIMIT).unwrap();
    }
    let finished = running.map(|running| running.interrupt().unwrap());
    let files = both.outs.each_ref().map(|out| {
        let files: Vec<_> = fs::read_dir(out).unwrap().map(|it| it.unwrap().path()).collect();
        let [file] = &*files else { panic!("{files:?}") };
        file.clone()
    });
    for who in [0, 1] {
        assert_ended(&finished[who], 0, &[&format!("{COUNT} packets captured"), "ended: stopped"]);
        // The moment of the trigger stands in the name.
        let name = files[who].file_name().unwrap().to_str().unwrap();
        assert!(finished[who].stderr.contains(name), "{}", finished[who].stderr);
    }
    let words_of = |who: usize| {
        let name = files[who].file_name().unwrap().to_str().unwrap();
        // As old as the one signal was older than the other.
        let ageless = |line: String| match line.split_once(" s before it and ") {
            Some((begin, end)) => {
                let (begin, _) = begin.rsplit_once(' ').unwrap();
                format!("{begin} … s before it and {end}")
            }
            None => line,
        };
        let lines = told(&finished[who], &both.outs[who]).into_iter().map(ageless);
        lines.map(|line| line.replace(name, "FILE")).collect::<Vec<_>>()
    };
    assert_eq!(words_of(0), words_of(1));
    let [ours, theirs] = files.each_ref().map(|file| Records::read(file).unwrap());
    assert_eq!(ours.numbers(1).len(), COUNT as usize);
    // The trigger is a comment of a moment of its own.
    let frames = |records: &Records| {
        let all = records.all.iter().map(|it| (it.timestamp_ns, it.data.clone(), it.flags));
        all.collect::<Vec<_>>()
    };
    assert_eq!(frames(&ours), frames(&theirs));
    files.iter().for_each(|file| judge::all(file, true).unwrap());
}

#[test]
fn a_list_of_interfaces_is_the_same() {
    let both = Both::new();
    for words in [&["ls", "--interfaces"][..], &["ls", "--interfaces", "--format", "json"]] {
        let words = [words, &[both.web.name(), both.db.name()]].concat();
        let [ours, theirs] = both.finished(&words);
        assert_ended(&ours, 0, &[]);
        assert_ended(&theirs, 0, &[]);
        assert!(ours.stdout_text().contains("eth0"), "{ours:?}");
        assert_eq!((ours.stdout_text(), &ours.stderr), (theirs.stdout_text(), &theirs.stderr));
    }
}

#[test]
fn a_program_beside_the_target_sees_the_same_network() {
    let both = Both::new();
    let busybox = lab::judge::find("busybox").unwrap();
    for (words, code) in [
        (&["ip", "addr"][..], 0),
        (&["ip", "route"], 0),
        (&["cat", "/proc/net/dev_mcast", "/etc/resolv.conf", "/etc/hosts"], 0),
        (&["cat"], 0),
        (&["sh", "-c", "echo out; echo err >&2; exit 7"], 7),
    ] {
        let exec = |program: Program, before: &[&str], busybox: &str| {
            let program = program.args(before).args([both.web.name(), "--", busybox]).args(words);
            program.input("typed\n").finish().unwrap()
        };
        let image = ["--image", lab::engine::IMAGE];
        let ours = exec(both.member.whaletap(&both.outs[0], &["exec"]), &image, "busybox");
        let theirs = exec(whaletap(&["exec"]), &[], busybox.to_str().unwrap());
        assert_eq!((ours.code(), theirs.code()), (Some(code), Some(code)), "{ours:?} {theirs:?}");
        assert!(!ours.stdout.is_empty(), "{words:?}");
        assert_eq!(ours.stdout_text(), theirs.stdout_text(), "{words:?}");
        assert_eq!(ours.stderr, theirs.stderr, "{words:?}");
    }
}
