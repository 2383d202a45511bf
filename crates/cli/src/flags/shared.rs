//! What `capture` and `record` have in common.

use clap::{Args, ValueEnum};
use model::Selector;

use crate::quantity::{ring_memory, ring_size};

pub(super) const WHOM: &str = "Whom";
pub(super) const WHAT: &str = "Which packets";
pub(super) const RESOURCES: &str = "Resources and rights";

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
    /// A socket for each interface [default: before kernel 6.15]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", hide = true, help_heading = RESOURCES)]
    pub(crate) socket_per_interface: Option<bool>,
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
