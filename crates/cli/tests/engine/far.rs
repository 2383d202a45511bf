//! An engine on another host: by TCP with TLS, by ssh, by a context; and what is said when a way
//! leads nowhere. docker's own CLI goes each way first.

use std::{
    thread,
    time::{Duration, Instant},
};

use lab::{Certificates, ContainerSpec, FarHost, Finished, Program, Running};

use crate::{
    processes::marked,
    tap::{LIMIT, assert_ended, signal, unique, until},
};

/// How long an engine may say nothing until that is told, generously.
const PATIENCE: Duration = Duration::from_secs(20);

/// A way to an engine: options, and variables of the environment.
pub(crate) struct Way {
    words: Vec<String>,
    variables: Vec<(&'static str, String)>,
}

impl Way {
    pub(crate) fn by(words: &[&str]) -> Self {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        Self { words, variables: Vec::new() }
    }

    pub(crate) fn with(mut self, variable: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((variable, value.into()));
        self
    }

    /// A program that is given this way in docker's words, on the near side of a far host.
    pub(crate) fn given_to(&self, program: &str, far: &FarHost) -> Program {
        let variables = ["HOST", "CONTEXT", "CONFIG", "TLS", "TLS_VERIFY", "CERT_PATH"];
        let program = Program::new(program).inside(far.here()).args(&self.words);
        let program = variables
            .into_iter()
            .map(|name| format!("DOCKER_{name}"))
            .chain(["SUDO_UID", "SUDO_GID", "SUDO_USER"].map(str::to_owned))
            .fold(program, Program::env_remove)
            .env("PATH", far.path());
        self.variables.iter().fold(program, |program, (name, value)| program.env(name, value))
    }

    fn ls(&self, far: &FarHost) -> Program {
        self.given_to(env!("CARGO_BIN_EXE_whaletap"), far).args(["ls", "-q", "--no-trunc"])
    }

