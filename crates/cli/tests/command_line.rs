//! What the command does before it needs an engine or any right.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::process::{Command as Process, Stdio};

use assert_cmd::Command;

/// The command, in an environment of its own.
fn whaletap(words: &[&str]) -> Command {
    let mut command = Command::cargo_bin("whaletap").unwrap();
    command.env_clear().env("HOME", "/does/not/exist").args(words);
    command.timeout(std::time::Duration::from_secs(20));
    command
}

/// What it says on stderr when it ends with `code`.
fn stderr(words: &[&str], code: i32) -> String {
    let output = whaletap(words).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{words:?}: {text}");
    assert!(output.stdout.is_empty(), "{words:?} wrote to stdout");
    text
}

fn stdout(words: &[&str]) -> String {
    let output = whaletap(words).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{words:?}");
    assert!(output.stderr.is_empty(), "{words:?} wrote to stderr");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn help_lists_all_commands() {
    let help = stdout(&["--help"]);
    for word in ["ls", "capture", "exec", "completion", "version", "--context", "Exit codes"] {
        assert!(help.contains(word), "{word} is not in: {help}");
    }
    assert!(!help.contains("\n  man "), "{help}");
    for command in ["ls", "capture", "exec", "completion"] {
        assert!(stdout(&[command, "--help"]).contains("Usage: whaletap"), "{command}");
    }
    assert!(stdout(&["capture", "--help"]).contains("netns:PATH"));
    assert!(stderr(&[], 2).contains("Commands:"));
}

#[test]
fn the_version_is_told_in_three_ways() {
    let version = format!("whaletap {}\n", env!("CARGO_PKG_VERSION"));
    for words in [["version"], ["--version"], ["-V"]] {
        assert_eq!(stdout(&words), version);
    }
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    for (words, part) in [
        (&["capture"][..], "nothing is selected"),
        (&["capture", "pid:x"], "pid"),
        (&["capture", "label:", "-w", "x"], "label:KEY"),
        (&["ls", "netns:"], "netns:PATH"),
        (&["capture", "host", "-C", "1", "-b", "files:3"], "cannot be used with"),
        (&["capture", "host", "-W", "3"], "-W"),
        (&["capture", "host", "-s", "262145"], "262144"),
        (&["capture", "host", "--nonsense"], "--nonsense"),
        (&["capture", "host", "-A"], "'-A'"),
        (&["ls", "-H", "unix:///x"], "hint: -H stands before the command"),
        (&["ls", "labels:tier=front"], "`labels:` is no kind of selector"),
        (&["nonsense"], "nonsense"),
        (&["ls", "--format", "{{.Name}}"], "Go templates"),
        (&["ls", "--filter", "colour=red"], "unknown filter"),
        (&["ls", "-q", "--interfaces"], "cannot be used with"),
        (&["exec", "web"], "COMMAND"),
        (&["capture", "web", "--wait", "--no-follow"], "cannot be used with"),
        (&["capture", "host", "--capture-filter", "tcp", "--", "udp"], "another expression"),
        (&["--context", "a", "-H", "unix:///b", "ls"], "conflicting options"),
        (&["-H", "npipe:////./pipe/x", "ls"], "npipe"),
    ] {
        let text = stderr(words, 2);
        assert!(text.starts_with("whaletap: "), "{words:?}: {text}");
        assert!(text.contains(part), "{words:?}: {text}");
        // What stands behind `--` is no option.
        assert!(!text.contains("use '-- "), "{words:?}: {text}");
    }
}

/// With `--run` the exit code is the command's: what is wrong with us has one that few have.
#[test]
fn with_run_everything_of_ours_is_125() {
    for (words, part) in [
        (&["capture", "host", "--run"][..], "no command stands behind --"),
        (&["capture", "host", "--run", "--nonsense", "--", "true"], "--nonsense"),
        (&["capture", "--run", "--", "true"], "nothing is selected"),
        (&["capture", "host", "--run", "--no-follow", "--", "true"], "cannot be used with"),
        (
            &["capture", "host", "--run", "-w", "-", "--", "true"],
            "standard output is the command's",
        ),
        (
            &["capture", "host", "--run", "--print", "--", "true"],
            "standard output is the command's",
        ),
    ] {
        let text = stderr(words, 125);
        assert!(text.starts_with("whaletap: ") && text.contains(part), "{words:?}: {text}");
    }
    assert!(stdout(&["capture", "--help"]).contains("125"));
}

#[test]
fn what_was_typed_does_not_reach_the_terminal_as_it_is() {
    let text = stderr(&["capture", "host", "--\u{202e}x\x1b[2J"], 2);
    assert!(!text.contains(['\x1b', '\u{202e}']) && text.contains("\\u{202e}"), "{text:?}");
    let text = stderr(&["-H", "bad\x1b]0;x\x07", "ls"], 2);
    assert!(!text.contains('\x1b'), "{text:?}");
}

#[test]
fn an_engine_that_is_not_there_has_its_own_exit_code() {
    let text = stderr(&["-H", "unix:///does/not/exist.sock", "ls"], 6);
    assert!(text.contains("/does/not/exist.sock") && text.contains("hint: "), "{text}");
    let text = stderr(&["--context", "nowhere", "ls"], 6);
    assert!(text.contains("nowhere"), "{text}");
    let words = ["-H", "unix:///does/not/exist.sock", "exec", "web", "--", "true"];
    assert!(stderr(&words, 6).contains("no such socket"));
}

#[test]
fn without_need_of_an_engine_none_is_asked() {
    let words = ["--context", "nowhere", "ls", "host", "--format", "json"];
    let lines = stdout(&words);
    assert!(lines.starts_with("{\"kind\":\"host\",\"name\":\"host\""), "{lines}");
    assert_eq!(lines.lines().count(), 1);
    let pid = format!("pid:{}", std::process::id());
    assert_eq!(stdout(&["ls", "-q", "host", &pid]), format!("host\n{pid}\n"));
}

#[test]
fn exec_becomes_the_program() {
    let words = ["exec", "host", "--", "/bin/sh", "-c", "echo out; exit 42"];
    let output = whaletap(&words).output().unwrap();
    assert_eq!(output.stdout, b"out\n");
    assert_eq!(output.status.code(), Some(42));
    let text = stderr(&["exec", "host", "--", "/does/not/exist"], 127);
    assert!(text.contains("/does/not/exist"), "{text}");
    stderr(&["exec", "host", "--", "/"], 126);
}

#[test]
fn completions_know_the_options() {
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&["completion", shell]);
        assert!(script.contains("ring-buffer") && script.contains("capture"), "{shell}");
    }
    assert!(stderr(&["completion", "csh"], 2).contains("csh"));
}

#[test]
fn man_pages_are_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    assert_eq!(stdout(&["man", path]), "");
    let page = std::fs::read_to_string(directory.path().join("whaletap-capture.1")).unwrap();
    assert!(page.contains("ring"), "{page}");
    assert!(stderr(&["man", "/does/not/exist"], 1).contains("/does/not/exist"));
}

#[test]
fn a_reader_that_goes_away_is_a_normal_end() {
    for words in [&["completion", "bash"][..], &["ls", "host"], &["version"], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = Process::new(assert_cmd::cargo::cargo_bin("whaletap"))
            .args(words)
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{words:?}: {output:?}");
        assert!(output.stderr.is_empty(), "{words:?}: {output:?}");
    }
}

#[test]
fn packets_are_not_written_to_a_terminal() {
    // script(1) of util-linux makes the terminal, and ends with the command's exit code.
    let whaletap = assert_cmd::cargo::cargo_bin("whaletap");
    let output = Process::new("script")
        .args(["--quiet", "--return", "--command"])
        .arg(format!("'{}' capture host -w -", whaletap.display()))
        .arg("/dev/null")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("terminal") && text.contains("hint: "), "{text}");
}
