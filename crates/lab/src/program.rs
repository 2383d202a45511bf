use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use crate::{
    Error, Namespace,
    output::{Lines, Output},
};

/// How long a program may live when nothing else was said.
const LIMIT: Duration = Duration::from_secs(30);
/// How long a pipe may stay open after its program ended: grandchildren can hold it.
const PIPE_LINGERS: Duration = Duration::from_secs(1);

/// A program to be run, with a limit on its life.
///
/// # Examples
///
/// ```no_run
/// # fn main() -> Result<(), whaletap_lab::Error> {
/// let finished = whaletap_lab::Program::new("ip").args(["-brief", "link"]).run()?;
/// assert!(finished.stdout_text().contains("lo"));
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use]
pub struct Program {
    name: OsString,
    args: Vec<OsString>,
    variables: Vec<(OsString, Option<OsString>)>,
    netns: Option<OsString>,
    directory: Option<OsString>,
    input: Option<Vec<u8>>,
    held: bool,
    stdout: Option<File>,
    limit: Duration,
    group: bool,
}

impl Program {
    /// A program by name or path.
    pub fn new(name: impl AsRef<OsStr>) -> Self {
        Self {
            name: name.as_ref().to_owned(),
            args: Vec::new(),
            variables: Vec::new(),
            netns: None,
            directory: None,
            input: None,
            held: false,
            stdout: None,
            limit: LIMIT,
            group: false,
        }
    }

    /// One more argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Runs inside a network namespace; every other namespace stays the caller's.
    pub fn inside(self, namespace: &Namespace) -> Self {
        self.inside_path(namespace.path())
    }

    /// Runs inside the network namespace that this file stands for.
    pub fn inside_path(mut self, netns: impl AsRef<Path>) -> Self {
        self.netns = Some(netns.as_ref().as_os_str().to_owned());
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((key.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    /// Takes an environment variable away.
    pub fn env_remove(mut self, key: impl AsRef<OsStr>) -> Self {
        self.variables.push((key.as_ref().to_owned(), None));
        self
    }

    /// Runs in this directory.
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.directory = Some(directory.as_ref().as_os_str().to_owned());
        self
    }

    /// Bytes for its standard input, which is closed after them. Without them it reads nothing.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Leaves its standard input open, for [`Running::write_stdin`].
    pub fn stdin_held(mut self) -> Self {
        self.held = true;
        self
    }

    /// Lets its standard output go into a file (or a pipe's end) instead of being kept.
    pub fn stdout_to(mut self, file: impl Into<OwnedFd>) -> Self {
        self.stdout = Some(File::from(file.into()));
        self
    }

    /// How long it may live, from its start; 30 s when not said.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Makes it the leader of a process group of its own, so that a signal of the terminal does
    /// not reach it.
    pub fn own_group(mut self) -> Self {
        self.group = true;
        self
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// [`Error::Start`] when it cannot be started.
    pub fn start(self) -> Result<Running, Error> {
        let described = self.described();
        let mut command = match &self.netns {
            Some(netns) => {
                let mut option = OsString::from("--net=");
                option.push(netns);
                let mut command = Command::new("nsenter");
                // nsenter becomes the program by exec: its pid is the program's.
                command.arg(option).arg("--").arg(&self.name);
                command
            }
            None => Command::new(&self.name),
        };
        command.args(&self.args);
        for (key, value) in &self.variables {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        if self.group {
            std::os::unix::process::CommandExt::process_group(&mut command, 0);
        }
        let piped = self.held || self.input.is_some();
        command.stdin(if piped { Stdio::piped() } else { Stdio::null() });
        command.stdout(match self.stdout {
            Some(file) => Stdio::from(file),
            None => Stdio::piped(),
        });
        command.stderr(Stdio::piped());

        let failed = |source| Error::Start { program: described.clone(), source };
        let mut child = command.spawn().map_err(failed)?;
        // Gives back the command's copies of a pipe, or its reader would never see an end.
        drop(command);
        let pidfd = Pid::from_raw(i32::try_from(child.id()).unwrap_or(0))
            .ok_or(rustix::io::Errno::SRCH)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
        let pidfd = match pidfd {
            Ok(pidfd) => pidfd,
            Err(errno) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Error::Start { program: described, source: errno.into() });
            }
        };
        let mut held = child.stdin.take();
        if let Some(input) = self.input
            && let Some(mut stdin) = held.take()
        {
            // On a thread: a program that writes before it reads would block us.
            thread::spawn(move || {
                // A program may end without having read all: that is its right.
                let _ = stdin.write_all(&input);
            });
        }
        let stdout = child.stdout.take().map_or_else(Output::elsewhere, Output::follow);
        let stderr = child.stderr.take().map_or_else(Output::elsewhere, Output::follow);
        Ok(Running {
            described,
            child,
            held,
            pidfd,
            stdout,
            stderr,
            limit: self.limit,
            ends: Instant::now() + self.limit,
            status: None,
        })
    }

    /// Runs it to its end and takes any end for good.
    ///
    /// # Errors
    ///
    /// [`Error::Start`] and [`Error::TimedOut`].
    pub fn finish(self) -> Result<Finished, Error> {
        self.start()?.wait()
    }

    /// Runs it to its end, which must be a success.
    ///
    /// # Errors
    ///
    /// [`Error::Start`], [`Error::TimedOut`], and [`Error::Failed`] for any other status.
    pub fn run(self) -> Result<Finished, Error> {
        self.finish()?.success()
    }

    fn described(&self) -> String {
        let mut text = self.name.to_string_lossy().into_owned();
        for arg in &self.args {
            text.push(' ');
            text.push_str(&arg.to_string_lossy());
        }
        text
    }
}

/// A started program. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    described: String,
    child: Child,
    held: Option<ChildStdin>,
    pidfd: OwnedFd,
    stdout: Arc<Output>,
    stderr: Arc<Output>,
    limit: Duration,
    ends: Instant,
    status: Option<ExitStatus>,
}

impl Running {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to its standard error until now.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// What it has written to its standard output until now.
    #[must_use]
    pub fn stdout(&self) -> Vec<u8> {
        self.stdout.kept().bytes.clone()
    }

