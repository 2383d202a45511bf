use std::{ffi::OsString, time::Duration};

use clap::{ArgAction, Args};
use session::{Keep, KeepFree, On};

use super::{
    Compressed, SELECTORS,
    shared::{PacketFlags, RESOURCES, ResourceFlags, WhomFlags},
};
use crate::quantity::{amount, at_least_one, keep, keep_free, memory, span, span_or_none};

/// `whaletap record`.
#[derive(Debug, Clone, Args)]
#[command(
    override_usage = "whaletap record [OPTIONS] SELECTOR... [-- EXPRESSION]",
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{TRIGGERS}\n\n{SELECTORS}\n\n{SIGNALS}"),
)]
pub(crate) struct RecordFlags {
    #[command(flatten)]
    pub(crate) whom: WhomFlags,
    /// Only packets that pass this pcap-filter(7) expression, such as tcp port 80
    #[arg(value_name = "EXPRESSION", last = true)]
    pub(crate) behind_dashes: Vec<OsString>,

    #[command(flatten)]
    pub(crate) packets: PacketFlags,

    /// What is kept of each target: a time such as 60s or 5m, or an amount such as 200MiB
    #[arg(long, value_name = "WINDOW", value_parser = keep, default_value = "60s",
          help_heading = WHEN)]
    pub(crate) keep: Keep,
    /// Write a file when this happens: die, die:CODE, oom, restart, unhealthy, signal, drop,
    /// rst>N/TIME or match:EXPRESSION; repeatable [default: die, oom, unhealthy, signal]
    #[arg(long, value_name = "TRIGGER", help_heading = WHEN)]
    pub(crate) on: Vec<On>,
    /// How long a file goes on behind its trigger
    #[arg(long, value_name = "TIME", value_parser = span_or_none, default_value = "10s",
          help_heading = WHEN)]
    pub(crate) after: Duration,
    /// How long behind a file triggers of its target are only counted
    #[arg(long, value_name = "TIME", value_parser = span_or_none, default_value = "10s",
          help_heading = WHEN)]
    pub(crate) cooldown: Duration,

    /// Directory, or a file's name: strftime(3), {host}, {target} and {trigger} are filled in
    /// [default: {target}-{trigger}-%Y-%m-%d_%H-%M-%S.pcapng]
    #[arg(short = 'w', long, value_name = "NAME", help_heading = WHERE)]
    pub(crate) write: Option<String>,
    /// none, or zstd: names get .zst at their end [default: zstd where it is there, or none]
    #[arg(long, value_name = "HOW", hide_possible_values = true, help_heading = WHERE)]
    pub(crate) compress: Option<Compressed>,
    /// Write no more than N files
    #[arg(long, value_name = "N", value_parser = at_least_one::<u32>, help_heading = WHERE)]
    pub(crate) max_files: Option<u32>,
    /// Write no more than SIZE, all files together, as they are before they are compressed
    #[arg(long, value_name = "SIZE", value_parser = amount, help_heading = WHERE)]
    pub(crate) max_size: Option<u64>,
    /// Run COMMAND FILE for each finished file, at the lowest priority; JSON about the trigger is
    /// on its standard input
    #[arg(long, value_name = "COMMAND", help_heading = WHERE)]
    pub(crate) exec: Option<String>,
    /// Write no file where less than this is free on the file system: 5%, 10GiB, 0
    #[arg(long, value_name = "ROOM", value_parser = keep_free, default_value = "5%",
          help_heading = WHERE)]
    pub(crate) keep_free: KeepFree,

    /// End after TIME: seconds, or 500ms, 30s, 1m30s, 2h
    #[arg(long, value_name = "TIME", value_parser = span, help_heading = WHEN)]
    pub(crate) duration: Option<Duration>,

    /// Everything that is kept, in bytes or with a unit; when it is used up the oldest goes
    #[arg(long, value_name = "SIZE", value_parser = memory, default_value = "64MiB",
          help_heading = RESOURCES)]
    pub(crate) memory: usize,
    #[command(flatten)]
    pub(crate) resources: ResourceFlags,

    /// Only the counts, at the end
    #[arg(short = 'q', long, conflicts_with = "verbose", help_heading = TELLING)]
    pub(crate) quiet: bool,
    /// Tell more; repeatable
    #[arg(short = 'v', long, action = ArgAction::Count, help_heading = TELLING)]
    pub(crate) verbose: u8,
}

const WHEN: &str = "What is kept, and when it is written";
const WHERE: &str = "Where to";
const TELLING: &str = "Messages on stderr";

const EXAMPLES: &str = "\
Examples:
  whaletap record web db --keep 60s
  whaletap record compose:shop --keep 200MiB --memory 2GiB -w /var/tmp/ --on die:137 --on oom
  whaletap record web --on 'rst>50/1s' --on 'match:udp port 53 and udp[11] & 0xf = 3'
  whaletap record web --exec ./tell-somebody --max-files 20";

const TRIGGERS: &str = "\
Triggers:
  die, die:CODE     the container has ended, with that exit code
  oom               the kernel has ended a process of it for want of memory
  restart           somebody has restarted it
  unhealthy         its health check has failed
  signal            SIGUSR2 was sent to whaletap: every target is written
  drop              packets of it were lost, to the kernel or to whaletap
  rst>N/TIME        more than N TCP resets in TIME, such as rst>50/1s
  match:EXPRESSION  a packet that this pcap-filter(7) expression accepts";

const SIGNALS: &str = "\
Signals:
  INT, TERM, HUP  end in good order; what is only in memory is not written; a second one ends at
                  once, with exit code 130
  USR1            print the counts and go on
  USR2            with --on signal: write every target's window";
