//! A real engine, the one that all tests share, judged by docker's own CLI. Without one these tests
//! fail.

#![expect(clippy::unwrap_used, reason = "whatever fails here fails a test")]

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use model::{Container, ContainerState, Selector};
use whaletap_docker::{
    Endpoint, EndpointOptions, Engine, Error, Filter, HelperProgram, address_names, resolve,
};

/// What one call of docker's CLI may take, in seconds.
const CLI_LIMIT: &str = "120";

/// A directory of docker's in which there is no context.
const NO_CONFIG: &str = "/nonexistent";

/// Our mark on everything that these tests make: the lab removes what a dead process left.
fn mark() -> String {
    format!("whaletap.test={}", std::process::id())
}

/// An image, and what is made of it; gone when it goes out of scope, also by a panic.
struct World {
    /// Unique to this world; every name begins with it.
    prefix: String,
    image: String,
}

impl World {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("wt-docker-{}-{count}", std::process::id());
        let world = Self { image: format!("{prefix}:v1"), prefix };

        let root = tempfile::tempdir().unwrap();
        let bin = root.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        std::fs::copy("/bin/busybox", bin.join("busybox"))
            .expect("busybox of Debian's busybox-static is there");
        std::os::unix::fs::symlink("busybox", bin.join("sleep")).unwrap();
        let tar = root.path().join("rootfs.tar");
        run(Command::new("tar").arg("-C").arg(root.path()).arg("-cf").arg(&tar).arg("bin"));
        let label = format!("LABEL {}", mark());
        docker(["import", "--change", &label, tar.to_str().unwrap(), &world.image]);
        world
    }

    fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// Makes containers, `options` each, as many as there are names; those that `run` do nothing.
    fn make(&self, run: bool, name: &str, options: &[&str]) -> String {
        let name = self.name(name);
        let mark = mark();
        let mut words = if run { vec!["run", "-d"] } else { vec!["create"] };
        // The first process of a container ignores signals that it does not handle.
        words.extend(["--init", "--name", &name, "--label", &mark]);
        words.extend_from_slice(options);
        words.extend([&self.image, "sleep", "3600"]);
        docker(words);
        name
    }

    fn run(&self, name: &str, options: &[&str]) -> String {
        self.make(true, name, options)
    }

    fn network(&self, name: &str) -> String {
        let name = self.name(name);
        docker(["network", "create", "--label", &mark(), &name]);
        name
    }

    /// Selects this world's containers among all that the engine has.
    fn filter(&self) -> Filter {
        format!("ancestor={}", self.image).parse().unwrap()
    }
}

impl Drop for World {
    /// Through errors: what was not made cannot be removed.
    fn drop(&mut self) {
        let names = |words: &[&str]| -> Vec<String> {
            // Its dash keeps 1 apart from 11.
            let filter = format!("name={}-", self.prefix);
            let listed = cli().args(words).args(["--filter", &filter]).output();
            listed.map_or_else(
                |_| Vec::new(),
                |output| {
                    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
                },
            )
        };
        let remove = |words: &[&str], names: Vec<String>| {
            if !names.is_empty() {
                let command = cli().args(words).args(names).output();
                let gone = command.is_ok_and(|output| output.status.success());
                // A second panic would end the process, and with it the other tests' cleaning up.
                assert!(gone || std::thread::panicking(), "docker {words:?}: something is left");
            }
        };
        remove(&["rm", "-f", "-v"], names(&["ps", "-aq"]));
        remove(&["network", "rm"], names(&["network", "ls", "-q"]));
        remove(&["rmi", "-f"], vec![self.image.clone()]);
    }
}

/// The engine's address.
fn host() -> String {
    match lab::Engine::shared() {
        Ok(engine) => engine.host().to_owned(),
        Err(error) => panic!("these tests need a Docker engine: {error}"),
    }
}

/// docker's CLI, with a limit, and without the contexts of the person who runs the tests.
fn cli() -> Command {
    let mut command = Command::new("timeout");
    command.args([CLI_LIMIT, "docker", "--host", &host()]);
    command.env("DOCKER_CONFIG", NO_CONFIG).env_remove("DOCKER_CONTEXT");
    command
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn docker<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> String {
    run(cli().args(words))
}

/// What docker's CLI says about one container.
fn said(name: &str, template: &str) -> String {
    docker(["inspect", "--type", "container", "--format", template, name]).trim_end().to_owned()
}

fn with_engine<T>(test: impl AsyncFnOnce(&Engine) -> T) -> T {
    let options = EndpointOptions {
        hosts: vec![host()],
        config: Some(NO_CONFIG.into()),
        ..EndpointOptions::default()
    };
    let endpoint = Endpoint::resolve(&options, |_| None).unwrap();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let engine = match Engine::connect(&endpoint).await {
            Ok(engine) => engine,
            Err(error) => panic!("these tests need a Docker engine: {error}"),
        };
        test(&engine).await
    })
}

fn find<'a>(containers: &'a [Container], name: &str) -> &'a Container {
    containers.iter().find(|container| container.name == name).unwrap()
}

fn names(containers: &[Container]) -> BTreeSet<String> {
    containers.iter().map(|container| container.name.clone()).collect()
}

