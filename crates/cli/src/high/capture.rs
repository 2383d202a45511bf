use std::{ffi::OsString, time::Duration};

use model::{Direction, Selector, Snaplen};
use session::{
    Autostop, Compression, Format, Output, Request, RingBuffer, Rotation, Sandbox, Selection,
};

use super::{Surroundings, endpoint, reach};
use crate::{
    exit::Failure,
    flags::{
        CaptureFlags, Compressed, GlobalFlags, PacketFlags, PrintProgram, ResourceFlags,
        SandboxWord, TellingFlags, Way, WhomFlags,
    },
    quantity::{RingCriterion, StopCriterion},
    terminal::Level,
};

/// The file's name where none is given, without its suffix.
const DEFAULT_NAME: &str = "{host}-%Y-%m-%d_%H-%M-%S";
/// The longest name of an interface in bytes (`IFNAMSIZ` without its zero byte).
const MAX_INTERFACE_NAME: usize = 15;

/// A capture, and how it is told.
#[derive(Debug)]
pub(crate) struct Capture {
    /// What the session is asked for.
    pub(crate) request: Request,
    /// A loss is a failure.
    pub(crate) fail_on_drop: bool,
    /// Where names of finished files are written: a file's name, `stdout`, `stderr`.
    pub(crate) print_names: Option<String>,
    /// Only the counts.
    pub(crate) quiet: bool,
    /// The least that is told.
    pub(crate) level: Level,
}

/// What the flags of `capture` mean.
pub(crate) fn capture(
    flags: CaptureFlags,
    global: &GlobalFlags,
    surroundings: &Surroundings,
) -> Result<Capture, Failure> {
    let selection = selection("capture", &flags.whom)?;
    let output = output(&flags, surroundings)?;
    let rotation = rotation(&flags)?;
    let autostop = autostop(&flags);
    if autostop.files.is_some() && rotation == Rotation::Off {
        return Err(Failure::usage(
            "-a files: there is one file, which never changes",
            "say when the next file begins: -b duration:3600, or -C 100",
        ));
    }
    if !flags.split && flags.write.as_deref().is_some_and(|name| name.contains("{target}")) {
        return Err(Failure::usage(
            "-w: {target} is filled in where each target has a file of its own",
            "--split gives each one; or leave {target} out",
        ));
    }
    if output == Output::Stdout {
        refuse_for_stdout(&flags, &rotation)?;
    }
    if flags.run {
        refuse_for_run(&flags, &output)?;
    }
    let (expression, run) = behind_dashes(&flags)?;
    let format = flags.format.map_or_else(|| format_of(&output), Format::from);
    let compression = compression(flags.compression.compress, &output)?;
    let level = level(&flags.telling, global);
    let request = Request {
        endpoint: endpoint(global, &selection.selectors, surroundings)?,
        reach: reach(&flags.resources.reach, surroundings),
        selection,
        follow: !flags.whom.no_follow,
        wait: flags.whom.wait || flags.run,
        run,
        interfaces: interfaces(&flags.whom.interfaces)?,
        expression,
        direction: direction(&flags.packets),
        snaplen: snaplen(flags.packets.snaplen)?,
        promiscuous: flags.packets.promiscuous,
        output,
        split: flags.split,
        recording: None,
        format,
        compression,
        cooked: flags.link_type.is_some(),
        rotation,
        autostop,
        ring: flags.resources.buffer_size,
        ring_memory: flags.resources.ring_memory,
        memory: flags.memory,
        keep_free: flags.keep_free,
        packet_buffered: flags.packet_buffered,
        print: print(&flags, surroundings)?,
        post_rotate: flags.post_rotate,
        align_clock: flags.resources.align_clock,
        sandbox: sandbox(&flags.resources),
        socket_per_interface: flags.resources.socket_per_interface,
        command_line: surroundings.command_line.clone(),
        application: format!("whaletap {}", env!("CARGO_PKG_VERSION")),
        directory: surroundings
            .directory
            .clone()
            .ok_or_else(|| Failure::new(crate::exit::Exit::Failure, "no working directory"))?,
    };
    let print_names = flags.ring_buffer.iter().find_map(|criterion| match criterion {
        RingCriterion::PrintName(name) => Some(name.clone()),
        _ => None,
    });
    let (fail_on_drop, quiet) = (flags.fail_on_drop, flags.telling.quiet);
    Ok(Capture { request, fail_on_drop, print_names, quiet, level })
}

