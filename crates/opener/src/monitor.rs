//! Whose container a process is where no cgroup tells: by its monitor, the process of the engine's
//! that it is a child of. Containerd's shim and podman's conmon have the container's whole id in their
//! command lines, and so has the runtime that starts it.
//!
//! Rootless engines run containers in the cgroup of their user's session where they may not make
//! cgroups of their own. Anybody may write anything into a command line: so the monitor has to be
//! where the engine is, in a mount namespace of its own, into which nobody gets but its owner and root.
//! An engine with the machine's mounts has no such place, and makes cgroups: its monitors prove nothing.

use std::process;

use sys::process::{PidFd, is_container_id};

/// The container whose first process this is, by its monitor's command line. `None` when its parent
/// is none, or is not where the engine is.
pub(crate) fn container_of(first: &PidFd, engine: &PidFd) -> Option<String> {
    if has_the_machines_mounts(engine)? {
        return None;
    }
    let monitor = first.parent().ok()??;
    // What is in a container has mounts of its own, so this is no child of its own kind.
    let is_monitor =
        monitor.shares_mounts_with(engine).ok()? && !first.shares_mounts_with(engine).ok()?;
    let named = is_monitor.then(|| only_id(&monitor.words().ok()?)).flatten()?;
    // All of that was about these two.
    (first.parent().ok()??.pid() == monitor.pid()).then_some(named)
}

/// Whether an engine is where everybody is. The first process may be looked at by root alone; whoever is
/// nobody's root is among the machine's mounts itself.
fn has_the_machines_mounts(engine: &PidFd) -> Option<bool> {
    let is_where = |pid| engine.shares_mounts_with(&PidFd::open(pid).ok()?).ok();
    Some(is_where(process::id())? || is_where(1).unwrap_or(false))
}

/// The one container's id that is among words. The monitor of a program that was started in a
/// container later has a second one.
fn only_id(words: &[String]) -> Option<String> {
    let mut ids = words.iter().filter(|word| is_container_id(word));
    let first = ids.next()?;
    ids.all(|id| id == first).then(|| first.clone())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader},
        process::{Child, Command, Stdio},
    };

    use super::*;

    const ID: &str = "3f2a9d0c1b4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8";

    #[test]
    fn a_monitors_words_have_one_id() {
        let other = ID.replace('3', "4");
        let found = |line: &str| {
            let line = line.replace("ID", ID).replace("OTHER", &other);
            only_id(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
        };
        for monitor in [
            "/usr/bin/conmon --api-version 1 -c ID -u ID -r /usr/bin/runc -b /x/ID/userdata -n web",
            "/usr/bin/containerd-shim-runc-v2 -namespace moby -id ID -address /x/containerd.sock",
            "runc --log /x/ID/log.json --log-format json create --bundle /x/ID ID",
        ] {
            assert_eq!(found(monitor).as_deref(), Some(ID), "{monitor}");
        }
        for other in ["conmon -c ID -u OTHER --exec-attach", "sh -c /x/ID", "-n xID", ""] {
            assert_eq!(found(other), None, "{other}");
        }
    }

    /// A process with an id among its words that has a child with mounts of its own: what a monitor is,
    /// and what anybody can start.
    struct Pair {
        monitor: Child,
        first: PidFd,
    }

    impl Pair {
        /// `around` is what it is started by.
        fn start(around: &[&str]) -> Self {
            let script = "unshare --mount sh -c 'echo $$; read x'; true";
            let words = [around, &["sh", "-c", script, "sh", ID]].concat();
            let mut monitor = Command::new(words[0])
                .args(&words[1..])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            BufReader::new(monitor.stdout.take().unwrap()).read_line(&mut line).unwrap();
            let first = PidFd::open(line.trim().parse().unwrap()).unwrap();
            Self { monitor, first }
        }

        fn monitor(&self) -> PidFd {
            PidFd::open(self.monitor.id()).unwrap()
        }

        fn end(mut self) -> PidFd {
            drop(self.monitor.stdin.take());
            self.monitor.wait().unwrap();
            self.first
        }
    }

    #[test]
    fn a_process_is_known_by_its_monitor_where_the_engine_has_mounts_of_its_own() {
        let pair = Pair::start(&["unshare", "--mount"]);
        // It has become the shell, in the mounts that an engine would have.
        let engine = pair.monitor();
        assert_eq!(container_of(&pair.first, &engine).as_deref(), Some(ID));
        assert_eq!(
            container_of(&pair.first, &pair.first),
            None,
            "who is in a container is no engine"
        );
        assert_eq!(container_of(&engine, &engine), None, "it is no container's");
        let elsewhere = Pair::start(&["unshare", "--mount"]);
        assert_eq!(
            container_of(&pair.first, &elsewhere.monitor()),
            None,
            "it is not where that is"
        );
        elsewhere.end();
        assert_eq!(container_of(&pair.end(), &engine), None, "it has ended");
    }

    /// Everybody is where such an engine is: whoever reads an id can write it into a command line.
    #[test]
    fn an_engine_with_the_machines_mounts_has_no_monitors() {
        let forged = Pair::start(&[]);
        let engine = PidFd::open(process::id()).unwrap();
        assert!(forged.monitor().shares_mounts_with(&engine).unwrap());
        assert!(!forged.first.shares_mounts_with(&engine).unwrap());
        assert_eq!(container_of(&forged.first, &engine), None);
        forged.end();
    }
}