#[test]
fn an_engine_says_what_it_is() {
    with_engine(async |engine| {
        let version = engine.version().await.unwrap();
        let format = "{{.Server.Version}} {{.Server.APIVersion}} {{.Server.KernelVersion}} \
                      {{.Server.Os}}/{{.Server.Arch}}";
        let ours = format!(
            "{} {} {} {}/{}",
            version.engine, version.api, version.kernel, version.os, version.arch
        );
        assert_eq!(ours, docker(["version", "--format", format]).trim_end());
        assert!(!version.negotiated_api.is_empty());
        let node = engine.node().await.unwrap();
        assert_eq!(node.name, docker(["info", "--format", "{{.Name}}"]).trim_end());
    });
}

#[test]
fn containers_are_what_docker_says_they_are() {
    let world = World::new();
    let (back, front) = (world.network("back"), world.network("front"));
    let control = "odd=a\u{1b}[31mb\tc\u{7f}";
    let web = world.run(
        "web.1_x",
        &["--network", &back, "--network-alias", "www", "--hostname", "h", "--label", control],
    );
    docker(["network", "connect", &front, &web]);
    let shared = world.run("shared", &["--network", &format!("container:{web}")]);
    let host = world.run("host", &["--network", "host"]);
    let none = world.run("none", &["--network", "none"]);
    let paused = world.run("paused", &[]);
    docker(["pause", &paused]);
    let stopped = world.run("stopped", &["--network", &back]);
    docker(["kill", &stopped]);
    docker(["wait", &stopped]);
    let created = world.make(false, "created", &[]);
    let member = world.make(
        false,
        "member",
        &[
            "--label=com.docker.compose.project=shop",
            "--label=com.docker.compose.service=api",
            "--label=com.docker.compose.container-number=3",
        ],
    );

    with_engine(async |engine| {
        let filter = [world.filter()];
        let full = engine.containers(&filter, true).await.unwrap();
        let cheap = engine.list(&filter, true).await.unwrap();
        let live = engine.containers(&filter, false).await.unwrap();

        let all = [&web, &shared, &host, &none, &paused, &stopped, &created, &member];
        assert_eq!(names(&full), all.into_iter().cloned().collect());
        let running = [&web, &shared, &host, &none, &paused];
        assert_eq!(names(&live), running.into_iter().cloned().collect());

        for container in &full {
            let name = &container.name;
            assert_eq!(container.id, said(name, "{{.Id}}"));
            assert_eq!(container.state.to_string(), said(name, "{{.State.Status}}"), "{name}");
            assert_eq!(container.pid.unwrap_or(0).to_string(), said(name, "{{.State.Pid}}"));
            assert_eq!(container.image, world.image);
            assert_eq!(container.labels["whaletap.test"], std::process::id().to_string());
            if container.state.is_live() {
                assert_eq!(container.sandbox_key, said(name, "{{.NetworkSettings.SandboxKey}}"));
            } else {
                assert_eq!(container.sandbox_key, "", "{name}");
            }
            assert_eq!(*container, engine.inspect(&container.id).await.unwrap());

            // The list tells all but what needs an inspection.
            let mut less = container.clone();
            (less.pid, less.started_at, less.sandbox_key) = (None, None, String::new());
            for endpoint in &mut less.endpoints {
                endpoint.aliases.clear();
            }
            assert_eq!(*find(&cheap, name), less, "{name}");
        }

        let found = find(&full, &web);
        assert_eq!(found.labels["odd"], "a\u{1b}[31mb\tc\u{7f}");
        assert_eq!(found.network_mode, back);
        let [first, second] = found.endpoints.as_slice() else { panic!("{found:?}") };
        assert_eq!((&first.network, &second.network), (&back, &front));
        for endpoint in &found.endpoints {
            let of = |field| {
                said(
                    &web,
                    &format!(
                        "{{{{(index .NetworkSettings.Networks {:?}).{field}}}}}",
                        endpoint.network
                    ),
                )
            };
            assert_eq!(endpoint.addresses[0].to_string(), of("IPAddress"));
            assert_eq!(endpoint.mac, of("MacAddress"));
        }
        assert!(first.aliases.iter().any(|alias| alias == "www"), "{first:?}");
        assert_eq!(find(&full, &shared).network_mode, format!("container:{}", found.id));
        assert!(find(&full, &shared).endpoints.is_empty());
        assert!(find(&full, &host).is_host_network());
        assert_eq!(find(&full, &none).network_mode, "none");
        assert_eq!(find(&full, &paused).state, ContainerState::Paused);
        assert_eq!(find(&full, &created).network_mode, "bridge");
        let compose = find(&full, &member).compose.as_ref().unwrap();
        assert_eq!((compose.project.as_str(), compose.number), ("shop", Some(3)));

        // By name, as docker takes it, and by prefix.
        assert_eq!(engine.inspect(&web).await.unwrap().id, found.id);
        assert_eq!(engine.inspect(&found.id[..16]).await.unwrap().name, web);

        let word = |text: String| -> Selector { text.parse().unwrap() };
        let selectors = [word(format!("network:{back}")), word(web.clone()), word(stopped.clone())];
        let resolution = resolve(&selectors, &[], &full);
        assert_eq!(resolution.chosen, [found]);
        assert_eq!(resolution.not_running[0].container.name, stopped);
        assert!(resolution.unmatched.is_empty());
        let by_image = [word(format!("image:{}", world.prefix))];
        assert_eq!(resolve(&by_image, &[], &full).chosen.len(), running.len());

        let called: Vec<_> = address_names(&full).into_iter().map(|(_, name)| name).collect();
        for network in [&back, &front] {
            assert!(called.contains(&format!("{web}.{network}")), "{called:?}");
        }
        assert!(!called.iter().any(|name| name.starts_with(&stopped)), "{called:?}");
    });
}

