//! What `capture` and `record` have in common.

use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use model::Selector;
use session::Compression;

use crate::quantity::{ring_memory, ring_size, span};

pub(super) const WHOM: &str = "Whom";
pub(super) const WHAT: &str = "Which packets";
pub(super) const WHERE: &str = "Where to";
pub(super) const END: &str = "When it ends";
pub(super) const RESOURCES: &str = "Resources and rights";
const TELLING: &str = "Messages on stderr";

/// Whose packets.
#[derive(Debug, Clone, Args)]
pub(crate) struct WhomFlags {
    /// What to capture: `whaletap ls` lists what there is
    #[arg(value_name = "SELECTOR")]
    pub(crate) selectors: Vec<Selector>,
    /// But not these; repeatable
    #[arg(long, value_name = "SELECTOR", help_heading = WHOM)]
    pub(crate) exclude: Vec<Selector>,
    /// Only containers that pass docker's filter, such as label=tier; repeatable
    #[arg(long = "filter", value_name = "KEY=VALUE", help_heading = WHOM)]
    pub(crate) filters: Vec<docker::Filter>,
    /// Only this interface of each target; repeatable [default: all]
    #[arg(short = 'i', long = "interface", value_name = "NAME", help_heading = WHOM)]
    pub(crate) interfaces: Vec<String>,
    /// Only what runs at the start: nothing that comes later [default: what comes and matches is
    /// captured, too]
    #[arg(long, help_heading = WHOM)]
    pub(crate) no_follow: bool,
    /// Begin although nothing matches yet
    #[arg(long, conflicts_with = "no_follow", help_heading = WHOM)]
    pub(crate) wait: bool,
}

/// Which packets, but for the expression behind dashes.
#[derive(Debug, Clone, Args)]
pub(crate) struct PacketFlags {
    /// The expression as one word, instead of behind --, where --run has its command
    #[arg(long, value_name = "EXPRESSION", help_heading = WHAT)]
    pub(crate) capture_filter: Option<String>,
    /// Direction, as the interface sees it
    #[arg(short = 'Q', long, value_name = "WAY", default_value = "inout", help_heading = WHAT)]
    pub(crate) direction: Way,
    /// Bytes kept of a packet, at most 262144; 0 for the default
    #[arg(short = 's', long = "snapshot-length", value_name = "BYTES", default_value = "262144",
          help_heading = WHAT)]
    pub(crate) snaplen: u32,
    /// Put interfaces into promiscuous mode
    #[arg(long, conflicts_with = "not_promiscuous", help_heading = WHAT)]
    pub(crate) promiscuous: bool,
    /// Do not: the default
    #[arg(short = 'p', long = "no-promiscuous-mode", help_heading = WHAT)]
    pub(crate) not_promiscuous: bool,
}

/// What it may take, but for memory.
#[derive(Debug, Clone, Args)]
pub(crate) struct ResourceFlags {
    #[command(flatten)]
    pub(crate) reach: ReachFlags,
    /// Ring of each target, in KiB or with a unit [default: its share of --ring-memory]
    #[arg(short = 'B', long, value_name = "SIZE", value_parser = ring_size,
          help_heading = RESOURCES)]
    pub(crate) buffer_size: Option<u32>,
    /// All rings together, in bytes or with a unit
    #[arg(long, value_name = "SIZE", value_parser = ring_memory, default_value = "64MiB",
          help_heading = RESOURCES)]
    pub(crate) ring_memory: u32,
    /// Landlock, for the process that reads packets: off, auto (what the kernel has) or strict
    /// (all of it, or no capture)
    #[arg(long, value_name = "MODE", default_value = "auto", hide_possible_values = true,
          help_heading = RESOURCES)]
    pub(crate) sandbox: SandboxWord,
    /// Of an engine elsewhere: let readers move its times to this machine's clock, by whole seconds
    #[arg(long, help_heading = RESOURCES)]
    pub(crate) align_clock: bool,
    /// A socket for each interface [default: before kernel 6.15]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", hide = true, help_heading = RESOURCES)]
    pub(crate) socket_per_interface: Option<bool>,
}

/// How files are compressed.
#[derive(Debug, Clone, Args)]
pub(crate) struct CompressionFlags {
    /// none, or zstd: names get .zst at their end [default: zstd where FILE ends in
    /// .zst, or none]
    #[arg(long, value_name = "HOW", hide_possible_values = true, help_heading = WHERE)]
    pub(crate) compress: Option<Compressed>,
}

/// When it ends by itself.
#[derive(Debug, Clone, Args)]
pub(crate) struct EndFlags {
    /// End after TIME: seconds, or 500ms, 30s, 1m30s, 2h
    #[arg(long, value_name = "TIME", value_parser = span, help_heading = END)]
    pub(crate) duration: Option<Duration>,
}

/// How much is told.
#[derive(Debug, Clone, Args)]
pub(crate) struct TellingFlags {
    /// Only the counts, at the end
    #[arg(short = 'q', long, conflicts_with = "verbose", help_heading = TELLING)]
    pub(crate) quiet: bool,
    /// Tell more; repeatable
    #[arg(short = 'v', long, action = ArgAction::Count, help_heading = TELLING)]
    pub(crate) verbose: u8,
}

/// `--compress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compressed {
    None,
    Zstd,
}

impl From<Compressed> for Compression {
    fn from(compressed: Compressed) -> Self {
        match compressed {
            Compressed::None => Self::None,
            Compressed::Zstd => Self::Zstd,
        }
    }
}

/// By which way.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ReachFlags {
    /// Where rights come from: host (from here), helper (a container that the engine starts for it),
    /// or auto (host where the rights are there, or the engine is your own rootless one; otherwise
    /// helper)
    #[arg(long, value_name = "WAY", default_value = "auto", hide_possible_values = true,
          help_heading = RESOURCES)]
    pub(crate) via: ViaWord,
}

/// `--via`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum ViaWord {
    #[default]
    Auto,
    Host,
    Helper,
}

/// `-Q`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    In,
    Out,
    Inout,
}

/// `--sandbox`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SandboxWord {
    Off,
    Auto,
    Strict,
}
