use std::{
    collections::HashMap,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use model::NetnsId;
use sys::poll::{Poller, Trigger, Waker};
use wire::{
    Acknowledge, Attach, Batch, Detach, HEARTBEAT, Hello, Host, Kind, MAX_ALLOWANCE, Notice, Order,
    Place, Refused, Report, SILENCE, Seen, Settings, Spec, Stream,
};

use super::{
    arrivals::{Arrivals, Arrived, Asks, Receipt, Used},
    arrived,
    asked::{Answer, Asked},
    greeting::{Ahead, Greeting, silent},
    outbox::Outbox,
};
use crate::{Error, clock};

/// How long the far side may take for its greeting, and for one answer.
pub(super) const ANSWERS_WITHIN: Duration = Duration::from_secs(20);
/// The most of a far side's words for people that wait here: who says more than is taken is not heard to
/// the end.
pub const MAX_NOTICES: usize = 64;
/// How much is read in one go, in bytes.
const PIECE: usize = 64 * 1024;
/// The most pieces between two looks at what is to be said.
const PIECES: usize = 32;

const KEY_STREAM: u64 = 0;
const KEY_WAKER: u64 = 1;
const KEY_ROOM: u64 = 2;

/// A far side: captures on another machine, over one connection.
///
/// A thread of its own reads what arrives and says what is to be said. What arrives waits in memory
/// until the reader takes it, and that is bounded: the far side sends no more than an
/// [allowance](wire::Allowance) ahead of what was used here. One that does send more is not listened to
/// any more.
#[derive(Debug)]
pub struct Link {
    pub(super) shared: Arc<Shared>,
    host: Host,
    ahead: Ahead,
    next: AtomicU32,
    notices: Receiver<Notice>,
    thread: Option<JoinHandle<()>>,
}

/// A namespace that is captured on the far side.
#[derive(Debug)]
pub struct FarCapture {
    /// The namespace over there.
    pub netns: NetnsId,
    /// Frames are to be judged here, because the kernel there has only the short program.
    pub program_refused: bool,
    /// When it was attached, by the far side's clock: nanoseconds since 1970.
    pub since: u64,
    /// Interfaces that were named and are not there.
    pub missing: Vec<String>,
    /// When the namespace was made, by the far side's clock; `None` where that is not known.
    pub created: Option<u64>,
    /// Frames that its interfaces had counted before it was captured.
    pub frames_before: u64,
    /// Its link types' interfaces at that time.
    pub interfaces: Vec<model::Interface>,
    /// Its frames.
    pub arrivals: Arrivals,
    /// Readable once the far side has let it go: its process has ended, or the link has.
    pub ended: OwnedFd,
}

/// What the link's thread and those who ask have in common.
#[derive(Debug)]
pub(super) struct Shared {
    orders: Sender<Order>,
    waker: Waker,
    used: Arc<Used>,
    captures: Mutex<HashMap<u32, Capture>>,
    /// Who waits for what is in a namespace.
    pub(super) looks: Mutex<HashMap<u32, Sender<Result<Seen, Refused>>>>,
    /// Words for people, and who is to be woken for them.
    notices: Sender<Notice>,
    noticed: Waker,
    /// Why it has ended.
    gone: OnceLock<String>,
    /// Readable then.
    gone_waker: Waker,
}

#[derive(Debug)]
struct Capture {
    arrivals: Arrivals,
    /// Who waits for its beginning.
    answer: Option<Answer>,
    /// Closed with its end.
    _leash: io::PipeWriter,
}

impl Asks for Shared {
    fn detach(&self, capture: u32) {
        self.order(Order::Detach(Detach { capture }));
    }
}

impl Shared {
    pub(super) fn order(&self, order: Order) {
        // A link that has ended takes none.
        let _ = self.orders.send(order);
        self.waker.wake();
    }

    fn captures(&self) -> MutexGuard<'_, HashMap<u32, Capture>> {
        self.captures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer_look(&self, number: u32, answer: Result<Seen, Refused>) {
        let waits = self.looks.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        if let Some(waits) = waits {
            // Who has given up has no use for it.
            let _ = waits.send(answer);
        }
    }

    /// Whether it has ended.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.get().is_some()
    }

    /// Why nothing is heard of it.
    pub(super) fn why_gone(&self) -> Error {
        let why = self.gone.get();
        let why = why.map_or_else(|| "it does not answer".to_owned(), String::clone);
        Error::FarGone { why }
    }
}

