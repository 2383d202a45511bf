//! What is swept of what sessions have left, and what is left alone.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    time::{SystemTime, UNIX_EPOCH},
};

use lab::PrivateEngine;

use crate::tap::{assert_ended, idle, whaletap_at};

/// docker's command line, as if it had been killed when it had made the container: it only makes it.
const MAKES: &str = r#"#!/bin/sh
PATH=${PATH#*:}
for word; do
    shift
    [ "$word" = run ] && word=create
    set -- "$@" "$word"
done
exec docker "$@"
"#;
/// Its image, which has our labels.
const LABELLED: &str = "whaletap-lab-labelled:latest";

#[test]
fn what_is_left_of_exec_never_runs_and_what_is_not_ours_stays_as_it_is() {
    // An engine of its own: a sweep is of all that is there.
    let own = PrivateEngine::start().unwrap();
    let engine = own.engine();
    let docker =
        |words: &[&str]| engine.docker().args(words).run().unwrap().stdout_text().trim().to_owned();
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let since = now().to_string();
    let web = engine.run(idle("web")).unwrap();

    let directory = tempfile::tempdir().unwrap();
    let shim = directory.path().join("docker");
    fs::write(&shim, MAKES).unwrap();
    fs::set_permissions(&shim, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", directory.path().display(), env::var("PATH").unwrap());
    let exec = ["exec", "--image", lab::engine::IMAGE, web.name(), "--", "true"];
    let made = whaletap_at(engine.host(), &exec).env("PATH", path).finish().unwrap();
    assert_ended(&made, 0, &[]);
    let left = made.stdout_text().trim().to_owned();
    let label = r#"{{.State.Status}} {{index .Config.Labels "whaletap.exec"}}"#;
    let found = docker(&["inspect", "--format", label, &left]);
    let owner = found.strip_prefix("created ").unwrap_or_else(|| panic!("{found}"));

    // Whose process has ended, too.
    let archive = directory.path().join("root.tar");
    let archive = archive.to_str().unwrap();
    docker(&["export", "--output", archive, web.name()]);
    let labels = format!("LABEL whaletap.helper={owner} whaletap.exec={owner}");
    docker(&["import", "--change", &labels, "--change", "ENV PATH=/bin", archive, LABELLED]);
    docker(&["run", "--name", "ended", "--volume", "/kept", LABELLED, "true"]);
    docker(&["create", "--name", "made", LABELLED, "sleep", "600"]);
    // As its label would have it, but for who removes it.
    let beside = format!("--network=container:{}", web.name());
    docker(&["create", "--name", "beside", &beside, LABELLED, "sleep", "600"]);
    docker(&["run", "--detach", "--name", "runs", LABELLED, "sleep", "600"]);
    let others = || {
        let state = "{{.Name}} {{.State.Status}} {{.State.StartedAt}}";
        docker(&["inspect", "--format", state, "ended", "made", "beside", "runs"])
    };
    let before = others();

    let pruned = whaletap_at(engine.host(), &["helper", "prune"]).finish().unwrap();
    assert_ended(&pruned, 0, &[]);
    assert_eq!(pruned.stdout_text(), format!("container {left}\n"));
    assert_eq!(others(), before);
    assert_eq!(docker(&["volume", "ls", "--quiet"]).lines().count(), 1);
    // The engine tells whether it ever ran.
    let (until, of) = ((now() + 1).to_string(), format!("container={left}"));
    let events = ["events", "--since", &since, "--until", &until, "--filter", &of];
    let events = docker(&[&events[..], &["--format", "{{.Action}}"]].concat());
    assert_eq!(events.lines().collect::<Vec<_>>(), ["create", "destroy"]);
    docker(&["rm", "--force", "--volumes", "ended", "made", "beside", "runs"]);
}
