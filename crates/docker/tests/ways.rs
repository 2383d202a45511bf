//! Ways to an engine other than its socket: TCP, TLS, and programs. The other side is played by a few
//! lines each; its certificates are openssl's.

#![expect(clippy::unwrap_used, reason = "whatever fails here fails a test")]

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, TcpListener},
    path::PathBuf,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use lab::Certificates;
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use whaletap_docker::{Endpoint, EndpointOptions, Engine, Error, Host, PathDial, ProgramDial};

/// For engines that must answer; generous, because the machine may be busy.
const PATIENT: Duration = Duration::from_secs(20);

/// For engines that never will.
const SHORT: Duration = Duration::from_millis(200);

const VERSION: &str = r#"{"Version":"20.10.24","ApiVersion":"1.41","Os":"linux","Arch":"amd64"}"#;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nApi-Version: 1.41\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// The endpoint of an address.
fn at(host: &str, tls: bool) -> Endpoint {
    let hosts = vec![host.to_owned()];
    let options = EndpointOptions { hosts, tls, ..EndpointOptions::default() };
    Endpoint::resolve(&options, |_| None).unwrap()
}

/// A TCP server that answers one connection, and its address.
fn one_answer(answer: String) -> (String, JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let n = stream.read(&mut [0; 4096]).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        n
    });
    (address, server)
}

#[test]
fn plain_tcp_is_spoken() {
    let (tcp, server) = one_answer(answer("200 OK", VERSION));
    assert!(matches!(at(&tcp, false).host, Host::Tcp { .. }));
    block_on(Engine::connect(&at(&tcp, false))).unwrap();
    assert!(server.join().unwrap() > 0);

    // The listener is gone.
    for tls in [false, true] {
        let error = block_on(Engine::connect(&at(&tcp, tls))).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
        assert!(error.hint().unwrap().contains("port"), "{error:?}");
    }
}

#[test]
fn tls_and_plain_text_are_told_apart() {
    let (plain, server) = one_answer(answer("200 OK", VERSION));
    let error = block_on(Engine::connect(&at(&plain, true))).unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
    assert!(error.hint().is_some() && server.join().unwrap() > 0);

    // As engines answer it.
    let said = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    let (secure, server) = one_answer(said.to_owned());
    let error = block_on(Engine::connect(&at(&secure, false))).unwrap_err();
    assert!(matches!(error, Error::WantsTls { .. }), "{error:?}");
    assert!(server.join().unwrap() > 0);
}

#[test]
fn a_tls_engine_that_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = at(&format!("tcp://{}", listener.local_addr().unwrap()), true);
    let unused = Arc::new(PathDial(PathBuf::new()));
    let error = block_on(Engine::connect_through(&endpoint, unused, SHORT)).unwrap_err();
    assert!(matches!(error, Error::Timeout { after: SHORT, .. }), "{error:?}");
}

fn through(words: &[&str], deadline: Duration) -> Result<Engine, Error> {
    let dial = ProgramDial(words.iter().map(Into::into).collect());
    block_on(Engine::connect_through(&at("ssh://me@far", false), Arc::new(dial), deadline))
}

#[test]
fn an_engine_behind_a_program_is_one_like_any_other() {
    // docker's CLI asks for the version on a connection of its own first.
    let listener = TcpListener::bind((HERE, 0)).unwrap();
    let tcp = format!("tcp://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            if stream.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {
                let _ = stream.write_all(answer("200 OK", VERSION).as_bytes());
            }
        }
    });
    through(&["docker", "--host", &tcp, "system", "dial-stdio"], PATIENT).unwrap();
}

#[test]
fn a_program_that_fails_says_why() {
    let error = through(&["sh", "-c", "echo first >&2; echo last >&2; exit 1"], PATIENT);
    match error.unwrap_err() {
        Error::Program { program, said, .. } => assert_eq!((&*program, &*said), ("ssh", "last")),
        error => panic!("{error:?}"),
    }
    let silent = through(&["false"], PATIENT).unwrap_err();
    assert!(matches!(silent, Error::Broken { .. }), "{silent:?}");
    let absent = through(&["no-program-has-this-name"], PATIENT).unwrap_err();
    assert!(matches!(absent, Error::Unreachable { .. }), "{absent:?}");
    let refused = block_on(Engine::connect(&at("ssh://127.0.0.1:1", false))).unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("ssh failed") && text.contains("Connection refused"), "{text}");
}

