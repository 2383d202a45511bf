use std::collections::HashMap;

use super::*;

/// `printf build | sha256sum`
const BUILD_ID: &str = "44575cf5b28512d75644bf54a517dcef304ff809fd511747621b4d64f19aac66";

/// docker's directory with the context `build`.
fn config_dir(current: Option<&str>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    if let Some(current) = current {
        let text = format!(r#"{{"auths":{{}},"currentContext":"{current}"}}"#);
        std::fs::write(dir.path().join("config.json"), text).unwrap();
    }
    store(
        dir.path(),
        r#"{"Name":"build","Metadata":{},"Endpoints":{"docker":{"Host":"tcp://build:1","SkipTLSVerify":false}}}"#,
    );
    dir
}

fn store(dir: &Path, meta: &str) {
    let path = dir.join("contexts/meta").join(BUILD_ID);
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("meta.json"), meta).unwrap();
}

/// Resolves with `--config dir`, these options and this environment.
fn resolve(
    dir: &Path,
    context: Option<&str>,
    hosts: &[&str],
    env: &[(&str, &str)],
) -> Result<Endpoint, Error> {
    let options = EndpointOptions {
        context: context.map(str::to_owned),
        hosts: hosts.iter().copied().map(str::to_owned).collect(),
        config: Some(dir.to_owned()),
        ..EndpointOptions::default()
    };
    let env: HashMap<_, _> = env.iter().copied().collect();
    Endpoint::resolve(&options, |name| env.get(name).map(OsString::from))
}

#[test]
fn each_way_to_name_an_engine_beats_the_ones_below_it() {
    let none = config_dir(None);
    let current = config_dir(Some("build"));
    let host = ("DOCKER_HOST", "tcp://env:2");
    let variable = ("DOCKER_CONTEXT", "build");
    for (dir, context, hosts, env, expected, source) in [
        (&none, None, &[][..], &[][..], "unix:///var/run/docker.sock", Source::Default),
        (&current, None, &[], &[], "tcp://build:1 (context build)", Source::CurrentContext),
        (&none, None, &[], &[variable], "tcp://build:1 (context build)", Source::ContextVariable),
        (&current, None, &[], &[host, variable], "tcp://env:2", Source::HostVariable),
        (&current, None, &["tcp://x:3"], &[host, variable], "tcp://x:3", Source::HostOption),
        (
            &none,
            Some("build"),
            &[],
            &[host, variable],
            "tcp://build:1 (context build)",
            Source::ContextOption,
        ),
        // The default context, named or not, is DOCKER_HOST's.
        (&current, Some("default"), &[], &[host], "tcp://env:2", Source::HostVariable),
        (&current, Some("default"), &[], &[], "unix:///var/run/docker.sock", Source::ContextOption),
        (
            &current,
            None,
            &[],
            &[("DOCKER_CONTEXT", "default")],
            "unix:///var/run/docker.sock",
            Source::ContextVariable,
        ),
        // Nothing written is as good as nothing said.
        (
            &none,
            None,
            &[],
            &[("DOCKER_HOST", ""), ("DOCKER_CONTEXT", "")],
            "unix:///var/run/docker.sock",
            Source::Default,
        ),
    ] {
        let endpoint = resolve(dir.path(), context, hosts, env).unwrap();
        assert_eq!(endpoint.to_string(), expected, "{context:?} {hosts:?} {env:?}");
        assert_eq!(endpoint.source, source, "{context:?} {hosts:?} {env:?}");
    }
}

#[test]
fn an_engine_of_ones_own_is_taken_where_the_usual_one_is_not_to_be_had() {
    let none = config_dir(None);
    let usual = || resolve(none.path(), None, &[], &[]).unwrap();
    let run = Path::new("/run/user/7");
    let (docker, podman) = ("/run/user/7/docker.sock", "/run/user/7/podman/podman.sock");
    for (open, expected, source) in [
        (&[Host::DEFAULT_SOCKET, docker][..], Host::DEFAULT_SOCKET, Source::Default),
        (&[docker, podman], docker, Source::RuntimeDirectory),
        (&[podman], podman, Source::RuntimeDirectory),
        (&[], Host::DEFAULT_SOCKET, Source::Default),
    ] {
        let found = usual().or_of_this_user(Some(run), |path| open.iter().any(|it| path == *it));
        assert_eq!((found.to_string(), found.source), (format!("unix://{expected}"), source));
    }
    assert_eq!(usual().or_of_this_user(None, |_| false), usual());
    // Whatever was said is meant.
    let said = format!("unix://{}", Host::DEFAULT_SOCKET);
    for (hosts, env) in [(&[&*said][..], &[][..]), (&[], &[("DOCKER_HOST", &*said)])] {
        let named = resolve(none.path(), None, hosts, env).unwrap();
        assert_eq!(
            named.clone().or_of_this_user(Some(run), |path| path == Path::new(podman)),
            named
        );
    }
}

