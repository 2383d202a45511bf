//! With a real engine on a host of its own, and the lab's image in the helper's place, which has
//! programs that say back what they are told.

use std::{
    fs,
    hash::{DefaultHasher, Hasher as _},
    io::{ErrorKind, Read as _, Write as _},
    net::Shutdown,
    os::unix::fs::MetadataExt as _,
    pin::Pin,
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use docker::{
    Calls, Dial, Endpoint, EndpointOptions, HelperProgram, HelperSpec, PathDial, ProgramDial, Shape,
};
use lab::FarHost;
use sys::lifetime::Lifetime;

use super::*;
use crate::helper::{
    far,
    reaper::{self, Charge, Stage},
    runtime,
};

/// How long anything may take that takes a moment.
const LIMIT: Duration = Duration::from_secs(20);
/// What goes there and back, in bytes.
const MUCH: usize = 8 << 20;
/// More than all queues on the way hold, in bytes: sockets, pipes, and a megabyte in the engine.
const QUEUES: u64 = 32 << 20;
/// Whoever has not gone on for so long waits for somebody.
const STILL: Duration = Duration::from_millis(300);

/// A far engine by TLS.
fn by_tls(far: &FarHost) -> (Endpoint, Arc<dyn Dial>) {
    let file = |name: &str| Some(far.certificates().at(name));
    let options = EndpointOptions {
        hosts: vec![far.tls()],
        tls_verify: Some(true),
        tls_ca_cert: file("ca.pem"),
        tls_cert: file("cert.pem"),
        tls_key: file("key.pem"),
        ..EndpointOptions::default()
    };
    (Endpoint::resolve(&options, |_| None).unwrap(), Arc::new(PathDial("".into())))
}

/// The same by ssh.
fn by_ssh(far: &FarHost) -> (Endpoint, Arc<dyn Dial>) {
    let options = EndpointOptions { hosts: vec![far.ssh()], ..EndpointOptions::default() };
    let endpoint = Endpoint::resolve(&options, |_| None).unwrap();
    let mut words = endpoint.program().unwrap();
    // The first of the lab's path is where its ssh is.
    let path = far.path();
    words[0] = format!("{}/ssh", path.split(':').next().unwrap()).into();
    (endpoint, Arc::new(ProgramDial(words)))
}

/// A container that runs this.
fn spec(script: &str) -> HelperSpec {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    HelperSpec {
        name: format!("whaletap-line-{}-{number}", process::id()),
        owner: "a test".into(),
        image: lab::engine::IMAGE.into(),
        shape: Shape::Host,
        calls: Calls::Engines,
        words: ["sh", "-c", script].map(str::to_owned).to_vec(),
        mounts: Vec::new(),
        attached: true,
    }
}

/// A container that is made and taken as a helper is, and the client's end.
struct Attached {
    name: String,
    line: Line,
    stream: UnixStream,
}

impl Attached {
    fn start(far: &FarHost, by: &(Endpoint, Arc<dyn Dial>), script: &str) -> Self {
        let spec = spec(script);
        let (endpoint, dial) = by.clone();
        // The thread of the line is one of this thread's, and so where it is.
        let (line, stream) = far
            .here()
            .enter(|| {
                let runtime = runtime().unwrap();
                let (engine, attached) = runtime.block_on(async {
                    let engine = Engine::connect_through(&endpoint, dial, LIMIT).await.unwrap();
                    let id = engine.create_helper(&spec).await.unwrap();
                    let attached = engine.attach_helper(&id).await.unwrap();
                    engine.start_helper(&id).await.unwrap();
                    (engine, attached)
                });
                Line::start(runtime, engine, attached).unwrap()
            })
            .unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        Self { name: spec.name, line, stream }
    }

    fn end(self) {
        self.stream.shutdown(Shutdown::Both).unwrap();
        self.line.end();
    }
}

/// Names of containers that are there, in whatever state.
fn containers(far: &FarHost) -> String {
    let words = ["ps", "--all", "--format", "{{.Names}}"];
    far.engine().docker().args(words).run().unwrap().stdout_text()
}

/// The engine removes it by itself, soon after its program has ended.
#[track_caller]
fn assert_removed(far: &FarHost, name: &str) {
    let begun = Instant::now();
    while containers(far).contains(name) {
        assert!(begun.elapsed() < LIMIT, "{name} is still there");
        thread::sleep(Duration::from_millis(10));
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

#[test]
fn a_line_is_one_whatever_leads_to_the_engine() {
    let far = FarHost::start().unwrap();
    far.engine().image().unwrap();
    let ways = [by_tls(&far), by_ssh(&far)];
    let all = [
        bytes_go_there_and_back,
        the_end_of_a_program_is_told_with_its_last_words,
        who_does_not_read_is_waited_for,
        who_does_not_end_is_not_waited_for,
        a_client_that_goes_away_ends_the_program,
    ];
    thread::scope(|scope| {
        for by in &ways {
            let far = &far;
            scope.spawn(move || all.iter().for_each(|each| each(far, by)));
        }
    });
    who_is_killed_before_the_start_leaves_nobody(&far, &ways[0].0, &ways[1]);
    a_line_that_breaks_says_why(&far, &ways[0]);
}

fn bytes_go_there_and_back(far: &FarHost, by: &(Endpoint, Arc<dyn Dial>)) {
    let attached = Attached::start(far, by, "echo begun >&2; cat; echo done >&2");
    let bytes: Vec<u8> = (0..MUCH).map(|at| (at * 31 + at / 251).to_le_bytes()[0]).collect();
    let mut writing = attached.stream.try_clone().unwrap();
    let expected = (bytes.len(), hash(&bytes));
    let writer = thread::spawn(move || {
        writing.write_all(&bytes).unwrap();
        // The end of one direction: what is under way comes back all the same.
        writing.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    (&attached.stream).read_to_end(&mut back).unwrap();
    writer.join().unwrap();
    assert_eq!((back.len(), hash(&back)), expected);
    assert_eq!(attached.line.last_words().as_deref(), Some("begun\ndone"));
    assert_removed(far, &attached.name);
    attached.line.end();
}

fn the_end_of_a_program_is_told_with_its_last_words(far: &FarHost, by: &(Endpoint, Arc<dyn Dial>)) {
    // The client has not closed anything.
    let many = "i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done; echo first";
    for (script, expected) in [
        ("echo first; echo cannot >&2; exit 3", Some("cannot")),
        (many, Some("line 2999")),
        ("echo first", None),
    ] {
        let attached = Attached::start(far, by, script);
        let mut said = String::new();
        (&attached.stream).read_to_string(&mut said).unwrap();
        assert_eq!(said, "first\n");
        let last = attached.line.last_words();
        assert!(last.iter().all(|text| text.len() <= 4096), "{last:?}");
        let line = last.as_deref().and_then(|text| text.lines().last());
        assert_eq!(line, expected);
        assert_removed(far, &attached.name);
        attached.line.end();
    }
}

/// How many bytes a process has written, as the kernel counts it.
fn written(pid: &str) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("wchar:")).unwrap();
    line.trim().parse().unwrap()
}

fn who_does_not_read_is_waited_for(far: &FarHost, by: &(Endpoint, Arc<dyn Dial>)) {
    // A client that does not read: the program has to wait.
    let attached = Attached::start(far, by, "cat /dev/zero & cat >/dev/null; kill $!");
    let inspect = ["inspect", "--format", "{{.State.Pid}}", &attached.name];
    let pid = far.engine().docker().args(inspect).run().unwrap().stdout_text();
    let pid = pid.trim();
    let children = || fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let (begun, mut before) = (Instant::now(), 0);
    loop {
        thread::sleep(STILL);
        let written = children().split_whitespace().map(written).max().unwrap_or_default();
        assert!(written < QUEUES, "somebody keeps {written} bytes");
        if written == before && written > 0 {
            break;
        }
        assert!(begun.elapsed() < LIMIT, "{written} bytes and no end");
        before = written;
    }
    // And goes on as soon as it is read.
    let mut some = vec![1; MUCH];
    (&attached.stream).read_exact(&mut some).unwrap();
    assert!(some.iter().all(|byte| *byte == 0));
    // The engine would not even remove the container before its output has gone somewhere.
    let name = attached.name.clone();
    attached.end();
    assert_removed(far, &name);
}

fn who_does_not_end_is_not_waited_for(far: &FarHost, by: &(Endpoint, Arc<dyn Dial>)) {
    // A program that does not read: the client has to wait; and its end is not noticed there.
    let attached = Attached::start(far, by, "exec sleep 600");
    attached.stream.set_write_timeout(Some(STILL)).unwrap();
    let (piece, mut written) = (vec![0; PIECE], 0);
    let error = loop {
        match (&attached.stream).write(&piece) {
            Ok(length) => written += u64::try_from(length).unwrap(),
            Err(error) => break error,
        }
        assert!(written < QUEUES, "somebody keeps {written} bytes");
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
    let (name, begun) = (attached.name.clone(), Instant::now());
    attached.end();
    let took = begun.elapsed();
    assert!(took >= ENDS_WITHIN && took < ENDS_WITHIN + LIMIT / 4, "{took:?}");
    far.engine().docker().args(["rm", "--force", &name]).run().unwrap();
}

fn a_client_that_goes_away_ends_the_program(far: &FarHost, by: &(Endpoint, Arc<dyn Dial>)) {
    let attached = Attached::start(far, by, "exec cat");
    (&attached.stream).write_all(b"?").unwrap();
    (&attached.stream).read_exact(&mut [0]).unwrap();
    let (name, begun) = (attached.name.clone(), Instant::now());
    attached.end();
    assert!(begun.elapsed() < ENDS_WITHIN, "it had to be given up");
    assert_removed(far, &name);
}

/// Left to itself an engine keeps the connection as long as it lives, and who leads there waits: until
/// the client's own reaper comes, or, where that was killed as well, another session's.
fn who_is_killed_before_the_start_leaves_nobody(
    far: &FarHost,
    reapers: &Endpoint,
    (endpoint, dial): &(Endpoint, Arc<dyn Dial>),
) {
    let wait = |expected: usize| {
        let begun = Instant::now();
        while dialled(far) != expected {
            assert!(begun.elapsed() < LIMIT, "{} over there, not {expected}", dialled(far));
            thread::sleep(Duration::from_millis(10));
        }
    };
    let run = |work: Pin<Box<dyn Future<Output = ()> + Send + '_>>| {
        far.here().enter(|| runtime().unwrap().block_on(work)).unwrap();
    };
    // A process with our number that began another time: it has ended.
    let own = Lifetime::own().unwrap().to_string();
    let (world, start) = own.rsplit_once('.').unwrap();
    let over = format!("{world}.{}", start.parse::<u64>().unwrap() + 1);
    // Nothing else is started by a sweep.
    let program = HelperProgram::read(&lab::agent::program().unwrap()).unwrap();
    for is_swept in [false, true] {
        let spec = HelperSpec {
            owner: over.clone(),
            image: program.image(),
            calls: Calls::Own,
            words: vec![far::WORDS.to_owned()],
            ..spec("")
        };
        wait(0);
        run(Box::pin(async {
            let engine = Engine::connect_through(endpoint, Arc::clone(dial), LIMIT).await.unwrap();
            engine.load_helper(&program).await.unwrap();
            let id = engine.create_helper(&spec).await.unwrap();
            engine.attach_helper(&id).await.unwrap();
        }));
        wait(1);
        run(Box::pin(async {
            if is_swept {
                let engine = Engine::connect(reapers).await.unwrap();
                reaper::sweep(&engine).await.unwrap();
                return;
            }
            let charge = Charge {
                endpoint: reapers.clone(),
                user: None,
                container: spec.name.clone(),
                directory: None,
            };
            assert!(reaper::remove(&charge, Stage::Making, false).await.unwrap());
        }));
        wait(0);
        assert_removed(far, &spec.name);
    }
}

/// How many processes on the far host lead somebody to its engine.
fn dialled(far: &FarHost) -> usize {
    let network = |pid: &str| fs::metadata(format!("/proc/{pid}/ns/net")).map(|found| found.ino());
    let (_, inode) = far.namespace().id().unwrap();
    let leads = |pid: &str| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == b"dial-stdio")
    };
    let names = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
    let names = names.filter_map(|name| name.into_string().ok());
    names.filter(|pid| network(pid).is_ok_and(|found| found == inode) && leads(pid)).count()
}

fn a_line_that_breaks_says_why(far: &FarHost, by: &(Endpoint, Arc<dyn Dial>)) {
    let attached = Attached::start(far, by, "exec cat");
    lab::Program::new("kill").arg("-9").arg(far.engine_pid().unwrap().to_string()).run().unwrap();
    assert_eq!((&attached.stream).read(&mut [0]).unwrap(), 0);
    let last = attached.line.last_words().unwrap();
    assert!(last.starts_with(&far.tls()) && last.contains("the connection broke"), "{last}");
    attached.line.end();
}
