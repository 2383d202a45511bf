//! Real engines: shared by all tests, and private to one.

use std::{collections::HashSet, os::unix::fs::MetadataExt, path::Path, time::Duration};

use whaletap_lab::{ContainerSpec, Engine, PrivateEngine, Program, traffic::Report};

const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn containers_talk_on_a_network_and_leave_nothing() {
    let engine = Engine::shared().unwrap();
    let network = engine.network("front").unwrap();
    let web = engine
        .run(
            ContainerSpec::new("web")
                .network(&network)
                .label("tier", "front")
                .traffic("udp-echo --listen 0.0.0.0:7 --seconds 60"),
        )
        .unwrap();
    let client = engine.run(ContainerSpec::new("client").network(&network)).unwrap();
    let to = format!("{}:7", web.address().unwrap());
    let ping = client.exec(["whaletap-traffic", "udp-ping", "--to", &to, "--count", "20"]);
    let report = Report::of(ping.finish().unwrap()).unwrap();
    assert_eq!(report.count + report.failed, 20);
    assert!(report.count >= 19, "{report}: only a packet before the echo listens may be lost");
    assert_eq!(web.inspect("{{index .Config.Labels \"tier\"}}").unwrap(), "front");
    // Where it lies depends on the engine's --exec-root; that it is the container's own does not.
    let namespace = |path: &Path| {
        let file = std::fs::metadata(path).unwrap();
        (file.dev(), file.ino())
    };
    let own = format!("/proc/{}/ns/net", web.pid().unwrap());
    assert_eq!(namespace(&web.sandbox_key().unwrap()), namespace(Path::new(&own)));

    let sidecar = engine.run(ContainerSpec::new("sidecar").sharing(&web)).unwrap();
    let netns = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    let distinct: HashSet<_> = [&web, &client, &sidecar]
        .map(|container| netns(container.pid().unwrap()))
        .into_iter()
        .collect();
    assert_eq!(distinct.len(), 2);
    let links = web.enter(Program::new("ip").args(["-brief", "link"])).unwrap().run().unwrap();
    assert!(links.stdout_text().contains("eth0"), "{}", links.stdout_text());

    let names = [web.name().to_owned(), client.name().to_owned(), network.name().to_owned()];
    drop((sidecar, client, web));
    drop(network);
    let docker = || engine.docker();
    let left = docker().args(["ps", "--all", "--format", "{{.Names}}"]).run().unwrap();
    let nets = docker().args(["network", "ls", "--format", "{{.Name}}"]).run().unwrap();
    let left = left.stdout_text() + &nets.stdout_text();
    assert!(names.iter().all(|name| !left.contains(name)), "{left}");
}

#[test]
fn an_unreachable_engine_is_told_with_the_way_out() {
    let nobody = Engine::at("unix:///nonexistent/docker.sock");
    assert!(!nobody.answers());
    let message = whaletap_lab::Error::NoEngine { tried: nobody.host().to_owned() }.to_string();
    assert!(message.contains("whaletap-lab -- engine"), "{message}");
}

#[test]
fn a_private_engine_is_killed_and_comes_back_with_its_containers() {
    let mut private = PrivateEngine::start().unwrap();
    let container = private.engine().run(ContainerSpec::named("web")).unwrap();
    let pid = container.pid().unwrap();
    let socket = private.socket();
    let first = private.pid().unwrap();

    private.kill();
    assert!(!private.engine().answers());
    assert!(Path::new(&format!("/proc/{pid}")).exists(), "live restore");
    private.start_again().unwrap();
    assert_ne!(private.pid(), Some(first));
    assert_eq!(container.pid().unwrap(), pid);

    drop(container);
    drop(private);
    assert!(!socket.exists());
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn the_runner_gives_an_engine_to_its_command_and_ends_with_its_code() {
    let finished = Program::new(env!("CARGO_BIN_EXE_whaletap-lab"))
        .args([
            "engine",
            "--",
            "sh",
            "-c",
            "docker version >/dev/null && test -x $WHALETAP_TRAFFIC && exit 7",
        ])
        .limit(6 * LIMIT)
        .finish()
        .unwrap();
    assert_eq!(finished.code(), Some(7), "{}", finished.stderr);
}

#[test]
fn the_runner_starts_an_engine_where_none_answers_and_takes_it_away() {
    // A machine of its own, as far as an engine sees: network, /run/docker and /run/containerd.
    let script = "ip link set lo up; for d in /run/docker /run/containerd; do \
                  mkdir -p $d; mount -t tmpfs none $d; done; \
                  \"$1\" engine -- sh -c 'docker version >/dev/null && ip link show docker0 && exit 7'; \
                  code=$?; iptables-save; ip -brief link; exit $code";
    let finished = Program::new("unshare")
        .args(["--net", "--mount", "--propagation", "private", "sh", "-c", script, "alone"])
        .arg(env!("CARGO_BIN_EXE_whaletap-lab"))
        .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        .limit(12 * LIMIT)
        .finish()
        .unwrap();
    assert_eq!(finished.code(), Some(7), "{}", finished.stderr);
    assert!(finished.stderr.contains("started an engine on unix:///"), "{}", finished.stderr);
    let (during, after) = finished.stdout_text().split_once("lo ").map_or_else(
        || panic!("no list of devices: {}", finished.stdout_text()),
        |(during, after)| (during.to_owned(), after.to_owned()),
    );
    assert!(during.contains("docker0"), "{during}");
    assert!(!after.contains("docker0"), "{after}");
    assert!(!during.contains("-A DOCKER"), "rules of the engine are left: {during}");
}