#[test]
fn the_directory_is_the_option_then_the_variable_then_home() {
    let current = config_dir(Some("build"));
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".docker")).unwrap();
    std::fs::write(home.path().join(".docker/config.json"), r#"{"currentContext":"default"}"#)
        .unwrap();
    let lookup = |config: Option<PathBuf>, docker_config: Option<&Path>| {
        let options = EndpointOptions { config, ..EndpointOptions::default() };
        Endpoint::resolve(&options, |name| match name {
            "HOME" => Some(home.path().into()),
            "DOCKER_CONFIG" => docker_config.map(OsString::from),
            _ => None,
        })
        .unwrap()
        .context
    };
    assert_eq!(lookup(None, None), None);
    assert_eq!(lookup(None, Some(current.path())).as_deref(), Some("build"));
    assert_eq!(lookup(Some(home.path().join(".docker")), Some(current.path())), None);
}

#[test]
fn contradictions_are_refused() {
    let dir = config_dir(None);
    assert!(matches!(
        resolve(dir.path(), Some("build"), &["tcp://x:1"], &[]),
        Err(Error::ConflictingOptions)
    ));
    assert!(matches!(
        resolve(dir.path(), None, &["tcp://x:1", "tcp://y:1"], &[]),
        Err(Error::SeveralHosts { count: 2 })
    ));
}

#[test]
fn a_context_that_is_not_there_names_the_file_and_who_asked() {
    let dir = config_dir(None);
    let error = resolve(dir.path(), None, &[], &[("DOCKER_CONTEXT", "nope")]).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("`nope` (from DOCKER_CONTEXT)"), "{text}");
    // The directory that docker 28.2.2 named for the same word.
    assert!(text.contains("ca3704aa0b06f5954c79ee837faa152d84d6b2d42838f0637a15eda8337dbdce"));
}

