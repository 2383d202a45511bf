//! whaletap: captures the network traffic of Docker containers, picked by name.
//!
//! The binary is flags, text for people and exit codes; what it does stands in `session`.
//!
//! ```text
//!  words ─► flags (what was typed) ─► high (what it means) ─► session ─► show ─► stderr, stdout
//!                                                                    └─► exit code
//! ```
//!
//! The same file is also the opener, the runner and the reaper, the small processes that `session`
//! starts: they are recognised by `argv[0]`, before anything else is looked at.

mod command;
mod exit;
mod flags;
mod high;
mod quantity;
mod show;
mod terminal;

use std::{env, ffi::OsString, fmt::Display, io::Write, process::ExitCode};

use clap::{
    CommandFactory as _, Parser,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::{exit::Exit, flags::Whaletap, terminal::safe_lines};

fn main() -> ExitCode {
    match env::args_os().next() {
        Some(name) if name == session::RUNNER_ARGV0 => companion(session::serve_runner()),
        Some(name) if name == session::REAPER_ARGV0 => companion(session::serve_reaper()),
        Some(name) if name == opener::ARGV0 => companion(opener::serve()),
        _ => person(),
    }
}

/// The end of a companion: its client hears of failures through the channel, people here.
fn companion<E: Display>(served: Result<(), E>) -> ExitCode {
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to be told when this fails.
            let _ = writeln!(anstream::stderr(), "whaletap: companion process: {error}");
            ExitCode::FAILURE
        }
    }
}

fn person() -> ExitCode {
    let whaletap = match Whaletap::try_parse() {
        Ok(whaletap) => whaletap,
        Err(error) => return usage(error),
    };
    match command::run(whaletap) {
        Ok(code) => code,
        Err(failure) => {
            failure.tell(&mut anstream::stderr());
            failure.exit.code().into()
        }
    }
}

/// Help and version go to stdout; what does not parse goes to stderr in our own form.
fn usage(mut error: clap::Error) -> ExitCode {
    let help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if help || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // A reader that went away, as of `whaletap --help | head`, is a normal end.
        let _ = error.print();
        return if help { Exit::Success } else { Exit::Usage }.code().into();
    }
    // What stands behind `--` is an expression or a command: an option is neither.
    let _ = error.remove(ContextKind::Suggested);
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    // The words that were typed are among it.
    let _ = writeln!(anstream::stderr(), "whaletap: {}", safe_lines(text.trim_end()));
    if let Some(option) = misplaced(&error) {
        let _ = writeln!(anstream::stderr(), "hint: {option} stands before the command");
    }
    wrong(env::args_os()).code().into()
}

/// The global option that stands behind the command.
fn misplaced(error: &clap::Error) -> Option<&str> {
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let command = Whaletap::command();
    let is_it = |arg: &clap::Arg| {
        let short = arg.get_short().map(|short| format!("-{short}"));
        let long = arg.get_long().map(|long| format!("--{long}"));
        [short, long].iter().flatten().any(|name| name == option)
    };
    command.get_arguments().any(is_it).then_some(option)
}

/// The exit code of words that do not parse. Where they ask for a command to be run, it must not
/// be taken for the command's.
fn wrong(words: impl Iterator<Item = OsString>) -> Exit {
    let mut options = words.take_while(|word| word != "--");
    if options.any(|word| word == "--run") { Exit::OwnFailure } else { Exit::Usage }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_words_are_not_taken_for_the_commands_end() {
        for (words, exit) in [
            (&["whaletap", "capture", "--nonsense"][..], Exit::Usage),
            (&["whaletap", "capture", "--run", "--nonsense", "--", "make"], Exit::OwnFailure),
            (&["whaletap", "capture", "--nonsense", "--", "x", "--run"], Exit::Usage),
        ] {
            assert_eq!(wrong(words.iter().map(OsString::from)), exit, "{words:?}");
        }
    }
}
