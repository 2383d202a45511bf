//! A capture around a command: `--run`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use lab::{Container, Engine, Finished, Program, Records, Running, judge};
use tempfile::TempDir;

use crate::{
    interfaces::interfaces,
    person::Person,
    processes::marked,
    tap::{FILE, LIMIT, assert_ended, capture, idle, signal, unique, until},
};

/// How long companions may take to notice that they are alone.
const ALONE: Duration = Duration::from_secs(2);

/// A directory with a file in it that is to be written, and what a shell in it does.
struct Around {
    directory: TempDir,
}

impl Around {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn file(&self) -> PathBuf {
        self.at(FILE)
    }

    /// `whaletap capture -w FILE WORDS… --run -- COMMAND…`, in the directory.
    fn program(&self, words: &[&str], command: &[&str]) -> Program {
        let words = [words, &["--run", "--"], command].concat();
        capture(&Engine::endpoint(), &self.file(), &words).current_dir(self.directory.path())
    }

    /// The same with a line for a shell, run to its end.
    #[track_caller]
    fn finish(&self, words: &[&str], line: &str) -> Finished {
        self.program(words, &["sh", "-c", line]).finish().unwrap()
    }

    /// The same, as soon as the line has said so by making the file `ready`.
    #[track_caller]
    fn start(&self, program: Program) -> Running {
        let running = program.start().unwrap();
        until("the command runs", LIMIT, || self.at("ready").exists());
        running
    }
}

/// A container that is there and waits.
fn web() -> Container {
    Engine::shared().unwrap().run(idle("web")).unwrap()
}

#[test]
fn the_exit_code_is_the_commands() {
    let (web, around) = (web(), Around::new());
    for (line, code) in [("true", 0), ("exit 3", 3), ("kill -KILL $$", 137)] {
        let finished = around.finish(&[web.name()], line);
        assert_ended(&finished, code, &["capturing ", "0 packets dropped by kernel"]);
        judge::all(around.file(), true).unwrap();
    }
    let plain = around.at("plain");
    fs::write(&plain, "no program").unwrap();
    let missing = around.program(&[web.name()], &["/does/not/exist"]).finish().unwrap();
    assert_ended(&missing, 127, &["cannot run /does/not/exist"]);
    let unfit = around.program(&[web.name()], &[plain.to_str().unwrap()]).finish().unwrap();
    assert_ended(&unfit, 126, &["cannot run", "ermission denied"]);
}

#[test]
fn a_failure_of_ours_before_the_start_is_125_and_nothing_is_run() {
    let (web, around) = (web(), Around::new());
    for (words, part) in [
        (&[web.name(), "--capture-filter", "no such thing"][..], "cannot compile"),
        (&[web.name(), "-w", "/does/not/exist/x.pcapng"], "cannot be used multiple times"),
        (&[web.name(), "-C", "0"], "--file-size"),
        (&["netns:/nonexistent/blue", "-i", "eth0", "--sandbox", "never"], "--sandbox"),
    ] {
        let finished = around.finish(words, "touch ran");
        assert_ended(&finished, 125, &[part]);
        assert!(!around.at("ran").exists(), "{words:?}");
    }
    let nowhere =
        ["-H", "unix:///nonexistent/docker.sock", "capture", "web", "--run", "--", "true"];
    let program = Program::new(env!("CARGO_BIN_EXE_whaletap")).args(nowhere);
    let finished = program.current_dir(around.directory.path()).finish().unwrap();
    assert_ended(&finished, 125, &["docker.sock"]);
}

#[test]
fn the_command_has_the_callers_streams_and_surroundings() {
    let (web, around) = (web(), Around::new());
    let line = "cat; pwd; umask; echo \"$WHALETAP_TEST_WORD\"; echo said >&2";
    let program = Program::new("sh").args(["-c", "umask 027; exec \"$@\"", "sh"]);
    let whaletap = [
        env!("CARGO_BIN_EXE_whaletap"),
        "--host",
        &Engine::endpoint(),
        "capture",
        "-w",
        around.file().to_str().unwrap(),
        web.name(),
        "--run",
        "--",
        "sh",
        "-c",
        line,
    ]
    .map(str::to_owned);
    let finished = program
        .args(whaletap)
        .current_dir(around.directory.path())
        .env("WHALETAP_TEST_WORD", "it's here")
        .input("asked\n")
        .finish()
        .unwrap();
    assert_ended(&finished, 0, &["said\n", "capturing "]);
    let here = fs::canonicalize(around.directory.path()).unwrap();
    let expected = format!("asked\n{}\n0027\nit's here\n", here.display());
    assert_eq!(finished.stdout_text(), expected, "and nothing of ours among it");
}

