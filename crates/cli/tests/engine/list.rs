//! `whaletap ls`.

use lab::{ContainerSpec, Engine};
use serde_json::Value;

use crate::tap::{idle, unique, whaletap};

/// What `ls` prints with these words.
fn ls(words: &[&str]) -> String {
    let words: Vec<&str> = ["ls"].iter().chain(words).copied().collect();
    let finished = whaletap(&words).finish().unwrap();
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    assert_eq!(finished.stderr, "");
    finished.stdout_text()
}

fn json(words: &[&str]) -> Vec<Value> {
    let words: Vec<&str> = ["--format", "json"].iter().chain(words).copied().collect();
    ls(&words).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The inode of the namespace of a process.
fn netns(pid: u32) -> u64 {
    let link = std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    link.to_str().unwrap().trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
}

#[test]
fn containers_are_listed_in_every_form() {
    let engine = Engine::shared().unwrap();
    let network = engine.network("listed").unwrap();
    let mark = unique("mark");
    let project = unique("shop");
    let spec = |name: &str| idle(name).network(&network).label("mark", &mark);
    let web = spec("web")
        .label("com.docker.compose.project", &project)
        .label("com.docker.compose.service", "api");
    let web = engine.run(web).unwrap();
    let old = engine.run(spec("old")).unwrap();
    old.kill().unwrap();
    let all = format!("label:mark={mark}");

    let table = ls(&[&all]);
    let [head, row] = table.lines().collect::<Vec<_>>().try_into().unwrap();
    assert!(head.starts_with("NAME ") && head.ends_with("NETNS"), "{head}");
    let inode = netns(web.pid().unwrap()).to_string();
    let address = web.address().unwrap().to_string();
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells[..4], [web.name(), &web.id()[..12], "whaletap-lab:latest", "running"]);
    assert_eq!(cells[4..], [&format!("{project}/api"), network.name(), &address, &inode]);
    let whole = ls(&["--no-trunc", &all]);
    for part in [web.id(), network.name(), &format!("{project}/api")] {
        assert!(whole.contains(part), "{part} is not in {whole}");
    }

    assert_eq!(ls(&["-q", &all]), format!("{}\n", &web.id()[..12]));
    assert_eq!(ls(&["-q", "--no-trunc", &all]), format!("{}\n", web.id()));
    let both = ls(&["-q", "-a", "--no-trunc", &all]);
    assert!(both.lines().count() == 2 && both.contains(old.id()), "{both}");
    let filters = ["--filter", "status=exited", "--filter", &format!("label=mark={mark}")];
    let exited = ls(&[&["-q", "-a", "--no-trunc"], &filters[..]].concat());
    assert_eq!(exited, format!("{}\n", old.id()));
    assert_eq!(ls(&["-q", &all, "--exclude", web.name()]), "");

    let [object] = json(&[&all]).try_into().unwrap();
    assert_eq!(object["name"], web.name());
    assert_eq!(object["id"], web.id());
    assert_eq!(object["compose"]["project"], project.as_str());
    assert_eq!(object["networks"][0]["name"], network.name());
    assert_eq!(object["networks"][0]["addresses"][0], address.as_str());
    assert_eq!(object["netns"]["ino"].to_string(), inode);
    assert_eq!(object["interfaces"], Value::Null);
    let [object] = json(&["--interfaces", &all]).try_into().unwrap();
    let interfaces = object["interfaces"].as_array().unwrap();
    let names: Vec<&Value> = interfaces.iter().map(|interface| &interface["name"]).collect();
    assert_eq!(names, ["lo", "eth0"]);
    assert_eq!(interfaces[1]["up"], true);
    assert!(interfaces[1]["peer_index"].is_u64(), "{object}");

    let table = ls(&["--interfaces", &all]);
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[0].starts_with("NAME ") && rows[0].contains("INTERFACE"), "{table}");
    assert!(rows.len() == 3 && rows[2].contains("eth0") && rows[2].contains("EN10MB"), "{table}");
}

#[test]
fn what_labels_hold_does_not_reach_the_terminal() {
    let engine = Engine::shared().unwrap();
    let evil = "a\u{1b}]0;owned\u{7}\r\n\u{202e}b\u{9b}31m";
    let spec = ContainerSpec::new("evil")
        .label("note", evil)
        .label("com.docker.compose.project", evil)
        .label("com.docker.compose.service", "x\u{1b}[2J");
    let web = engine.run(spec).unwrap();
    let bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    for words in [&[][..], &["--no-trunc"], &["--format", "json"], &["--interfaces"]] {
        let text = ls(&[words, &[web.name()]].concat());
        assert!(!text.contains(bad), "{words:?}: {text:?}");
        assert_eq!(
            text.lines().count(),
            if words == ["--interfaces"] { 3 } else { words_lines(words) }
        );
    }
    // And nothing of it is lost for a program.
    let [object] = json(&[web.name()]).try_into().unwrap();
    assert_eq!(object["labels"]["note"], evil);
}

/// A head and a row; JSON has no head.
fn words_lines(words: &[&str]) -> usize {
    if words.contains(&"json") { 1 } else { 2 }
}
