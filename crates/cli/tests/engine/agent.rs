//! The program of helper containers, where it is not the right one: not there, no such program, of another
//! machine, or of another release, by its file or only by what it says. It is told plainly, nothing hangs,
//! and nothing is made or stays.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use lab::{Engine, FarHost, Finished, Program, agent::make_stand_in};

use crate::{
    far::Way,
    member::{Member, assert_gone, helpers},
    tap::{FILE, assert_ended, idle},
};

const OURS: &str = env!("CARGO_PKG_VERSION");
/// As long as ours, for its place in a message.
const THEIRS: &str = "0.0.7";
/// The far side's protocol.
const PROTOCOL: u32 = 2;
/// A protocol that is not ours, be it the opener's or the far side's.
const OTHER: u32 = 9;
/// How long anything may take that does not wait for who is silent.
const AT_ONCE: Duration = Duration::from_secs(10);
/// The same for who is.
const PATIENT: Duration = Duration::from_secs(40);

/// A greeting, as of a client of another release: the preamble, the message's length and kind, and the
/// numbers of its protocol and its build.
fn client() -> Vec<u8> {
    let hello = [&OTHER.to_le_bytes(), &[5, 0, 0, 0][..], THEIRS.as_bytes(), &[0]].concat();
    let length = u32::try_from(1 + hello.len()).unwrap();
    [b"whaletap", &length.to_le_bytes()[..], &[0], &hello].concat()
}

/// What the real program answers, with these of its bytes in place of others.
fn greeting(from: &[u8], to: &[u8]) -> Vec<u8> {
    let agent = Program::new(lab::agent::program().unwrap()).arg("stdio").input(client());
    let finished = agent.finish().unwrap();
    let told = format!("its version is {THEIRS} (protocol {OTHER})");
    assert!(finished.stderr.contains(&told), "{}", finished.stderr);
    let mut said = finished.stdout;
    let at = said.windows(from.len()).position(|window| window == from).unwrap();
    said.splice(at..at + from.len(), to.iter().copied());
    said
}

/// Refused: the opener's answer to a greeting of a version that is not its own. Which kind of failure
/// (another one), no number of the kernel's, and the text behind its length.
fn refusal() -> Vec<u8> {
    let text = "the opener speaks version 2 of its protocol, and was asked in version 1: whaletap and \
                whaletap-agent are of different releases";
    let length = u32::try_from(text.len()).unwrap();
    [&[0, 3][..], &0_u32.to_ne_bytes(), &length.to_ne_bytes(), text.as_bytes()].concat()
}

/// A container on this machine, and somebody who may ask its engine for a helper.
struct Here {
    member: Member,
    out: PathBuf,
    web: lab::Container,
}

impl Here {
    fn new() -> Self {
        let member = Member::new();
        let web = Engine::shared().unwrap().run(idle("web")).unwrap();
        Self { out: member.directory("out"), member, web }
    }

    /// `capture` with this agent: what became of it, and that nothing is left.
    #[track_caller]
    fn capture(&self, agent: &Path, words: &[&str], limit: Duration) -> Finished {
        let words = [&["capture", self.web.name(), "-w", FILE], words].concat();
        let program = self.member.whaletap(&self.out, &words).env("WHALETAP_AGENT", agent);
        let begun = Instant::now();
        let running = program.start().unwrap();
        let pid = running.pid();
        let finished = running.wait().unwrap();
        assert!(begun.elapsed() < limit, "{:?}", begun.elapsed());
        assert_gone(pid, "WHALETAP_TEST_MARK=", &self.out);
        finished
    }

    fn stand_in(&self, name: &str, release: &str, says: &[u8]) -> PathBuf {
        let path = self.out.with_file_name(name);
        make_stand_in(&path, release, says).unwrap();
        path
    }
}

/// Everything that can be seen in the file is seen before the engine is given anything.
#[test]
fn what_is_no_agent_is_refused_before_anything_is_made() {
    let here = Here::new();
    let [script, dynamic, foreign] = ["script", "dynamic", "foreign"].map(|name| {
        let path = here.out.with_file_name(name);
        fs::copy(lab::agent::program().unwrap(), &path).unwrap();
        path
    });
    fs::write(&script, "#!/bin/sh\nexec sleep 600\n").unwrap();
    fs::copy("/bin/sh", &dynamic).unwrap();
    // `e_machine` of elf(5): an IBM mainframe.
    let mut bytes = fs::read(&foreign).unwrap();
    bytes[18..20].copy_from_slice(&22_u16.to_le_bytes());
    fs::write(&foreign, bytes).unwrap();
    let absent = Path::new("/does/not/exist");
    for (agent, why) in [
        (absent, "No such file"),
        (&here.out, "Is a directory"),
        (&script, "no program of 64 bits"),
        (&dynamic, "not linked statically"),
        (&foreign, "of an architecture that is not known here"),
    ] {
        let path = agent.to_str().unwrap();
        let finished = here.capture(agent, &["--via", "helper"], AT_ONCE);
        assert_ended(&finished, 6, &[path, why, "hint: "]);
        let finished = here.capture(agent, &[], AT_ONCE);
        assert_ended(&finished, 4, &["missing CAP_NET_RAW", path, why]);
    }
}

