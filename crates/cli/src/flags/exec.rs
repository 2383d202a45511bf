use std::ffi::OsString;

use clap::Args;
use model::Selector;

use super::SELECTORS;

/// `whaletap exec`.
#[derive(Debug, Clone, Args)]
#[command(
    override_usage = "whaletap exec [--image IMAGE] TARGET [--] COMMAND [ARGUMENT]...",
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{SELECTORS}"),
)]
pub(crate) struct ExecFlags {
    /// Selector that takes one target
    #[arg(value_name = "TARGET")]
    pub(crate) target: Selector,
    /// Run the program of this image, in a container beside the target: takes no rights but the
    /// engine's socket, and docker; the only way on another machine
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,
    /// Program of this host, or of the image, and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true, required = true, num_args = 1..)]
    pub(crate) command: Vec<OsString>,
}

const EXAMPLES: &str = "\
The program sees the target's interfaces, routes and sockets, and a container's /etc/resolv.conf and
/etc/hosts; otherwise this host. The exit code is the program's.

Examples:
  whaletap exec web -- ss -tnp
  whaletap exec web -- dig db
  whaletap exec --image nicolaka/netshoot web -- ss -tn
  whaletap exec pid:4711 -- ip address";
