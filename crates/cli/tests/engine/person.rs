//! `sudo whaletap capture`, typed by somebody who is not root.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::PathBuf,
    process,
};

use lab::{Engine, Program, Records, Running, judge};
use tempfile::TempDir;

use crate::{
    processes::{children, of_threads, words},
    tap::{FILE, LIMIT, assert_ended, idle, mode, send, signal},
};

/// A user who may run whaletap by sudo, with a home of their own; gone when this is.
pub(crate) struct Person {
    name: String,
    pub(crate) uid: u32,
    drop_in: PathBuf,
    home: TempDir,
    command: PathBuf,
}

impl Person {
    pub(crate) fn new(which: &str) -> Self {
        let name = format!("wt-{which}-{}", process::id());
        let home = tempfile::tempdir().unwrap();
        let command = home.path().join("whaletap");
        let useradd = ["--no-create-home", "--shell", "/bin/sh", "--home-dir"];
        Program::new("useradd").args(useradd).arg(home.path()).arg(&name).run().unwrap();
        let uid = Program::new("id").args(["-u", &name]).run().unwrap().stdout_text();
        // A name with a dot would be passed over by sudo.
        let drop_in = PathBuf::from("/etc/sudoers.d").join(&name);
        let person = Self { name, uid: uid.trim().parse().unwrap(), drop_in, home, command };
        // Not every directory on the way to the one that cargo built in is everybody's.
        fs::copy(env!("CARGO_BIN_EXE_whaletap"), &person.command).unwrap();
        fs::set_permissions(person.home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let rule = format!("{} ALL=(root) NOPASSWD: {}\n", person.name, person.command.display());
        fs::write(&person.drop_in, rule).unwrap();
        fs::set_permissions(&person.drop_in, fs::Permissions::from_mode(0o440)).unwrap();
        person
    }

    /// A directory of theirs.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let path = self.home.path().join(name);
        fs::create_dir(&path).unwrap();
        std::os::unix::fs::chown(&path, Some(self.uid), Some(self.uid)).unwrap();
        path
    }

    /// `sudo whaletap WORDS…`, typed by them in a directory.
    pub(crate) fn sudo(&self, directory: &std::path::Path, words: &[&str]) -> Program {
        Program::new("setpriv")
            .args([format!("--reuid={}", self.uid), format!("--regid={}", self.uid)])
            .args(["--init-groups", "--", "sudo", "-n"])
            .arg(&self.command)
            .args(["-H", &Engine::endpoint()])
            .args(words)
            .current_dir(directory)
            .env("USER", &self.name)
            .env("HOME", self.home.path())
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.drop_in);
        let _ = Program::new("userdel").args(["--force", &self.name]).finish();
    }
}

/// The main process below sudo.
fn main_process(sudo: &Running) -> u32 {
    let mut pending = vec![sudo.pid()];
    while let Some(pid) = pending.pop() {
        let word = words(pid).first().cloned().unwrap_or_default();
        if word.ends_with("/whaletap") {
            return pid;
        }
        pending.extend(children(pid));
    }
    panic!("no whaletap below {}", sudo.pid());
}

