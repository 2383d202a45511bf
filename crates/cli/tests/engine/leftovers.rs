//! Nothing stays, however a capture ends.

use std::{fs, path::Path, time::Duration};

use lab::{ContainerSpec, Engine, Program, Records};

use crate::{
    processes::{children, marked, words},
    tap::{FILE, LIMIT, capture, idle, signal, unique, until},
};

/// How long companions may take to notice that they are alone.
const ALONE: Duration = Duration::from_secs(2);

/// What a directory holds.
fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn signals_leave_no_process_and_no_file() {
    let engine = Engine::shared().unwrap();
    let web = engine.run(idle("web")).unwrap();
    for (name, code) in [("INT", Some(0)), ("TERM", Some(0)), ("HUP", Some(0)), ("KILL", None)] {
        let mark = format!("WHALETAP_TEST_MARK={}", unique(name));
        let (key, value) = mark.split_once('=').unwrap();
        let directory = tempfile::tempdir().unwrap();
        let (output, temporary) = (directory.path().join("out"), directory.path().join("tmp"));
        fs::create_dir(&output).unwrap();
        fs::create_dir(&temporary).unwrap();
        // With a command to run the runner is there, too.
        let words_of = [web.name(), "-z", "true", "--print", "-n", "-C", "1"];
        let program = capture(&Engine::endpoint(), &output.join(FILE), &words_of);
        let mut running = program.env(key, value).env("TMPDIR", &temporary).start().unwrap();
        running.wait_for_line("capturing ", LIMIT).unwrap();
        let companions: Vec<String> =
            children(running.pid()).into_iter().map(|pid| words(pid)[0].clone()).collect();
        assert!(companions.contains(&"whaletap-opener".to_owned()), "{companions:?}");
        assert!(companions.contains(&"whaletap-runner".to_owned()), "{companions:?}");
        assert!(marked(&mark).len() >= 3, "this is how they are found");
        signal(running.pid(), name);
        let finished = running.wait().unwrap();
        assert_eq!(finished.code(), code, "{name}: {finished:?}");
        until("no process is left", ALONE, || marked(&mark).is_empty());
        assert_eq!(names(&output), [FILE], "{name}");
        assert_eq!(names(&temporary), [""; 0], "{name}");
        if code.is_some() {
            Records::read(output.join(FILE)).unwrap();
        }
    }
}

#[test]
fn sigkill_during_the_start_leaves_nothing() {
    const MOMENTS: [u64; 12] = [0, 1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96];
    let engine = Engine::shared().unwrap();
    let web = engine.run(idle("web")).unwrap();
    let mark = format!("WHALETAP_TEST_MARK={}", unique("start"));
    let (key, value) = mark.split_once('=').unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut begun = 0;
    for moment in MOMENTS {
        let words = [web.name(), "-z", "true", "-C", "1", "--", "vlan or tcp"];
        let program = capture(&Engine::endpoint(), &directory.path().join(FILE), &words);
        let running = program.env(key, value).start().unwrap();
        // There is nothing to be waited for: the moment itself is what is tried.
        std::thread::sleep(Duration::from_millis(moment));
        begun += usize::from(running.stderr().contains("capturing"));
        running.kill();
        until("no process is left", ALONE, || marked(&mark).is_empty());
    }
    assert!(begun < MOMENTS.len(), "some were killed before they captured");
    assert!(names(directory.path()).iter().all(|name| name == FILE));
    // The container's namespace is held by nobody: it goes with the container.
    let (pid, key) = (web.pid().unwrap(), web.sandbox_key().unwrap());
    let held = fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    drop(web);
    until("the sandbox is gone", LIMIT, || !is_mounted(&key));
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let link = fs::read_link(process.path().join("ns/net")).unwrap_or_default();
        assert_ne!(link, held, "{:?}", process.path());
    }
}

fn is_mounted(file: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let name = file.file_name().unwrap().to_str().unwrap();
    mounts.lines().any(|line| line.contains(&format!("/netns/{name} ")))
}

#[test]
fn a_file_that_was_cut_short_is_readable() {
    let engine = Engine::shared().unwrap();
    let web = engine.run(idle("web")).unwrap();
    let to = format!("{}:9", web.address().unwrap());
    let spec = ContainerSpec::new("db").traffic(&format!("udp --to {to} --rate 2000 --seconds 30"));
    let _db = engine.run(spec).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(FILE);
    let mut running = capture(&Engine::endpoint(), &file, &[web.name()]).start().unwrap();
    running.wait_for_line("capturing ", LIMIT).unwrap();
    until("something is written", LIMIT, || fs::metadata(&file).is_ok_and(|f| f.len() > 50_000));
    running.kill();
    // tshark reads what there is, and may say that it was cut short.
    let read = Program::new("tshark").arg("-n").arg("-r").arg(&file).finish().unwrap();
    assert!(read.stdout_text().lines().count() > 100, "{read:?}");
}
