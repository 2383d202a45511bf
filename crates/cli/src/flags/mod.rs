//! What was typed: one file for each command, and nothing decided yet. `high` says what it means.
//!
//! Short letters are tcpdump's, `-a` and `-b` dumpcap's, long words docker's. The same definitions
//! make the parser, the help, the man pages and the completions.

mod capture;
mod completion;
mod exec;
mod global;
mod helper;
mod list;
mod record;
mod shared;
mod status;

use clap::{Parser, Subcommand};

pub(crate) use capture::{CaptureFlags, PrintProgram};
pub(crate) use completion::{CompletionFlags, ManFlags};
pub(crate) use exec::ExecFlags;
pub(crate) use global::GlobalFlags;
pub(crate) use helper::{HelperCommand, HelperFlags};
pub(crate) use list::{ListFlags, ListFormat};
pub(crate) use record::RecordFlags;
pub(crate) use shared::{
    Compressed, PacketFlags, ReachFlags, ResourceFlags, SandboxWord, TellingFlags, ViaWord, Way,
    WhomFlags,
};
pub(crate) use status::StatusFlags;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "whaletap",
    version,
    about = "Capture the network traffic of Docker containers, picked by name, from outside of them",
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{SELECTORS}\n\n{}", crate::exit::table()),
    arg_required_else_help = true,
    subcommand_required = true,
    subcommand_help_heading = "Commands",
    infer_long_args = false
)]
pub(crate) struct Whaletap {
    #[command(flatten)]
    pub(crate) global: GlobalFlags,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List what can be captured
    Ls(ListFlags),
    /// Capture packets of containers, processes, namespaces or this host
    Capture(Box<CaptureFlags>),
    /// Keep packets in memory, and write those before and behind something that happens
    Record(Box<RecordFlags>),
    /// Show the captures that run
    Status(StatusFlags),
    /// Run a program of this host inside a target's network namespace
    Exec(ExecFlags),
    /// Take away what helper containers have left
    Helper(HelperFlags),
    /// Print a completion script for a shell
    Completion(CompletionFlags),
    /// Print the version
    Version,
    /// Write man pages into a directory
    #[command(hide = true)]
    Man(ManFlags),
}

const EXAMPLES: &str = "\
Examples:
  whaletap ls
  whaletap capture web db -w shop.pcapng -- tcp port 5432
  whaletap capture compose:shop --duration 5m
  whaletap record web --keep 60s --on die
  whaletap exec web -- ss -tnp";

/// What selectors there are, for the long help of everything that takes them.
pub(crate) const SELECTORS: &str = "\
Selectors (several are a union):
  NAME                       exact name, id, beginning of an id, or pattern: web, 3f2a, 'shop-*'
  label:KEY[=VALUE]          containers with that label
  image:REF                  containers of that image
  network:NAME               containers on that network
  compose:PROJECT[/SERVICE]  a Compose project, or one service of it
  service:NAME  stack:NAME  task:NAME
                             Swarm's, as far as they run on this node
  pid:N                      network namespace of a process
  netns:PATH                 namespace file
  host                       this host
                             of the engine's machine, if that is another one; otherwise no engine
                             is asked for these three";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn definitions_do_not_contradict_each_other() {
        Whaletap::command().debug_assert();
    }

    #[test]
    fn every_short_option_has_a_long_name_and_every_option_a_help_text() {
        fn check(command: &clap::Command) {
            for option in command.get_arguments() {
                let name = option.get_id();
                assert!(
                    option.get_short().is_none() || option.get_long().is_some(),
                    "{name} of {} has no long name",
                    command.get_name()
                );
                assert!(option.get_help().is_some(), "{name} has no help");
            }
            command.get_subcommands().for_each(check);
        }
        check(&Whaletap::command());
    }

    #[test]
    fn global_options_stand_before_the_command() {
        let before = Whaletap::try_parse_from(["whaletap", "--context", "x", "ls"]);
        assert_eq!(before.unwrap().global.context.as_deref(), Some("x"));
        assert!(Whaletap::try_parse_from(["whaletap", "ls", "--context", "x"]).is_err());
    }
}