#[test]
fn files_belong_to_the_person_and_the_main_process_has_no_rights() {
    let person = Person::new("sudo");
    let engine = Engine::shared().unwrap();
    let web = engine.run(idle("web")).unwrap();
    let db = engine.run(idle("db")).unwrap();
    let out = person.directory("out");
    // Without -w: a name of our own, in the directory where the person is.
    let typed = ["capture", web.name(), "-v", "-z", "true", "-C", "1", "--", "udp", "port", "9"];
    let mut sudo = person.sudo(&out, &typed).start().unwrap();
    sudo.wait_for_line("capturing ", LIMIT).unwrap();
    let pid = main_process(&sudo);
    send(&db, &web, 20, "--run 8");

    let threads = of_threads(pid, "Uid");
    assert!(threads.len() >= 2, "{threads:?}");
    for (field, expected) in [
        ("CapEff", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapInh", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
    ] {
        let values = of_threads(pid, field);
        assert!(values.iter().all(|value| value == expected), "{field}: {values:?}");
    }
    let uid = person.uid.to_string();
    for threads in [of_threads(pid, "Uid"), of_threads(pid, "Gid")] {
        for line in threads {
            assert!(line.split_whitespace().all(|id| id == uid), "{line}");
        }
    }
    for companion in children(pid) {
        let name = words(companion).remove(0);
        let effective = of_threads(companion, "CapEff").remove(0);
        let effective = u64::from_str_radix(&effective, 16).unwrap();
        match name.as_str() {
            // CAP_NET_RAW, CAP_SYS_PTRACE and CAP_SYS_ADMIN: capabilities(7) has the numbers.
            "whaletap-opener" => assert_eq!(effective, 1 << 13 | 1 << 19 | 1 << 21),
            "whaletap-runner" => {
                assert_eq!(effective, 0);
                assert!(of_threads(companion, "Uid")[0].starts_with(&uid));
            }
            other => panic!("who is {other}?"),
        }
    }
    assert!(
        sudo.stderr().contains("writes only beneath the output directory"),
        "{}",
        sudo.stderr()
    );
    signal(pid, "INT");
    let finished = sudo.wait().unwrap();
    assert_ended(&finished, 0, &["20 packets captured", "ended: stopped"]);
    let files: Vec<PathBuf> = fs::read_dir(&out).unwrap().map(|e| e.unwrap().path()).collect();
    let [file] = files.as_slice() else { panic!("{files:?}") };
    let metadata = fs::metadata(file).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (person.uid, person.uid));
    assert_eq!(mode(file), 0o600);
    assert_eq!(Records::read(file).unwrap().numbers(8).len(), 20);
    judge::all(file, true).unwrap();
}

#[test]
fn where_the_person_may_not_write_files_are_roots() {
    let person = Person::new("root");
    let engine = Engine::shared().unwrap();
    let web = engine.run(idle("web")).unwrap();
    let roots = tempfile::tempdir().unwrap();
    let file = roots.path().join(FILE);
    let words = ["capture", web.name(), "-w", file.to_str().unwrap()];
    let mut sudo = person.sudo(std::path::Path::new("/"), &words).start().unwrap();
    sudo.wait_for_line("capturing ", LIMIT).unwrap();
    let pid = main_process(&sudo);
    for field in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        assert!(of_threads(pid, field).iter().all(|value| value == "0000000000000000"), "{field}");
    }
    signal(pid, "INT");
    let finished = sudo.wait().unwrap();
    let warning = format!("warning: uid {} cannot write into", person.uid);
    assert_ended(&finished, 0, &[&warning, "no capabilities are kept"]);
    assert_eq!((fs::metadata(&file).unwrap().uid(), mode(&file)), (0, 0o600));
}

/// A link that leads out of the output directory is not followed: nothing can be written there.
#[test]
fn nothing_is_written_outside_the_output_directory() {
    let person = Person::new("link");
    let engine = Engine::shared().unwrap();
    let web = engine.run(idle("web")).unwrap();
    let db = engine.run(idle("db")).unwrap();
    let (out, elsewhere) = (person.directory("out"), person.directory("elsewhere"));
    let victim = elsewhere.join("victim");
    fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::chown(&victim, Some(person.uid), Some(person.uid)).unwrap();
    // tcpdump's name of the second file.
    std::os::unix::fs::symlink(&victim, out.join(format!("{FILE}1"))).unwrap();
    let file = out.join(FILE);
    let words = ["capture", web.name(), "-C", "1", "-w", file.to_str().unwrap()];
    let mut sudo = person.sudo(&out, &words).start().unwrap();
    sudo.wait_for_line("capturing ", LIMIT).unwrap();
    send(&db, &web, 1000, "--size 1400 --rate 4000");
    let finished = sudo.wait().unwrap();
    assert_ended(
        &finished,
        1,
        &["cannot create", "a link or something else that is no file stands there"],
    );
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    judge::all(&file, true).unwrap();
}
