use std::os::unix::ffi::OsStringExt as _;

use clap::Parser;
use session::{Compression, KeepFree};

use super::*;
use crate::{
    exit::Exit,
    flags::{Command, Whaletap},
};

fn try_with(words: &[&str], surroundings: &Surroundings) -> Result<Capture, Failure> {
    let words = ["whaletap", "capture"].iter().chain(words);
    let whaletap =
        Whaletap::try_parse_from(words).map_err(|error| Failure::usage(error.to_string(), ""))?;
    match whaletap.command {
        Command::Capture(flags) => capture(*flags, &whaletap.global, surroundings),
        other => panic!("{other:?}"),
    }
}

/// What these words ask for.
fn request(words: &[&str]) -> Request {
    match try_with(words, &Surroundings::for_tests()) {
        Ok(capture) => capture.request,
        Err(failure) => panic!("{words:?}: {failure:?}"),
    }
}

/// What these words are refused with: always a usage error.
fn refusal(words: &[&str]) -> String {
    match try_with(words, &Surroundings::for_tests()) {
        Ok(_) => panic!("{words:?} was accepted"),
        Err(failure) => {
            assert_eq!(failure.exit, Exit::Usage, "{words:?}: {failure:?}");
            failure.lines.join("\n")
        }
    }
}

fn files(name: &str) -> Output {
    Output::Files(name.to_owned())
}

#[test]
fn defaults_are_filled_in() {
    let request = request(&["web"]);
    assert_eq!(request.selection.selectors, ["web".parse().unwrap()]);
    assert_eq!(request.output, Output::Chosen("{host}-%Y-%m-%d_%H-%M-%S.pcapng".to_owned()));
    assert_eq!(request.format, Format::Pcapng);
    assert_eq!(request.compression, Compression::None);
    assert_eq!(request.expression, "");
    assert_eq!(request.direction, Direction::InOut);
    assert_eq!(request.snaplen, Snaplen::MAX);
    assert_eq!(request.rotation, Rotation::Off);
    assert_eq!(request.autostop, Autostop::default());
    assert_eq!(request.ring, None);
    assert_eq!(request.ring_memory, 64 << 20);
    assert_eq!(request.memory, 64 << 20);
    assert_eq!(request.keep_free, KeepFree::Percent(5));
    assert_eq!(request.sandbox, Sandbox::Auto);
    assert_eq!(request.socket_per_interface, None);
    assert_eq!(request.print, None);
    assert!(!request.promiscuous && !request.split && !request.cooked);
    assert!(!request.packet_buffered);
    assert_eq!(request.command_line, "whaletap test");
    assert_eq!(request.directory, std::path::Path::new("/here"));
}

#[test]
fn targets_are_a_union_less_exclusions() {
    let request = request(&[
        "web",
        "compose:shop/api",
        "--exclude",
        "redis",
        "--exclude=label:x",
        "--filter",
        "status=running",
    ]);
    let selection = request.selection;
    assert_eq!(selection.selectors.len(), 2);
    assert_eq!(selection.exclude, ["redis".parse().unwrap(), "label:x".parse().unwrap()]);
    assert_eq!(selection.filters[0].key(), "status");
}

#[test]
fn without_a_selector_there_has_to_be_a_filter() {
    assert!(refusal(&[]).contains("nothing is selected"));
    assert!(refusal(&["--", "tcp"]).contains("nothing is selected"));
    let everything = request(&["--filter", "label=tier"]);
    assert_eq!(everything.selection.selectors, ["*".parse().unwrap()]);
    refusal(&["pid:x"]);
    refusal(&["label:"]);
    refusal(&["web", "--filter", "colour=red"]);
}

#[test]
fn the_expression_is_what_stands_behind_the_dashes() {
    assert_eq!(request(&["web", "--", "tcp", "port", "80"]).expression, "tcp port 80");
    assert_eq!(request(&["web", "--", "tcp port 80"]).expression, "tcp port 80");
    assert_eq!(request(&["web", "--capture-filter", "udp"]).expression, "udp");
    assert_eq!(request(&["web", "--", "-c", "5"]).expression, "-c 5");
    refusal(&["web", "--capture-filter", "udp", "--", "tcp"]);
}

