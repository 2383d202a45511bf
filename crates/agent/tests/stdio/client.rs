//! A client of the far side, as small as it can be: it says what it is told to, and keeps what it
//! hears.

use std::{
    fs,
    io::{PipeReader, Read},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use lab::{Finished, Program, Running};
use model::{Program as Instructions, Stats};
use wire::{
    Acknowledge, Attach, Attached, Batch, Detach, Hello, Kind, Order, PREAMBLE, Place, Report,
    Scope, Settings, Spec, Stream, envelope,
};

/// How long anything may take that should take a moment.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// What both sides are built from.
pub(crate) const BUILD: &str = env!("CARGO_PKG_VERSION");

/// The program.
pub(crate) const AGENT: &str = env!("CARGO_BIN_EXE_whaletap-agent");

/// What the far side says.
#[derive(Debug)]
pub(crate) enum Said {
    Hello(Hello),
    Report(Report),
    Batch(Batch),
}

/// A far side that runs, and what was heard of it.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) running: Running,
    /// What is not read yet, where nobody reads.
    unread: Option<(PipeReader, Sender<(Said, u64)>)>,
    said: Receiver<(Said, u64)>,
    /// Whether batches are acknowledged as they come.
    pub(crate) acknowledges: bool,
    /// What the batches weigh that have come.
    pub(crate) bytes: u64,
    pub(crate) heard: Vec<Said>,
}

impl Client {
    fn start() -> Self {
        Self::of(Program::new(AGENT).arg("stdio"))
    }