#[test]
fn the_command_is_not_in_our_sandbox() {
    let (web, around) = (web(), Around::new());
    let elsewhere = tempfile::tempdir().unwrap();
    let touched = elsewhere.path().join("touched");
    let line = format!(
        "grep -E '^(NoNewPrivs|SigBlk|Seccomp):' /proc/self/status; ls /proc/$$/fd; touch {}",
        touched.display()
    );
    let finished = around.finish(&[web.name()], &line);
    assert_ended(&finished, 0, &[]);
    assert!(touched.exists());
    let text = finished.stdout_text();
    assert!(text.contains("NoNewPrivs:\t0\n"), "{text}");
    assert!(text.contains("SigBlk:\t0000000000000000\n"), "{text}");
    assert!(text.ends_with("0\n1\n2\n") || text.ends_with("0\n1\n10\n2\n"), "{text}");
}

/// What the command starts is captured from its first packet, into a file for each container.
#[test]
fn what_the_command_starts_is_in_the_files() {
    let engine = Engine::shared().unwrap();
    let around = Around::new();
    let net = engine.network("run").unwrap();
    let prefix = unique("run");
    let docker = format!("docker --host {}", engine.host());
    let [echo, ask] = ["echo", "ask"].map(|name| format!("{prefix}-{name}"));
    let options = format!("--network {} --log-driver none --stop-timeout 1", net.name());
    engine.image().unwrap();
    let line = format!(
        "set -e
         {docker} run -d --name {echo} {options} whaletap-lab whaletap-traffic udp-echo \
            --listen 0.0.0.0:7 --seconds 30 >/dev/null
         until {docker} exec {echo} whaletap-traffic udp-ping --to 127.0.0.1:7 --count 1 --run 9 \
            | grep -q '\"failed\":0'; do :; done
         address=$({docker} inspect -f '{{{{range .NetworkSettings.Networks}}}}{{{{.IPAddress}}}}\
            {{{{end}}}}' {echo})
         {docker} run --name {ask} {options} whaletap-lab whaletap-traffic udp-ping \
            --to $address:7 --count 1 --run 5
         {docker} rm -f {echo} {ask} >/dev/null
         exit 3"
    );
    // capinfos shows the command line in a table, where an end of a line is one of the table's.
    let line = line.split('\n').map(str::trim).collect::<Vec<_>>().join("; ");
    let pattern = format!("{prefix}-*");
    let words = [&pattern, "--split", "--capture-filter", "udp port 7"];
    let finished = around.program(&words, &["sh", "-c", &line]).limit(3 * LIMIT).finish().unwrap();
    // Whatever became of the line above.
    let _ = engine.docker().args(["rm", "-f", &echo, &ask]).finish();
    assert_ended(&finished, 3, &["ended: the command has ended with exit code 3"]);
    for name in [&echo, &ask] {
        let file = around.at(&format!("x-{name}.pcapng"));
        assert!(interfaces(&file).contains(&format!("{name}/eth0")), "{}", file.display());
        assert_eq!(Records::read(&file).unwrap().numbers(5), [0, 0], "{name}");
        judge::all(&file, true).unwrap();
    }
}

#[test]
fn signals_are_for_the_command_first() {
    let (web, around) = (web(), Around::new());
    for (number, (name, trap)) in [("TERM", "TERM"), ("HUP", "HUP")].into_iter().enumerate() {
        let line = format!(
            "trap 'exit {}' {trap}; touch ready; while :; do sleep 0.02; done",
            10 + number
        );
        let running = around.start(around.program(&[web.name()], &["sh", "-c", &line]));
        signal(running.pid(), name);
        let finished = running.wait().unwrap();
        assert_ended(&finished, i32::try_from(10 + number).unwrap(), &["capturing "]);
        fs::remove_file(around.at("ready")).unwrap();
        judge::all(around.file(), true).unwrap();
    }
    // As a ^C of the terminal does it: to the whole group. The command takes its time.
    let line = "trap 'sleep 0.5; echo done; exit 5' INT; touch ready; while :; do sleep 0.02; done";
    let program = around.program(&[web.name()], &["sh", "-c", line]).own_group();
    let running = around.start(program);
    Program::new("kill").args(["-INT", "--", &format!("-{}", running.pid())]).run().unwrap();
    let finished = running.wait().unwrap();
    assert_ended(&finished, 5, &[]);
    assert_eq!(finished.stdout_text(), "done\n");
}

