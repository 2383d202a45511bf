//! A process's lifetime as a text: by it others can tell, later and from elsewhere, that the
//! process has ended, although its number is another's by now.

use std::{fmt, fs, path::Path, str::FromStr};

use crate::{Error, machine, process::start_ticks};

/// In which world the process's number is to be read (`namespaces(7)`).
const PID_NAMESPACE: &str = "/proc/self/ns/pid";
/// What stands between the parts of the text.
const BETWEEN: char = '.';

/// Which process, in which run of which machine.
///
/// As a text it has lower-case letters, digits, dashes and dots, and is shorter than 100 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifetime {
    boot: String,
    /// The inode of its pid namespace.
    namespace: u64,
    pid: u32,
    /// When it was started, in clock ticks after the machine.
    start: u64,
}

/// What can be said of a lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The process runs.
    Runs,
    /// It has ended.
    Over,
    /// It is another machine's, another run's of this one, or of a pid namespace that is not the
    /// asking one's: nobody here can say.
    Elsewhere,
}

impl Lifetime {
    /// That of this process.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn own() -> Result<Self, Error> {
        let pid = std::process::id();
        let (boot, namespace) = world()?;
        let start = start(pid)?.ok_or(Error::Malformed { what: "our own status does not read" })?;
        Ok(Self { boot, namespace, pid, start })
    }

    /// The process's number, in its own pid namespace.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// A name that no other process has at the same time, also on another machine as far as eight
    /// digits tell them apart: 4711-81723-3f2a9d0c. Letters of lower case, digits and dashes.
    #[must_use]
    pub fn short(&self) -> String {
        let boot = self.boot.get(..8).unwrap_or_default();
        format!("{}-{}-{boot}", self.pid, self.start)
    }

    /// The lifetime that another process of this one's world has as its [`short`](Self::short) name.
    /// `None` where it is of another run of the machine, or no such name.
    #[must_use]
    pub fn beside(&self, short: &str) -> Option<Self> {
        let mut parts = short.split('-');
        let (pid, start) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let same = parts.next() == self.boot.get(..8) && parts.next().is_none();
        same.then(|| Self { pid, start, ..self.clone() })
    }

    /// Whether the process has ended.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn state(&self) -> Result<State, Error> {
        let (boot, namespace) = world()?;
        if boot != self.boot || namespace != self.namespace {
            return Ok(State::Elsewhere);
        }
        Ok(if start(self.pid)? == Some(self.start) { State::Runs } else { State::Over })
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { boot, namespace, pid, start } = self;
        write!(f, "{boot}{BETWEEN}{namespace}{BETWEEN}{pid}{BETWEEN}{start}")
    }
}

impl FromStr for Lifetime {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let read = || {
            let mut parts = text.split(BETWEEN);
            let boot = parts.next().filter(|boot| is_boot(boot))?.to_owned();
            let namespace = parts.next()?.parse().ok()?;
            let (pid, start) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            parts.next().is_none().then_some(Self { boot, namespace, pid, start })
        };
        read().ok_or(Error::Malformed { what: "a lifetime that does not read" })
    }
}

fn is_boot(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// This run of this machine, and our own pid namespace.
fn world() -> Result<(String, u64), Error> {
    let boot = machine::boot_id()?;
    if !is_boot(&boot) {
        return Err(Error::Malformed { what: "the machine's boot id does not read" });
    }
    let namespace = fs::read_link(PID_NAMESPACE).map_err(Error::path("readlink", PID_NAMESPACE))?;
    let namespace = inode(&namespace)
        .ok_or(Error::Malformed { what: "the name of the pid namespace does not read" })?;
    Ok((boot, namespace))
}

/// `pid:[4026531836]`.
fn inode(link: &Path) -> Option<u64> {
    link.to_str()?.strip_prefix("pid:[")?.strip_suffix(']')?.parse().ok()
}

/// When a process was started; `None` where there is none, or only what its parent has yet to
/// collect.
fn start(pid: u32) -> Result<Option<u64>, Error> {
    let path = format!("/proc/{pid}/stat");
    match fs::read(&path) {
        Ok(stat) => {
            let stat = String::from_utf8_lossy(&stat);
            // Behind the name's last bracket stands the state (proc_pid_stat(5)).
            let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
            let is_dead = state.is_some_and(|state| state.starts_with(['Z', 'X']));
            Ok(if is_dead { None } else { start_ticks(&stat) })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        // ESRCH: it has ended between open and read.
        Err(error) if error.raw_os_error() == Some(3) => Ok(None),
        Err(error) => Err(Error::path("read", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::process::PidFd;

    #[test]
    fn our_own_lifetime_goes_on_and_reads_back() {
        let own = Lifetime::own().unwrap();
        let text = own.to_string();
        assert!(text.len() < 100, "{text}");
        let back: Lifetime = text.parse().unwrap();
        assert_eq!((back.state().unwrap(), back.pid()), (State::Runs, std::process::id()));
        assert_eq!(own.beside(&own.short()), Some(own.clone()));
        assert_eq!(own.beside(&format!("{}0", own.short())), None);
        assert_eq!(own.beside("1-2"), None);
    }

    #[test]
    fn a_process_that_has_ended_is_over_whoever_has_its_number() {
        let own = Lifetime::own().unwrap();
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let start = start(child.id()).unwrap().unwrap();
        let theirs = Lifetime { pid: child.id(), start, ..own.clone() };
        assert_eq!(theirs.state().unwrap(), State::Runs);
        child.kill().unwrap();
        // Collected or not.
        let pidfd = PidFd::open(child.id()).unwrap();
        while pidfd.is_alive().unwrap() {
            std::thread::yield_now();
        }
        assert_eq!(theirs.state().unwrap(), State::Over);
        child.wait().unwrap();
        assert_eq!(theirs.state().unwrap(), State::Over);
        let another = Lifetime { start: own.start + 1, ..own };
        assert_eq!(another.state().unwrap(), State::Over);
    }

    #[test]
    fn of_other_machines_nothing_is_said() {
        let own = Lifetime::own().unwrap();
        let boot = "00000000-0000-0000-0000-000000000000".to_owned();
        let elsewhere = [
            Lifetime { boot, ..own.clone() },
            Lifetime { namespace: own.namespace + 1, ..own.clone() },
        ];
        for lifetime in elsewhere {
            assert_eq!(lifetime.state().unwrap(), State::Elsewhere);
        }
    }

    #[test]
    fn what_is_no_lifetime_is_refused() {
        let own = Lifetime::own().unwrap().to_string();
        for text in ["", "...", "a.b.c.d", &own[1..], &format!("{own}.1"), &format!("{own}x")] {
            assert!(text.parse::<Lifetime>().is_err(), "{text}");
        }
    }
}
