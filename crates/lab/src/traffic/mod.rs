//! The traffic of tests and of the benchmark: what the program `whaletap-traffic` does, and the
//! parts of it that a test uses without a process.
//!
//! ```text
//! whaletap-traffic send     --dev DEV [--size 64] [--cpu N|any] BOUNDS      numbered raw frames, batched
//! whaletap-traffic inject   --dev DEV --file FILE [--repeat N] [--cpu N|any] frames of a pcap(ng) or hex file, in order
//! whaletap-traffic clock    --dev DEV [--interval-us 500] BOUNDS            a numbered, timed frame at each tick
//! whaletap-traffic udp      --to ADDR [--size 22] [--segments 1] BOUNDS     numbered datagrams; segments > 1: UDP_SEGMENT
//! whaletap-traffic udp-echo --listen ADDR [--seconds S]                     answers each datagram
//! whaletap-traffic udp-serve --listen ADDR --log DIR [--seconds S]          notes each numbered datagram, then answers it
//! whaletap-traffic udp-ask  --to NAME:PORT [--size 64] BOUNDS               numbered datagrams to all of a name's addresses in turn
//! whaletap-traffic udp-ping --to ADDR [--size 64] [--patience S] BOUNDS     asks and waits for each answer
//! whaletap-traffic tcp-sink --listen ADDR [--seconds S]                     reads connections to their end
//! whaletap-traffic tcp-send --to ADDR [--size 65536] BOUNDS                 a stream; --rate is bytes a second
//! whaletap-traffic tun      --dev DEV [--size 64] BOUNDS                    makes a tun device, numbered packets come in through it
//! whaletap-traffic silent   [--seconds S]                                   says nothing
//!
//! BOUNDS: [--count N] [--seconds S] [--rate R] [--run ID]
//! ```
//!
//! What `udp-serve` notes goes into a file of `DIR` that is called like its host: a line `RUN NUMBER`
//! for each datagram, written before the answer. `udp-ask` looks its name up again and again, and
//! waits for no answer: `count` is what was sent, `failed` what could not be.
//!
//! Everything is bounded: [`MAX_SECONDS`] and [`MAX_COUNT`] hold whatever is asked for, and
//! [`DEFAULT_SECONDS`] where no time is given. Those that listen say `listening on ADDR` on
//! stderr. The tun mode says `up DEV`, waits for a line (or the end) of stdin before its first packet,
//! and keeps the device until the next. And each sender ends with one line of JSON on stdout:
//! `{"count":N,"bytes":N,"seconds":S,"failed":N}`.

mod ask;
mod options;
mod pace;
mod raw;
mod report;
mod tcp;
mod tun;
mod udp;

use std::{path::PathBuf, sync::OnceLock, thread, time::Duration};

pub use options::Options;
pub use pace::{DEFAULT_SECONDS, MAX_COUNT, MAX_SECONDS, Pace};
pub use raw::RawSender;
pub use report::Report;
pub use tun::TunDevice;

use crate::{Error, static_program::StaticProgram};

/// The traffic program: one static, optimized binary for namespaces and for the image alike.
///
/// `WHALETAP_TRAFFIC` names it where it is built already; else cargo builds it, once.
///
/// # Errors
///
/// [`Error::Failed`] with what cargo said.
pub fn program() -> Result<PathBuf, Error> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let (package, name) = ("whaletap-lab", "whaletap-traffic");
    StaticProgram { package, name, variable: "WHALETAP_TRAFFIC" }.path(&BUILT)
}

/// Runs a mode to its end; `None` from those that have nothing to report.
///
/// # Errors
///
/// [`Error::Usage`] for a wrong command line, and the mode's own errors.
pub fn run(mode: &str, mut options: Options) -> Result<Option<Report>, Error> {
    match mode {
        "send" => raw::send(options).map(Some),
        "inject" => raw::inject(options).map(Some),
        "clock" => raw::clock(options).map(Some),
        "udp" => udp::send(options).map(Some),
        "udp-echo" => udp::echo(options).map(Some),
        "udp-serve" => udp::serve(options).map(Some),
        "udp-ask" => ask::ask(options).map(Some),
        "udp-ping" => udp::ping(options).map(Some),
        "tcp-sink" => tcp::sink(options).map(Some),
        "tcp-send" => tcp::send(options).map(Some),
        "tun" => tun::send(options).map(Some),
        "silent" => {
            let seconds = options.seconds()?;
            options.end()?;
            thread::sleep(Duration::from_secs_f64(seconds));
            Ok(None)
        }
        other => Err(Error::Usage { argument: other.to_owned(), reason: "there is no such mode" }),
    }
}