/// Which targets are meant by the words of `command`.
pub(super) fn selection(command: &str, flags: &WhomFlags) -> Result<Selection, Failure> {
    let mut selectors = flags.selectors.clone();
    if selectors.is_empty() {
        if flags.filters.is_empty() {
            return Err(Failure::usage(
                format!("{command}: nothing is selected"),
                format!(
                    "name a container, as in `whaletap {command} web`; `whaletap ls` lists what \
                     there is, and '*' is all of it"
                ),
            ));
        }
        // A filter narrows; alone it narrows everything, as for docker ps.
        selectors.push(Selector::Name("*".to_owned()));
    }
    Ok(Selection { selectors, exclude: flags.exclude.clone(), filters: flags.filters.clone() })
}

/// How much of the sandbox is demanded.
pub(super) fn sandbox(flags: &ResourceFlags) -> Sandbox {
    match flags.sandbox {
        SandboxWord::Off => Sandbox::Off,
        SandboxWord::Auto => Sandbox::Auto,
        SandboxWord::Strict => Sandbox::Strict,
    }
}

/// Which way packets travel.
pub(super) fn direction(flags: &PacketFlags) -> Direction {
    match flags.direction {
        Way::In => Direction::In,
        Way::Out => Direction::Out,
        Way::Inout => Direction::InOut,
    }
}

/// The least that is told.
pub(super) fn level(flags: &TellingFlags, global: &GlobalFlags) -> Level {
    match (flags.quiet, flags.verbose) {
        (true, _) => global.log_level.max(Level::Warn),
        (false, 0) => global.log_level,
        (false, _) => Level::Debug,
    }
}

fn output(flags: &CaptureFlags, surroundings: &Surroundings) -> Result<Output, Failure> {
    match flags.write.as_deref() {
        Some("-") if surroundings.stdout_is_terminal => Err(Failure::usage(
            "-w -: standard output is a terminal, which does not show packets",
            "pipe it, as in `-w - | tshark -r -`; or use --print, or a file",
        )),
        Some("-") => Ok(Output::Stdout),
        Some("") => Err(Failure::usage("-w: the name is empty", "name a file, or - for stdout")),
        Some(name) => Ok(Output::Files(name.to_owned())),
        None => {
            let suffix = match flags.format.map(Format::from) {
                Some(Format::Pcap) => "pcap",
                Some(Format::Pcapng) | None => "pcapng",
            };
            Ok(Output::Chosen(format!("{DEFAULT_NAME}.{suffix}")))
        }
    }
}

fn format_of(output: &Output) -> Format {
    match output {
        Output::Files(name) | Output::Chosen(name) => {
            let name = name.strip_suffix(Compression::of_name(name).suffix()).unwrap_or(name);
            if name.ends_with(".pcap") { Format::Pcap } else { Format::Pcapng }
        }
        Output::Stdout => Format::Pcapng,
    }
}

/// How files of this name are compressed.
pub(super) fn compression(
    asked: Option<Compressed>,
    output: &Output,
) -> Result<Compression, Failure> {
    let by_name = match output {
        Output::Files(name) | Output::Chosen(name) => Compression::of_name(name),
        Output::Stdout => Compression::None,
    };
    match asked.map(Compression::from) {
        Some(Compression::None) if by_name != Compression::None => Err(Failure::usage(
            format!("--compress none: the file's name ends in {}", by_name.suffix()),
            "leave one of them out: other programs go by that name",
        )),
        Some(asked) => Ok(asked),
        None => Ok(by_name),
    }
}

fn refuse_for_stdout(flags: &CaptureFlags, rotation: &Rotation) -> Result<(), Failure> {
    let option = if flags.split {
        "--split"
    } else if *rotation != Rotation::Off {
        "a file that changes (-C, -G, -b)"
    } else if flags.post_rotate.is_some() {
        "-z"
    } else if flags.print.is_some() {
        "--print"
    } else {
        return Ok(());
    };
    Err(Failure::usage(
        format!("-w -: {option} does not go together with standard output"),
        "name a file with -w",
    ))
}

