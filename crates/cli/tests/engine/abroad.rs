//! `ls --interfaces` and `exec` where the engine is another machine's.

use lab::{Container, FarHost, Finished, Program};
use serde_json::Value;

use crate::{
    far::Way,
    member::helpers,
    remote::{idle, ways},
    tap::{LIMIT, assert_ended, whaletap_at},
};

/// The command with these words, on its way to that host.
fn whaletap(way: &Way, far: &FarHost, words: &[&str]) -> Program {
    let agent = lab::agent::program().unwrap();
    let program = way.given_to(env!("CARGO_BIN_EXE_whaletap"), far).env("WHALETAP_AGENT", agent);
    program.args(words).limit(LIMIT)
}

fn listed(finished: &Finished) -> Vec<Value> {
    finished.stdout_text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The inode of a process's network namespace.
fn netns_of(pid: u32) -> String {
    let link = std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    let link = link.to_str().unwrap().to_owned();
    link.trim_start_matches("net:[").trim_end_matches(']').to_owned()
}

#[test]
fn what_is_inside_is_listed_as_on_the_machine_itself() {
    let far = FarHost::start().unwrap();
    let (web, db) = (idle(&far, "web"), idle(&far, "db"));
    let names = [web.name(), db.name()];
    // By TLS somebody behind sudo, whose rights are given up before anything is heard.
    let [by_tls, by_ssh, by_context] = ways(&far);
    let by_tls =
        by_tls.with("SUDO_USER", "nobody").with("SUDO_UID", "65534").with("SUDO_GID", "65534");
    let ways = [by_tls, by_ssh, by_context];
    // The same engine through its socket, by somebody with rights.
    let there = |words: &[&str]| {
        let finished = whaletap_at(far.engine().host(), words).finish().unwrap();
        assert_ended(&finished, 0, &[]);
        finished.stdout_text()
    };
    for words in [&["--interfaces"][..], &["--interfaces", "--format", "json"]] {
        let words = [&["ls"], words, &names].concat();
        let expected = there(&words);
        assert!(expected.contains("eth0") && expected.lines().count() > 1, "{expected}");
        for way in &ways {
            let finished = whaletap(way, &far, &words).finish().unwrap();
            assert_ended(&finished, 0, &[]);
            assert_eq!((finished.stdout_text(), &*finished.stderr), (expected.clone(), ""));
        }
    }
    assert_eq!(helpers(far.engine()), [""; 0]);
    let [by_tls, by_ssh, _] = ways;
    what_is_the_other_machines_is_its_own(&[&by_tls, &by_ssh], &far, &web);
    what_cannot_be_listed_is_told(&by_tls, &far, &web);
    assert_eq!(helpers(far.engine()), [""; 0]);
}

fn what_is_the_other_machines_is_its_own(ways: &[&Way], far: &FarHost, web: &Container) {
    let pid = web.pid().unwrap();
    let file = format!("netns:/proc/{}/ns/net", far.engine_pid().unwrap());
    let words = [format!("pid:{pid}"), file];
    let words = ["ls", "--interfaces", "--format", "json", &words[0], &words[1], "host"];
    for way in ways {
        let finished = whaletap(way, far, &words).finish().unwrap();
        assert_ended(&finished, 0, &[]);
        let [process, file, host] = listed(&finished).try_into().unwrap();
        // Who has that number here is somebody else on a real machine.
        assert_eq!(process["name"], format!("pid.{pid}"));
        assert_eq!(process["netns"]["ino"].to_string(), netns_of(pid));
        for it in [&file, &host] {
            assert_eq!(it["netns"]["ino"].to_string(), far.namespace().id().unwrap().1.to_string());
            let interfaces = it["interfaces"].as_array().unwrap();
            let names: Vec<_> = interfaces.iter().map(|it| it["name"].as_str().unwrap()).collect();
            assert!(["lo", "eth0", "docker0"].iter().all(|it| names.contains(it)), "{names:?}");
        }
        assert!(host.to_string().contains("10.7.9.2"), "{host}");
    }
}

fn what_cannot_be_listed_is_told(way: &Way, far: &FarHost, web: &Container) {
    let ls = |words: &[&str]| whaletap(way, far, &[&["ls"], words].concat()).finish().unwrap();
    let nobody = ls(&["--interfaces", "pid:4194304", web.name()]);
    assert_ended(&nobody, 5, &["pid.4194304: there is no process 4194304", "hint: "]);
    assert!(nobody.stdout_text().contains("eth0"), "{nobody:?}");
    assert_ended(&ls(&["--interfaces", "pid:4194304"]), 3, &["there is no process"]);
    let from_here = ls(&["--interfaces", "--via", "host", web.name()]);
    assert_ended(&from_here, 2, &["another machine's engine", "hint: "]);
    // Without interfaces there is no helper, and nobody to say which namespace it is.
    let plain = ls(&["--format", "json", web.name(), "host"]);
    assert_ended(&plain, 0, &[]);
    assert!(listed(&plain).iter().all(|it| it["netns"].is_null()), "{plain:?}");
    let absent = ["ls", "--interfaces", web.name()];
    let absent = whaletap(way, far, &absent).env("WHALETAP_AGENT", "/no").finish().unwrap();
    assert_ended(&absent, 6, &["/no", "hint: "]);
}

#[test]
fn a_program_of_an_image_runs_beside_a_container_elsewhere() {
    let far = FarHost::start().unwrap();
    let web = idle(&far, "web");
    let address = web.address().unwrap().to_string();
    let [by_tls, by_ssh, by_context] = ways(&far);
    // Where the contexts are that were just made.
    let config = far.certificates().at("docker").display().to_string();
    let keys = far.certificates().directory().to_str().unwrap();
    let by_variables = Way::by(&[])
        .with("DOCKER_HOST", far.tls())
        .with("DOCKER_TLS_VERIFY", "1")
        .with("DOCKER_CERT_PATH", keys);
    let by_ssh_context =
        Way::by(&["--config", &config]).with("DOCKER_CONTEXT", "far-ssh").with("DOCKER_TLS", "1");
    for way in [by_tls, by_ssh, by_context, by_variables, by_ssh_context] {
        let exec = |command: &[&str]| {
            let words = ["exec", "--image", lab::engine::IMAGE, web.name(), "--"];
            whaletap(&way, &far, &[&words[..], command].concat())
        };
        // In its network; with the streams and the exit code of the program.
        let finished = exec(&["sh", "-c", "ip addr; cat; echo said >&2; exit 42"])
            .input("typed\n")
            .finish()
            .unwrap();
        assert_eq!((finished.code(), &*finished.stderr), (Some(42), "said\n"), "{finished:?}");
        let said = finished.stdout_text();
        assert!(said.contains(&address) && said.ends_with("typed\n"), "{finished:?}");
        let without = ["exec", web.name(), "--", "ip", "addr"];
        let without = whaletap(&way, &far, &without).finish().unwrap();
        assert_ended(&without, 2, &["another machine's engine", "hint: --image"]);
        assert!(without.stdout.is_empty());
    }
    let way = Way::by(&["-H", &far.ssh()]);
    let image = ["exec", "--image", lab::engine::IMAGE, "host", "--", "true"];
    assert_ended(&whaletap(&way, &far, &image).finish().unwrap(), 4, &["it is no container"]);
    assert_eq!(helpers(far.engine()), [""; 0]);
}
