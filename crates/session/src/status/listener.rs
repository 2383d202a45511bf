use std::{
    cell::{Cell, RefCell},
    fs::{self, Permissions},
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{
            fs::PermissionsExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

use sys::{
    local::{self, Reached},
    poll::{Alarm, Poller, Trigger},
    privileges::{self, User},
};

use super::{Report, place};
use crate::{Notice, Observer};

/// How long somebody may take to read an answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// The most answers that wait for their readers. Those that wait longest go first.
const MAX_WAITING: usize = 8;
/// The most connections that are taken in one turn.
const MAX_ACCEPTED: usize = 16;
/// How long nobody is answered after a failure, as for want of descriptors.
const REST: Duration = Duration::from_secs(1);

const KEY_SOCKET: u64 = 0;
const KEY_ALARM: u64 = 1;
const KEY_ANSWER: u64 = 2;

/// The ear of a session, which waits for nobody. Its socket goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    path: PathBuf,
    /// Who is answered, besides root.
    uid: u32,
    socket: UnixListener,
    /// The socket, the alarm, and the connections of those who read slowly.
    poller: Poller,
    alarm: Alarm,
    waiting: RefCell<Vec<Answer>>,
    rests: Cell<bool>,
}

/// An answer on its way.
#[derive(Debug)]
struct Answer {
    stream: UnixStream,
    text: Rc<[u8]>,
    sent: usize,
    until: Instant,
    is_watched: bool,
}

impl Listener {
    /// Listens for who asks for the status of this process, which is about to become `user`
    /// (`None`: stays who it is). To be called while there are the rights to make a directory for
    /// that user; `runtime` is `XDG_RUNTIME_DIR`. `None` when it cannot be: a capture needs no
    /// listener, and the reason is told.
    ///
    /// # Privileges
    /// `CAP_SETUID` and `CAP_SETGID` for another user, and `CAP_CHOWN` below /run.
    pub(crate) fn open(
        runtime: Option<&Path>,
        user: Option<&User>,
        observer: &mut dyn Observer,
    ) -> Option<Self> {
        let uid = user.map_or_else(privileges::own_uid, |user| user.uid);
        let directory = place::of_session(runtime, uid);
        match Self::open_in(&directory, uid, user) {
            Ok(listener) => Some(listener),
            Err(error) => {
                let text = format!(
                    "`whaletap status` will not see this session: {}: {error}",
                    directory.display()
                );
                observer.notice(Notice::Remark { text: &text });
                None
            }
        }
    }

    fn open_in(directory: &Path, uid: u32, user: Option<&User>) -> io::Result<Self> {
        if place::is_roots(directory) {
            place::make(directory, uid, user)?;
        }
        let path = place::socket(directory, std::process::id());
        let open = || {
            if !place::is_roots(directory) {
                place::make(directory, uid, None)?;
            }
            place::sweep(directory);
            if matches!(local::connect(&path), Ok(Reached::Nobody)) && path.exists() {
                // Of a process that had our number.
                fs::remove_file(&path)?;
            }
            let socket = local::listen(&path).map_err(io::Error::other)?;
            fs::set_permissions(&path, Permissions::from_mode(0o600))?;
            Ok::<_, io::Error>(socket)
        };
        let socket = match user {
            Some(user) => privileges::on_behalf(user, open).map_err(io::Error::other)?,
            None => open(),
        }?;
        Self::new(path.clone(), uid, socket).map_err(io::Error::other)
    }

    fn new(path: PathBuf, uid: u32, socket: UnixListener) -> Result<Self, sys::Error> {
        let (poller, alarm) = (Poller::new()?, Alarm::new()?);
        poller.add(&socket, KEY_SOCKET, Trigger::Level)?;
        poller.add(&alarm, KEY_ALARM, Trigger::Level)?;
        let (waiting, rests) = (RefCell::default(), Cell::new(false));
        Ok(Self { path, uid, socket, poller, alarm, waiting, rests })
    }

    /// Where its socket is: from there it has to be removed at the end.
    pub(crate) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// Answers who has asked, and goes on with those who have not read all of their answer. To be
    /// called when it is readable; comes back at once. The report is asked for once, and only when
    /// there is somebody for whom it is.
    pub(crate) fn answer(&self, report: &dyn Fn() -> Report) {
        let now = Instant::now();
        if self.rests.replace(false) {
            // Fails only where it was never taken out.
            let _ = self.poller.add(&self.socket, KEY_SOCKET, Trigger::Level);
        }
        let mut text: Option<Rc<[u8]>> = None;
        let mut waiting = self.waiting.borrow_mut();
        for _ in 0..MAX_ACCEPTED {
            let Some(stream) = self.accept() else { break };
            if !self.may_ask(&stream) {
                continue;
            }
            let text = text.get_or_insert_with(|| encode(&report())).clone();
            let until = now + PATIENCE;
            waiting.push(Answer { stream, text, sent: 0, until, is_watched: false });
        }
        waiting.retain_mut(|answer| answer.send() && now < answer.until);
        let too_many = waiting.len().saturating_sub(MAX_WAITING);
        waiting.drain(..too_many);
        for answer in waiting.iter_mut().filter(|answer| !answer.is_watched) {
            // Who cannot be watched is heard of again when the alarm rings.
            answer.is_watched = self.poller.add(&answer.stream, KEY_ANSWER, Trigger::Room).is_ok();
        }
        let next = waiting.iter().map(|answer| answer.until.saturating_duration_since(now)).min();
        let next = next.or_else(|| self.rests.get().then_some(REST));
        // An alarm at 0 would be none.
        let next = next.map(|next| next.max(Duration::from_millis(1)));
        self.alarm.set(next.unwrap_or(Duration::ZERO));
    }

    fn accept(&self) -> Option<UnixStream> {
        match self.socket.accept() {
            Ok((stream, _)) => stream.set_nonblocking(true).ok().map(|()| stream),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(_) => {
                // It would be told again at once, and for as long as descriptors are lacking.
                self.rests.set(self.poller.remove(&self.socket).is_ok());
                None
            }
        }
    }

    /// Whether a connection is the session's user's or root's. The directory keeps others away,
    /// unless somebody has opened it.
    fn may_ask(&self, stream: &UnixStream) -> bool {
        local::peer_uid(stream).is_ok_and(|uid| uid == self.uid || uid == 0)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // What is left is swept by the next one.
        let _ = fs::remove_file(&self.path);
    }
}

impl Answer {
    /// Sends what finds room. Whether there is more to send.
    fn send(&mut self) -> bool {
        while self.sent < self.text.len() {
            match self.stream.write(&self.text[self.sent..]) {
                Ok(0) => return false,
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A reader that went away has seen enough.
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
        false
    }
}

/// A line with one JSON object.
fn encode(report: &Report) -> Rc<[u8]> {
    // Strings and numbers always have a form in JSON; a report that has none is an empty answer.
    let mut text = serde_json::to_vec(report).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

#[cfg(test)]
mod tests {
    use std::{io::Read, process::Command, thread};

    use super::*;
    use crate::status::{Found, ask, report::tests::report};

    struct Silence;
    impl Observer for Silence {}

    fn open(runtime: &Path) -> Listener {
        Listener::open(Some(runtime), None, &mut Silence).unwrap()
    }

    fn is_readable(listener: &Listener) -> bool {
        sys::poll::is_readable(listener).unwrap()
    }

    fn connect(listener: &Listener) -> UnixStream {
        UnixStream::connect(&listener.path).unwrap()
    }

    /// The same as another user.
    fn connect_as(user: &User, listener: &Listener) -> UnixStream {
        let path = &listener.path;
        privileges::on_behalf(user, || UnixStream::connect(path)).unwrap().unwrap()
    }

    fn read(mut stream: UnixStream) -> String {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn who_asks_gets_a_report_and_the_socket_goes() {
        let runtime = tempfile::tempdir().unwrap();
        let listener = open(runtime.path());
        let path = runtime.path().join(format!("whaletap/{}.sock", std::process::id()));
        assert_eq!(listener.path, path);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(listener.directory())), (0o600, 0o700));
        assert!(!is_readable(&listener));
        let asked = Cell::new(0);
        let tell = || {
            asked.set(asked.get() + 1);
            report(2)
        };
        let both = [connect(&listener), connect(&listener)];
        assert!(is_readable(&listener));
        listener.answer(&tell);
        for stream in both {
            let text = read(stream);
            assert!(text.ends_with("}\n") && text.lines().count() == 1, "{text}");
            assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report(2));
        }
        assert_eq!(asked.get(), 1);
        assert!(!is_readable(&listener));
        listener.answer(&tell);
        assert_eq!(asked.get(), 1, "nobody has asked");
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn who_does_not_read_holds_up_nobody() {
        let runtime = tempfile::tempdir().unwrap();
        let listener = open(runtime.path());
        // More than fits between two processes.
        let long = report(5000);
        let tell = || long.clone();
        let lazy: Vec<_> = (0..MAX_WAITING + 3).map(|_| connect(&listener)).collect();
        let begun = Instant::now();
        listener.answer(&tell);
        assert_eq!(listener.waiting.borrow().len(), MAX_WAITING);
        // Somebody who reads is answered meanwhile, a piece at a time.
        let quick = connect(&listener);
        let reader = thread::spawn(move || read(quick));
        while !reader.is_finished() {
            if is_readable(&listener) {
                listener.answer(&tell);
            }
            assert!(begun.elapsed() < Duration::from_secs(10));
        }
        assert_eq!(serde_json::from_str::<Report>(&reader.join().unwrap()).unwrap(), long);
        // The others are given up.
        while !listener.waiting.borrow().is_empty() {
            if is_readable(&listener) {
                listener.answer(&tell);
            }
            assert!(begun.elapsed() < PATIENCE + Duration::from_secs(9));
        }
        for stream in lazy {
            let text = read(stream);
            assert!(!text.ends_with('\n'), "{} bytes", text.len());
        }
        assert!(!is_readable(&listener), "the alarm is silent");
    }

    #[test]
    fn another_user_is_refused() {
        let runtime = tempfile::tempdir().unwrap();
        let listener = open(runtime.path());
        // Somebody has opened the way there, by mistake.
        for path in [runtime.path(), listener.directory(), &listener.path] {
            fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
        }
        let nobody = User { uid: 65_534, gid: 65_534, groups: Vec::new() };
        let theirs = connect_as(&nobody, &listener);
        listener.answer(&|| panic!("there is nobody to tell"));
        assert_eq!(read(theirs), "");
    }

    #[test]
    fn for_another_user_it_is_theirs() {
        let runtime = tempfile::tempdir().unwrap();
        let somebody = User { uid: 54_321, gid: 54_322, groups: Vec::new() };
        let chown = std::os::unix::fs::chown;
        chown(runtime.path(), Some(somebody.uid), Some(somebody.gid)).unwrap();
        let listener = Listener::open(Some(runtime.path()), Some(&somebody), &mut Silence).unwrap();
        let of = |path: &Path| {
            let found = fs::metadata(path).unwrap();
            (std::os::unix::fs::MetadataExt::uid(&found), found.permissions().mode() & 0o777)
        };
        assert_eq!(of(listener.directory()), (somebody.uid, 0o700));
        assert_eq!(of(&listener.path), (somebody.uid, 0o600));
        let theirs = connect_as(&somebody, &listener);
        let roots = connect(&listener);
        listener.answer(&|| report(1));
        for stream in [theirs, roots] {
            serde_json::from_str::<Report>(&read(stream)).unwrap();
        }
    }

    #[test]
    fn asking_finds_who_answers_and_tells_who_does_not() {
        let runtime = tempfile::tempdir().unwrap();
        let directory = runtime.path().join("whaletap");
        let listener = open(runtime.path());
        // A process that holds its socket and says nothing, and what a third one has left.
        let mut sleeper = Command::new("sleep").arg("30").spawn().unwrap();
        let mute = place::socket(&directory, sleeper.id());
        let _mute = local::listen(&mute).unwrap();
        let stale = place::socket(&directory, u32::MAX);
        drop(local::listen(&stale).unwrap());
        let path = runtime.path().to_owned();
        let all = [std::process::id(), sleeper.id(), u32::MAX];
        let asks = thread::spawn(move || all.map(|pid| ask(Some(&path), Some(pid))));
        while !asks.is_finished() {
            if is_readable(&listener) {
                listener.answer(&|| report(1));
            }
            thread::yield_now();
        }
        let [own, silent, none]: [Found; 3] = asks.join().unwrap();
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert_eq!(own.reports, [report(1)]);
        assert!(own.silent.is_empty());
        assert_eq!(silent.reports, []);
        assert_eq!(silent.silent[0].pid, all[1]);
        assert!(none.reports.is_empty() && none.silent.is_empty());
        assert!(!stale.exists() && mute.exists());
    }
}