impl Link {
    /// Greets the far side at the other end of `stream`, which must be of the build `build`, and
    /// begins.
    ///
    /// # Errors
    ///
    /// [`Error::Wire`] where it is of another version or none of ours at all; [`Error::FarGone`] when
    /// it does not answer.
    pub fn start(stream: UnixStream, build: &str, settings: Settings) -> Result<Self, Error> {
        let mut greeting = Greeting { stream, incoming: Stream::default() };
        let mut outbox = Outbox::begin();
        outbox.put(Kind::Hello, &Hello::new(build, None).to_bytes())?;
        let host = greeting.exchange(outbox, |kind, payload| match kind {
            Kind::Hello => Some(Hello::read(payload, build).map(|hello| hello.host)),
            _ => None,
        })?;
        let Some(host) = host else {
            return Err(Error::Wire { source: wire::Error::Malformed { what: "a greeting" } });
        };
        let mut outbox = Outbox::default();
        outbox.put(Kind::Order, &Order::Settings(settings).to_bytes())?;
        greeting.stream.write_all(outbox.waiting()).map_err(silent)?;
        let ahead = greeting.ask_time()?;
        clock::set_ahead(ahead.nanoseconds);

        let waker = Waker::new()?;
        let (orders, queue) = unbounded();
        let (sender, notices) = bounded(MAX_NOTICES);
        let shared = Arc::new(Shared {
            orders,
            waker: waker.clone(),
            used: Arc::new(Used::new(waker)),
            captures: Mutex::default(),
            looks: Mutex::default(),
            notices: sender,
            noticed: Waker::new()?,
            gone: OnceLock::new(),
            gone_waker: Waker::new()?,
        });
        let line = Line::new(greeting, Arc::clone(&shared), queue)?;
        let thread = thread::Builder::new().name("far".to_owned()).spawn(move || line.run());
        let thread = Some(thread.map_err(|source| Error::Thread { source })?);
        Ok(Self { shared, host, ahead, next: AtomicU32::new(0), notices, thread })
    }

    /// Where the far side runs.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// What its clock shows.
    #[must_use]
    pub fn ahead(&self) -> Ahead {
        self.ahead
    }

    /// Captures a namespace over there; comes back when it is captured.
    ///
    /// # Errors
    ///
    /// [`Error::FarRefused`]; [`Error::FarGone`].
    pub fn attach(&self, place: Place, spec: Spec) -> Result<FarCapture, Error> {
        let asked = self.ask_to_attach(place, spec)?;
        let mut poller = Poller::new()?;
        poller.add(&asked, 0, Trigger::Level)?;
        while !asked.is_over() {
            poller.wait(Some(asked.left()))?;
        }
        asked.take()
    }

    /// The same for somebody who waits for other things as well.
    ///
    /// # Errors
    ///
    /// When the process has no descriptors left.
    pub fn ask_to_attach(&self, place: Place, spec: Spec) -> Result<Asked, Error> {
        let capture = self.next_number();
        let (ended, leash) = io::pipe().map_err(sys::Error::call("pipe2"))?;
        let asks: Arc<dyn Asks> = Arc::<Shared>::clone(&self.shared);
        let arrivals = Arrivals::new(capture, asks);
        let (answer, asked) =
            Asked::new(Arc::clone(&self.shared), capture, arrivals.clone(), ended.into())?;
        let mine = Capture { arrivals: arrivals.clone(), answer: Some(answer), _leash: leash };
        self.shared.captures().insert(capture, mine);
        self.shared.order(Order::Attach(Box::new(Attach { capture, place, spec })));
        if self.shared.is_gone() {
            // Its thread may have cleared away before this was there. An answer may have come.
            self.shared.captures().remove(&capture);
            arrivals.put_end();
        }
        Ok(asked)
    }

    /// A number that nothing else has.
    pub(super) fn next_number(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Readable as long as something waits that the far side has said to people ([`Link::next_notice`]).
    #[must_use]
    pub fn noticed(&self) -> &Waker {
        &self.shared.noticed
    }

    /// What it has said, if there is anything left. Text from outside: not safe for a terminal.
    #[must_use]
    pub fn next_notice(&self) -> Option<String> {
        self.shared.noticed.reset();
        let next = self.notices.try_recv().ok();
        if !self.notices.is_empty() {
            self.shared.noticed.wake();
        }
        next.map(|notice| notice.text)
    }

    /// Why it has ended, if it has. Text from outside is made safe for a terminal.
    #[must_use]
    pub fn gone(&self) -> Option<Error> {
        self.shared.gone.get().map(|_| self.shared.why_gone())
    }
}

/// Readable once the link has ended.
impl AsFd for Link {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.shared.gone_waker.as_fd()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.order(Order::End);
        if let Some(thread) = self.thread.take() {
            // A panic has ended the link, and that was told.
            let _ = thread.join();
        }
    }
}