#[test]
fn a_zst_name_is_a_compressed_file() {
    for (words, compression, format) in [
        (&["web", "-w", "a.pcapng.zst"][..], Compression::Zstd, Format::Pcapng),
        (&["web", "-w", "a.pcap.zst"], Compression::Zstd, Format::Pcap),
        (&["web", "-w", "a.zst", "--compress", "zstd"], Compression::Zstd, Format::Pcapng),
        (&["web", "-w", "a.pcap", "--compress", "zstd"], Compression::Zstd, Format::Pcap),
        (&["web", "-w", "a.zst.pcap"], Compression::None, Format::Pcap),
        (&["web", "-w", "a.pcap", "--compress", "none"], Compression::None, Format::Pcap),
        (&["web", "--compress", "zstd"], Compression::Zstd, Format::Pcapng),
        (&["web", "-w", "-", "--compress", "zstd"], Compression::Zstd, Format::Pcapng),
    ] {
        let request = request(words);
        assert_eq!((request.compression, request.format), (compression, format), "{words:?}");
    }
    assert!(refusal(&["web", "-w", "a.zst", "--compress", "none"]).contains(".zst"));
    refusal(&["web", "--compress", "gzip"]);
}

#[test]
fn a_pcap_name_is_a_pcap_file_unless_it_is_said_otherwise() {
    for (words, output, format) in [
        (&["web", "-w", "a.pcap"][..], files("a.pcap"), Format::Pcap),
        (&["web", "-w", "a.pcapng"], files("a.pcapng"), Format::Pcapng),
        (&["web", "-w", "a"], files("a"), Format::Pcapng),
        (&["web", "-w", "a", "-F", "pcap"], files("a"), Format::Pcap),
        (&["web", "-w", "a.pcap", "-F", "pcapng"], files("a.pcap"), Format::Pcapng),
        (
            &["web", "-F", "pcap"],
            Output::Chosen("{host}-%Y-%m-%d_%H-%M-%S.pcap".to_owned()),
            Format::Pcap,
        ),
        (&["web", "-w", "-"], Output::Stdout, Format::Pcapng),
        (&["web", "-w", "-", "-F", "pcap"], Output::Stdout, Format::Pcap),
    ] {
        let request = request(words);
        assert_eq!((request.output, request.format), (output, format), "{words:?}");
    }
    refusal(&["web", "-F", "expression.txt"]);
    refusal(&["web", "-w", ""]);
}

#[test]
fn packets_do_not_go_to_a_terminal() {
    let terminal = Surroundings { stdout_is_terminal: true, ..Surroundings::for_tests() };
    let refused = try_with(&["web", "-w", "-"], &terminal).unwrap_err();
    assert_eq!(refused.exit, Exit::Usage);
    assert!(refused.lines[0].contains("terminal"));
    assert!(try_with(&["web", "-w", "x"], &terminal).is_ok());
}

#[test]
fn standard_output_is_one_stream() {
    for more in [
        &["--split"][..],
        &["-C", "1"],
        &["-G", "1"],
        &["-b", "packets:1"],
        &["-z", "gzip"],
        &["--print"],
    ] {
        let words: Vec<&str> = ["web", "-w", "-"].iter().chain(more).copied().collect();
        assert!(refusal(&words).contains("standard output"), "{words:?}");
    }
}

#[test]
fn tcpdumps_rotation() {
    let classic = |bytes, seconds, files| Rotation::Classic { bytes, seconds, files };
    for (words, rotation) in [
        (&["web", "-C", "100"][..], classic(Some(100_000_000), None, None)),
        (&["web", "-C", "5M", "-W", "10"], classic(Some(5 << 20), None, Some(10))),
        (&["web", "-G", "3600", "-W", "24"], classic(None, Some(3600), Some(24))),
        (&["web", "-C1k", "-G60"], classic(Some(1024), Some(60), None)),
        (
            &["web", "--file-size", "1", "--rotate-seconds", "2", "--file-count", "3"],
            classic(Some(1_000_000), Some(2), Some(3)),
        ),
    ] {
        assert_eq!(request(words).rotation, rotation, "{words:?}");
    }
    assert!(refusal(&["web", "-W", "3"]).contains("-W"));
    for words in [["web", "-C", "0"], ["web", "-G", "0"], ["web", "-C", "1x"], ["web", "-G", "1h"]]
    {
        refusal(&words);
    }
}

