use clap::Args;

use super::{ListFormat, list::list_format};

/// `whaletap status`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatusFlags {
    /// Only the session of this process
    #[arg(value_name = "PID", value_parser = process)]
    pub(crate) pid: Option<u32>,
    /// table, or json: an object a line for each session
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = list_format)]
    pub(crate) format: ListFormat,
    /// Whole cells, and files with their directories
    #[arg(long)]
    pub(crate) no_trunc: bool,
}

fn process(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|pid| *pid > 0);
    number.ok_or_else(|| "expected the number of a process".to_owned())
}

const EXAMPLES: &str = "\
Your own sessions are shown; with sudo, everybody's.

Examples:
  whaletap status
  whaletap status --format json | jq '.targets[] | select(.dropped_by_kernel > 0)'";
