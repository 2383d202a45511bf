//! A member of the group that owns the engine's socket, without sudo: the engine's rights do, through
//! a helper container.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process,
};

use lab::{Engine, Program, Running};
use tempfile::TempDir;

use crate::{
    processes::marked,
    tap::{FILE, LIMIT, until},
};

/// Whoever is in the group of the shared engine's socket, and has no other rights.
pub(crate) struct Member {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Not root's, and the engine lets its members in.
    group: u32,
    home: TempDir,
    command: PathBuf,
}

impl Member {
    pub(crate) fn new() -> Self {
        // Nobody has these numbers: accounts are not needed, and would be shared with other tests.
        let uid = 2_000_000 + process::id() % 1_000_000;
        let home = tempfile::tempdir().unwrap();
        let command = home.path().join("whaletap");
        // Not every directory on the way to the one that cargo built in is everybody's.
        fs::copy(env!("CARGO_BIN_EXE_whaletap"), &command).unwrap();
        fs::copy(lab::agent::program().unwrap(), home.path().join("whaletap-agent")).unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let group = Engine::shared().unwrap().group().unwrap();
        Self { uid, gid: uid, group, home, command }
    }

    /// A directory of theirs.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let path = self.home.path().join(name);
        fs::create_dir(&path).unwrap();
        std::os::unix::fs::chown(&path, Some(self.uid), Some(self.gid)).unwrap();
        path
    }

    /// `whaletap WORDS…`, typed by them in a directory of theirs.
    pub(crate) fn whaletap(&self, directory: &Path, words: &[&str]) -> Program {
        Program::new("setpriv")
            .args([format!("--reuid={}", self.uid), format!("--regid={}", self.gid)])
            .args([format!("--groups={}", self.group)])
            .args(["--inh-caps=-all", "--bounding-set=-all", "--"])
            .arg(&self.command)
            .args(["--host", &Engine::endpoint()])
            .args(words)
            .current_dir(directory)
            .env("HOME", self.home.path())
            .env("TMPDIR", directory)
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("WHALETAP_AGENT")
    }
}

/// What is left of a helper: containers, by their names.
pub(crate) fn helpers(engine: &Engine) -> Vec<String> {
    let words = ["ps", "--all", "--filter", "label=whaletap.helper", "--format", "{{.Names}}"];
    let listed = engine.docker().args(words).run().unwrap().stdout_text();
    listed.lines().map(str::to_owned).collect()
}

/// The owner of a file and its permissions.
pub(crate) fn owner(path: &Path) -> (u32, u32) {
    let found = fs::metadata(path).unwrap();
    (found.uid(), found.mode() & 0o777)
}

/// The name of the helper of a whaletap process.
pub(crate) fn helper_of(pid: u32) -> String {
    let engine = Engine::shared().unwrap();
    let prefix = format!("whaletap-{pid}-");
    let mine: Vec<_> =
        helpers(&engine).into_iter().filter(|name| name.starts_with(&prefix)).collect();
    let [one] = mine.as_slice() else { panic!("{mine:?}") };
    one.clone()
}

/// Waits until nothing of it is left: no container, no process, no file but those that were asked for.
#[track_caller]
pub(crate) fn assert_gone(pid: u32, mark: &str, temporary: &Path) {
    let engine = Engine::shared().unwrap();
    let prefix = format!("whaletap-{pid}-");
    until("no process is left", LIMIT, || marked(mark).is_empty());
    let left: Vec<_> =
        helpers(&engine).into_iter().filter(|name| name.starts_with(&prefix)).collect();
    assert_eq!(left, [""; 0]);
    let names = fs::read_dir(temporary).unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<_> = names.filter(|name| name != FILE).collect();
    assert!(names.is_empty(), "{names:?}");
}

/// Started, when it captures.
pub(crate) fn begun(program: Program) -> Running {
    let mut running = program.start().unwrap();
    running.wait_for_line("capturing ", LIMIT).unwrap();
    running
}