    /// Waits until its standard error holds a whole line (ended by a newline or a carriage
    /// return) for which `wanted` is in it, and gives that line.
    ///
    /// # Errors
    ///
    /// [`Error::NotSaid`] when it ended, or the limit passed, before.
    pub fn wait_for_line(&mut self, wanted: &str, limit: Duration) -> Result<String, Error> {
        self.wait_for(wanted, limit, |line| line.contains(wanted))
    }

    /// Like [`Running::wait_for_line`] with a condition; `wanted` names it for people.
    ///
    /// # Errors
    ///
    /// [`Error::NotSaid`] when it ended, or the limit passed, before.
    pub fn wait_for(
        &mut self,
        wanted: &str,
        limit: Duration,
        matches: impl FnMut(&str) -> bool,
    ) -> Result<String, Error> {
        self.stderr
            .wait_for_line(limit, Lines::Whole, matches)
            .ok_or_else(|| self.not_said(wanted, limit))
    }

    /// Like [`Running::wait_for`], but a line that is not ended yet counts too: for counters that
    /// write over themselves.
    ///
    /// # Errors
    ///
    /// [`Error::NotSaid`] when it ended, or the limit passed, before.
    pub fn wait_for_counter(
        &mut self,
        wanted: &str,
        limit: Duration,
        matches: impl FnMut(&str) -> bool,
    ) -> Result<String, Error> {
        self.stderr
            .wait_for_line(limit, Lines::AndUnfinished, matches)
            .ok_or_else(|| self.not_said(wanted, limit))
    }

    /// Like [`Running::wait_for_line`], on its standard output.
    ///
    /// # Errors
    ///
    /// [`Error::NotSaid`] when it ended, or the limit passed, before.
    pub fn wait_for_stdout(&mut self, wanted: &str, limit: Duration) -> Result<String, Error> {
        self.stdout
            .wait_for_line(limit, Lines::Whole, |line| line.contains(wanted))
            .ok_or_else(|| self.not_said(wanted, limit))
    }

    fn not_said(&self, wanted: &str, limit: Duration) -> Error {
        Error::NotSaid {
            program: self.described.clone(),
            wanted: wanted.to_owned(),
            limit,
            stderr: self.stderr.text(),
        }
    }

