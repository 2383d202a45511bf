use std::{
    cell::Cell,
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
    process::Child,
    time::{Duration, Instant},
};

use model::Connection;
use sys::{
    channel::Channel,
    companion,
    poll::{Poller, Trigger},
    privileges::User,
    signals::Signal,
};

use super::{
    ARGV0, News,
    message::{self, MAX_COMMAND, Order, PIECE},
};
use crate::Error;

/// How long the end waits for what becomes of the last command.
const LAST_COMPLAINTS: Duration = Duration::from_millis(250);
/// How long the end waits for the printing program, which has been told that nothing follows.
const PRINTING_ENDS: Duration = Duration::from_secs(5);
/// How long the runner may take to find the connection of a program.
const TRACED_WITHIN: Duration = Duration::from_secs(2);
/// `errno(3)`.
const E2BIG: i32 = 7;

/// A running runner process. It ends when this is dropped; the commands go on.
#[derive(Debug)]
pub(crate) struct Runner {
    channel: Channel,
    _child: Option<Child>,
    /// The printing program has not ended.
    prints: Cell<bool>,
    /// There was a command in the background.
    ran: Cell<bool>,
}

impl Runner {
    /// Starts it. Its first message is the user to become.
    pub(crate) fn start(user: Option<&User>) -> Result<Self, Error> {
        Self::greeted(companion::start(OsStr::new(ARGV0))?, user)
    }

    /// Starts one that is to run a command in the foreground: in the caller's session, so that the
    /// command has the caller's terminal.
    pub(crate) fn start_for_foreground(user: Option<&User>) -> Result<Self, Error> {
        Self::greeted(companion::start_in_our_session(OsStr::new(ARGV0))?, user)
    }

    fn greeted((child, channel): (Child, Channel), user: Option<&User>) -> Result<Self, Error> {
        let runner = Self::over(channel, Some(child));
        runner.channel.send(message::user(user).as_bytes(), &[])?;
        Ok(runner)
    }

    fn over(channel: Channel, child: Option<Child>) -> Self {
        Self { channel, _child: child, prints: Cell::new(false), ran: Cell::new(false) }
    }

    /// Runs a command with the lowest priority. What becomes of it is told by [`Runner::news`].
    pub(crate) fn run(&self, command: &[&str]) -> Result<(), Error> {
        self.ran.set(true);
        self.send(Order::Background, command, &[])
    }

    /// As [`Runner::run`], for a command that is told something on its standard input.
    pub(crate) fn run_told(&self, command: &[&str], stdin: &File) -> Result<(), Error> {
        self.ran.set(true);
        self.send(Order::Background, command, &[stdin.as_fd()])
    }

    /// Runs a command that reads from `stdin` and writes to our standard output.
    pub(crate) fn run_reading(&self, command: &[&str], stdin: &File) -> Result<(), Error> {
        // The runner's own standard output leads nowhere.
        let stdout = io::stdout();
        self.send(Order::Reading, command, &[stdin.as_fd(), stdout.as_fd()])?;
        self.prints.set(true);
        Ok(())
    }

    /// Runs a command with our standard input, output and error. That it runs is told by
    /// [`News::Started`], and what became of it by [`News::Ended`]; to be called once.
    pub(crate) fn start_foreground(&self, command: &[OsString]) -> Result<(), Error> {
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let streams = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        self.send(Order::Foreground, command, &streams)
    }

    /// Sends that command a signal, unless it has ended.
    ///
    /// For signals that came to us alone: what a key of the terminal sends reaches the command
    /// without us, see [`sys::signals::Arrival`].
    pub(crate) fn signal_foreground(&self, signal: Signal) -> Result<(), Error> {
        Ok(self.channel.send(&Order::Signal.with(&[message::letter(signal)]), &[])?)
    }

    /// Runs a program that leads to an engine, until the reader of `held` is away. What becomes of
    /// it is told by its own streams only.
    pub(crate) fn run_dialling(
        &self,
        command: &[OsString],
        stream: BorrowedFd<'_>,
        stderr: BorrowedFd<'_>,
        held: BorrowedFd<'_>,
    ) -> Result<(), Error> {
        self.send(Order::Dialling, command, &[stream, stderr, held])
    }

