use std::{
    cell::{Cell, RefCell},
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::{UnixListener, UnixStream},
    },
    rc::Rc,
    time::{Duration, Instant},
};

use sys::{
    local::abstract_name,
    poll::{Alarm, Poller, Trigger},
    privileges,
};

use super::{Report, name};
use crate::{Notice, Observer};

/// How long somebody may take to read an answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// The most answers that wait for their readers. Those that wait longest go first.
const MAX_WAITING: usize = 8;
/// The most connections that are taken in one turn, and how long others have to wait then: anybody
/// can connect as often as they like, and the session has other things to do.
const MAX_ACCEPTED: usize = 64;
const BREATH: Duration = Duration::from_millis(10);
/// How long nobody is answered after a failure, as for want of descriptors.
const REST: Duration = Duration::from_secs(1);

const KEY_SOCKET: u64 = 0;
const KEY_ALARM: u64 = 1;
const KEY_ANSWER: u64 = 2;

/// The ear of a session, which waits for nobody.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Who is answered, besides root.
    uid: u32,
    socket: UnixListener,
    /// The socket, the alarm, and the connections of those who read slowly.
    poller: Poller,
    alarm: Alarm,
    waiting: RefCell<Vec<Answer>>,
    /// Until when nobody is answered.
    rests: Cell<Option<Instant>>,
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
    /// Listens for who asks for the status of this process, as the user that it is now. `None` when
    /// it cannot be: a capture needs no listener, and the reason is told.
    pub(crate) fn open(observer: &mut dyn Observer) -> Option<Self> {
        match Self::listen() {
            Ok(listener) => Some(listener),
            Err(error) => {
                let text = format!("`whaletap status` will not see this session: {error}");
                observer.notice(Notice::Remark { text: &text });
                None
            }
        }
    }

    fn listen() -> Result<Self, sys::Error> {
        Self::new(abstract_name::listen(&name::own()?)?)
    }

    fn new(socket: UnixListener) -> Result<Self, sys::Error> {
        let (poller, alarm) = (Poller::new()?, Alarm::new()?);
        poller.add(&socket, KEY_SOCKET, Trigger::Level)?;
        poller.add(&alarm, KEY_ALARM, Trigger::Level)?;
        let (waiting, rests) = (RefCell::default(), Cell::new(None));
        Ok(Self { uid: privileges::own_uid(), socket, poller, alarm, waiting, rests })
    }

    /// Answers who has asked, and goes on with those who have not read all of their answer. To be
    /// called when it is readable; comes back at once. The report is asked for once, and only when
    /// there is somebody for whom it is.
    pub(crate) fn answer(&self, report: &dyn Fn() -> Report) {
        let now = Instant::now();
        if self.rests.get().is_some_and(|until| until <= now) {
            self.rests.set(None);
            // Fails only where it was never taken out.
            let _ = self.poller.add(&self.socket, KEY_SOCKET, Trigger::Level);
        }
        let mut text: Option<Rc<[u8]>> = None;
        let mut waiting = self.waiting.borrow_mut();
        let mut accepted = 0;
        while accepted < MAX_ACCEPTED
            && self.rests.get().is_none()
            && let Some(stream) = self.accept()
        {
            accepted += 1;
            if !self.may_ask(&stream) {
                continue;
            }
            let text = text.get_or_insert_with(|| encode(&report())).clone();
            let until = now + PATIENCE;
            waiting.push(Answer { stream, text, sent: 0, until, is_watched: false });
        }
        if accepted == MAX_ACCEPTED {
            self.rest(BREATH);
        }
        waiting.retain_mut(|answer| answer.send() && now < answer.until);
        let too_many = waiting.len().saturating_sub(MAX_WAITING);
        waiting.drain(..too_many);
        for answer in waiting.iter_mut().filter(|answer| !answer.is_watched) {
            // Who cannot be watched is heard of again when the alarm rings.
            answer.is_watched = self.poller.add(&answer.stream, KEY_ANSWER, Trigger::Room).is_ok();
        }
        let next = waiting.iter().map(|answer| answer.until.saturating_duration_since(now)).min();
        let rests = self.rests.get().map(|until| until.saturating_duration_since(now));
        let next = [next, rests].into_iter().flatten().min();
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
                self.rest(REST);
                None
            }
        }
    }

    fn rest(&self, time: Duration) {
        let is_out = self.poller.remove(&self.socket).is_ok();
        self.rests.set(is_out.then(|| Instant::now() + time));
    }

    /// Whether a connection is the session's user's or root's, and comes from no container.
    fn may_ask(&self, stream: &UnixStream) -> bool {
        name::peer(stream).is_some_and(|peer| peer.uid == self.uid || peer.uid == 0)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
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

    use sys::{
        local::{self, Reached},
        privileges::User,
    };

    use super::*;
    use crate::status::{Found, Owner, ask, report::tests::report};

    struct Silence;
    impl Observer for Silence {}

    fn open() -> Listener {
        Listener::open(&mut Silence).unwrap()
    }

    fn is_readable(listener: &Listener) -> bool {
        sys::poll::is_readable(listener).unwrap()
    }

    fn name(listener: &Listener) -> String {
        use std::os::linux::net::SocketAddrExt;

        let address = listener.socket.local_addr().unwrap();
        String::from_utf8(address.as_abstract_name().unwrap().to_vec()).unwrap()
    }

    fn connect(listener: &Listener) -> UnixStream {
        connect_to(&name(listener))
    }

    fn connect_to(name: &str) -> UnixStream {
        let Ok(Reached::Somebody(stream)) = abstract_name::connect(name) else {
            panic!("it listens")
        };
        stream.set_nonblocking(false).unwrap();
        stream
    }

    fn read(mut stream: UnixStream) -> String {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn who_asks_gets_a_report_and_the_name_goes() {
        let listener = open();
        let name = name(&listener);
        assert!(name::all().unwrap().contains(&(std::process::id(), name.clone())));
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
        assert!(name::all().unwrap().iter().all(|(_, other)| *other != name));
    }

    #[test]
    fn who_does_not_read_holds_up_nobody() {
        let listener = open();
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
        let listener = open();
        let nobody = User { uid: 65_534, gid: 65_534, groups: Vec::new() };
        let at = name(&listener);
        let theirs = privileges::on_behalf(&nobody, || connect_to(&at)).unwrap();
        listener.answer(&|| panic!("there is nobody to tell"));
        assert_eq!(read(theirs), "");
    }

    #[test]
    fn the_user_and_root_are_answered() {
        let somebody = User { uid: 54_321, gid: 54_322, groups: Vec::new() };
        let listen = || abstract_name::listen(&name::own().unwrap()).unwrap();
        let socket = privileges::on_behalf(&somebody, listen).unwrap();
        let listener = Listener { uid: somebody.uid, ..Listener::new(socket).unwrap() };
        let at = name(&listener);
        let theirs = privileges::on_behalf(&somebody, || connect_to(&at)).unwrap();
        let both = [theirs, connect_to(&at)];
        assert_eq!(local::peer_uid(&both[1]).unwrap(), somebody.uid, "who asks can prove it");
        listener.answer(&|| report(1));
        for stream in both {
            serde_json::from_str::<Report>(&read(stream)).unwrap();
        }
    }

    /// Root of a container with the machine's network is user 0 as well.
    #[test]
    fn who_is_in_a_container_is_refused() {
        const CONNECTS: &str = "socket(S, AF_UNIX, SOCK_STREAM, 0) or die $!; \
                                connect(S, pack('Sa*', AF_UNIX, \"\\0$ARGV[0]\")) or die $!; \
                                print 'it says: ', <S>";
        let listener = open();
        let perl = ["perl", "-MSocket", "-e", CONNECTS, &name(&listener)];
        for (way, is_answered) in [(&[][..], true), (&["unshare", "--pid", "--fork"], false)] {
            let words = [way, &perl].concat();
            let mut client = Command::new(words[0])
                .args(&words[1..])
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            let text = client.stdout.take().unwrap();
            let reader = thread::spawn(move || io::read_to_string(text).unwrap());
            while !reader.is_finished() {
                if is_readable(&listener) {
                    listener.answer(&|| report(1));
                }
                thread::yield_now();
            }
            assert!(client.wait().unwrap().success());
            let said = reader.join().unwrap();
            assert_eq!(said.starts_with("it says: {"), is_answered, "{way:?}: {said}");
            assert_eq!(said == "it says: ", !is_answered, "{way:?}: {said}");
        }
    }

    #[test]
    fn many_at_once_leave_time_for_other_things() {
        let listener = open();
        let asked = Cell::new(0);
        let tell = || {
            asked.set(asked.get() + 1);
            report(1)
        };
        let all: Vec<_> = (0..2 * MAX_ACCEPTED).map(|_| connect(&listener)).collect();
        let begun = Instant::now();
        listener.answer(&tell);
        assert!(!is_readable(&listener) || begun.elapsed() >= BREATH);
        while asked.get() < 2 {
            if is_readable(&listener) {
                listener.answer(&tell);
            }
            assert!(begun.elapsed() < Duration::from_secs(10));
        }
        assert!(begun.elapsed() >= BREATH);
        for stream in all {
            assert!(read(stream).ends_with('\n'));
        }
    }

    #[test]
    fn asking_finds_who_answers_and_tells_who_does_not() {
        let listener = open();
        // Two that are there and say nothing, one of them a stranger's; one that says that it is
        // somebody else's process; and one that has ended.
        let pid = std::process::id();
        let listen = |pid, random| abstract_name::listen(&name::of(pid, random)).unwrap();
        let _mute = listen(pid, 1);
        let nobody = User { uid: 65_534, gid: 65_534, groups: Vec::new() };
        let _theirs = privileges::on_behalf(&nobody, || listen(pid, 2)).unwrap();
        let _lies = listen(u32::MAX, 1);
        drop(listen(pid, 3));
        let asks = thread::spawn(move || [pid, u32::MAX].map(|pid| ask(Some(pid)).unwrap()));
        while !asks.is_finished() {
            if is_readable(&listener) {
                listener.answer(&|| report(1));
            }
            thread::yield_now();
        }
        let [own, none]: [Found; 2] = asks.join().unwrap();
        assert_eq!(own.reports, [report(1)].map(|report| Report { user: owner(0), ..report }));
        assert_eq!(own.silent.len(), 2, "root asks everybody's");
        assert!(own.silent.iter().all(|silent| silent.pid == pid));
        assert!(none.reports.is_empty() && none.silent.is_empty());
        let asked = privileges::on_behalf(&nobody, || ask(Some(pid)).unwrap()).unwrap();
        assert!(asked.reports.is_empty() && asked.silent.len() == 1, "the others are root's");
    }

    #[test]
    fn who_takes_nobody_is_tried_and_told() {
        let pid = std::process::id();
        let name = name::of(pid, 1);
        let _full = abstract_name::listen(&name).unwrap();
        let mut held = Vec::new();
        while let Reached::Somebody(stream) = abstract_name::connect(&name).unwrap() {
            held.push(stream);
        }
        let begun = Instant::now();
        let found = ask(Some(pid)).unwrap();
        assert_eq!((found.reports.len(), found.silent.len(), found.unasked), (0, 0, 1));
        assert!(begun.elapsed() > Duration::from_secs(1));
    }

    fn owner(uid: u32) -> Owner {
        Owner { uid, name: None }
    }

    /// Whoever listens under a session's name is told by the kernel, and cannot hold up who asks.
    #[test]
    fn strangers_speak_for_themselves_and_not_for_long() {
        let pid = std::process::id();
        let somebody = User { uid: 54_321, gid: 54_322, groups: Vec::new() };
        let listen = |random| {
            let name = name::of(pid, random);
            privileges::on_behalf(&somebody, || abstract_name::listen(&name).unwrap()).unwrap()
        };
        let answers = [
            serde_json::to_vec(&Report { pid: 1, user: owner(0), ..report(1) }).unwrap(),
            [b"{\"state\":\"".to_vec(), vec![b'A'; 15 << 20], b"\"}".to_vec()].concat(),
            vec![b' '; 17 << 20],
            Vec::new(),
        ];
        let begun = Instant::now();
        let strangers: Vec<_> = (1..)
            .zip(answers)
            .map(|(random, answer)| {
                let listener = listen(random);
                listener.set_nonblocking(false).unwrap();
                thread::spawn(move || {
                    let (mut stream, _) = listener.accept().unwrap();
                    // Who asks may have heard enough.
                    let _ = stream.write_all(&answer);
                })
            })
            .collect();
        let _mute: Vec<_> = (10..30).map(listen).collect();
        let found = ask(Some(pid)).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(10));
        let [fake] = &found.reports[..] else { panic!("{} reports", found.reports.len()) };
        assert_eq!((fake.pid, &fake.user), (pid, &owner(somebody.uid)));
        assert_eq!(found.silent.len(), 23);
        let longest = found.silent.iter().map(|silent| silent.why.to_string().len()).max();
        assert!(longest < Some(100));
        strangers.into_iter().for_each(|stranger| stranger.join().unwrap());
    }
}