/// What writes to standard output does not go together with a command that does.
fn refuse_for_run(flags: &CaptureFlags, output: &Output) -> Result<(), Failure> {
    let names = |criterion: &RingCriterion| matches!(criterion, RingCriterion::PrintName(name) if name == "-" || name == "stdout");
    let option = if *output == Output::Stdout {
        "-w -"
    } else if flags.print.is_some() {
        "--print"
    } else if flags.ring_buffer.iter().any(names) {
        "-b printname:stdout"
    } else {
        return Ok(());
    };
    Err(Failure::usage(
        format!("--run: standard output is the command's, which leaves none to {option}"),
        "write a file, and look at it afterwards; tail -c +1 -f FILE | tcpdump -r - looks at it \
         meanwhile",
    ))
}

/// The expression, and the command of `--run`.
fn behind_dashes(flags: &CaptureFlags) -> Result<(String, Option<Vec<OsString>>), Failure> {
    let words = &flags.behind_dashes;
    match (&flags.packets.capture_filter, flags.run) {
        (_, true) if words.is_empty() => Err(Failure::usage(
            "--run: no command stands behind --",
            "as in `whaletap capture '*' --run -- make test`",
        )),
        (filter, true) => Ok((filter.clone().unwrap_or_default(), Some(words.clone()))),
        (Some(_), false) if !words.is_empty() => Err(Failure::usage(
            "--capture-filter: another expression stands behind --",
            "give one of them; a command stands behind -- with --run only",
        )),
        (Some(filter), false) => Ok((filter.clone(), None)),
        (None, false) => {
            let texts: Option<Vec<&str>> = words.iter().map(|word| word.to_str()).collect();
            let texts = texts.ok_or_else(|| {
                Failure::usage("the expression is not UTF-8", "pcap-filter(7) has the language")
            })?;
            Ok((texts.join(" "), None))
        }
    }
}

fn rotation(flags: &CaptureFlags) -> Result<Rotation, Failure> {
    let (bytes, seconds, files) = (flags.file_size, flags.rotate_seconds, flags.file_count);
    if !flags.ring_buffer.is_empty() {
        return ring(&flags.ring_buffer).map(Rotation::Ring);
    }
    match (bytes, seconds, files) {
        (None, None, None) => Ok(Rotation::Off),
        (None, None, Some(_)) => Err(Failure::usage(
            "-W: it says how many files, and nothing says when the next one begins",
            "add -C SIZE or -G SECONDS; or use -b files:N with another -b",
        )),
        _ => Ok(Rotation::Classic { bytes, seconds, files }),
    }
}

fn ring(criteria: &[RingCriterion]) -> Result<RingBuffer, Failure> {
    let mut ring = RingBuffer::default();
    let mut prints_names = false;
    for criterion in criteria {
        let (name, twice) = match criterion {
            RingCriterion::Duration(time) => ("duration", ring.duration.replace(*time).is_some()),
            RingCriterion::Interval(time) => ("interval", ring.interval.replace(*time).is_some()),
            RingCriterion::Bytes(bytes) => ("filesize", ring.bytes.replace(*bytes).is_some()),
            RingCriterion::Packets(packets) => {
                ("packets", ring.packets.replace(*packets).is_some())
            }
            RingCriterion::Files(files) => ("files", ring.files.replace(*files).is_some()),
            RingCriterion::PrintName(_) => {
                ("printname", std::mem::replace(&mut prints_names, true))
            }
        };
        if twice {
            return Err(Failure::usage(
                format!("-b {name}: it was given twice"),
                "each criterion can be given once",
            ));
        }
    }
    if ring == (RingBuffer { files: ring.files, ..RingBuffer::default() }) {
        return Err(Failure::usage(
            "-b: nothing says when the next file begins",
            "add -b duration:SECONDS, interval:SECONDS, filesize:KB or packets:N",
        ));
    }
    Ok(ring)
}