#[test]
fn broken_files_are_told_and_not_passed_over() {
    let dir = config_dir(None);
    std::fs::write(dir.path().join("config.json"), "{ not json").unwrap();
    let error = resolve(dir.path(), None, &[], &[]).unwrap_err();
    assert!(matches!(error, Error::ParseConfig { .. }), "{error}");
    // Nobody needs the file when the engine is named.
    assert!(resolve(dir.path(), None, &["tcp://x:1"], &[]).is_ok());

    std::fs::write(dir.path().join("config.json"), " \n").unwrap();
    assert_eq!(resolve(dir.path(), None, &[], &[]).unwrap().source, Source::Default);

    store(dir.path(), r#"{"Name":"build","Endpoints":{"kubernetes":{}}}"#);
    let error = resolve(dir.path(), Some("build"), &[], &[]).unwrap_err();
    assert!(matches!(error, Error::NoDockerEndpoint { .. }), "{error}");

    store(dir.path(), r#"{"Name":"build","Endpoints":{"docker":{"Host":"http://x"}}}"#);
    let error = resolve(dir.path(), Some("build"), &[], &[]).unwrap_err();
    assert!(matches!(error, Error::BadHost { origin: Source::ContextOption, .. }), "{error}");
}

#[test]
fn a_context_without_a_host_is_the_default_socket() {
    let dir = config_dir(None);
    store(dir.path(), r#"{"Name":"build","Endpoints":{"docker":{"SkipTLSVerify":true}}}"#);
    let endpoint = resolve(dir.path(), Some("build"), &[], &[]).unwrap();
    assert_eq!(endpoint.host, Host::Unix(Host::DEFAULT_SOCKET.into()));
    assert_eq!(endpoint.tls, None);
}

#[test]
fn a_variable_that_is_not_text_is_told() {
    use std::os::unix::ffi::OsStringExt as _;
    let error = Endpoint::resolve(&EndpointOptions::default(), |name| {
        (name == "DOCKER_HOST").then(|| OsString::from_vec(vec![0xff]))
    })
    .unwrap_err();
    assert!(matches!(error, Error::BadVariable { variable: "DOCKER_HOST" }), "{error}");
}

#[test]
fn tls_of_a_context_comes_from_its_store() {
    let dir = config_dir(None);
    let tls = dir.path().join("contexts/tls").join(BUILD_ID).join("docker");
    std::fs::create_dir_all(&tls).unwrap();
    std::fs::write(tls.join("ca.pem"), "x").unwrap();
    let endpoint = resolve(dir.path(), Some("build"), &[], &[]).unwrap();
    assert_eq!(
        endpoint.tls,
        Some(Tls { ca: Some(tls.join("ca.pem")), cert: None, key: None, verify: true })
    );
}

#[test]
fn tls_is_switched_on_as_docker_does() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("cert.pem"), "x").unwrap();
    let with = |options: EndpointOptions, env: &[(&str, &str)]| {
        let options = EndpointOptions { config: Some(dir.path().to_owned()), ..options };
        let env: HashMap<_, _> = env.iter().copied().collect();
        Endpoint::resolve(&options, |name| env.get(name).map(OsString::from)).unwrap()
    };
    let plain = EndpointOptions::default;
    assert_eq!(with(plain(), &[]).tls, None);

    let endpoint = with(EndpointOptions { tls: true, ..plain() }, &[]);
    assert_eq!(endpoint.to_string(), "tcp://localhost:2376");
    let tls = endpoint.tls.unwrap();
    assert_eq!(tls.ca, Some(dir.path().join("ca.pem")));
    assert_eq!(tls.cert, Some(dir.path().join("cert.pem")));
    assert_eq!((tls.key, tls.verify), (None, false));

    let host = ("DOCKER_HOST", "tcp://x:1");
    assert!(with(plain(), &[host, ("DOCKER_TLS_VERIFY", "1")]).tls.unwrap().verify);
    assert!(!with(plain(), &[host, ("DOCKER_TLS", "1")]).tls.unwrap().verify);
    let off = EndpointOptions { tls_verify: Some(false), ..plain() };
    assert!(!with(off, &[host, ("DOCKER_TLS_VERIFY", "1")]).tls.unwrap().verify);
    let certs = ("DOCKER_CERT_PATH", "/certs");
    let tls = with(plain(), &[host, certs, ("DOCKER_TLS", "1")]).tls.unwrap();
    assert_eq!(tls.ca, Some("/certs/ca.pem".into()));
    assert_eq!(tls.cert, None);
    // A unix socket has no TLS, whatever is set.
    assert_eq!(with(plain(), &[("DOCKER_HOST", "unix:///x"), ("DOCKER_TLS", "1")]).tls, None);
}

#[test]
fn another_process_gets_the_same_endpoint() {
    use std::os::unix::ffi::OsStringExt as _;
    let odd = PathBuf::from(OsString::from_vec(b"/run/\xff sock".to_vec()));
    let tls = |verify| Tls { ca: Some("/a/ca.pem".into()), cert: None, key: None, verify };
    let parsed = |text| Host::parse(text).unwrap();
    for (host, context, tls) in [
        (Host::Unix(odd), None, None),
        (parsed("tcp://[::1]:77"), Some("far"), None),
        (parsed("tcp://far:2376"), Some("far"), Some(tls(true))),
        (parsed("tcp://far:2376"), None, Some(tls(false))),
        (parsed("ssh://me@far:2222/run/it's.sock"), None, None),
    ] {
        let is_socket = matches!(host, Host::Unix(_));
        let endpoint = Endpoint::new(host, context.map(str::to_owned), tls, Source::HostOption);
        assert_eq!(endpoint.is_socket(), is_socket);
        assert_eq!(Endpoint::from_words(endpoint.to_words()), Some(endpoint));
    }
    let mut words = Endpoint::unix("/x").to_words();
    words[0] = "carrier pigeon".into();
    assert_eq!(Endpoint::from_words(words), None);
}

#[test]
fn dockers_cli_gets_the_same_engine() {
    let words = |endpoint: Endpoint| {
        let words = endpoint.options().into_iter();
        words.map(|word| word.into_string().unwrap()).collect::<Vec<_>>().join(" ")
    };
    let dir = config_dir(Some("build"));
    let contexts = [(Some("build"), &[][..], &[][..]), (None, &[], &[("DOCKER_CONTEXT", "build")])];
    for (option, hosts, variables) in contexts {
        let found = resolve(dir.path(), option, hosts, variables).unwrap();
        assert_eq!(words(found), "--context build");
    }
    let host = [("DOCKER_HOST", "ssh://me@far"), ("DOCKER_TLS_VERIFY", "1")];
    assert_eq!(words(resolve(dir.path(), None, &[], &host).unwrap()), "--host ssh://me@far");
    let host =
        [("DOCKER_HOST", "tcp://far:1"), ("DOCKER_TLS", "1"), ("DOCKER_CERT_PATH", "/certs")];
    assert_eq!(
        words(resolve(dir.path(), None, &[], &host).unwrap()),
        "--host tcp://far:1 --tls --tlsverify=false --tlscacert /certs/ca.pem"
    );
    assert_eq!(words(Endpoint::unix("/run/x.sock")), "--host unix:///run/x.sock");
}