#[test]
fn dumpcaps_rotation() {
    let ring = request(&[
        "web",
        "-b",
        "duration:60",
        "-b",
        "interval:3600",
        "-b",
        "filesize:1000",
        "-b",
        "packets:9",
        "-b",
        "files:5",
    ]);
    assert_eq!(
        ring.rotation,
        Rotation::Ring(RingBuffer {
            duration: Some(Duration::from_secs(60)),
            interval: Some(Duration::from_secs(3600)),
            bytes: Some(1_000_000),
            packets: Some(9),
            files: Some(5),
        })
    );
    assert!(refusal(&["web", "-b", "files:5"]).contains("nothing says when"));
    assert!(refusal(&["web", "-b", "packets:5", "-b", "packets:6"]).contains("twice"));
    for (letter, value) in [("-C", "1"), ("-G", "1"), ("-W", "1")] {
        refusal(&["web", "-b", "packets:5", letter, value]);
    }
}

#[test]
fn limits() {
    let all = request(&[
        "web",
        "-C",
        "1",
        "-a",
        "duration:1.5",
        "-a",
        "files:3",
        "-a",
        "filesize:10",
        "-a",
        "packets:7",
    ]);
    assert_eq!(
        all.autostop,
        Autostop {
            packets: Some(7),
            duration: Some(Duration::from_millis(1500)),
            files: Some(3),
            bytes: Some(10_000),
        }
    );
    assert_eq!(request(&["web", "-c", "5"]).autostop.packets, Some(5));
    assert_eq!(request(&["web", "-c", "5", "-a", "packets:3"]).autostop.packets, Some(3));
    assert_eq!(request(&["web", "-c", "5", "-a", "packets:9"]).autostop.packets, Some(5));
    let ninety = Some(Duration::from_secs(90));
    for duration in ["90", "90s", "1m30s", "1.5m"] {
        assert_eq!(request(&["web", "--duration", duration]).autostop.duration, ninety);
    }
    assert!(refusal(&["web", "-a", "files:3"]).contains("-a files"));
    refusal(&["web", "-c", "0"]);
    refusal(&["web", "--duration", "0"]);
    refusal(&["web", "-a", "size:3"]);
}

#[test]
fn what_is_kept_and_from_where() {
    assert_eq!(request(&["web", "-s", "64"]).snaplen, Snaplen::new(64).unwrap());
    assert_eq!(request(&["web", "-s0"]).snaplen, Snaplen::MAX);
    assert!(refusal(&["web", "-s", "262145"]).contains("262144"));
    for (word, direction) in
        [("in", Direction::In), ("out", Direction::Out), ("inout", Direction::InOut)]
    {
        assert_eq!(request(&["web", "-Q", word]).direction, direction);
    }
    refusal(&["web", "-Q", "both"]);
    assert_eq!(request(&["web", "-i", "eth0", "-i", "lo", "-i", "lo"]).interfaces, ["eth0", "lo"]);
    assert!(request(&["web", "-i", "any"]).interfaces.is_empty());
    refusal(&["web", "-i", "a-name-of-sixteen"]);
    refusal(&["web", "-i", "eth0 lo"]);
    assert!(request(&["web", "--promiscuous"]).promiscuous);
    assert!(!request(&["web", "-p"]).promiscuous);
    refusal(&["web", "-p", "--promiscuous"]);
    assert!(request(&["web", "--linktype", "sll2"]).cooked);
    assert!(request(&["web", "-y", "LINUX_SLL2"]).cooked);
    refusal(&["web", "--linktype", "sll"]);
}

#[test]
fn resources() {
    assert_eq!(request(&["web", "-B", "2048"]).ring, Some(2 << 20));
    assert_eq!(request(&["web", "-B", "4MiB"]).ring, Some(4 << 20));
    assert_eq!(request(&["web", "--memory", "512M"]).memory, 512 << 20);
    assert_eq!(request(&["web", "--ring-memory", "128MiB"]).ring_memory, 128 << 20);
    assert_eq!(request(&["web", "--keep-free", "10%"]).keep_free, KeepFree::Percent(10));
    assert_eq!(request(&["web", "--keep-free", "1g"]).keep_free, KeepFree::Bytes(1 << 30));
    assert!(request(&["web", "-U"]).packet_buffered);
    for (word, sandbox) in
        [("off", Sandbox::Off), ("auto", Sandbox::Auto), ("strict", Sandbox::Strict)]
    {
        assert_eq!(request(&["web", "--sandbox", word]).sandbox, sandbox);
    }
    for (word, value) in [
        ("--socket-per-interface", true),
        ("--socket-per-interface=true", true),
        ("--socket-per-interface=false", false),
    ] {
        assert_eq!(request(&["web", word]).socket_per_interface, Some(value), "{word}");
    }
    assert_eq!(request(&["web", "-z", "gzip", "--split"]).post_rotate.as_deref(), Some("gzip"));
}

