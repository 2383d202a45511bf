//! Containers that start while others talk: the file stays in the order of time, and nobody waits
//! for long.

use std::{
    io::{self, Read},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lab::{Container, ContainerSpec, Engine, Program, Running, judge};

use crate::{
    follow::{LABEL, early, label, name, neighbour},
    interfaces::interfaces,
    tap::{LIMIT, Tap, assert_ended, count, idle, until, whaletap},
};

/// The talker's numbered datagrams.
const RUN: u32 = 1000;

/// Datagrams to a container that does not listen, until it is killed.
pub(crate) fn talk(from: &Container, to: &Container, run: u32, more: &str) -> Running {
    let address = to.address().unwrap();
    let words = format!("udp --to {address}:9 --seconds 120 --run {run} {more}");
    let program = Program::new(lab::traffic::program().unwrap()).args(words.split_whitespace());
    from.enter(program).unwrap().limit(6 * LIMIT).start().unwrap()
}

/// Runs containers, so many at a time.
pub(crate) fn run_all(
    engine: &Engine,
    at_a_time: usize,
    specs: Vec<ContainerSpec>,
) -> Vec<Container> {
    let mut shares: Vec<Vec<ContainerSpec>> = vec![Vec::new(); at_a_time];
    for (number, spec) in specs.into_iter().enumerate() {
        shares[number % at_a_time].push(spec);
    }
    thread::scope(|scope| {
        let runs = |share: Vec<ContainerSpec>| {
            move || share.into_iter().map(|spec| engine.run(spec).unwrap()).collect::<Vec<_>>()
        };
        let makers: Vec<_> = shares.into_iter().map(|share| scope.spawn(runs(share))).collect();
        makers.into_iter().flat_map(|maker| maker.join().unwrap()).collect()
    })
}

/// Numbers without a gap, in their order.
#[track_caller]
fn assert_unbroken(numbers: &[u64]) {
    assert!(!numbers.is_empty());
    let jumps: Vec<_> = numbers.windows(2).filter(|pair| pair[1] != pair[0] + 1).collect();
    assert!(jumps.is_empty(), "{jumps:?}");
}

#[test]
fn containers_that_start_beside_one_that_talks_are_in_order() {
    const COUNT: u32 = 40;
    const AT_A_TIME: usize = 20;
    let engine = Engine::shared().unwrap();
    let db = neighbour(&engine);
    let (selector, value) = label();
    let stays = engine.run(idle("stays").label(LABEL, &value)).unwrap();
    let tap = Tap::start(&[&selector, "--", "udp"]);
    let talker = talk(&db, &stays, RUN, "--rate 1000");
    let specs = (0..COUNT).map(|run| early(&db, run).label(LABEL, &value)).collect();
    let came = run_all(&engine, AT_A_TIME, specs);
    // Not asked for by a signal: what is written at once is not in order.
    until("all are in the file", LIMIT, || {
        let described = interfaces(&tap.file());
        came.iter().all(|container| described.contains(&name(container)))
    });
    until("all have their answers", LIMIT, || {
        let ended = |container: &Container| container.inspect("{{.State.Status}}").unwrap();
        came.iter().all(|container| ended(container) == "exited")
    });
    talker.kill();
    let tapped = tap.stop();
    tapped.assert_whole();
    let records = tapped.records();
    let late = (tapped.count("out of order"), records.inversions());
    assert_eq!(late, (0, 0), "{}", tapped.finished.stderr);
    for run in 0..COUNT {
        assert_eq!(records.numbers(run), [0, 0], "{run}");
    }
    assert_unbroken(&records.numbers(RUN));
    judge::all(tapped.file(), true).unwrap();
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

/// Reads a pcapng stream to its end. Gives how old the oldest packet was when it came, in
/// nanoseconds.
fn oldest(mut stream: impl Read) -> u64 {
    /// Enhanced packet block; its stamp stands in two halves, in nanoseconds in our files.
    const PACKET: u32 = 6;
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes[..4].try_into().unwrap());
    let mut oldest = 0;
    let mut head = [0; 8];
    while stream.read_exact(&mut head).is_ok() {
        let rest = word(&head[4..]).checked_sub(8).unwrap();
        let mut body = vec![0; rest.try_into().unwrap()];
        stream.read_exact(&mut body).unwrap();
        if word(&head) == PACKET {
            let stamp = u64::from(word(&body[4..])) << 32 | u64::from(word(&body[8..]));
            oldest = oldest.max(now().saturating_sub(stamp));
        }
    }
    oldest
}

/// Containers that nobody means, and that the engine does not tell of: with `--filter` whoever does
/// not pass is never heard of.
#[test]
fn strangers_that_start_cost_nothing_and_hold_up_nobody_for_long() {
    const COUNT: u32 = 10;
    /// What the capture itself takes, and a busy machine, on top of what a stranger may take.
    const LONG: Duration = Duration::from_secs(5);
    let engine = Engine::shared().unwrap();
    let db = neighbour(&engine);
    let (_, value) = label();
    let stays = engine.run(idle("stays").label(LABEL, &value)).unwrap();
    let (stream, writer) = io::pipe().unwrap();
    let filter = format!("label={LABEL}={value}");
    let words = ["capture", "*", "--filter", &filter, "-U", "-w", "-", "--", "udp"];
    let mut running = whaletap(&words).limit(6 * LIMIT).stdout_to(writer).start().unwrap();
    let oldest = thread::spawn(move || oldest(stream));
    running.wait_for_line("capturing ", LIMIT).unwrap();
    let talker = talk(&db, &stays, RUN, "--rate 1000");
    let specs = (0..COUNT).map(|run| early(&db, run)).collect();
    let strangers = run_all(&engine, 2, specs);
    assert_eq!(strangers.len(), COUNT as usize);
    talker.kill();
    let finished = running.interrupt().unwrap();
    assert_ended(&finished, 0, &["ended: stopped"]);
    let count = |what| count(&finished.stderr, what);
    assert!(count("captured") > 0);
    assert_eq!(count("captured"), count("received by filter"));
    for bad in ["dropped by kernel", "dropped by whaletap", "out of order"] {
        assert_eq!(count(bad), 0, "{bad}");
    }
    let oldest = Duration::from_nanos(oldest.join().unwrap());
    assert!(oldest < LONG, "{oldest:?}");
}
