use std::path::Path;

use session::{Autostop, Format, On, Output, Recording, Request, Rotation, Spilling, Triggers};

use super::{
    Surroundings,
    capture::{compression, direction, interfaces, level, sandbox, selection, snaplen},
    endpoint, reach,
};
use crate::{
    exit::{Exit, Failure},
    flags::{GlobalFlags, RecordFlags},
    terminal::Level,
};

/// The files' name where none is given.
const DEFAULT_NAME: &str = "{target}-{trigger}-%Y-%m-%d_%H-%M-%S.pcapng";
/// Triggers where none is given: what nobody wants to have missed, and what is asked for by hand.
const DEFAULT_TRIGGERS: [On; 4] = [On::Die(None), On::OutOfMemory, On::Unhealthy, On::Signal];

/// A flight recorder, and how it is told.
#[derive(Debug)]
pub(crate) struct Record {
    /// What the session is asked for.
    pub(crate) request: Request,
    /// Under which name files are written, and on what.
    pub(crate) into: String,
    /// Only the counts.
    pub(crate) quiet: bool,
    /// The least that is told.
    pub(crate) level: Level,
}

/// What the flags of `record` mean.
pub(crate) fn record(
    flags: RecordFlags,
    global: &GlobalFlags,
    surroundings: &Surroundings,
) -> Result<Record, Failure> {
    let selection = selection("record", &flags.whom)?;
    let directory = surroundings
        .directory
        .clone()
        .ok_or_else(|| Failure::new(Exit::Failure, "no working directory"))?;
    let name = name(flags.write.as_deref(), &directory)?;
    let on = if flags.on.is_empty() { DEFAULT_TRIGGERS.to_vec() } else { flags.on.clone() };
    let words: Vec<String> = on.iter().map(ToString::to_string).collect();
    let into = format!("{name} on {}", words.join(", "));
    let output = Output::Files(name);
    let compression = compression(flags.compression.compress, &output)?;
    let request = Request {
        endpoint: endpoint(global, &selection.selectors, surroundings)?,
        reach: reach(&flags.resources.reach, surroundings),
        selection,
        follow: !flags.whom.no_follow,
        wait: flags.whom.wait,
        run: None,
        interfaces: interfaces(&flags.whom.interfaces)?,
        expression: expression(&flags)?,
        direction: direction(&flags.packets),
        snaplen: snaplen(flags.packets.snaplen)?,
        promiscuous: flags.packets.promiscuous,
        output,
        split: false,
        recording: Some(Recording {
            keep: flags.keep,
            after: flags.after,
            on: Triggers::new(on),
            cooldown: flags.cooldown,
            max_files: flags.max_files,
            max_bytes: flags.max_size,
            exec: flags.exec,
            spill: flags.spill.map(|directory| Spilling { directory, size: flags.spill_size }),
        }),
        format: Format::Pcapng,
        compression,
        cooked: false,
        rotation: Rotation::Off,
        autostop: Autostop { duration: flags.end.duration, ..Autostop::default() },
        ring: flags.resources.buffer_size,
        ring_memory: flags.resources.ring_memory,
        memory: flags.memory,
        keep_free: flags.keep_free,
        packet_buffered: false,
        print: None,
        post_rotate: None,
        align_clock: flags.resources.align_clock,
        sandbox: sandbox(&flags.resources),
        socket_per_interface: flags.resources.socket_per_interface,
        command_line: surroundings.command_line.clone(),
        application: format!("whaletap {}", env!("CARGO_PKG_VERSION")),
        directory,
    };
    let level = level(&flags.telling, global);
    Ok(Record { request, into, quiet: flags.telling.quiet, level })
}

/// The files' name: in a directory that is there, or that is written like one, ours.
fn name(write: Option<&str>, directory: &Path) -> Result<String, Failure> {
    let refuse = |what: &str, hint: &str| Err(Failure::usage(what, hint));
    match write {
        None => Ok(DEFAULT_NAME.to_owned()),
        Some("") => refuse("-w: the name is empty", "name a directory, or a file"),
        Some("-") => refuse(
            "-w -: a recorder writes a file for each trigger",
            "name a directory, or a file in which {target} and {trigger} are filled in",
        ),
        Some(name) if name.ends_with(".pcap") || name.ends_with(".pcap.zst") => refuse(
            "-w: a recorder's files are pcapng: they say why they are there",
            "name a file that ends in .pcapng",
        ),
        Some(name) if name.ends_with('/') || directory.join(name).is_dir() => {
            Ok(format!("{}/{DEFAULT_NAME}", name.trim_end_matches('/')))
        }
        Some(name) => Ok(name.to_owned()),
    }
}

