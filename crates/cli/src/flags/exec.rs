use std::ffi::OsString;

use clap::Args;
use model::Selector;

use super::SELECTORS;

/// `whaletap exec`.
#[derive(Debug, Clone, Args)]
#[command(
    override_usage = "whaletap exec TARGET -- COMMAND [ARGUMENT]...",
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{SELECTORS}"),
)]
pub(crate) struct ExecFlags {
    /// Selector that takes one target
    #[arg(value_name = "TARGET")]
    pub(crate) target: Selector,
    /// Program of this host, and its arguments
    #[arg(value_name = "COMMAND", last = true, required = true, num_args = 1..)]
    pub(crate) command: Vec<OsString>,
}

const EXAMPLES: &str = "\
The program sees the target's interfaces, routes and sockets, and a container's /etc/resolv.conf and
/etc/hosts; otherwise this host. The exit code is the program's.

Examples:
  whaletap exec web -- ss -tnp
  whaletap exec web -- dig db
  whaletap exec pid:4711 -- ip address";
