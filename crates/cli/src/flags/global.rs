use std::path::PathBuf;

use clap::Args;

use crate::terminal::Level;

/// docker's global options, which stand before the command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options, before the command")]
pub(crate) struct GlobalFlags {
    /// Docker context to use [default: as docker: DOCKER_HOST, DOCKER_CONTEXT, current context]
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Engine to ask: unix:///var/run/docker.sock, tcp://HOST:PORT, ssh://USER@HOST [default: the
    /// first of these, or where that is not yours to use your own rootless one]
    #[arg(short = 'H', long = "host", value_name = "ADDRESS")]
    pub(crate) hosts: Vec<String>,
    /// Directory of docker's own configuration [default: DOCKER_CONFIG, or ~/.docker]
    #[arg(long, value_name = "DIR")]
    pub(crate) config: Option<PathBuf>,
    /// Use TLS
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub(crate) tls: Option<bool>,
    /// Use TLS and verify the engine
    #[arg(long = "tlsverify", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub(crate) tls_verify: Option<bool>,
    /// Certificates to trust [default: ca.pem in docker's directory]
    #[arg(long = "tlscacert", value_name = "FILE")]
    pub(crate) tls_ca_cert: Option<PathBuf>,
    /// Own certificate [default: cert.pem there]
    #[arg(long = "tlscert", value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Own key [default: key.pem there]
    #[arg(long = "tlskey", value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Least important messages to show on stderr
    #[arg(short = 'l', long = "log-level", value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: Level,
}
