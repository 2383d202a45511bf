//! Whose container a process is where no cgroup tells: by its monitor, the process of the engine's
//! that it is a child of. Containerd's shim and podman's conmon have the container's whole id in their
//! command lines, and so has the runtime that starts it.
//!
//! Rootless engines run containers in the cgroup of their user's session where they may not make
//! cgroups of their own. Anybody may write anything into a command line: so the monitor has to be
//! where the engine is, in its mount namespace, into which nobody gets out of a container.

use sys::process::{PidFd, is_container_id};

/// The container whose first process this is, by its monitor's command line. `None` when its parent
/// is none, or is not where the engine is.
pub(crate) fn container_of(process: &PidFd, engine: &PidFd) -> Option<String> {
    let monitor = process.parent().ok()??;
    // What is in a container has mounts of its own, so this is no child of its own kind.
    let is_monitor =
        monitor.shares_mounts_with(engine).ok()? && !process.shares_mounts_with(engine).ok()?;
    let named = is_monitor.then(|| only_id(&monitor.words().ok()?)).flatten()?;
    // All of that was about these two.
    (process.parent().ok()??.pid() == monitor.pid()).then_some(named)
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
}
