use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::Args;
use session::{Keep, KeepFree, On};

use super::{
    SELECTORS,
    shared::{
        CompressionFlags, EndFlags, PacketFlags, RESOURCES, ResourceFlags, TellingFlags, WHERE,
        WhomFlags,
    },
};
use crate::quantity::{amount, at_least_one, keep, keep_free, memory, span_or_none};

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
    /// How long behind a file triggers of the kind it was written for are only counted, for its target;
    /// those of another kind are not: the end of a container is never missed for what was before
    #[arg(long, value_name = "TIME", value_parser = span_or_none, default_value = "10s",
          help_heading = WHEN)]
    pub(crate) cooldown: Duration,

    /// Directory, or a file's name: strftime(3), {host}, {target} and {trigger} are filled in
    /// [default: {target}-{trigger}-%Y-%m-%d_%H-%M-%S.pcapng]
    #[arg(short = 'w', long, value_name = "NAME", help_heading = WHERE)]
    pub(crate) write: Option<String>,
    #[command(flatten)]
    pub(crate) compression: CompressionFlags,
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
    /// Write no file, and spill no more, where less than this is free on the file system: 5%, 10GiB, 0
    #[arg(long, value_name = "ROOM", value_parser = keep_free, default_value = "5%",
          help_heading = WHERE)]
    pub(crate) keep_free: KeepFree,

    #[command(flatten)]
    pub(crate) end: EndFlags,

    /// Everything that is kept, in bytes or with a unit; when it is used up the oldest goes, to disk
    /// with --spill
    #[arg(long, value_name = "SIZE", value_parser = memory, default_value = "64MiB",
          help_heading = RESOURCES)]
    pub(crate) memory: usize,
    /// Keep on disk what --memory cannot hold: in a file in DIR that has no name, and is gone when
    /// whaletap is
    #[arg(long, value_name = "DIR", help_heading = RESOURCES)]
    pub(crate) spill: Option<PathBuf>,
    /// The most that is on disk; when it is used up the oldest goes
    #[arg(long, value_name = "SIZE", value_parser = amount, default_value = "4GiB",
          requires = "spill", help_heading = RESOURCES)]
    pub(crate) spill_size: u64,
    #[command(flatten)]
    pub(crate) resources: ResourceFlags,

    #[command(flatten)]
    pub(crate) telling: TellingFlags,
}

const WHEN: &str = "What is kept, and when it is written";

const EXAMPLES: &str = "\
Examples:
  whaletap record web db --keep 60s
  whaletap record compose:shop --keep 200MiB --memory 2GiB -w /var/tmp/ --on die:137 --on oom
  whaletap record '*' --keep 10m --spill /var/tmp --spill-size 20GiB -w /var/tmp/
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