/// All limits together: of two for the same thing the first that is reached counts.
fn autostop(flags: &CaptureFlags) -> Autostop {
    fn least<N: Ord>(limit: &mut Option<N>, value: N) {
        *limit = Some(match limit.take() {
            Some(other) => other.min(value),
            None => value,
        });
    }
    let mut autostop = Autostop::default();
    if let Some(packets) = flags.count {
        least(&mut autostop.packets, packets);
    }
    if let Some(duration) = flags.end.duration {
        least::<Duration>(&mut autostop.duration, duration);
    }
    for criterion in &flags.autostop {
        match *criterion {
            StopCriterion::Duration(duration) => least(&mut autostop.duration, duration),
            StopCriterion::Files(files) => least(&mut autostop.files, files),
            StopCriterion::Bytes(bytes) => least(&mut autostop.bytes, bytes),
            StopCriterion::Packets(packets) => least(&mut autostop.packets, packets),
        }
    }
    autostop
}

pub(super) fn snaplen(bytes: u32) -> Result<Snaplen, Failure> {
    Snaplen::new(bytes).ok_or_else(|| {
        Failure::usage(
            format!("-s {bytes}: more than {} bytes are not kept", Snaplen::MAX.bytes()),
            "0 stands for the most that is kept, which is also the default",
        )
    })
}

/// The interfaces; tcpdump's `any` is all of them.
pub(super) fn interfaces(names: &[String]) -> Result<Vec<String>, Failure> {
    let wrong = |name: &&String| {
        name.is_empty()
            || name.len() > MAX_INTERFACE_NAME
            || name.contains(|c: char| c == '/' || c.is_whitespace() || c == '\0')
    };
    if let Some(name) = names.iter().find(wrong) {
        return Err(Failure::usage(
            format!("-i {name}: no interface can have that name"),
            "`whaletap ls --interfaces` lists what is inside; for several, give -i several times",
        ));
    }
    if names.iter().any(|name| name == "any") {
        return Ok(Vec::new());
    }
    let mut once: Vec<String> = Vec::new();
    for name in names {
        if !once.contains(name) {
            once.push(name.clone());
        }
    }
    if once.len() > opener::MAX_INTERFACES {
        return Err(Failure::usage(
            format!("-i: {} interfaces, and {} is the most", once.len(), opener::MAX_INTERFACES),
            "without -i all of them are captured, and Wireshark tells them apart (frame.interface_name)",
        ));
    }
    Ok(once)
}

/// tshark's usual columns, and on which interface a packet was seen: whose it is.
const COLUMNS: &str = "gui.column.format:\"No.\",\"%m\",\"Time\",\"%t\",\"Interface\",\"%Cus:frame.interface_name\",\
                       \"Source\",\"%s\",\"Destination\",\"%d\",\"Protocol\",\"%p\",\"Length\",\"%L\",\"Info\",\"%i\"";

/// The command that shows packets, which it reads from its standard input.
fn print(
    flags: &CaptureFlags,
    surroundings: &Surroundings,
) -> Result<Option<Vec<String>>, Failure> {
    let Some(wanted) = flags.print else { return Ok(None) };
    let candidates: &[&str] = match wanted {
        PrintProgram::Auto => &["tcpdump", "tshark"],
        PrintProgram::Tcpdump => &["tcpdump"],
        PrintProgram::Tshark => &["tshark"],
    };
    let found = candidates.iter().find_map(|name| Some((*name, surroundings.program(name)?)));
    let Some((name, path)) = found else {
        return Err(Failure::usage(
            format!("--print: {} is not installed here", candidates.join(" or ")),
            "install it, or look at the file on another machine",
        ));
    };
    let mut command = vec![path.to_string_lossy().into_owned(), "-l".to_owned()];
    // tshark has no names unless it is asked for them, and knows -V where tcpdump has -v.
    command.extend((flags.numeric > 0).then(|| "-n".to_owned()));
    let details = usize::from(flags.telling.verbose.min(3));
    match name {
        "tcpdump" if details > 0 => command.push(format!("-{}", "v".repeat(details))),
        "tshark" if details > 0 => command.push("-V".to_owned()),
        "tshark" => command.extend(["-o", COLUMNS].map(str::to_owned)),
        _ => {}
    }
    command.extend(["-r", "-"].map(str::to_owned));
    Ok(Some(command))
}

#[cfg(test)]
mod tests;