    /// By which TCP connection a program leads to an engine that was started with this `stream`'s
    /// number ([`Runner::run_dialling`]), as far as that is known. For runners that tell nothing else.
    pub(crate) fn trace(&self, stream: u64) -> Option<Connection> {
        self.channel.send(&Order::Trace.with(stream.to_string().as_bytes()), &[]).ok()?;
        let mut poller = Poller::new().ok()?;
        poller.add(&self.channel, 0, Trigger::Level).ok()?;
        let asked = Instant::now();
        loop {
            let left = TRACED_WITHIN.saturating_sub(asked.elapsed());
            if poller.wait(Some(left)).ok()?.is_empty() {
                return None;
            }
            match self.news()? {
                News::Traced { stream: of, connection } if of == stream => return connection,
                // The answer to a question that was given up.
                _ => {}
            }
        }
    }

    fn send<W: AsRef<OsStr>>(
        &self,
        order: Order,
        command: &[W],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), Error> {
        let bytes = message::join(command);
        if bytes.len() > MAX_COMMAND {
            let command = command.first().map(|word| word.as_ref().to_string_lossy());
            return Err(Error::Command {
                command: command.unwrap_or_default().into_owned(),
                source: io::Error::from_raw_os_error(E2BIG),
            });
        }
        let mut pieces: Vec<&[u8]> = bytes.chunks(PIECE).collect();
        let last = pieces.pop().unwrap_or_default();
        for piece in pieces {
            self.channel.send(&Order::Words.with(piece), &[])?;
        }
        Ok(self.channel.send(&order.with(last), descriptors)?)
    }

    /// What to wait on for [`Runner::news`].
    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// What has happened. To be called when the channel is readable; `None` when the runner has
    /// ended.
    pub(crate) fn news(&self) -> Option<News> {
        let news = News::parse(&self.channel.receive().ok()?.bytes)?;
        if matches!(news, News::PrintingEnded) {
            self.prints.set(false);
        }
        Some(news)
    }

