//! How it begins, and by what it ends.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use lab::{Net, Program};
use wire::{
    Clock, ContainerPlace, Hello, Kind, Look, Order, PREAMBLE, PROTOCOL, Place, Question, Reason,
    Report, SILENCE, Scope, Settings,
};

use crate::client::{AGENT, BUILD, Client, LIMIT, Said, message, status};

/// How long an end may take.
const AT_ONCE: Duration = Duration::from_secs(1);

fn wait_until_gone(pid: u32) {
    let ends = Instant::now() + AT_ONCE;
    while Path::new(&format!("/proc/{pid}")).exists() {
        assert!(Instant::now() < ends, "process {pid} is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn who_reads_what_others_wrote_has_no_rights() {
    let mut client = Client::greeted();
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd"] {
        assert_eq!(client.status(set), "0000000000000000", "{set}");
    }
    assert_eq!((client.status("NoNewPrivs"), client.status("Threads")), ("1".into(), "1".into()));
    assert_ne!(status(client.opener(), "CapEff"), "0000000000000000");
    let Some(Said::Hello(Hello { host: Some(host), .. })) = client.heard.first() else {
        panic!("{:?}", client.heard)
    };
    let here = |path: &str| std::fs::read_to_string(path).unwrap().trim().to_owned();
    assert_eq!(host.name, here("/proc/sys/kernel/hostname"));
    assert_eq!(host.kernel, here("/proc/sys/kernel/osrelease"));
    assert_eq!(host.boot, here("/proc/sys/kernel/random/boot_id"));
    assert_eq!(host.architecture, std::env::consts::ARCH);
    assert!(host.processors > 0);
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(own.to_str().unwrap(), host.netns.to_string());
    // Also where it is captured itself.
    let netns = host.netns;
    assert_eq!(client.attached(3, Place::Own, Scope::Namespace).netns, netns);
    assert_eq!(client.attached(4, Place::Host, Scope::Namespace).netns, netns);
    client.order(&Order::Clock(Question { number: 17 }));
    let asked = Instant::now();
    let now = client.wait_for_report("the time", |report| match report {
        Report::Clock(Clock { number: 17, now }) => Some(*now),
        _ => None,
    });
    assert!(asked.elapsed() < AT_ONCE);
    let since = Duration::from_nanos(now);
    assert!(std::time::UNIX_EPOCH.elapsed().unwrap().abs_diff(since) < AT_ONCE);
}

#[test]
fn it_ends_with_its_client_at_once() {
    let mut net = Net::new();
    let namespace = net.namespace().unwrap();
    let mut client = Client::greeted();
    let path = namespace.path().to_str().unwrap().to_owned();
    client.attached(1, Place::Netns(path), Scope::Namespace);
    let (pid, opener) = (client.running.pid(), client.opener());
    client.running.close_stdin();
    let began = Instant::now();
    let (_, finished) = client.finish();
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert_eq!((finished.code(), finished.stderr.as_str()), (Some(0), ""));
    for pid in [pid, opener] {
        wait_until_gone(pid);
    }
}

#[test]
fn it_ends_when_nothing_is_said_any_more() {
    let began = Instant::now();
    let client = Client::greeted();
    let (heard, finished) = client.finish();
    assert!((SILENCE..SILENCE + 2 * AT_ONCE).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert_eq!(finished.code(), Some(1));
    assert!(finished.stderr.contains("no word of the client for 15 s"), "{}", finished.stderr);
    let said = |wanted: fn(&Report) -> bool| {
        heard.iter().filter(|said| matches!(said, Said::Report(it) if wanted(it))).count()
    };
    assert!((2..=3).contains(&said(|report| *report == Report::Heartbeat)));
    assert_eq!(said(|report| matches!(report, Report::Ended(it) if it.text.is_some())), 1);
}

#[test]
fn another_version_is_answered_and_refused() {
    for (protocol, build) in [(PROTOCOL + 1, BUILD), (PROTOCOL, "0.0.7")] {
        let mut client = Client::silent();
        client.greet(&Hello { protocol, build: build.to_owned(), host: None });
        // Behind it may stand what nobody here understands.
        let (heard, finished) = client.finish();
        assert!(matches!(heard.as_slice(), [Said::Hello(_)]), "{heard:?}");
        assert_eq!(finished.code(), Some(1));
        let words = format!("its version is {build} (protocol {protocol})");
        assert!(finished.stderr.contains(&words), "{}", finished.stderr);
    }
}

#[test]
fn what_is_no_client_is_told_so() {
    let hello = [PREAMBLE.to_vec(), message(Kind::Hello, &Hello::new(BUILD, None).to_bytes())];
    let hello = hello.concat();
    let behind = |bytes: &[u8]| [hello.clone(), bytes.to_vec()].concat();
    let order = |order: &Order| message(Kind::Order, &order.to_bytes());
    let settings = Settings { compress: true, memory: u64::MAX, linger: u32::MAX, patience: 0 };
    let settings = order(&Order::Settings(settings));
    let attach = {
        let program = model::Program::ret(0);
        let spec = wire::Spec {
            fallback: program.clone(),
            program,
            ring: u32::MAX,
            retire: 0,
            scope: Scope::Named(vec!["x".repeat(5000); 70]),
            promiscuous: true,
        };
        let place = Place::Netns("\0".repeat(9000));
        order(&Order::Attach(Box::new(wire::Attach { capture: u32::MAX, place, spec })))
    };
    let again = {
        let program = model::Program::ret(0);
        let spec = wire::Spec {
            fallback: program.clone(),
            program,
            ring: 0,
            retire: 0,
            scope: Scope::Namespace,
            promiscuous: false,
        };
        order(&Order::Attach(Box::new(wire::Attach { capture: 1, place: Place::Own, spec })))
    };
    for (bytes, words) in [
        (b"GET / HTTP/1.1\r\n\x1b[2J".to_vec(), "it does not speak whaletap's protocol"),
        ([PREAMBLE.to_vec(), vec![0xFF; 40]].concat(), "a message of 4294967295 bytes"),
        ([PREAMBLE.to_vec(), vec![0; 40]].concat(), "an empty message"),
        ([PREAMBLE.to_vec(), order(&Order::Heartbeat)].concat(), "an order before its greeting"),
        (behind(&hello[8..]), "a second greeting"),
        (behind(&message(Kind::Order, &[0xFF; 9])), "an order that does not read"),
        (behind(&message(Kind::Report, &Report::Heartbeat.to_bytes())), "a report"),
        (behind(&message(Kind::Batch, &[0; 20])), "frames"),
        (behind(&order(&Order::Heartbeat)[..4]), "in the middle of a message"),
        (behind(&[settings.clone(), attach.clone(), settings].concat()), "settings behind"),
        (behind(&[attach, again.clone(), again].concat()), "the number of a capture twice"),
    ] {
        let mut client = Client::silent();
        client.running.write_stdin(&bytes).unwrap();
        if words.contains("middle") {
            client.running.close_stdin();
        }
        let (_, finished) = client.finish();
        assert_eq!(finished.code(), Some(1), "{words}: {}", finished.stderr);
        assert!(finished.stderr.contains(words), "{words}: {}", finished.stderr);
        assert!(!finished.stderr.contains('\x1b') && !finished.stderr.contains("panicked"));
        assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
    }
}

/// In a container, whose root directory is another one.
#[test]
fn paths_are_those_of_the_machine() {
    let mut net = Net::new();
    let namespace = net.namespace().unwrap();
    // The machine's first process, and one with other mounts.
    let inside = format!("mount -t tmpfs none /run/netns && exec {AGENT} stdio");
    let first = format!("unshare --mount sh -c '{inside}'; true");
    let words = ["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", &first];
    let mut client = Client::of(Program::new("unshare").args(words)).and_greeted();
    let path = namespace.path().to_str().unwrap().to_owned();
    let attached = client.attached(1, Place::Netns(path), Scope::Namespace);
    assert_eq!((attached.netns.dev, attached.netns.ino), namespace.id().unwrap());
}

#[test]
fn places_that_are_not_there_are_refused() {
    let nowhere = u32::try_from(i32::MAX).unwrap();
    let container =
        ContainerPlace { pid: std::process::id(), id: "a1".repeat(32), sandbox_key: String::new() };
    let mut client = Client::greeted();
    for (capture, (place, reason, words)) in [
        (Place::Process(nowhere), Reason::NotFound, "there is no process 2147483647"),
        (Place::Process(u32::MAX), Reason::Failed, "pidfd_open"),
        (Place::Netns("/run/netns/no-such".to_owned()), Reason::NotFound, "no-such"),
        (Place::Netns("/etc/passwd".to_owned()), Reason::Failed, "not a network namespace"),
        (Place::Netns("x".repeat(70_000)), Reason::Failed, ""),
        (Place::Container(container), Reason::NotTheOne, "does not belong to container a1a1a1a1"),
    ]
    .into_iter()
    .enumerate()
    {
        let capture = u32::try_from(capture).unwrap();
        client.attach(capture, place.clone(), Scope::Namespace);
        let refused = client.wait_for_report("it is refused", |report| match report {
            Report::Refused(refused) if refused.number == capture => Some(refused.clone()),
            Report::Attached(attached) => panic!("{attached:?}"),
            _ => None,
        });
        assert_eq!(refused.reason, reason, "{refused:?}");
        assert!(refused.text.contains(words), "{refused:?}");
        client.order(&Order::Look(Look { number: capture, place }));
        let unseen = client.wait_for_report("it is not looked into", |report| match report {
            Report::Unseen(unseen) if unseen.number == capture => Some(unseen.clone()),
            Report::Seen(seen) => panic!("{seen:?}"),
            _ => None,
        });
        assert_eq!(unseen, refused);
    }
    // It goes on all the same, and under the same numbers.
    client.heard.clear();
    let named = Scope::Named(vec!["lo".to_owned(), "no-such0".to_owned()]);
    assert_eq!(client.attached(0, Place::Own, named).missing, ["no-such0"]);
    client.order(&Order::End);
    // Who has said the last word may hang up.
    client.running.close_stdin();
    let began = Instant::now();
    let (heard, finished) = client.finish();
    assert!(began.elapsed() < LIMIT / 2);
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    let last: Vec<_> = heard.iter().rev().take(2).collect();
    let is_so = matches!(
        last.as_slice(),
        [Said::Report(Report::Ended(ended)), Said::Report(Report::Detached(counts))]
            if ended.text.is_none() && counts.capture == 0
    );
    assert!(is_so, "{last:?}");
}