    /// Asks the engine that this leads to, and docker's own CLI beside it.
    fn asked(&self, far: &FarHost) -> [Running; 2] {
        let docker = self.given_to("docker", far).args(["ps", "-q", "--no-trunc"]);
        [docker, self.ls(far)].map(|program| program.start().unwrap())
    }
}

/// All of these lead to the engine with these containers.
#[track_caller]
fn lead_to(far: &FarHost, ids: &[String], ways: &[Way]) {
    // Few at once: an sshd takes few that have not logged in yet.
    for ways in ways.chunks(2) {
        let asked: Vec<_> = ways.iter().map(|way| (way, way.asked(far))).collect();
        for (way, answers) in asked {
            for finished in answers.map(|running| running.wait().unwrap()) {
                assert_eq!((finished.code(), &*finished.stderr), (Some(0), ""), "{finished:?}");
                let mut found: Vec<_> = finished.stdout_text().lines().map(str::to_owned).collect();
                found.sort_unstable();
                assert_eq!(found, ids, "{:?} {:?}", way.words, finished.program);
            }
        }
    }
}

/// None of these leads to an engine, and these words say why.
#[track_caller]
fn lead_nowhere(far: &FarHost, ways: Vec<(Way, Vec<&str>)>) {
    let begun = Instant::now();
    let asked: Vec<_> =
        ways.iter().map(|(way, words)| (words, way.ls(far).start().unwrap())).collect();
    for (words, running) in asked {
        assert_refused(&running.wait().unwrap(), words);
    }
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
}

#[track_caller]
fn assert_refused(finished: &Finished, words: &[&str]) {
    assert_ended(finished, 6, words);
    assert_ended(finished, 6, &["hint: "]);
    assert!(finished.stdout.is_empty(), "{finished:?}");
    // One sentence and one hint, whatever ssh has to say.
    assert_eq!(finished.stderr.lines().count(), 2, "{}", finished.stderr);
}

#[test]
fn a_far_engine_is_reached_in_every_way_that_docker_has() {
    let far = FarHost::start().unwrap();
    far.engine().image().unwrap();
    // More than connections are made at once through ssh.
    let run = |name: &str| far.engine().run(ContainerSpec::named(name)).unwrap();
    let containers = thread::scope(|scope| {
        ["web", "db", "cache", "queue"]
            .map(|name| scope.spawn(move || run(name)))
            .map(|it| it.join().unwrap())
    });
    let mut ids = containers.each_ref().map(|container| container.id().to_owned());
    ids.sort_unstable();
    let (tls, ssh) = (far.tls(), far.ssh());
    let file = |name: &str| far.certificates().at(name).display().to_string();
    let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(file);
    let by_files = ["--tlscacert", &ca, "--tlscert", &cert, "--tlskey", &key];
    let verified = [&["-H", &tls, "--tlsverify"], &by_files[..]].concat();
    let unverified = [&["-H", &tls, "--tls"], &by_files[..]].concat();
    let config = far.docker_config().unwrap();
    let config = config.to_str().unwrap();
    let of_config = || Way::by(&[]).with("DOCKER_CONFIG", config);
    of_config().given_to("docker", &far).args(["context", "use", "far"]).run().unwrap();
    let socket = far.engine().host().strip_prefix("unix://").unwrap();
    let keys = far.certificates().directory().to_str().unwrap();
    let by_variables = Way::by(&[])
        .with("DOCKER_HOST", &tls)
        .with("DOCKER_TLS_VERIFY", "1")
        .with("DOCKER_CERT_PATH", keys);
    let ways = [
        Way::by(&verified),
        Way::by(&["-H", &ssh]),
        Way::by(&unverified),
        Way::by(&["-H", &format!("{ssh}{socket}")]),
        by_variables,
        Way::by(&["--config", config, "--context", "far-ssh"]),
        // The current context, and one that a variable asks for before that.
        of_config(),
        of_config().with("DOCKER_CONTEXT", "far-ssh"),
    ];
    lead_to(&far, &ids, &ways);
    what_is_wrong_with_a_way_is_said(&far, config, &verified);
    an_engine_that_hangs_is_not_waited_for(&far, &verified);
}

fn what_is_wrong_with_a_way_is_said(far: &FarHost, config: &str, verified: &[&str]) {
    let (tls, ssh) = (far.tls(), far.ssh());
    let directory = tempfile::tempdir().unwrap();
    let others = Certificates::make(directory.path(), far.address()).unwrap();
    let others = |name: &str| others.at(name).display().to_string();
    let instead = |options: &[(&str, &str)]| {
        let mut words: Vec<&str> = verified.to_vec();
        for (option, value) in options {
            let at = words.iter().position(|word| word == option).unwrap();
            words[at + 1] = value;
        }
        Way::by(&words)
    };
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let (cert, key) = (others("cert.pem"), others("key.pem"));
    let at = |host: &str| Way::by(&["-H", host]);
    let no_socket = format!("{ssh}/does/not/exist.sock");
    let [no_tcp, no_ssh] = ["tcp", "ssh"].map(|scheme| format!("{scheme}://{}:1", far.address()));
    let wrong_host_key = far.path_with_wrong_host_key();
    let wrong_key = far.path_with_wrong_key();
    let variable = Way::by(&[]).with("DOCKER_CONFIG", config).with("DOCKER_CONTEXT", "far");
    lead_nowhere(
        far,
        vec![
            // Another authority's engine; a person of another authority; nobody at all.
            (
                instead(&[("--tlscacert", &others("ca.pem"))]),
                vec![&tls, "TLS failed", "UnknownIssuer"],
            ),
            (instead(&[("--tlscert", &cert), ("--tlskey", &key)]), vec![&tls, "TLS failed"]),
            (Way::by(&["-H", &tls, "--tls"]), vec![&tls, "TLS failed"]),
            (at(&tls), vec![&tls, "the engine wants TLS", "--tlsverify"]),
            (instead(&[("--tlskey", "/no.pem")]), vec!["cannot read /no.pem", "No such file"]),
            (
                instead(&[("--tlscacert", empty.to_str().unwrap())]),
                vec!["empty.pem", "no certificate"],
            ),
            (
                at(&ssh).with("PATH", wrong_host_key),
                vec![&ssh, "ssh failed", "Host key verification failed"],
            ),
            (at(&ssh).with("PATH", wrong_key), vec![&ssh, "ssh failed", "Permission denied"]),
            (at(&no_socket), vec![&no_socket, "ssh failed", "exist.sock"]),
            (at(&no_tcp), vec![&no_tcp, "connection refused"]),
            (at(&no_ssh), vec![&no_ssh, "ssh failed", "Connection refused"]),
            (
                Way::by(&["--config", config, "--context", "nowhere"]),
                vec!["no context `nowhere`", "docker context ls"],
            ),
            // A host that a variable names comes before a context that one names.
            (variable.with("DOCKER_HOST", &no_tcp), vec![&no_tcp, "connection refused"]),
        ],
    );
}

fn an_engine_that_hangs_is_not_waited_for(far: &FarHost, verified: &[&str]) {
    let mark = format!("WHALETAP_TEST={}", unique("hung"));
    let (name, value) = mark.split_once('=').unwrap();
    signal(far.engine_pid().unwrap(), "STOP");
    let begun = Instant::now();
    let ways = [Way::by(verified), Way::by(&["-H", &far.ssh()])];
    let running = ways.map(|way| way.ls(far).env(name, value).start().unwrap());
    for running in running {
        assert_refused(&running.wait().unwrap(), &["no answer within 10 s"]);
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    }
    signal(far.engine_pid().unwrap(), "CONT");
    until("no ssh is left", LIMIT, || marked(&mark).is_empty());
}