    /// What happens at the end, when no order follows: until the printing program has ended, which
    /// may still have lines to write, and within a moment after the last command. Commands that
    /// run longer go on by themselves, and nobody is left to hear of them.
    pub(crate) fn last_news(&self) -> Vec<News> {
        let mut all = Vec::new();
        let Ok(mut poller) = Poller::new() else { return all };
        if poller.add(&self.channel, 0, Trigger::Level).is_err() {
            return all;
        }
        let begun = Instant::now();
        loop {
            let patience = if self.prints.get() {
                PRINTING_ENDS.saturating_sub(begun.elapsed())
            } else if self.ran.get() {
                LAST_COMPLAINTS
            } else {
                return all;
            };
            if !poller.wait(Some(patience)).is_ok_and(|keys| !keys.is_empty()) {
                return all;
            }
            match self.news() {
                Some(news) => all.push(news),
                None => return all,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Seek as _, SeekFrom, Write as _},
        os::{fd::OwnedFd, unix::net::UnixStream},
        thread,
    };

    use sys::privileges::Account;

    use super::*;
    use crate::{CommandEnd, runner::server};

    /// How long anything may take that takes a moment.
    const LIMIT: Duration = Duration::from_secs(10);

    /// A runner on a thread of this process: everything but its beginning.
    fn runner() -> Runner {
        runner_of(None)
    }

    fn runner_of(account: Option<Account>) -> Runner {
        let (ours, theirs) = Channel::pair().unwrap();
        thread::spawn(move || server::run_commands(&theirs, account.as_ref()));
        Runner::over(ours, None)
    }

    #[track_caller]
    fn next(runner: &Runner) -> News {
        let mut poller = Poller::new().unwrap();
        poller.add(runner.channel(), 0, Trigger::Level).unwrap();
        assert_eq!(poller.wait(Some(LIMIT)).unwrap(), [0], "nothing was told in time");
        runner.news().unwrap()
    }

    /// Starts a command with these streams instead of ours.
    fn start(runner: &Runner, words: &[&str], input: &File, output: &File) {
        let streams = [input.as_fd(), output.as_fd(), output.as_fd()];
        runner.send(Order::Foreground, words, &streams).unwrap();
    }

    fn null() -> File {
        File::options().read(true).write(true).open("/dev/null").unwrap()
    }

    #[track_caller]
    fn end(runner: &Runner, words: &[&str]) -> CommandEnd {
        start(runner, words, &null(), &null());
        match next(runner) {
            News::Started { pid } => assert!(pid > 0),
            News::Ended(end) => return end,
            other => panic!("{other:?}"),
        }
        match next(runner) {
            News::Ended(end) => end,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_end_is_told_as_it_was() {
        for (line, code) in [("true", 0), ("exit 3", 3), ("exit 255", 255)] {
            let end = end(&runner(), &["sh", "-c", line]);
            assert!(matches!(end, CommandEnd::Exited { code: found } if found == code), "{end:?}");
        }
        let killed = end(&runner(), &["sh", "-c", "kill -9 $$"]);
        assert!(matches!(killed, CommandEnd::Killed { signal: 9 }), "{killed:?}");
    }

    #[test]
    fn what_cannot_be_started_says_why() {
        for (program, kind) in [
            ("/does/not/exist", io::ErrorKind::NotFound),
            ("no-program-has-this-name", io::ErrorKind::NotFound),
            ("/", io::ErrorKind::PermissionDenied),
        ] {
            match end(&runner(), &[program]) {
                CommandEnd::NotStarted { source } => assert_eq!(source.kind(), kind, "{program}"),
                other => panic!("{program}: {other:?}"),
            }
        }
    }

    #[test]
    fn streams_are_those_that_came_along() {
        let runner = runner();
        let (input, mut write) = io::pipe().unwrap();
        let (mut read, output) = io::pipe().unwrap();
        let words = ["sh", "-c", "cat; echo \"$1\" >&2", "sh", "a 'b'"];
        let [input, output] = [OwnedFd::from(input), output.into()].map(File::from);
        start(&runner, &words, &input, &output);
        drop((input, output));
        write.write_all(b"asked ").unwrap();
        drop(write);
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert_eq!(text, "asked a 'b'\n");
    }

    #[test]
    fn a_long_command_arrives_whole() {
        let runner = runner();
        let word = "x".repeat(50_000);
        let many: Vec<&str> = ["sh", "-c", "test $# = 9 && test ${#1} = 50000", "sh"]
            .into_iter()
            .chain([&*word; 9])
            .collect();
        let end = end(&runner, &many);
        assert!(matches!(end, CommandEnd::Exited { code: 0 }), "{end:?}");
        let error = runner.start_foreground(&vec!["x".repeat(100_000).into(); 21]).unwrap_err();
        assert!(matches!(error, Error::Command { .. }), "{error}");
    }

    #[test]
    fn a_signal_is_handed_on() {
        let runner = runner();
        let (mut ready, say) = io::pipe().unwrap();
        let say = File::from(OwnedFd::from(say));
        let line = "trap 'exit 7' TERM; echo; while :; do sleep 0.05; done";
        start(&runner, &["sh", "-c", line], &null(), &say);
        drop(say);
        ready.read_exact(&mut [0]).unwrap();
        assert!(matches!(next(&runner), News::Started { .. }));
        runner.signal_foreground(Signal::Terminate).unwrap();
        let ended = next(&runner);
        assert!(matches!(ended, News::Ended(CommandEnd::Exited { code: 7 })), "{ended:?}");
        // Who has ended gets none, and nobody minds.
        runner.signal_foreground(Signal::Terminate).unwrap();
        assert!(matches!(end(&runner, &["true"]), CommandEnd::Exited { code: 0 }));
    }

    /// A program behind a line, and the three ends that are ours.
    fn dial(runner: &Runner, words: &[&str]) -> (UnixStream, io::PipeReader, io::PipeReader) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (complaints, stderr) = io::pipe().unwrap();
        let (leash, held) = io::pipe().unwrap();
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        runner.run_dialling(&words, theirs.as_fd(), stderr.as_fd(), held.as_fd()).unwrap();
        ours.set_read_timeout(Some(LIMIT)).unwrap();
        (ours, complaints, leash)
    }

    #[test]
    fn a_program_is_a_line_and_says_why_it_is_none() {
        let runner = runner();
        let (mut line, mut complaints, _leash) = dial(&runner, &["sh", "-c", "echo no >&2; cat"]);
        line.write_all(b"asked").unwrap();
        line.shutdown(std::net::Shutdown::Write).unwrap();
        let mut text = String::new();
        line.read_to_string(&mut text).unwrap();
        assert_eq!(text, "asked");
        text.clear();
        complaints.read_to_string(&mut text).unwrap();
        assert_eq!(text, "no\n");

        let (mut line, mut complaints, _leash) = dial(&runner, &["no-program-has-this-name"]);
        assert_eq!(line.read(&mut [0]).unwrap(), 0, "there is an end");
        text.clear();
        complaints.read_to_string(&mut text).unwrap();
        assert!(text.contains("cannot run no-program-has-this-name: No such file"), "{text}");
        assert!(runner.last_news().is_empty());
    }

    #[test]
    fn a_line_that_is_let_go_ends_its_program_and_so_does_the_end() {
        // It heeds nothing but a kill, and does not read its input.
        let stubborn = ["sh", "-c", "trap '' TERM HUP; echo; exec sleep 60"];
        for drops_leash in [true, false] {
            let runner = runner();
            let (mut line, mut complaints, leash) = dial(&runner, &stubborn);
            line.read_exact(&mut [0]).unwrap();
            if drops_leash {
                drop(leash);
            } else {
                drop(runner);
            }
            let mut poller = Poller::new().unwrap();
            poller.add(&complaints, 0, Trigger::Level).unwrap();
            assert!(poller.wait(Some(LIMIT)).is_ok_and(|keys| !keys.is_empty()));
            assert_eq!(complaints.read(&mut [0]).unwrap(), 0);
        }
    }

    #[test]
    fn complaints_name_the_command() {
        let runner = runner();
        runner.run(&["false", "x"]).unwrap();
        let News::Complaint { command, what } = next(&runner) else { panic!("no complaint") };
        assert_eq!((&*command, &*what), ("false x", "exit status: 1"));
        runner.run(&["true"]).unwrap();
        assert!(runner.last_news().is_empty());
    }

    #[test]
    fn an_answer_that_comes_late_is_not_taken_for_the_next() {
        let (ours, theirs) = Channel::pair().unwrap();
        let there = "192.0.2.1:22".parse().unwrap();
        let connection = |port| Connection::between(([192, 0, 2, 2], port).into(), there);
        for (stream, port) in [(7, 1007), (8, 1008)] {
            let news = News::Traced { stream, connection: connection(port) };
            theirs.send(&news.to_bytes(), &[]).unwrap();
        }
        assert_eq!(Runner::over(ours, None).trace(8), connection(1008));
    }

    #[test]
    fn the_end_waits_for_the_printing_program() {
        let runner = runner();
        let (stdin, write) = io::pipe().unwrap();
        let (mut shown, stdout) = io::pipe().unwrap();
        let words = ["sh", "-c", "cat >/dev/null; sleep 0.5; echo late"];
        runner.send(Order::Reading, &words, &[stdin.as_fd(), stdout.as_fd()]).unwrap();
        runner.prints.set(true);
        drop((stdin, stdout, write));
        let last = runner.last_news();
        assert!(matches!(last.as_slice(), [News::PrintingEnded]), "{last:?}");
        let mut text = String::new();
        shown.read_to_string(&mut text).unwrap();
        assert_eq!(text, "late\n");
    }

    /// Behind sudo: a program that reads root's settings may not, and says so at length.
    #[test]
    fn every_command_has_the_home_of_whom_it_runs_as() {
        let account = Account { name: "web".into(), home: "/home/web".into() };
        let (script, streams) =
            ("echo $HOME $USER $LOGNAME >&0", [Order::Reading, Order::Background]);
        for order in streams {
            let runner = runner_of(Some(account.clone()));
            let mut file = tempfile::tempfile().unwrap();
            runner.send(order, &["sh", "-c", script], &[file.as_fd(), null().as_fd()]).unwrap();
            let mut text = String::new();
            let begun = Instant::now();
            while !text.ends_with('\n') && begun.elapsed() < LIMIT {
                thread::sleep(Duration::from_millis(1));
                file.seek(SeekFrom::Start(0)).unwrap();
                text.clear();
                file.read_to_string(&mut text).unwrap();
            }
            assert_eq!(text, "/home/web web web\n", "{order:?}");
        }
    }

    /// `--print | head`.
    #[test]
    fn a_printing_program_whose_reader_went_away_is_no_complaint() {
        for (line, is_read) in [
            ("trap '' PIPE; echo x || exit 14", false),
            ("kill -PIPE $$", false),
            ("exit 14", true),
        ] {
            let runner = runner();
            let (shown, stdout) = io::pipe().unwrap();
            let _shown = is_read.then_some(shown);
            let words = ["sh", "-c", line];
            runner.send(Order::Reading, &words, &[null().as_fd(), stdout.as_fd()]).unwrap();
            runner.prints.set(true);
            drop(stdout);
            let told = runner.last_news();
            let complaints = told.iter().filter(|news| matches!(news, News::Complaint { .. }));
            assert_eq!(complaints.count(), usize::from(is_read), "{line}: {told:?}");
        }
    }
}
