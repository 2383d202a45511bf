//! Following an engine that is played by a few lines each: streams that are cut, garbage, engines
//! that hang, and events that never come.

#![expect(clippy::unwrap_used, reason = "whatever fails here fails a test")]

mod following;

use std::{
    io::{Read as _, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    time::{Duration, Instant},
};

use following::{Following, PATIENT};
use lab::PlayedEngine;
use model::{Container, ContainerState};
use whaletap_docker::{Endpoint, Engine, Error, Happening, Happenings, News, What};

/// What a missed event may cost.
const MADE_UP: Duration = Duration::from_secs(5);

/// An engine: answers are what the test says at the time, events what it sends.
#[derive(Default)]
struct Played {
    /// JSON of the containers' list.
    list: Mutex<String>,
    /// The same of those that pass `since`; `None` refuses the question.
    since: Mutex<Option<String>>,
    /// Paths that were asked for.
    asked: Mutex<Vec<String>>,
    /// How many streams of events were asked for so far.
    streams: AtomicUsize,
    /// Whether a stream of events is refused.
    refuses: AtomicBool,
    /// Ids whose inspections are never answered.
    hanging: Mutex<Vec<String>>,
    /// What is to be sent over the stream of events; without a word it is cut.
    events: Mutex<Option<Receiver<Option<String>>>>,
}

struct Stage {
    played: Arc<Played>,
    engine: PlayedEngine,
}

impl Stage {
    fn new(list: &str) -> Self {
        let played = Arc::new(Played { list: Mutex::new(list.to_owned()), ..Played::default() });
        let stage = Arc::clone(&played);
        let engine = PlayedEngine::playing(move |path, stream| stage.reply(path, stream)).unwrap();
        Self { played, engine }
    }

    /// For the next stream of events; `None` cuts it.
    fn events(&self) -> Sender<Option<String>> {
        let (sender, receiver) = channel();
        *self.played.events.lock().unwrap() = Some(receiver);
        sender
    }

    fn set_list(&self, list: &str) {
        *self.played.list.lock().unwrap() = list.to_owned();
    }

    fn asked(&self, part: &str) -> Vec<String> {
        let asked = self.played.asked.lock().unwrap();
        asked.iter().filter(|path| path.contains(part)).cloned().collect()
    }

    fn follow(&self, filters: &[&str]) -> Following {
        self.follow_within(PATIENT, filters)
    }

    fn follow_within(&self, deadline: Duration, filters: &[&str]) -> Following {
        Following::start(self.engine.socket().to_str().unwrap(), deadline, filters)
    }
}

fn answer(status: &str, body: &str) -> String {
    PlayedEngine::answer(status, body)
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

impl Played {
    fn tell_events(&self, stream: &mut UnixStream) {
        self.streams.fetch_add(1, Ordering::SeqCst);
        if self.refuses.load(Ordering::SeqCst) {
            let _ = stream.write_all(answer("400 Bad", r#"{"message":"not so"}"#).as_bytes());
            return;
        }
        let head = "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nTransfer-Encoding: chunked\r\n\r\n";
        let _ = stream.write_all(head.as_bytes());
        let Some(events) = self.events.lock().unwrap().take() else {
            // Silence, until the other side hangs up.
            let _ = stream.read(&mut [0; 1]);
            return;
        };
        while let Ok(Some(event)) = events.recv() {
            if stream.write_all(event.as_bytes()).is_err() {
                return;
            }
        }
    }

    fn reply(&self, path: &str, stream: &mut UnixStream) -> Option<String> {
        self.asked.lock().unwrap().push(path.to_owned());
        if path.contains("/events") {
            self.tell_events(stream);
            // Nothing comes behind events.
            let _ = stream.shutdown(Shutdown::Both);
            return None;
        }
        if path == "/_ping" {
            return Some(answer("200 OK", "OK"));
        }
        let list = self.list.lock().unwrap().clone();
        if path.contains("/containers/json") {
            if self.hanging.lock().unwrap().iter().any(|hanging| hanging == "list") {
                return None;
            }
            if path.contains("since") {
                let refused = answer("404 Not Found", r#"{"message":"No such container: bb"}"#);
                let since = self.since.lock().unwrap().clone();
                return Some(since.map_or(refused, |rows| answer("200 OK", &format!("[{rows}]"))));
            }
            return Some(answer("200 OK", &format!("[{list}]")));
        }
        let id = path.split('/').nth_back(1).unwrap();
        if self.hanging.lock().unwrap().iter().any(|hanging| hanging == id) {
            return None;
        }
        let rows: serde_json::Value = serde_json::from_str(&format!("[{list}]")).unwrap();
        let row = rows.as_array().unwrap().iter().find(|row| row["Id"] == id);
        let Some(row) = row else {
            return Some(answer("404 Not Found", r#"{"message":"No such container"}"#));
        };
        let inspection = serde_json::json!({
            "Id": id, "Name": row["Names"][0],
            "State": {"Status": row["State"], "Pid": row["Pid"].as_u64().unwrap_or(7), "StartedAt": "2024-01-01T00:00:00Z"},
            "NetworkSettings": row["NetworkSettings"],
        });
        Some(answer("200 OK", &inspection.to_string()))
    }
}

/// A row of a list, on a network by this endpoint.
fn row(id: &str, name: &str, state: &str, endpoint: &str) -> String {
    format!(
        r#"{{"Id":"{id}","Names":["/{name}"],"State":"{state}",
            "NetworkSettings":{{"Networks":{{"net":{{"EndpointID":"{endpoint}"}}}}}}}}"#
    )
}

/// 2024-01-01T00:00:00Z, when every played container was started.
const START: u64 = 1_704_067_200_000_000_000;

fn line(id: &str, action: &str, at: u64) -> String {
    format!(
        "{{\"Type\":\"container\",\"Action\":\"{action}\",\"Actor\":{{\"ID\":\"{id}\",\
         \"Attributes\":{{\"name\":\"n-{id}\",\"exitCode\":\"3\"}}}},\"timeNano\":{at}}}\n"
    )
}

fn event(id: &str, action: &str, at: u64) -> Option<String> {
    Some(chunk(&line(id, action, at)))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// What a stream of these bytes tells, and how it ends.
fn read_stream(pieces: Vec<String>) -> (Vec<Happening>, Error) {
    let stage = Stage::new("");
    let events = stage.events();
    let writer = std::thread::spawn(move || {
        for piece in pieces {
            events.send(Some(piece)).unwrap();
        }
        drop(events);
    });
    let result = block_on(async {
        let engine = Engine::connect(&Endpoint::unix(stage.engine.socket())).await.unwrap();
        let mut happenings: Happenings = engine.happenings(None).await.unwrap();
        let mut all = Vec::new();
        loop {
            match tokio::time::timeout(PATIENT, happenings.next()).await.unwrap() {
                Ok(happening) => all.push(happening),
                Err(error) => return (all, error),
            }
        }
    });
    writer.join().unwrap();
    result
}

#[test]
fn garbage_and_endless_lines_cost_nothing_but_themselves() {
    let good = line("aa", "start", 5);
    let mut pieces = vec![chunk("garbage\n{}\n[[[[\n\n"), chunk(&good[..20]), chunk(&good[20..])];
    let label = "x".repeat(256 * 1024);
    pieces.push(chunk(
        r#"{"Type":"container","Action":"start","Actor":{"ID":"bb","Attributes":{"l":""#,
    ));
    pieces.extend(std::iter::repeat_n(chunk(&label), 64));
    pieces.push(chunk(&format!("\"}}}},\"timeNano\":6}}\n{}", line("cc", "die", 7))));
    pieces.push(chunk("no end"));
    pieces.push("0\r\n\r\n".to_owned());
    let (all, error) = read_stream(pieces);
    let told: Vec<_> = all.iter().map(|h| (h.container.id.as_str(), h.at, &h.what)).collect();
    assert_eq!(
        told,
        [("aa", 5, &What::Started), ("cc", 7, &What::Died { exit_code: Some(3) })],
        "{error:?}"
    );
    assert!(matches!(error, Error::StreamEnded { .. }), "{error:?}");
}

#[test]
fn a_stream_that_is_cut_ends_with_an_error() {
    let (all, error) = read_stream(vec![chunk(&line("aa", "start", 5)), "ff\r\nhalf".to_owned()]);
    assert_eq!(all.len(), 1);
    assert!(matches!(error, Error::Broken { .. }), "{error:?}");
}

#[test]
fn a_refused_stream_is_told_in_the_engine_s_words() {
    let stage = Stage::new("");
    stage.played.refuses.store(true, Ordering::SeqCst);
    let error = block_on(async {
        let engine = Engine::connect(&Endpoint::unix(stage.engine.socket())).await.unwrap();
        engine.happenings(Some(1)).await.unwrap_err()
    });
    let Error::Api { status: 400, message, .. } = &error else { panic!("{error:?}") };
    assert_eq!(message, "not so");
    assert!(stage.asked("/v1.41/events?filters=").iter().any(|path| path.contains("&since=0.")));
}

#[test]
fn the_watch_can_move_between_threads() {
    fn movable<T: Send>(future: T) -> T {
        future
    }
    let endpoint = Endpoint::unix("/nonexistent/docker.sock");
    let (sender, receiver) = channel();
    let connect = || Engine::connect(&endpoint);
    let watching = movable(whaletap_docker::watch(connect, &[], move |news| {
        sender.send(news).unwrap();
    }));
    let cut = block_on(async { tokio::time::timeout(Duration::from_millis(500), watching).await });
    assert!(cut.is_err());
    // It was tried several times, and told once.
    let told: Vec<News> = receiver.iter().collect();
    assert!(matches!(told.as_slice(), [News::Lost(Error::SocketAbsent { .. })]), "{told:?}");
}

/// The stream stays silent: the list shows who came, who went, and who was started again.
#[test]
fn what_no_event_tells_is_made_up_for() {
    let (a, b) = (row("aa", "a", "running", "e1"), row("bb", "b", "running", "e2"));
    let stage = Stage::new(&a);
    let mut following = stage.follow(&[]);
    let first = following.listed(PATIENT);
    assert_eq!((first.len(), first[0].pid, first[0].started_at), (1, Some(7), Some(START)));

    stage.set_list(&format!("{a},{b}"));
    let came = following.listed(MADE_UP);
    let pids: Vec<_> = came.iter().map(|container| (&*container.name, container.pid)).collect();
    assert_eq!(pids, [("a", Some(7)), ("b", Some(7))]);
    assert_eq!(stage.asked("/containers/aa/json").len(), 1, "only what differs is asked about");

    // Started again in between: nothing but the endpoint shows it.
    stage.set_list(&format!("{},{b}", row("aa", "a", "running", "e9")));
    following.listed(MADE_UP);
    assert_eq!(stage.asked("/containers/aa/json").len(), 2);

    stage.set_list(&format!("{},{b}", row("aa", "renamed", "running", "e9")));
    assert_eq!(following.listed(MADE_UP)[1].name, "renamed");

    stage.set_list(&b);
    assert_eq!(following.listed(MADE_UP).len(), 1);
    stage.set_list("");
    assert_eq!(following.listed(MADE_UP).len(), 0);
    assert_eq!(following.told().iter().filter(|news| news.starts_with("listed")).count(), 6);
}

/// A container in another's namespace has no endpoint by which a list could show its restart.
#[test]
fn a_container_without_endpoints_is_asked_about_with_each_list() {
    let row = |pid: u32| format!(r#"{{"Id":"aa","Names":["/a"],"State":"running","Pid":{pid}}}"#);
    let stage = Stage::new(&row(7));
    let mut following = stage.follow(&[]);
    assert_eq!(following.listed(PATIENT)[0].pid, Some(7));
    stage.set_list(&row(8));
    let inspected = following.until(MADE_UP, |news| match news {
        News::Inspected(container) => Some(container.pid),
        _ => None,
    });
    assert_eq!(inspected, Some(8));
}

/// It accepts connections and says nothing more, as one that is stopped: the list shows it.
#[test]
fn an_engine_that_hangs_is_lost() {
    let stage = Stage::new(&row("aa", "a", "running", "e1"));
    let mut following = stage.follow_within(Duration::from_millis(500), &[]);
    following.listed(PATIENT);
    stage.played.hanging.lock().unwrap().push("list".to_owned());
    let error = following.lost();
    assert!(error.contains("Timeout"), "{error}");
    stage.played.hanging.lock().unwrap().clear();
    assert_eq!(following.listed(MADE_UP).len(), 1);
    let lost = following.told().iter().filter(|news| news.starts_with("lost")).count();
    assert_eq!(lost, 1);
}

/// The engine answers no inspection: events are told at once, and the list without the answer.
#[test]
fn an_inspection_that_hangs_holds_up_nothing() {
    let stage = Stage::new(&row("aa", "a", "running", "e1"));
    stage.played.hanging.lock().unwrap().push("aa".to_owned());
    let events = stage.events();
    let mut following = stage.follow(&[]);
    following.until(PATIENT, |news| matches!(news, News::Connected { .. }).then_some(()));
    let sent = Instant::now();
    events.send(event("bb", "create", START + 1)).unwrap();
    let created = following.happened("bb", |what| *what == What::Created);
    assert_eq!(created.container.name, "n-bb");
    println!("an event was told {:?} after it was sent", sent.elapsed());
    let live = following.listed(MADE_UP);
    assert_eq!((live.len(), live[0].pid), (1, None));
}

#[test]
fn an_outage_is_told_once_and_what_was_missed_is_told_then() {
    let stage = Stage::new(&row("aa", "a", "running", "e1"));
    let events = stage.events();
    let mut following = stage.follow(&[]);
    following.listed(PATIENT);
    events.send(event("bb", "create", START + 5_000_000_000)).unwrap();
    following.happened("bb", |what| *what == What::Created);
    // Later streams are refused, for some attempts.
    stage.played.refuses.store(true, Ordering::SeqCst);
    events.send(None).unwrap();
    let error = following.lost();
    assert!(error.contains("Broken"), "{error}");
    let begun = Instant::now();
    while stage.played.streams.load(Ordering::SeqCst) < 4 && begun.elapsed() < PATIENT {
        std::thread::sleep(Duration::from_millis(10));
    }
    stage.set_list(&row("cc", "c", "running", "e3"));
    let events = stage.events();
    events.send(event("bb", "create", START + 5_000_000_000)).unwrap();
    events.send(event("aa", "die", START + 6_000_000_000)).unwrap();
    stage.played.refuses.store(false, Ordering::SeqCst);
    let died = following.happened("aa", |what| *what == What::Died { exit_code: Some(3) });
    assert_eq!(died.container.state, ContainerState::Exited);
    following.listed_with("cc", true, MADE_UP);

    let count = |part: &str| following.told().iter().filter(|news| news.contains(part)).count();
    assert_eq!((count("lost"), count("connected"), count("Created")), (1, 2, 1));
    let wanted = format!("since={}.000000000", START / 1_000_000_000 + 4);
    assert!(stage.asked("/events").last().unwrap().ends_with(&wanted));
}

/// A proxy may let lists through and no events.
#[test]
fn without_events_lists_are_gone_by() {
    let stage = Stage::new(&row("aa", "a", "running", "e1"));
    stage.played.refuses.store(true, Ordering::SeqCst);
    let mut following = stage.follow(&[]);
    let error = following.lost();
    assert!(error.contains("not so"), "{error}");
    assert_eq!(following.listed(PATIENT)[0].pid, Some(7));
    for list in [row("bb", "b", "running", "e2"), row("cc", "c", "running", "e3")] {
        stage.set_list(&list);
        let came = following.listed_with(&list[7..9], true, MADE_UP);
        assert_eq!((came.len(), came[0].pid), (1, Some(7)));
    }
    let events = stage.events();
    stage.played.refuses.store(false, Ordering::SeqCst);
    following.until(PATIENT, |news| matches!(news, News::Connected { .. }).then_some(()));
    events.send(event("cc", "die", START + 1)).unwrap();
    following.happened("cc", |what| *what == What::Died { exit_code: Some(3) });
    let count = |part: &str| following.told().iter().filter(|news| news.starts_with(part)).count();
    assert_eq!((count("lost"), count("connected")), (1, 1), "{:#?}", following.told());
}

/// A run that began after what an old event tells is not ended by it.
#[test]
fn an_old_event_does_not_end_a_new_run() {
    let stage = Stage::new(&row("aa", "a", "running", "e1"));
    let events = stage.events();
    let mut following = stage.follow(&[]);
    following.listed(PATIENT);
    events.send(event("aa", "die", START - 1)).unwrap();
    let late = following.happened("aa", |_| true);
    assert_eq!((late.container.pid, &late.container.state), (Some(7), &ContainerState::Running));
    assert!(late.is_before(&late.container));
    events.send(event("aa", "die", START + 1)).unwrap();
    assert_eq!(following.happened("aa", |_| true).container.pid, None);
}

/// Who was not listed is asked about, with the filters and the id; without filters nobody is.
#[test]
fn filters_are_the_engine_s_also_for_events() {
    for filters in [&["label=x"][..], &[]] {
        let stage = Stage::new("");
        let events = stage.events();
        let mut following = stage.follow(filters);
        following.listed(PATIENT);
        events.send(event("aa", "create", START)).unwrap();
        if filters.is_empty() {
            following.happened("aa", |what| *what == What::Created);
            assert!(stage.asked("id").iter().all(|path| !path.contains("containers/json")));
            continue;
        }
        let asked = || stage.asked("%22id%22").len();
        let begun = Instant::now();
        while asked() == 0 && begun.elapsed() < PATIENT {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(asked() > 0);
        stage.set_list(&row("bb", "b", "running", "e1"));
        events.send(event("bb", "start", START)).unwrap();
        following.happened("bb", |what| *what == What::Started);
        assert_eq!(following.inspected("bb").pid, Some(7));
        assert!(!following.told().iter().any(|news| news.contains("n-aa")));
    }
}

/// Engines refuse a list by age once the container that it names is gone.
#[test]
fn an_age_is_compared_as_it_was_at_the_start() {
    let [aa, bb, cc, dd] = ["aa", "bb", "cc", "dd"].map(|id| row(id, id, "running", "e1"));
    let stage = Stage::new(&[&*aa, &bb, &cc].join(","));
    *stage.played.since.lock().unwrap() = Some(cc.clone());
    let events = stage.events();
    let mut following = stage.follow(&["since=bb"]);
    let ids = |live: &[Container]| live.iter().map(|c| c.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&following.listed(PATIENT)), ["cc"]);
    *stage.played.since.lock().unwrap() = None;
    stage.set_list(&[aa, cc, dd].join(","));
    assert_eq!(ids(&following.listed_with("dd", true, PATIENT)), ["cc", "dd"]);
    for id in ["aa", "bb", "cc"] {
        events.send(event(id, "die", START + 1)).unwrap();
    }
    following.happened("cc", |what| matches!(what, What::Died { .. }));
    let told = following.told();
    assert!(!told.iter().any(|news| news.starts_with("lost")), "{told:#?}");
    assert!(!told.iter().any(|news| news.contains("n-aa") || news.contains("n-bb")), "{told:#?}");
}