#[test]
fn filters_are_docker_s() {
    let world = World::new();
    let network = world.network("net");
    let old = world.make(false, "old", &["--label=tier=front"]);
    let new = world.run(
        "new",
        &[
            "--network",
            &network,
            "--volume",
            "/data",
            "--publish",
            "127.0.0.1::80",
            "--expose",
            "90",
        ],
    );
    with_engine(async |engine| {
        let old_id = engine.inspect(&old).await.unwrap().id;
        let old_prefix = &old_id[..16];
        // The filter is about the port on the engine's side.
        let published = docker(["port", &new, "80/tcp"]);
        let (_, port) = published.trim_end().rsplit_once(':').unwrap();
        for (filter, expected) in [
            (format!("name={old}"), &old),
            (format!("id={old_prefix}"), &old),
            ("label=tier=front".to_owned(), &old),
            ("status=created".to_owned(), &old),
            (format!("before={new}"), &old),
            (format!("since={old}"), &new),
            ("volume=/data".to_owned(), &new),
            (format!("network={network}"), &new),
            (format!("publish={port}"), &new),
            ("expose=90".to_owned(), &new),
            ("status=running".to_owned(), &new),
        ] {
            let filters = [world.filter(), filter.parse().unwrap()];
            let found = engine.list(&filters, true).await.unwrap();
            assert_eq!(names(&found), BTreeSet::from([expected.clone()]), "{filter}");
        }
        for (filter, count) in [("health=none", 2), ("is-task=false", 2), ("exited=7", 0)] {
            let filters = [world.filter(), filter.parse().unwrap()];
            assert_eq!(engine.list(&filters, true).await.unwrap().len(), count, "{filter}");
        }
        let error = engine.list(&["status=odd".parse().unwrap()], true).await.unwrap_err();
        assert!(matches!(error, Error::Api { status: 400, .. }), "{error:?}");
        assert!(error.to_string().contains("odd"), "{error}");
    });
}

#[test]
fn what_is_not_there_is_told_as_such() {
    with_engine(async |engine| {
        let error = engine.inspect("whaletap-no-such-container").await.unwrap_err();
        assert!(matches!(error, Error::NoSuchContainer { .. }), "{error:?}");
    });
}

/// Sixty containers are listed and inspected, while some of them go away.
#[test]
fn many_containers_are_read_while_some_vanish() {
    const COUNT: usize = 60;
    const GOING: usize = 20;
    let world = World::new();
    let made: Vec<_> = (0..COUNT).map(|n| world.make(false, &format!("n{n}"), &[])).collect();
    with_engine(async |engine| {
        let filter = [world.filter()];
        let start = Instant::now();
        assert_eq!(engine.list(&filter, true).await.unwrap().len(), COUNT);
        let listed = start.elapsed();
        let start = Instant::now();
        assert_eq!(engine.containers(&filter, true).await.unwrap().len(), COUNT);
        println!("{COUNT} containers: listed in {listed:?}, inspected in {:?}", start.elapsed());

        let (going, staying) = made.split_at(GOING);
        let mut remover = cli()
            .args(["rm", "-f"])
            .args(going)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut seen = BTreeSet::new();
        // Ends with the remover, which has a limit.
        while remover.try_wait().unwrap().is_none() {
            let read = engine.containers(&filter, true).await.unwrap();
            assert!(staying.iter().all(|name| read.iter().any(|c| c.name == *name)));
            seen.insert(read.len());
        }
        assert!(remover.wait().unwrap().success());
        println!("counts seen meanwhile: {seen:?}");
        assert_eq!(engine.containers(&filter, true).await.unwrap().len(), COUNT - GOING);
    });
}

#[test]
fn the_program_of_helpers_is_static_and_of_this_release() {
    let path = lab::agent::program().unwrap();
    let program = HelperProgram::read(&path).unwrap();
    assert_eq!(program.release(), env!("CARGO_PKG_VERSION"));
    let version = Command::new(&path).arg("version").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    assert_eq!(version, format!("whaletap-agent release {}\n", program.release()));
    // Whoever else can tell says the same.
    let ldd = Command::new("ldd").arg(&path).output().unwrap();
    let said = String::from_utf8([ldd.stdout, ldd.stderr].concat()).unwrap();
    assert!(
        ["statically linked", "not a dynamic"].iter().any(|word| said.contains(word)),
        "{said}"
    );
}