/// The thread's side.
struct Line {
    stream: UnixStream,
    /// The same, to be waited for until there is room.
    room: UnixStream,
    awaits_room: bool,
    /// The other side reads.
    is_heard: bool,
    incoming: Stream,
    outbox: Outbox,
    shared: Arc<Shared>,
    queue: Receiver<Order>,
    poller: Poller,
    /// Weight of all batches that have arrived.
    arrived: u64,
    acknowledged: u64,
    spoke: Instant,
    heard: Instant,
    /// Everything has been let go: the far side ends.
    ending: Option<Instant>,
}

/// Why a line ends.
enum End {
    /// It was to.
    Over,
    Broken(String),
}

impl Line {
    fn new(greeting: Greeting, shared: Arc<Shared>, queue: Receiver<Order>) -> Result<Self, Error> {
        let Greeting { stream, incoming } = greeting;
        stream.set_nonblocking(true).map_err(silent)?;
        let room = stream.try_clone().map_err(silent)?;
        let poller = Poller::new()?;
        poller.add(&stream, KEY_STREAM, Trigger::Level)?;
        poller.add(&shared.waker, KEY_WAKER, Trigger::Level)?;
        let now = Instant::now();
        Ok(Self {
            stream,
            room,
            awaits_room: false,
            is_heard: true,
            incoming,
            outbox: Outbox::default(),
            shared,
            queue,
            poller,
            arrived: 0,
            acknowledged: 0,
            spoke: now,
            heard: now,
            ending: None,
        })
    }

    fn run(mut self) {
        let end = loop {
            match self.turn() {
                Ok(()) => {}
                Err(end) => break end,
            }
        };
        let why = match end {
            End::Over => "it was ended".to_owned(),
            End::Broken(why) => why,
        };
        // Whoever attaches from here on sees it, and all others are told.
        let _ = self.shared.gone.set(why);
        for (_, capture) in self.shared.captures().drain() {
            capture.arrivals.put_end();
        }
        self.shared.looks.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.shared.gone_waker.wake();
    }

    fn turn(&mut self) -> Result<(), End> {
        let broken = |error: &dyn std::fmt::Display| End::Broken(error.to_string());
        let beat = HEARTBEAT.saturating_sub(self.spoke.elapsed());
        let silence = SILENCE.saturating_sub(self.heard.elapsed());
        let keys = self.poller.wait(Some(beat.min(silence))).map_err(|error| broken(&error))?;
        if keys.contains(&KEY_WAKER) {
            self.shared.waker.reset();
        }
        while let Ok(order) = self.queue.try_recv() {
            if order == Order::End {
                self.ending = Some(Instant::now());
            }
            self.say(&order)?;
        }
        let used = self.shared.used.weight();
        if used > self.acknowledged {
            self.acknowledged = used;
            self.say(&Order::Acknowledge(Acknowledge { bytes: used }))?;
        }
        if self.spoke.elapsed() >= HEARTBEAT {
            self.say(&Order::Heartbeat)?;
        }
        self.write()?;
        if keys.contains(&KEY_STREAM) {
            self.read()?;
        }
        if self.heard.elapsed() >= SILENCE {
            let seconds = SILENCE.as_secs();
            return Err(End::Broken(format!("it has said nothing for {seconds} s")));
        }
        if self.ending.is_some_and(|since| since.elapsed() >= SILENCE) {
            return Err(End::Over);
        }
        Ok(())
    }

    fn say(&mut self, order: &Order) -> Result<(), End> {
        self.spoke = Instant::now();
        if !self.is_heard {
            return Ok(());
        }
        let put = self.outbox.put(Kind::Order, &order.to_bytes());
        put.map_err(|error| End::Broken(error.to_string()))
    }

