//! The client that there is, and the far side: frames of several namespaces in one file.

use std::{
    convert::Infallible,
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use capture::{
    Attachment, Autostop, CaptureId, Compression, Config, Destination, Event, FileName, Format,
    Identity, KeepFree, Means, Pipeline, Rotation, SectionText,
    far::{Link, Place, Scope, Settings, Spec},
};
use filter::{Expression, LiveJob, Plan};
use lab::{Net, Records};
use model::{Direction, Snaplen};

use crate::{
    capturing::{PART, RUN, eventually, frames, inject, place},
    client::{BUILD, LIMIT},
};

const SETTINGS: Settings = Settings { compress: true, memory: 8 << 20, linger: 20, patience: 5000 };

/// A far side at the other end of a connection, as an engine's attached stream is one.
fn far_side() -> (UnixStream, Child) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let end = |stream: &UnixStream| Stdio::from(OwnedFd::from(stream.try_clone().unwrap()));
    let child = Command::new(env!("CARGO_BIN_EXE_whaletap-agent"))
        .arg("stdio")
        .stdin(end(&theirs))
        .stdout(end(&theirs))
        .spawn()
        .unwrap();
    (ours, child)
}

fn plan() -> Arc<Plan> {
    let here = |job: LiveJob<'_>| Ok::<_, Infallible>(job.run());
    let compiled = Expression::new("udp").compile(Snaplen::MAX, here).unwrap();
    Arc::new(Plan::compose(&compiled, Direction::InOut).unwrap())
}

fn config(plan: &Arc<Plan>, path: &str) -> Config {
    Config {
        plan: Arc::clone(plan),
        expression: "udp".to_owned(),
        destination: Destination::Files {
            name: FileName::new(path, "host").unwrap(),
            split: false,
        },
        format: Format::Pcapng,
        compression: Compression::None,
        print: None,
        rotation: Rotation::Off,
        autostop: Autostop::default(),
        link_type: None,
        memory: 8 << 20,
        keep_free: KeepFree::Bytes(0),
        packet_buffered: false,
        section: SectionText::default(),
    }
}

#[test]
fn frames_of_several_namespaces_are_in_order_here() {
    let (_net, a, b) = Net::pair().unwrap();
    let (stream, mut child) = far_side();
    let link = Link::start(stream, BUILD, SETTINGS).unwrap();
    // One machine, one clock.
    assert!(link.ahead().nanoseconds.unsigned_abs() < 50_000_000, "{:?}", link.ahead());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("x.pcapng");
    let plan = plan();
    let waker = sys::poll::Waker::new().unwrap();
    let config = config(&plan, file.to_str().unwrap());
    let (pipeline, events) = Pipeline::start(config, 1, waker).unwrap();
    let spec = Spec {
        program: plan.kernel().clone(),
        fallback: plan.prologue().clone(),
        ring: 2 << 20,
        retire: 8000,
        scope: Scope::Namespace,
        promiscuous: false,
    };
    let missing = link.attach(Place::Process(u32::MAX >> 1), spec.clone()).unwrap_err();
    assert!(missing.to_string().ends_with("there is no process 2147483647 (any more)"));
    let mut ends = Vec::new();
    for (id, namespace) in [&a, &b].into_iter().enumerate() {
        let capture = link.attach(place(namespace), spec.clone()).unwrap();
        assert!(!capture.program_refused);
        pipeline
            .attach(Attachment {
                id: CaptureId(u32::try_from(id).unwrap()),
                identity: Identity { name: namespace.name().to_owned(), ..Identity::default() },
                netns: capture.netns,
                means: Means::Far(capture.arrivals),
                program_refused: capture.program_refused,
                only: None,
                follows: None,
                blind: None,
                hold: None,
            })
            .unwrap();
        ends.push(capture.ended);
    }
    let sent = frames(RUN, 3000);
    for (round, part) in sent.chunks(PART).enumerate() {
        inject(&a, "eth0", part);
        let there = 2 * (round * PART + part.len()) as u64;
        eventually("all are written", || pipeline.snapshot().unwrap().packets == there);
    }
    for id in [0, 1] {
        pipeline.detach(CaptureId(id));
        let report = loop {
            if let Event::Detached(report) = events.recv_timeout(LIMIT).unwrap() {
                break report;
            }
        };
        assert_eq!(report.id, CaptureId(id));
        assert!(report.stats.adds_up(), "{report:?}");
        assert_eq!((report.stats.captured, report.stats.lost()), (3000, 0));
    }
    let are_told = || ends.iter().all(|end| sys::poll::is_readable(end).unwrap());
    eventually("their ends are told", are_told);
    pipeline.stop();
    assert_eq!(pipeline.join().unwrap().last.total().out_of_order, 0);

    let records = Records::read(&file).unwrap();
    assert_eq!((records.len(), records.inversions()), (6000, 0));
    for namespace in [&a, &b] {
        let numbers = records.of(&format!("{}/eth0", namespace.name())).numbers(RUN);
        assert_eq!(numbers, (0..3000).collect::<Vec<_>>());
    }
    assert!(link.gone().is_none());
    drop(link);
    assert!(child.wait().unwrap().success());
}