    /// One that is started by this program.
    pub(crate) fn of(program: Program) -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        let running = program.stdin_held().stdout_to(writer).start().unwrap();
        let (sender, said) = channel();
        let unread = Some((reader, sender));
        Self { running, unread, said, acknowledges: true, bytes: 0, heard: Vec::new() }
    }

    /// A far side to which nothing was said.
    pub(crate) fn silent() -> Self {
        let mut client = Self::start();
        client.read_on();
        client
    }

    /// One that was greeted, and whose answers stay in the pipe.
    pub(crate) fn unread() -> Self {
        let mut client = Self::start();
        client.greet(&Hello::new(BUILD, None));
        client
    }

    /// Reads what stayed in the pipe, and all that comes.
    pub(crate) fn read_on(&mut self) {
        let (reader, sender) = self.unread.take().unwrap();
        thread::spawn(move || read(reader, &sender));
    }

    /// One that was greeted.
    pub(crate) fn greeted() -> Self {
        Self::start().and_greeted()
    }

    pub(crate) fn and_greeted(mut self) -> Self {
        let client = &mut self;
        client.read_on();
        client.greet(&Hello::new(BUILD, None));
        client.wait_for("its greeting", |said| matches!(said, Said::Hello(_)));
        self
    }

    pub(crate) fn greet(&mut self, hello: &Hello) {
        let mut bytes = PREAMBLE.to_vec();
        bytes.extend(message(Kind::Hello, &hello.to_bytes()));
        self.running.write_stdin(&bytes).unwrap();
    }

    pub(crate) fn order(&mut self, order: &Order) {
        self.running.write_stdin(&message(Kind::Order, &order.to_bytes())).unwrap();
    }

    pub(crate) fn settings(&mut self, compress: bool, memory: u64, patience: Duration) {
        let patience = u32::try_from(patience.as_millis()).unwrap();
        self.order(&Order::Settings(Settings { compress, memory, linger: 20, patience }));
    }

    /// Asks for a capture of everything there.
    pub(crate) fn attach(&mut self, capture: u32, place: Place, scope: Scope) {
        let spec = Spec {
            program: Instructions::ret(262_144),
            fallback: Instructions::ret(262_144),
            ring: 2 << 20,
            retire: 10_000,
            scope,
            promiscuous: false,
        };
        self.order(&Order::Attach(Box::new(Attach { capture, place, spec })));
    }

    pub(crate) fn attached(&mut self, capture: u32, place: Place, scope: Scope) -> Attached {
        self.attach(capture, place, scope);
        self.wait_for_report("it is attached", |report| match report {
            Report::Attached(attached) if attached.capture == capture => Some(attached.clone()),
            Report::Refused(refused) => panic!("{refused:?}"),
            _ => None,
        })
    }

    pub(crate) fn detach(&mut self, capture: u32) -> Stats {
        self.order(&Order::Detach(Detach { capture }));
        self.detached(capture)
    }

    pub(crate) fn detached(&mut self, capture: u32) -> Stats {
        self.wait_for_report("it is let go", |report| match report {
            Report::Detached(counts) if counts.capture == capture => Some(counts.stats),
            _ => None,
        })
    }

    pub(crate) fn acknowledge(&mut self) {
        let bytes = self.bytes;
        self.order(&Order::Acknowledge(Acknowledge { bytes }));
    }

    /// Hears on until something is said, which may have been before.
    pub(crate) fn wait_for_report<T>(
        &mut self,
        what: &str,
        mut wanted: impl FnMut(&Report) -> Option<T>,
    ) -> T {
        let mut found = None;
        self.wait_for(what, |said| {
            if let Said::Report(report) = said {
                found = wanted(report);
            }
            found.is_some()
        });
        found.unwrap()
    }

    pub(crate) fn wait_for(&mut self, what: &str, mut is_it: impl FnMut(&Said) -> bool) {
        let ends = Instant::now() + LIMIT;
        let mut at = 0;
        loop {
            while let Some(said) = self.heard.get(at) {
                if is_it(said) {
                    return;
                }
                at += 1;
            }
            let left = ends.saturating_duration_since(Instant::now());
            let is_on = !left.is_zero() && self.hear(left);
            let last: Vec<_> = self.heard.iter().rev().take(5).collect();
            assert!(is_on, "{what}: not said.\n{}\n{last:#?}", self.running.stderr());
        }
    }

    /// Hears one thing more. `false`: nothing was said, or nothing is said any more.
    pub(crate) fn hear(&mut self, limit: Duration) -> bool {
        match self.said.recv_timeout(limit) {
            Ok((said, bytes)) => {
                self.bytes += bytes;
                self.heard.push(said);
                if bytes > 0 && self.acknowledges {
                    self.acknowledge();
                }
                true
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => false,
        }
    }

    /// Everything until its end, and how it ended.
    pub(crate) fn finish(mut self) -> (Vec<Said>, Finished) {
        while self.hear(LIMIT) {}
        (self.heard, self.running.wait().unwrap())
    }

    /// The bytes of a capture's frames, in the order in which they came, with their stamps.
    pub(crate) fn frames(&self, capture: u32) -> Vec<(u64, Vec<u8>)> {
        let batches = self.heard.iter().filter_map(|said| match said {
            Said::Batch(batch) if batch.capture == capture => Some(batch),
            _ => None,
        });
        let frames = batches.flat_map(Batch::frames);
        frames.map(|frame| (frame.timestamp, frame.data.to_vec())).collect()
    }

    /// Its opener's number.
    pub(crate) fn opener(&self) -> u32 {
        let pid = self.running.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        children.trim().parse().unwrap()
    }

    /// A line of its status in /proc.
    pub(crate) fn status(&self, key: &str) -> String {
        status(self.running.pid(), key)
    }
}

pub(crate) fn status(pid: u32, key: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    value.unwrap().trim().to_owned()
}

/// As it travels.
pub(crate) fn message(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut bytes = envelope(kind, payload).unwrap().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

/// Reads until the end. What is no message of the protocol fails the test: nobody is heard any more.
fn read(mut reader: PipeReader, sender: &Sender<(Said, u64)>) {
    let (mut stream, mut piece) = (Stream::default(), vec![0; 64 * 1024]);
    loop {
        let length = reader.read(&mut piece).unwrap();
        if length == 0 {
            return stream.end().unwrap();
        }
        stream.feed(&piece[..length]);
        while let Some((kind, payload)) = stream.next_message().unwrap() {
            let said = match kind {
                Kind::Hello => (Said::Hello(Hello::read(payload, BUILD).unwrap()), 0),
                Kind::Report => (Said::Report(Report::read(payload).unwrap()), 0),
                Kind::Batch => {
                    let batch = Batch::read(payload).unwrap();
                    let weight = batch.weight();
                    (Said::Batch(batch), weight)
                }
                Kind::Order => panic!("the far side gives no orders"),
            };
            if sender.send(said).is_err() {
                return;
            }
        }
    }
}