    fn write(&mut self) -> Result<(), End> {
        while !self.outbox.waiting().is_empty() {
            match self.stream.write(self.outbox.waiting()) {
                Ok(written) => self.outbox.written(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    // Nobody hears us any more. What was said before may still be on its way here.
                    self.is_heard = false;
                    self.outbox = Outbox::default();
                }
            }
        }
        let awaits = !self.outbox.waiting().is_empty();
        if awaits != self.awaits_room {
            self.awaits_room = awaits;
            let changed = if awaits {
                self.poller.add(&self.room, KEY_ROOM, Trigger::Room)
            } else {
                self.poller.remove(&self.room)
            };
            changed.map_err(|error| End::Broken(error.to_string()))?;
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), End> {
        let mut piece = vec![0; PIECE];
        for _ in 0..PIECES {
            match self.stream.read(&mut piece) {
                Ok(0) => {
                    let cut = self.incoming.end().err();
                    let why = cut.map_or_else(|| "it ended".to_owned(), |cut| cut.to_string());
                    return Err(if self.ending.is_some() { End::Over } else { End::Broken(why) });
                }
                Ok(read) => {
                    self.heard = Instant::now();
                    self.incoming.feed(&piece[..read]);
                    self.hear()?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken_by(&error)),
            }
        }
        Ok(())
    }

    /// A connection that breaks while the end is awaited has ended.
    fn broken_by(&self, error: &io::Error) -> End {
        if self.ending.is_some() { End::Over } else { End::Broken(error.to_string()) }
    }

    fn hear(&mut self) -> Result<(), End> {
        let Self { incoming, shared, arrived: sum, .. } = self;
        let broken = |error: wire::Error| End::Broken(error.to_string());
        while let Some((kind, payload)) = incoming.next_message().map_err(broken)? {
            match kind {
                Kind::Batch => {
                    let batch = Batch::read(payload).map_err(broken)?;
                    // When a batch is sent there is room, and without frames it would take none.
                    let unused = sum.saturating_sub(shared.used.weight());
                    if unused >= MAX_ALLOWANCE || batch.frames == 0 {
                        let what = "a batch that it may not send";
                        return Err(broken(wire::Error::Malformed { what }));
                    }
                    *sum += batch.weight();
                    let receipt = Receipt::new(batch.weight(), Arc::clone(&shared.used));
                    // What is nobody's any more is used by that.
                    if let Some(capture) = shared.captures().get(&batch.capture) {
                        let block = arrived(&batch);
                        let arrived = Arrived { block, lost: batch.lost, receipt };
                        capture.arrivals.put_block(arrived);
                    }
                }
                Kind::Report => {
                    let report = Report::read(payload).map_err(broken)?;
                    shared.hear(report)?;
                }
                Kind::Hello | Kind::Order => {
                    return Err(broken(wire::Error::Malformed { what: "a message out of place" }));
                }
            }
        }
        Ok(())
    }
}

impl Shared {
    fn hear(&self, report: Report) -> Result<(), End> {
        let mut captures = self.captures();
        match report {
            Report::Attached(attached) => {
                if let Some(capture) = captures.get_mut(&attached.capture) {
                    capture.arrivals.put_interfaces(attached.interfaces.clone());
                    if let Some(answer) = capture.answer.take() {
                        answer.give(Ok(attached));
                    }
                }
            }
            Report::Refused(refused) => {
                if let Some(capture) = captures.remove(&refused.number) {
                    capture.arrivals.put_end();
                    if let Some(answer) = capture.answer {
                        answer.give(Err(refused));
                    }
                }
            }
            Report::Seen(seen) => self.answer_look(seen.number, Ok(seen)),
            Report::Unseen(refused) => self.answer_look(refused.number, Err(refused)),
            Report::Interfaces(told) => {
                if let Some(capture) = captures.get(&told.capture) {
                    capture.arrivals.put_interfaces(told.interfaces);
                }
            }
            Report::Settled(told) => {
                if let Some(capture) = captures.get(&told.capture) {
                    capture.arrivals.put_settled(told.until);
                }
            }
            Report::Counts(told) => {
                if let Some(capture) = captures.get(&told.capture) {
                    capture.arrivals.put_stats(told.stats);
                }
            }
            Report::Detached(told) => {
                if let Some(capture) = captures.remove(&told.capture) {
                    capture.arrivals.put_stats(told.stats);
                    capture.arrivals.put_end();
                }
            }
            Report::Ended(ended) => {
                return Err(match ended.text {
                    Some(why) => End::Broken(why),
                    None => End::Over,
                });
            }
            Report::Notice(notice) => {
                // Who says more than anybody reads is not heard to the end.
                if self.notices.try_send(notice).is_ok() {
                    self.noticed.wake();
                }
            }
            Report::Clock(_) | Report::Heartbeat => {}
        }
        Ok(())
    }
}