fn expression(flags: &RecordFlags) -> Result<String, Failure> {
    let words: Option<Vec<&str>> = flags.behind_dashes.iter().map(|word| word.to_str()).collect();
    match (&flags.packets.capture_filter, words) {
        (_, None) => {
            Err(Failure::usage("the expression is not UTF-8", "pcap-filter(7) has the language"))
        }
        (Some(_), Some(words)) if !words.is_empty() => Err(Failure::usage(
            "--capture-filter: another expression stands behind --",
            "give one of them",
        )),
        (Some(filter), _) => Ok(filter.clone()),
        (None, Some(words)) => Ok(words.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;
    use session::Keep;

    use super::*;
    use crate::flags::{Command, Whaletap};

    fn try_with(words: &[&str]) -> Result<Record, Failure> {
        let words = ["whaletap", "record"].iter().chain(words);
        let whaletap = Whaletap::try_parse_from(words)
            .map_err(|error| Failure::usage(error.to_string(), ""))?;
        match whaletap.command {
            Command::Record(flags) => record(*flags, &whaletap.global, &Surroundings::for_tests()),
            other => panic!("{other:?}"),
        }
    }

    fn recording(words: &[&str]) -> Recording {
        match try_with(words) {
            Ok(record) => record.request.recording.unwrap(),
            Err(failure) => panic!("{words:?}: {failure:?}"),
        }
    }

    #[test]
    fn defaults_are_filled_in() {
        let asked = try_with(&["web"]).unwrap();
        assert_eq!(asked.into, format!("{DEFAULT_NAME} on die, oom, unhealthy, signal"));
        let request = asked.request;
        assert!(request.follow && !request.wait && !request.split);
        assert_eq!((request.memory, request.format), (64 << 20, Format::Pcapng));
        assert_eq!(request.output, Output::Files(DEFAULT_NAME.to_owned()));
        let recording = request.recording.unwrap();
        assert_eq!(recording.keep, Keep::Time(Duration::from_secs(60)));
        assert_eq!(recording.after, Duration::from_secs(10));
        assert_eq!(recording.cooldown, Duration::from_secs(10));
        assert_eq!((recording.max_files, recording.max_bytes, recording.exec), (None, None, None));
        assert_eq!(recording.spill, None);
        assert!(recording.on.need_engine());
    }

    #[test]
    fn words_mean_what_they_say() {
        for (text, keep) in [
            ("5m", Keep::Time(Duration::from_secs(300))),
            ("90", Keep::Time(Duration::from_secs(90))),
            ("200MiB", Keep::Bytes(200 << 20)),
            ("1g", Keep::Bytes(1 << 30)),
        ] {
            assert_eq!(recording(&["web", "--keep", text]).keep, keep, "{text}");
        }
        let some = recording(&[
            "web",
            "--on",
            "die:137",
            "--on",
            "match:tcp port 80",
            "--after",
            "0",
            "--cooldown",
            "1s",
            "--max-files",
            "3",
            "--max-size",
            "1GiB",
            "--exec",
            "mail",
        ]);
        let on: Vec<String> = some.on.iter().map(ToString::to_string).collect();
        assert_eq!(on, ["die:137", "match:tcp port 80"]);
        assert_eq!((some.after, some.cooldown), (Duration::ZERO, Duration::from_secs(1)));
        assert_eq!((some.max_files, some.max_bytes), (Some(3), Some(1 << 30)));
        assert_eq!(some.exec.as_deref(), Some("mail"));
        for (words, size) in [
            (&["web", "--spill", "/var/tmp"][..], 4 << 30),
            (&["web", "--spill", "/var/tmp", "--spill-size", "20GiB"], 20 << 30),
        ] {
            let wanted = Spilling { directory: "/var/tmp".into(), size };
            assert_eq!(recording(words).spill, Some(wanted), "{words:?}");
        }
        let named = |words: &[&str]| try_with(words).unwrap().request;
        assert_eq!(named(&["web", "--", "tcp", "port", "80"]).expression, "tcp port 80");
        for (text, name) in [
            ("/", format!("/{DEFAULT_NAME}")),
            ("/dev", format!("/dev/{DEFAULT_NAME}")),
            ("made/later/", format!("made/later/{DEFAULT_NAME}")),
            ("/tmp/x.pcapng", "/tmp/x.pcapng".to_owned()),
        ] {
            assert_eq!(named(&["web", "-w", text]).output, Output::Files(name), "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in [
            &[][..],
            &["web", "-w", "-"],
            &["web", "-w", ""],
            &["web", "-w", "x.pcap"],
            &["web", "--keep", "0"],
            &["web", "--keep", "many"],
            &["web", "--on", "dead"],
            &["web", "--on", "rst>5"],
            &["web", "--max-files", "0"],
            &["web", "--spill-size", "1GiB"],
            &["web", "--spill", "/var/tmp", "--spill-size", "0"],
            &["web", "--capture-filter", "tcp", "--", "udp"],
        ] {
            match try_with(words) {
                Ok(_) => panic!("{words:?} was accepted"),
                Err(failure) => assert_eq!(failure.exit, Exit::Usage, "{words:?}: {failure:?}"),
            }
        }
    }
}
