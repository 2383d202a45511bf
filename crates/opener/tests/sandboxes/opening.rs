//! What the tests ask an opener for, and how they read what comes.

use std::{
    io::Write,
    os::fd::AsFd,
    time::{Duration, Instant, UNIX_EPOCH},
};

use model::{Instruction, Program};
use sys::{
    inotify::{Event, Watch},
    poll::{Poller, Trigger},
    ring::{Geometry, Ring},
};
use whaletap_opener::{Error, Opened, Opener, Place, Reason, Scope, Spec};

/// Where nobody listens (who did would discard, RFC 863).
pub(crate) const PORT: u16 = 9;

/// How long anything may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Between two looks at a ring, or tries at a file that is no namespace yet.
const PAUSE: Duration = Duration::from_millis(1);

#[expect(clippy::print_stdout, reason = "what a test program prints")]
pub(crate) fn say(line: &str) {
    println!("{line}");
    std::io::stdout().flush().unwrap();
}

/// Accepts UDP datagrams over IPv4 to [`PORT`]. A ring that nobody reads is full after a few frames
/// of others, as each that comes by itself takes a block.
fn datagrams() -> Program {
    let load = |code, k| Instruction { code, jt: 0, jf: 0, k };
    // Where it is something else, to the end.
    let equal = |k, jf| Instruction { code: 0x15, jt: 0, jf, k };
    Program(vec![
        load(0x28, 12),
        equal(0x0800, 5),
        load(0x30, 23),
        equal(17, 3),
        load(0x28, 36),
        equal(u32::from(PORT), 1),
        load(0x06, 262_144),
        load(0x06, 0),
    ])
}

pub(crate) fn spec() -> Spec {
    Spec {
        program: datagrams(),
        fallback: Program::ret(0),
        geometry: Geometry::of_size(640 << 10, Duration::from_millis(8)),
        scope: Scope::Namespace,
        promiscuous: false,
    }
}

pub(crate) fn sandbox(directory: u32, file: &str) -> Place {
    Place::Sandbox { directory, file: file.to_owned() }
}

pub(crate) fn now() -> u64 {
    u64::try_from(UNIX_EPOCH.elapsed().unwrap().as_nanos()).unwrap()
}

/// The next events, waiting for them.
pub(crate) fn next_events(watch: &Watch, limit: Duration) -> Vec<Event> {
    if is_readable_within(watch, limit) { watch.read().unwrap() } else { Vec::new() }
}

pub(crate) fn is_readable_within(fd: impl AsFd, limit: Duration) -> bool {
    let mut poller = Poller::new().unwrap();
    poller.add(fd, 0, Trigger::Level).unwrap();
    !poller.wait(Some(limit)).unwrap().is_empty()
}

/// Opens a sandbox, as often as it is not ready; also tells how often.
pub(crate) fn open(opener: &Opener, place: &Place) -> Result<(Opened, u32), Error> {
    let deadline = Instant::now() + LIMIT;
    let mut tries = 1;
    loop {
        match opener.open(place.clone(), spec()) {
            Err(error) if error.reason() == Reason::NotReady && Instant::now() < deadline => {
                tries += 1;
            }
            other => return other.map(|opened| (opened, tries)),
        }
    }
}

/// Stamp of the first datagram in the ring; `None` where none comes.
pub(crate) fn first_datagram(opened: &Opened) -> Option<u64> {
    let mut ring = Ring::map(&opened.sockets[0].1, opened.geometry).unwrap();
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(block) = ring.next_block()
            && let Some((_, frame)) = block.frames().next()
        {
            return Some(frame.timestamp());
        }
        if Instant::now() > deadline {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}