/// A line that does not heed what it is sent, and says who it is.
const STUBBORN: &str =
    "trap '' TERM INT HUP; echo $$ >pid; touch ready; while :; do sleep 0.05; done";

/// The process of [`STUBBORN`].
fn stubborn(around: &Around) -> u32 {
    fs::read_to_string(around.at("pid")).unwrap().trim().parse().unwrap()
}

fn runs(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn a_second_signal_does_not_wait_for_the_command() {
    let (web, around) = (web(), Around::new());
    let mut running = around.start(around.program(&[web.name()], &["sh", "-c", STUBBORN]));
    signal(running.pid(), "TERM");
    let counts = running.stderr().matches("packets captured").count();
    // It waits, and goes on capturing: it answers a question.
    until("it answers", LIMIT, || {
        signal(running.pid(), "USR1");
        running.stderr().matches("packets captured").count() > counts
    });
    assert!(running.is_alive());
    // What comes in the same moment as the first one is the same request.
    until("a second one ends it", LIMIT, || {
        if running.is_alive() {
            signal(running.pid(), "TERM");
        }
        !running.is_alive()
    });
    let finished = running.wait().unwrap();
    assert_eq!(finished.code(), Some(130), "{finished:?}");
    let command = stubborn(&around);
    assert!(runs(command), "it is the caller's");
    signal(command, "KILL");
}

#[test]
fn the_command_outlives_a_whaletap_that_is_killed() {
    let (web, around) = (web(), Around::new());
    let mark = format!("WHALETAP_TEST_MARK={}", unique("run"));
    let (key, value) = mark.split_once('=').unwrap();
    let program = around.program(&[web.name()], &["sh", "-c", STUBBORN]).env(key, value);
    let running = around.start(program);
    let whaletap = running.pid();
    running.kill();
    let command = stubborn(&around);
    // What is left are the shell and what it runs.
    let is_ours = |pid: u32| {
        fs::read_link(format!("/proc/{pid}/exe"))
            .is_ok_and(|exe| exe == Path::new(env!("CARGO_BIN_EXE_whaletap")))
    };
    until("our own processes are gone", ALONE, || !marked(&mark).into_iter().any(is_ours));
    assert!(runs(command) && !runs(whaletap));
    signal(command, "KILL");
}

#[test]
fn a_limit_ends_the_capture_and_not_the_command() {
    let (web, around) = (web(), Around::new());
    let finished =
        around.finish(&[web.name(), "--duration", "100ms"], "sleep 1; echo late; exit 4");
    assert_ended(&finished, 4, &["the time was over"]);
    assert_eq!(finished.stdout_text(), "late\n");
    judge::all(around.file(), true).unwrap();
}

/// The command did well, and the capture did not.
#[test]
fn a_capture_that_fails_lets_the_command_finish_and_is_told() {
    let (web, around) = (web(), Around::new());
    let engine = Engine::shared().unwrap();
    let to = format!("{}:9", web.address().unwrap());
    let spec = lab::ContainerSpec::new("db");
    let _db = engine.run(spec.traffic(&format!("udp --to {to} --rate 200 --seconds 30"))).unwrap();
    let line = format!("rm {FILE}; sleep 2; echo late");
    let finished = around.finish(&[web.name()], &line);
    assert_ended(&finished, 125, &[FILE, "sh ended with exit code 0"]);
    assert_eq!(finished.stdout_text(), "late\n");
}

#[test]
fn behind_sudo_the_command_runs_as_the_person() {
    let person = Person::new("run");
    let web = web();
    let out = person.directory("out");
    let line = "id -u; id -g; echo $HOME $USER; grep NoNewPrivs /proc/self/status";
    let words = ["capture", web.name(), "-w", FILE, "--run", "--", "sh", "-c", line];
    let finished = person.sudo(&out, &words).finish().unwrap();
    assert_ended(&finished, 0, &["capturing "]);
    let uid = person.uid.to_string();
    let text = finished.stdout_text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(&lines[..2], [&uid, &uid], "{text}");
    let home = out.parent().unwrap().display().to_string();
    assert!(lines[2].starts_with(&format!("{home} wt-run-")), "{text}");
    assert_eq!(lines[3], "NoNewPrivs:\t0");
    judge::all(out.join(FILE), true).unwrap();
}
