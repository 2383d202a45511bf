use std::ffi::OsString;

use clap::{ArgAction, Args, ValueEnum};
use session::{Format, KeepFree};

use super::{
    SELECTORS,
    shared::{
        CompressionFlags, END, EndFlags, PacketFlags, RESOURCES, ResourceFlags, TellingFlags,
        WHERE, WhomFlags,
    },
};
use crate::quantity::{RingCriterion, StopCriterion, at_least_one, file_size, keep_free, memory};

/// `whaletap capture`.
#[derive(Debug, Clone, Args)]
#[command(
    override_usage = "whaletap capture [OPTIONS] SELECTOR... [-- EXPRESSION]\n       \
                      whaletap capture [OPTIONS] SELECTOR... --run -- COMMAND [ARGUMENT]...",
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{SELECTORS}\n\n{SIGNALS}\n\n{RUN}"),
)]
pub(crate) struct CaptureFlags {
    #[command(flatten)]
    pub(crate) whom: WhomFlags,
    /// Only packets that pass this pcap-filter(7) expression, such as tcp port 80; with --run, the
    /// command
    #[arg(value_name = "EXPRESSION", last = true)]
    pub(crate) behind_dashes: Vec<OsString>,

    #[command(flatten)]
    pub(crate) packets: PacketFlags,

    /// File, or - for stdout; strftime(3) and {host} are filled in, with --split {target}
    /// [default: {host}-%Y-%m-%d_%H-%M-%S.pcapng]
    #[arg(short = 'w', long, value_name = "FILE", help_heading = WHERE)]
    pub(crate) write: Option<String>,
    /// Format [default: pcapng, or pcap where FILE ends in .pcap or .pcap.zst]
    #[arg(short = 'F', long = "file-format", value_name = "FORMAT", help_heading = WHERE)]
    pub(crate) format: Option<Written>,
    #[command(flatten)]
    pub(crate) compression: CompressionFlags,
    /// A file for each target; {target} goes before the suffix
    #[arg(long, help_heading = WHERE)]
    pub(crate) split: bool,
    /// One link type for all packets: Linux cooked headers
    #[arg(short = 'y', long = "linktype", value_name = "TYPE", ignore_case = true,
          help_heading = WHERE)]
    pub(crate) link_type: Option<Cooked>,
    /// Write each packet at once, not in chunks; with --compress, which then gains little
    #[arg(short = 'U', long, help_heading = WHERE)]
    pub(crate) packet_buffered: bool,
    /// Show packets on stdout, too, as tcpdump or tshark prints them; with -v more of each. tshark
    /// says whose each packet is
    #[arg(long, value_name = "PROGRAM", num_args = 0..=1, require_equals = true,
          default_missing_value = "auto", help_heading = WHERE)]
    pub(crate) print: Option<PrintProgram>,
    /// Addresses, not names, with --print
    #[arg(short = 'n', long = "numeric", action = ArgAction::Count, help_heading = WHERE)]
    pub(crate) numeric: u8,

    /// New file after SIZE: millions of bytes, or with k, m, g KiB, MiB, GiB; what is compressed
    /// counts as it was before
    #[arg(short = 'C', long = "file-size", value_name = "SIZE", value_parser = file_size,
          help_heading = FILES)]
    pub(crate) file_size: Option<u64>,
    /// New file after SECONDS; FILE is a strftime(3) name
    #[arg(short = 'G', long = "rotate-seconds", value_name = "SECONDS",
          value_parser = at_least_one::<u64>, help_heading = FILES)]
    pub(crate) rotate_seconds: Option<u64>,
    /// With -C, files in the ring; with -G alone, files until the end
    #[arg(short = 'W', long = "file-count", value_name = "N", value_parser = at_least_one::<u32>,
          help_heading = FILES)]
    pub(crate) file_count: Option<u32>,
    /// dumpcap's ring: duration:SECONDS, interval:SECONDS, filesize:KB or packets:N for a new
    /// file, files:N to keep the last N, printname:FILE for the names of finished files; repeatable
    #[arg(short = 'b', long = "ring-buffer", value_name = "CRITERION",
          conflicts_with_all = ["file_size", "rotate_seconds", "file_count"],
          help_heading = FILES)]
    pub(crate) ring_buffer: Vec<RingCriterion>,
    /// Run COMMAND FILE for each finished file, at the lowest priority: a program, without arguments of
    /// its own
    #[arg(short = 'z', long = "postrotate-command", value_name = "COMMAND", help_heading = FILES)]
    pub(crate) post_rotate: Option<String>,

    /// End after N packets
    #[arg(short = 'c', long, value_name = "N", value_parser = at_least_one::<u64>,
          help_heading = END)]
    pub(crate) count: Option<u64>,
    #[command(flatten)]
    pub(crate) end: EndFlags,
    /// End after duration:SECONDS, files:N, filesize:KB (1000 bytes) or packets:N; repeatable
    #[arg(short = 'a', long = "autostop", value_name = "CRITERION", help_heading = END)]
    pub(crate) autostop: Vec<StopCriterion>,
    /// End before less than this is free on the file system: 5%, 10GiB, 0
    #[arg(long, value_name = "ROOM", value_parser = keep_free, default_value = "5%",
          help_heading = END)]
    pub(crate) keep_free: KeepFree,
    /// Run the command behind --, capture until it ends, and exit with its code; implies --wait
    #[arg(long, conflicts_with = "no_follow", help_heading = END)]
    pub(crate) run: bool,
    /// Exit with 5 when packets were lost
    #[arg(long, help_heading = END)]
    pub(crate) fail_on_drop: bool,

    /// Packets that wait for the disk, in bytes or with a unit
    #[arg(long, value_name = "SIZE", value_parser = memory, default_value = "64MiB",
          help_heading = RESOURCES)]
    pub(crate) memory: usize,
    #[command(flatten)]
    pub(crate) resources: ResourceFlags,

    #[command(flatten)]
    pub(crate) telling: TellingFlags,
}

const FILES: &str = "When the file changes";

const EXAMPLES: &str = "\
Examples:
  whaletap capture web db -- tcp port 80
  whaletap capture compose:shop --exclude compose:shop/redis -s 128 --duration 5m
  whaletap capture web -C 100 -W 10 -w web.pcapng
  whaletap capture web -b duration:3600 -b files:24 -w web.pcapng.zst
  whaletap capture web -w - | tshark -r - -Y dns
  whaletap capture network:backend --print -- 'port 53 or host 127.0.0.11'
  whaletap capture compose:shop --split --run -- docker compose up --abort-on-container-exit";

const SIGNALS: &str = "\
Signals:
  INT, TERM, HUP  end in good order; a second one ends at once, with exit code 130
  USR1            print the counts and go on
  USR2            write everything out and go on";

const RUN: &str = "\
--run:
  The command is started when the capture has begun, with your streams, environment and user. The
  exit code is the command's, 128 + N when signal N ended it, 127 when it is not there, 126 when it
  cannot be run, and 125 when whaletap itself failed. A capture that ends early leaves the command
  running and waits for it. TERM and HUP are handed on to it; ^C reaches it by itself.";

/// `-F`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Written {
    Pcapng,
    Pcap,
}

impl From<Written> for Format {
    fn from(written: Written) -> Self {
        match written {
            Written::Pcapng => Self::Pcapng,
            Written::Pcap => Self::Pcap,
        }
    }
}

/// `--linktype`: there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cooked {
    #[value(alias = "LINUX_SLL2")]
    Sll2,
}

/// `--print`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PrintProgram {
    /// tcpdump where it is installed, tshark otherwise.
    Auto,
    Tcpdump,
    Tshark,
}
