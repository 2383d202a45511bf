use clap::Args;

use super::{ListFormat, list::list_format};

/// `whaletap status`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatusFlags {
    /// Only the session of this process
    #[arg(value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pid: Option<u32>,
    /// table, or json: an object a line for each session
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = list_format)]
    pub(crate) format: ListFormat,
    /// Whole cells, and files with their directories
    #[arg(long)]
    pub(crate) no_trunc: bool,
}

const EXAMPLES: &str = "\
Your own sessions are shown; with sudo, everybody's.

Examples:
  whaletap status
  whaletap status --format json | jq '.targets[] | select(.dropped_by_kernel > 0)'";