#[test]
fn more_interfaces_than_one_request_holds_are_refused() {
    let words = |count: usize| -> Vec<String> {
        ["web".to_owned()].into_iter().chain((0..count).map(|i| format!("-ie{i}"))).collect()
    };
    let (most, over) = (words(opener::MAX_INTERFACES), words(opener::MAX_INTERFACES + 1));
    let [most, over] =
        [&most, &over].map(|words| words.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(request(&most).interfaces.len(), opener::MAX_INTERFACES);
    assert!(refusal(&over).contains("64 is the most"));
}

#[test]
fn packets_are_shown_by_a_program_that_is_there() {
    let tcpdump = "/usr/sbin/tcpdump";
    assert_eq!(request(&["web", "--print"]).print.unwrap(), [tcpdump, "-l", "-r", "-"]);
    assert_eq!(
        request(&["web", "--print=tcpdump", "-n", "-vv"]).print.unwrap(),
        [tcpdump, "-l", "-n", "-vv", "-r", "-"]
    );
    assert!(refusal(&["web", "--print=tshark"]).contains("not installed"));
    // What stands behind a blank is a selector.
    assert_eq!(request(&["--print", "web"]).selection.selectors, ["web".parse().unwrap()]);
}

#[test]
fn how_much_is_told() {
    let level = |words: &[&str]| try_with(words, &Surroundings::for_tests()).unwrap().level;
    assert_eq!(level(&["web"]), Level::Info);
    assert_eq!(level(&["web", "-q"]), Level::Warn);
    assert_eq!(level(&["web", "-v"]), Level::Debug);
    refusal(&["web", "-q", "-v"]);
}

#[test]
fn what_comes_later_is_followed_unless_it_is_said_otherwise() {
    let usual = request(&["web"]);
    assert!(usual.follow && !usual.wait && usual.run.is_none());
    assert!(!request(&["web", "--no-follow"]).follow);
    let waiting = request(&["web", "--wait"]);
    assert!(waiting.follow && waiting.wait);
    assert!(refusal(&["web", "--wait", "--no-follow"]).contains("cannot be used with"));
}

#[test]
fn with_run_a_command_stands_behind_the_dashes() {
    let run = request(&["web", "--run", "--", "make", "-j2", "--", "test"]);
    assert_eq!(run.run.unwrap(), ["make", "-j2", "--", "test"]);
    assert_eq!(run.expression, "");
    assert!(run.follow && run.wait);
    let both = request(&["*", "--run", "--capture-filter", "tcp port 80", "--", "true"]);
    assert_eq!((&*both.expression, both.run.unwrap()), ("tcp port 80", vec!["true".into()]));
    assert!(request(&["web", "--split", "--run", "--", "true"]).split);
    let odd = OsString::from_vec(vec![b'a', 0xff]);
    let words = ["whaletap", "capture", "web", "--run", "--"].map(OsString::from);
    let words = words.into_iter().chain([odd.clone()]);
    let Command::Capture(flags) = Whaletap::try_parse_from(words).unwrap().command else {
        panic!("another command")
    };
    assert_eq!(behind_dashes(&flags).unwrap().1.unwrap(), [odd]);
}

#[test]
fn what_does_not_go_together_with_run() {
    assert!(refusal(&["web", "--run"]).contains("no command stands behind --"));
    assert!(refusal(&["web", "--run", "--"]).contains("no command stands behind --"));
    assert!(refusal(&["--run", "--", "true"]).contains("nothing is selected"));
    refusal(&["web", "--run", "--no-follow", "--", "true"]);
    for option in [&["-w", "-"][..], &["--print"], &["-b", "packets:9", "-b", "printname:stdout"]] {
        let words = [&["web", "--run"][..], option, &["--", "true"]].concat();
        assert!(refusal(&words).contains("standard output is the command's"), "{words:?}");
    }
}
