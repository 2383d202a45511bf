//! A service is scaled up and down and rolled over under steady traffic.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process,
    time::Duration,
};

use lab::{ContainerSpec, Swarm, judge};

use crate::{
    logs::Logs,
    tap::{Tap, Tapped, until},
};

/// Where the service listens.
const PORT: u16 = 9007;
/// How long a Swarm may take for one change of a service, on a busy machine.
const CHANGE: Duration = Duration::from_secs(40);
/// How long the captures may live.
const LIFE: Duration = Duration::from_secs(300);
/// Bytes in front of a request's number: see [`lab::Tag`].
const NUMBER_AT: usize = 8;

/// A request as tshark sees it on an interface.
#[derive(Debug)]
struct Seen {
    interface: String,
    description: String,
    number: u64,
}

/// What is in a file.
fn seen(file: &Path) -> Vec<Seen> {
    let fields = ["frame.interface_name", "frame.interface_description", "udp.payload"];
    let filter = format!("udp.dstport == {PORT}");
    let rows = judge::tshark_fields(file, &["-n", "-Y", &filter], &fields).unwrap();
    rows.into_iter()
        .map(|row| {
            let [interface, description, payload] = row.try_into().unwrap();
            let digits = &payload[2 * NUMBER_AT..4 * NUMBER_AT];
            Seen { interface, description, number: u64::from_str_radix(digits, 16).unwrap() }
        })
        .collect()
}

/// How often a target's end was told.
fn ended(taps: &mut [Tap]) -> usize {
    let told = |tap: &mut Tap| {
        let said = tap.running().stderr();
        said.lines().filter(|line| line.ends_with(": ended")).count()
    };
    taps.iter_mut().map(told).sum()
}

#[test]
fn every_request_that_a_service_logged_is_in_a_file() {
    let swarm = Swarm::start(3).unwrap();
    let network = swarm.network("front").unwrap();
    let expression = format!("udp dst port {PORT}");
    let words: Vec<&str> =
        ["--wait", "service:web", "--"].into_iter().chain(expression.split(' ')).collect();
    let hosts = swarm.nodes().iter().map(|node| node.engine().host());
    let mut taps: Vec<Tap> = hosts.map(|host| Tap::start_for(LIFE, host, &words)).collect();

    let logs = Logs::new();
    let listen = format!("0.0.0.0:{PORT}");
    let server =
        ["whaletap-traffic", "udp-serve", "--listen", &listen, "--log", "/log", "--seconds", "300"];
    let options = ["--replicas", "2", "--mount", &logs.mount()];
    let service = swarm.service("web", &network, &options, &server).unwrap();
    until("both tasks listen", CHANGE, || logs.read().len() >= 2);
    let ask = format!("udp-ask --to web:{PORT} --rate 200 --seconds 300");
    let client = ContainerSpec::new("client").network(&network).traffic(&ask);
    let client = swarm.manager().run(client).unwrap();
    until("both tasks serve", CHANGE, || logs.served() >= 2);
    service.scale(10).unwrap();
    until("ten tasks serve", CHANGE, || logs.served() >= 10);
    service.scale(3).unwrap();
    until("seven tasks have ended", CHANGE, || ended(&mut taps) >= 7);
    service.roll_over().unwrap();
    until("three tasks were replaced", CHANGE, || logs.served() >= 13 && ended(&mut taps) >= 10);
    drop(client);

    let logged = logs.read();
    let files: Vec<Tapped> = taps.into_iter().map(Tap::stop).collect();
    judge_files(&files, &logged);
    let total: usize = logged.values().map(Vec::len).sum();
    println!("{total} requests, logged by {} tasks", logged.len());
    drop((service, network));
    let processes: Vec<u32> = swarm.nodes().iter().map(|node| node.pid().unwrap()).collect();
    drop(swarm);
    assert_nothing_is_left(&processes);
}

fn judge_files(files: &[Tapped], logged: &BTreeMap<String, Vec<u64>>) {
    let mut numbers: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    let mut names: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for tapped in files {
        tapped.assert_whole();
        judge::all(tapped.file(), true).unwrap();
        for Seen { interface, description, number } in seen(&tapped.file()) {
            let id = logged.keys().find(|id| description.contains(&***id));
            let id = id.unwrap_or_else(|| panic!("{interface} is nobody's: {description}"));
            numbers.entry(id).or_default().push(number);
            names.entry(id).or_default().insert(interface);
        }
    }
    for (id, requests) in logged {
        let found = &numbers[&**id];
        for number in requests {
            let times = found.iter().filter(|other| *other == number).count();
            assert_eq!(times, 1, "request {number} of {} that {id} logged", requests.len());
        }
        let [name] = Vec::from_iter(&names[&**id]).try_into().unwrap();
        let slot = name.strip_prefix("web.").and_then(|rest| rest.split_once("/eth")).unwrap().0;
        assert!((1..=10).contains(&slot.parse::<u32>().unwrap()), "{name}");
    }
}

/// Nothing of the Swarm outlives it.
fn assert_nothing_is_left(processes: &[u32]) {
    for pid in processes {
        assert!(!fs::exists(format!("/proc/{pid}")).unwrap(), "engine {pid}");
    }
    let ours = format!("wt-{}-", process::id());
    for directory in [Path::new("/run/netns"), &std::env::temp_dir()] {
        let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with(&ours)).collect();
        assert!(left.is_empty(), "{}: {left:?}", directory.display());
    }
}
