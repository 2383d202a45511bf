//! A real engine's sandboxes.

use std::{
    collections::HashSet,
    io::Write,
    mem,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use lab::{Container, ContainerSpec, Engine, PrivateEngine};
use sys::inotify::Event;
use whaletap_opener::{Opened, Opener, Reason};

use crate::opening::{LIMIT, PORT, first_datagram, next_events, now, sandbox, spec};

/// How many containers are started, and how many of them at a time.
const CONTAINERS: (usize, usize) = (10, 5);

/// A sandbox that was opened when its file appeared.
struct Attached {
    file: String,
    opened: Opened,
    /// When its event was read, and when the answer was there, in nanoseconds since the epoch.
    heard: u64,
    answered: u64,
    /// How often it was asked for before it was a namespace.
    tries: u32,
}

fn socket(engine: &Engine) -> &str {
    engine.host().strip_prefix("unix://").expect("an engine on this machine")
}

/// Where an engine keeps its sandboxes' files, as it says itself.
fn netns_directory(container: &Container) -> String {
    let key = container.sandbox_key().unwrap();
    key.parent().unwrap().to_str().unwrap().to_owned()
}

fn file_of(container: &Container) -> String {
    let key = container.sandbox_key().unwrap();
    key.file_name().unwrap().to_str().unwrap().to_owned()
}

pub(crate) fn containers_are_attached_before_they_speak() {
    let engine = Engine::shared().unwrap();
    let resident = engine.run(ContainerSpec::new("resident")).unwrap();
    let opener = Opener::start(Some(socket(&engine))).unwrap();
    let watched = opener.watch(&netns_directory(&resident)).unwrap();
    assert!(watched.names.contains(&file_of(&resident)), "{:?}", watched.names);

    let (count, at_a_time) = CONTAINERS;
    let done = AtomicBool::new(false);
    let (containers, attached) = thread::scope(|scope| {
        let starters: Vec<_> =
            (0..at_a_time).map(|_| scope.spawn(|| start(&resident, count / at_a_time))).collect();
        let watching = scope.spawn(|| attach_all(&opener, &watched, &done));
        let containers: Vec<_> = starters.into_iter().flat_map(|s| s.join().unwrap()).collect();
        done.store(true, Ordering::Relaxed);
        (containers, watching.join().unwrap())
    });
    assert_eq!(containers.len(), count);
    judge(&opener, watched.directory, &containers, attached);
}

/// Starts containers one after the other, whose first doing is to send a datagram to a resident.
fn start(resident: &Container, count: usize) -> Vec<Container> {
    // A network's own gateway is not told by an engine that has not restarted since it was made.
    let to = resident.address().unwrap();
    let datagram = format!("whaletap-traffic udp --to {to}:{PORT} --count 1; sleep 60");
    let speaks = || ContainerSpec::new("speaks").command(["sh", "-c", &datagram]);
    (0..count).map(|_| resident.engine().run(speaks()).unwrap()).collect()
}

fn attach_all(
    opener: &Opener,
    watched: &whaletap_opener::Watched,
    done: &AtomicBool,
) -> Vec<Attached> {
    let mut attached = Vec::new();
    let mut waiting: Vec<(String, u64, u32)> = Vec::new();
    let deadline = Instant::now() + 6 * LIMIT;
    while !done.load(Ordering::Relaxed) && Instant::now() < deadline {
        for event in next_events(&watched.watch, Duration::from_millis(100)) {
            if let Event::Appeared(file) = event {
                waiting.push((file, now(), 1));
            }
        }
        // Those that are not ready yet are asked for again, together with those that came.
        while !waiting.is_empty() && Instant::now() < deadline {
            let place = |(file, ..): &(String, u64, u32)| sandbox(watched.directory, file);
            let outcomes = opener.open_all(waiting.iter().map(place).collect(), spec()).unwrap();
            let answered = now();
            for ((file, heard, tries), outcome) in mem::take(&mut waiting).into_iter().zip(outcomes)
            {
                match outcome {
                    Ok(opened) => {
                        attached.push(Attached { file, opened, heard, answered, tries });
                    }
                    Err(error) if error.reason() == Reason::NotReady => {
                        waiting.push((file, heard, tries + 1));
                    }
                    // A test beside this one has ended its container already.
                    Err(error) => assert_eq!(error.reason(), Reason::NotFound, "{error}"),
                }
            }
            let news = next_events(&watched.watch, Duration::ZERO).into_iter();
            waiting.extend(news.filter_map(|event| match event {
                Event::Appeared(file) => Some((file, now(), 1)),
                _ => None,
            }));
        }
    }
    attached
}

fn judge(opener: &Opener, directory: u32, containers: &[Container], attached: Vec<Attached>) {
    let ids: HashSet<_> = containers.iter().map(|container| container.id().to_owned()).collect();
    let mut found = HashSet::new();
    let mut at_first = 0;
    let [mut to_bound, mut to_answer, mut to_packet, mut age] = [const { Vec::new() }; 4];
    let (mut most_tries, mut missed) = (0, 0);
    for Attached { file, opened, heard, answered, tries } in attached {
        let id = match &opened.container {
            Some(id) => Some(id.clone()),
            None => opener.look(sandbox(directory, &file)).ok().and_then(|seen| seen.container),
        };
        // Others are of tests beside this one.
        let Some(id) = id.filter(|id| ids.contains(id)) else { continue };
        at_first += usize::from(opened.container.is_some());
        assert_eq!(opened.container.is_some(), opened.pidfd.is_some());
        let created = opened.created.unwrap();
        assert!(created <= opened.attached, "{created} {}", opened.attached);
        let spoke = first_datagram(&opened).unwrap_or_else(|| {
            let container = containers.iter().find(|container| container.id() == id).unwrap();
            let logs = container.engine().docker().args(["logs", &id]).run().unwrap();
            panic!("no datagram in {opened:?}, whose container says {logs:?}")
        });
        assert!(opened.attached < spoke, "{} {spoke}", opened.attached);
        // On a busy machine the kernel's own first words (MLD) may have been said.
        assert!(opened.frames_before < 8, "{file}: {}", opened.frames_before);
        missed += opened.frames_before;
        to_bound.push(opened.attached.saturating_sub(heard));
        to_answer.push(answered.saturating_sub(heard));
        to_packet.push(spoke - opened.attached);
        age.push(opened.attached - created);
        most_tries = most_tries.max(tries);
        found.insert(id);
    }
    assert_eq!(found, ids, "each was found");
    let mut out = std::io::stderr();
    writeln!(
        out,
        "{} containers, {at_first} known at the first try, at most {most_tries} tries, {missed} frames before",
        ids.len()
    )
    .unwrap();
    for (what, mut times) in [
        ("event to bound", to_bound),
        ("event to answer", to_answer),
        ("sandbox to bound", age),
        ("bound to first packet", to_packet),
    ] {
        times.sort_unstable();
        let at = |index: usize| Duration::from_nanos(times[index]);
        let last = times.len() - 1;
        writeln!(out, "{what}: {:?}, median {:?}, {:?}", at(0), at(last / 2), at(last)).unwrap();
    }
}

pub(crate) fn an_engine_of_other_mounts_is_seen_as_it_sees_itself() {
    let private = PrivateEngine::start().unwrap();
    let engine = private.engine();
    let container = engine.run(ContainerSpec::new("owner")).unwrap();
    let opener = Opener::start(Some(socket(engine))).unwrap();
    let directory = netns_directory(&container);
    let watched = opener.watch(&directory).unwrap();
    let file = file_of(&container);
    assert!(watched.names.contains(&file), "{:?}", watched.names);
    let from_here = sys::netns::identity(&Path::new(&directory).join(&file));
    assert!(from_here.is_err(), "it is only seen from there: {from_here:?}");

    // One that joins is not the one whose namespace it is.
    let guest = engine.run(ContainerSpec::new("guest").sharing(&container)).unwrap();
    let seen = opener.look(sandbox(watched.directory, &file)).unwrap();
    assert_eq!(seen.container.as_deref(), Some(container.id()), "and not {}", guest.id());
    let expected = sys::netns::identity_of_process(container.pid().unwrap()).unwrap();
    assert_eq!(seen.netns, expected);
    let pidfd = seen.pidfd.expect("of the container's process");
    assert!(!crate::opening::is_readable_within(&pidfd, Duration::ZERO));
    drop(guest);
    container.kill().unwrap();
    assert!(crate::opening::is_readable_within(&pidfd, LIMIT), "its process has ended");
    // The engine lets the namespace go at once, and its file within a minute.
    let deadline = Instant::now() + LIMIT;
    while let Ok(seen) = opener.look(sandbox(watched.directory, &file)) {
        assert!(seen.container.is_none() && Instant::now() < deadline, "{seen:?}");
    }
}