/// One for another architecture is known by its number, and it is the engine that says which is its own.
/// Where there is one for that beside it, that one is taken.
#[test]
fn an_agent_of_another_architecture_is_not_loaded() {
    let own = lab::PrivateEngine::start().unwrap();
    let out = tempfile::tempdir().unwrap();
    let other = out.path().join("other");
    let mut bytes = fs::read(lab::agent::program().unwrap()).unwrap();
    let arm64 = cfg!(target_arch = "aarch64");
    bytes[18..20].copy_from_slice(&if arm64 { 0x3e_u16 } else { 0xb7 }.to_le_bytes());
    fs::write(&other, bytes).unwrap();
    let capture = |more: &[&str]| {
        let program = Program::new(env!("CARGO_BIN_EXE_whaletap"))
            .args(["--host", own.engine().host(), "capture", "--via", "helper", "host", "-w", FILE])
            .args(more)
            .current_dir(out.path())
            .env("TMPDIR", out.path())
            .env("WHALETAP_AGENT", &other);
        program.finish().unwrap()
    };
    let images = || own.engine().docker().args(["images", "--quiet"]).run().unwrap().stdout_text();
    let [engine, program] = if arm64 { ["arm64", "amd64"] } else { ["amd64", "arm64"] };
    assert_ended(&capture(&[]), 6, &[&format!("runs on {engine}"), program, "hint: "]);
    assert_eq!((images().as_str(), helpers(own.engine()).len()), ("", 0));

    let right = out.path().join(format!("other-{engine}"));
    fs::copy(lab::agent::program().unwrap(), &right).unwrap();
    assert_ended(&capture(&["--duration", "100ms"]), 0, &[]);
    assert_eq!((images().lines().count(), helpers(own.engine()).len()), (1, 0));
}

#[test]
fn a_file_of_another_release_is_refused_before_anything_is_made() {
    let here = Here::new();
    let agent = here.stand_in("other", THEIRS, b"");
    let told = format!("{} is of release {THEIRS}, and this is {OURS}", agent.display());
    let finished = here.capture(&agent, &[], AT_ONCE);
    assert_ended(&finished, 4, &["missing CAP_NET_RAW", &told]);
    let finished = here.capture(&agent, &["--via", "helper"], AT_ONCE);
    assert_ended(
        &finished,
        1,
        &[&told, "hint: whaletap and whaletap-agent are installed together"],
    );
    let far = FarHost::start().unwrap();
    let finished = elsewhere(&far, &agent, here.out.as_path(), AT_ONCE);
    assert_ended(&finished, 1, &[&told, "hint: "]);
    let images = far.engine().docker().args(["images", "--quiet"]).run().unwrap().stdout_text();
    assert_eq!(images, "", "nothing was loaded");
}

#[test]
fn a_helper_that_speaks_another_version_says_so() {
    let here = Here::new();
    for more in [&[][..], &["--no-follow"]] {
        let agent = here.stand_in("other", OURS, &refusal());
        let finished = here.capture(&agent, more, AT_ONCE);
        assert_ended(
            &finished,
            1,
            &["the opener speaks version 2 of its protocol, and was asked in version 1"],
        );
        let agent = here.stand_in("unreadable", OURS, b"\x02what?");
        let finished = here.capture(&agent, more, AT_ONCE);
        assert_ended(&finished, 1, &["the opener's answer does not read"]);
        let agent = here.stand_in("silent", OURS, b"");
        let finished = here.capture(&agent, more, PATIENT);
        assert_ended(&finished, 1, &["does not answer"]);
    }
}

/// `capture` on an engine elsewhere with this agent, and that nothing is left over there.
#[track_caller]
fn elsewhere(far: &FarHost, agent: &Path, out: &Path, limit: Duration) -> Finished {
    let way = Way::by(&["-H", &far.ssh()]);
    let program = way.given_to(env!("CARGO_BIN_EXE_whaletap"), far);
    let program = program.args(["capture", "host", "-w", FILE]).current_dir(out);
    let begun = Instant::now();
    let finished = program.env("WHALETAP_AGENT", agent).limit(2 * PATIENT).finish().unwrap();
    assert!(begun.elapsed() < limit, "{:?}", begun.elapsed());
    assert_eq!(helpers(far.engine()), [""; 0]);
    assert!(fs::read_dir(out).unwrap().all(|entry| entry.unwrap().file_name() == FILE));
    finished
}

#[test]
fn a_far_side_that_speaks_another_version_says_so() {
    let far = FarHost::start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    fs::create_dir(&out).unwrap();
    // The protocol's number is followed by the length of the build's.
    let protocol = |number: u32| [&number.to_le_bytes()[..], &[5, 0, 0, 0]].concat();
    for (says, told) in [
        (
            greeting(&protocol(PROTOCOL), &protocol(OTHER)),
            &*format!(
                "its version is {OURS} (protocol {OTHER}), and ours is {OURS} (protocol {PROTOCOL})"
            ),
        ),
        (
            greeting(OURS.as_bytes(), THEIRS.as_bytes()),
            &*format!(
                "its version is {THEIRS} (protocol {PROTOCOL}), and ours is {OURS} (protocol {PROTOCOL})"
            ),
        ),
        (b"sh: stdio: not found\n".to_vec(), "it does not speak whaletap's protocol"),
        (Vec::new(), "it does not answer"),
    ] {
        let agent = directory.path().join("agent");
        make_stand_in(&agent, OURS, &says).unwrap();
        let limit = if says.is_empty() { PATIENT } else { 2 * AT_ONCE };
        let finished = elsewhere(&far, &agent, &out, limit);
        assert_ended(&finished, 1, &[told]);
    }
}