#[test]
fn a_program_that_hangs_is_given_up_and_ended() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let line = format!("echo $$ >{}; echo stuck >&2; exec sleep 60", file.display());
    let error = through(&["sh", "-c", &line], SHORT.max(Duration::from_secs(1))).unwrap_err();
    assert!(matches!(&error, Error::Program { said, .. } if said == "stuck"), "{error:?}");
    let pid = std::fs::read_to_string(&file).unwrap();
    let begun = Instant::now();
    while std::fs::exists(format!("/proc/{}", pid.trim())).unwrap() {
        assert!(begun.elapsed() < PATIENT, "it still runs");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What docker's CLI gives to ssh, and that nothing of an address becomes an option or a command.
#[test]
fn programs_get_the_words_of_an_address() {
    let words = |host: &str, tls| {
        let words = at(host, tls).program().unwrap();
        words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    };
    let begin = "ssh -o BatchMode=yes -o ConnectTimeout=10 -T";
    assert_eq!(words("ssh://far", false), format!("{begin} -- far docker system dial-stdio"));
    assert_eq!(
        words("ssh://me@far:2222/run/it's.sock", false),
        format!(
            "{begin} -l me -p 2222 -- far docker --host 'unix:///run/it'\\''s.sock' system dial-stdio"
        )
    );
    assert_eq!(
        words("tcp://far:2376", true),
        "docker --host tcp://far:2376 --tls --tlsverify=false --tlscacert ca.pem system dial-stdio"
    );
    assert_eq!(at("tcp://far:2375", false).program(), None);
    assert_eq!(at("unix:///x", false).program(), None);
}

/// An engine with TLS that answers each connection's first request, and its address.
fn tls_engine(keys: &Certificates, name: &str) -> String {
    let chain = CertificateDer::pem_file_iter(keys.at(&format!("{name}-cert.pem"))).unwrap();
    let key = PrivateKeyDer::from_pem_file(keys.at(&format!("{name}-key.pem"))).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind((HERE, 0)).unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(tls, stream);
            if stream.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {
                let _ = stream.write_all(answer("200 OK", VERSION).as_bytes());
                // Until the other side has enough.
                let _ = stream.read(&mut [0]);
            }
        }
    });
    address
}

fn verified(address: &str, ca: PathBuf) -> Endpoint {
    let options = EndpointOptions {
        hosts: vec![address.to_owned()],
        tls_verify: Some(true),
        tls_ca_cert: Some(ca),
        ..EndpointOptions::default()
    };
    Endpoint::resolve(&options, |_| None).unwrap().with_secrets().unwrap()
}

#[test]
fn an_engine_is_who_its_certificate_says() {
    let directory = tempfile::tempdir().unwrap();
    let keys = Certificates::make(directory.path().join("a"), HERE).unwrap();
    let elsewhere = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    let others = Certificates::make(directory.path().join("b"), elsewhere).unwrap();
    let address = tls_engine(&keys, "engine");
    block_on(Engine::connect(&verified(&address, keys.at("ca.pem")))).unwrap();
    block_on(Engine::connect(&at(&address, true))).unwrap();
    for (address, ca) in [
        (address, others.at("ca.pem")),
        // The right authority, and another machine's certificate.
        (tls_engine(&others, "engine"), others.at("ca.pem")),
    ] {
        let error = block_on(Engine::connect(&verified(&address, ca))).unwrap_err();
        assert!(matches!(error, Error::Tls { .. }), "{error:?}");
    }
}

/// rustls takes no authority for an engine; Go does, and so does docker's CLI.
#[test]
fn what_our_tls_refuses_for_its_form_is_left_to_docker() {
    let directory = tempfile::tempdir().unwrap();
    let keys = Certificates::make(directory.path(), HERE).unwrap();
    keys.make_selfmade(HERE).unwrap();
    let address = tls_engine(&keys, "selfmade");
    let endpoint = verified(&address, keys.at("selfmade-cert.pem"));
    block_on(Engine::connect(&endpoint)).unwrap();
    // Without docker's CLI it is our own error that is told.
    let absent = Arc::new(ProgramDial(vec!["no-program-has-this-name".into()]));
    let error = block_on(Engine::connect_through(&endpoint, absent, PATIENT)).unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
    // And nothing that is wrong for docker is right by this.
    let error = block_on(Engine::connect(&verified(&address, keys.at("ca.pem")))).unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
}

#[test]
fn keys_are_read_once_and_never_shown() {
    let directory = tempfile::tempdir().unwrap();
    let keys = Certificates::make(directory.path(), HERE).unwrap();
    let address = tls_engine(&keys, "engine");
    let endpoint = verified(&address, keys.at("ca.pem"));
    drop(directory);
    block_on(Engine::connect(&endpoint)).unwrap();
    assert!(!format!("{endpoint:?}").contains("CERTIFICATE"), "{endpoint:?}");
    let unread = Endpoint::resolve(
        &EndpointOptions {
            hosts: vec![address],
            tls_verify: Some(true),
            tls_ca_cert: Some(keys.at("ca.pem")),
            ..EndpointOptions::default()
        },
        |_| None,
    );
    let error = unread.unwrap().with_secrets().unwrap_err();
    assert!(matches!(error, Error::ReadConfig { .. }), "{error:?}");
}