    /// Writes to its standard input, which was left open with [`Program::stdin_held`].
    ///
    /// # Errors
    ///
    /// [`Error::Call`] when it is not open, or the program does not read any more.
    pub fn write_stdin(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = match &mut self.held {
            Some(stdin) => stdin.write_all(bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        written.map_err(Error::call("write", self.described.clone()))
    }

    /// Closes its standard input.
    pub fn close_stdin(&mut self) {
        self.held = None;
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// [`Error::Call`] when it has ended already.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        pidfd_send_signal(&self.pidfd, signal)
            .map_err(Error::call("pidfd_send_signal", self.described.clone()))
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_alive(&mut self) -> bool {
        self.status.is_none() && !self.ended_within(Duration::ZERO)
    }

    /// Closes its standard input and waits for its end.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] when it lived longer than its limit; it is killed then.
    pub fn wait(mut self) -> Result<Finished, Error> {
        self.close_stdin();
        if !self.ended_within(self.ends.saturating_duration_since(Instant::now())) {
            self.end();
            return Err(Error::TimedOut {
                program: self.described.clone(),
                limit: self.limit,
                stderr: self.stderr.text(),
            });
        }
        let status = self.reap().map_err(Error::call("waitpid", self.described.clone()))?;
        self.stdout.wait_for_end(PIPE_LINGERS);
        self.stderr.wait_for_end(PIPE_LINGERS);
        let stdout = std::mem::take(&mut self.stdout.kept().bytes);
        Ok(Finished { program: self.described.clone(), status, stdout, stderr: self.stderr.text() })
    }

    /// Waits for its end, at most this long from now.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] when it had to be killed.
    pub fn wait_at_most(mut self, limit: Duration) -> Result<Finished, Error> {
        self.limit = limit;
        self.ends = Instant::now() + limit;
        self.wait()
    }

    /// Sends SIGINT and waits for its end.
    ///
    /// # Errors
    ///
    /// Those of [`Running::wait`].
    pub fn interrupt(self) -> Result<Finished, Error> {
        // It may have ended by itself a moment ago: then there is only an end to collect.
        let _ = self.signal(Signal::INT);
        self.wait()
    }

    /// Kills it and waits until it is gone.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = self.reap();
    }

    fn reap(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait()?;
        self.status = Some(status);
        Ok(status)
    }

    fn ended_within(&self, limit: Duration) -> bool {
        let ends = Instant::now() + limit;
        loop {
            let left = ends.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
            match poll(
                &mut [PollFd::from_borrowed_fd(self.pidfd.as_fd(), PollFlags::IN)],
                Some(&timeout),
            ) {
                Ok(0) if left.is_zero() => return false,
                Ok(0) | Err(_) => {}
                Ok(_) => return true,
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.end();
        }
    }
}

/// What a program left when it had ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The program and its arguments.
    pub program: String,
    /// How it ended.
    pub status: ExitStatus,
    /// All that it wrote to its standard output.
    pub stdout: Vec<u8>,
    /// All that it wrote to its standard error, with what is not UTF-8 replaced.
    pub stderr: String,
}

impl Finished {
    /// Its standard output as text, with what is not UTF-8 replaced.
    #[must_use]
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Its exit code; `None` when a signal ended it.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Itself, if it ended well.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] if not.
    pub fn success(self) -> Result<Self, Error> {
        if self.status.success() {
            return Ok(self);
        }
        let mut stderr = self.stderr;
        if stderr.is_empty() {
            stderr = String::from_utf8_lossy(&self.stdout).into_owned();
        }
        Err(Error::Failed { program: self.program, status: self.status, stderr })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_gives_its_outputs_and_its_code() {
        let finished = Program::new("sh")
            .args(["-c", "cat; echo said >&2; exit 3"])
            .input("asked")
            .finish()
            .unwrap();
        assert_eq!(finished.stdout, b"asked");
        assert_eq!(finished.stderr, "said\n");
        assert_eq!(finished.code(), Some(3));
        assert!(matches!(finished.success(), Err(Error::Failed { .. })));
    }

    #[test]
    fn a_program_that_outlives_its_limit_is_killed() {
        let running = Program::new("sleep").arg("60").limit(Duration::from_millis(50));
        let running = running.start().unwrap();
        let pid = running.pid();
        assert!(matches!(running.wait(), Err(Error::TimedOut { .. })));
        assert!(crate::name::is_gone(pid));
    }

    #[test]
    fn dropping_a_program_kills_it() {
        let mut running = Program::new("sleep").arg("60").start().unwrap();
        assert!(running.is_alive());
        let pid = running.pid();
        drop(running);
        assert!(crate::name::is_gone(pid));
    }

    #[test]
    fn lines_are_found_whatever_ends_them() {
        let mut running = Program::new("sh")
            .args(["-c", "printf 'one\\rtwo 2\\nthree' >&2; sleep 60"])
            .start()
            .unwrap();
        assert_eq!(running.wait_for_line("two", Duration::from_secs(5)).unwrap(), "two 2");
        let early = running.wait_for_line("four", Duration::from_millis(20));
        assert!(matches!(early, Err(Error::NotSaid { .. })));
        assert_eq!(running.wait_for_line("three", Duration::from_millis(20)).unwrap(), "three");
    }
}
