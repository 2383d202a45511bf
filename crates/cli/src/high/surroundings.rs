use std::{
    ffi::{OsStr, OsString},
    io::{IsTerminal, stdout},
    path::{Path, PathBuf},
};

/// What flags are judged by, apart from themselves. One place, so that tests need no environment.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    /// Variables of the environment.
    pub(crate) variable: fn(&str) -> Option<OsString>,
    /// Whether a file is there and can be run.
    pub(crate) is_program: fn(&Path) -> bool,
    /// Whether somebody listens on a socket, to whom this user may connect.
    pub(crate) may_connect: fn(&Path) -> bool,
    /// Whether a directory is this user's.
    pub(crate) is_own_directory: fn(&Path) -> bool,
    /// Standard output is a terminal.
    pub(crate) stdout_is_terminal: bool,
    /// The working directory; `None` when it was removed.
    pub(crate) directory: Option<PathBuf>,
    /// The command line as a shell would take it.
    pub(crate) command_line: String,
}

/// Where programs of an administrator are, which are not in everybody's `PATH`.
const ADMIN_PATH: &str = "/usr/local/sbin:/usr/sbin:/sbin";

impl Surroundings {
    /// Those of this process.
    pub(crate) fn of_process() -> Self {
        Self {
            variable: |name| std::env::var_os(name),
            is_program: Path::is_file,
            may_connect: session::may_connect,
            is_own_directory: session::is_own_directory,
            stdout_is_terminal: stdout().is_terminal(),
            directory: std::env::current_dir().ok(),
            command_line: command_line(std::env::args_os()),
        }
    }

    /// Where a program of this name is.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        let path = (self.variable)("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(std::env::split_paths(ADMIN_PATH))
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join(name))
            .find(|path| (self.is_program)(path))
    }
}

/// Words as one line that a shell would take apart again.
fn command_line(words: impl Iterator<Item = OsString>) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    let quoted = |word: &OsStr| {
        let word = word.to_string_lossy();
        if !word.is_empty() && word.chars().all(plain) {
            word.into_owned()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    };
    words.map(|word| quoted(&word)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
impl Surroundings {
    /// An environment without variables, in `/here`, with its output in a pipe.
    pub(crate) fn for_tests() -> Self {
        Self {
            variable: |_| None,
            is_program: |path| path == Path::new("/usr/sbin/tcpdump"),
            may_connect: |_| true,
            is_own_directory: |_| true,
            stdout_is_terminal: false,
            directory: Some(PathBuf::from("/here")),
            command_line: "whaletap test".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_reads_back() {
        let words = ["whaletap", "capture", "shop-*", "--", "it's", ""].map(OsString::from);
        assert_eq!(command_line(words.into_iter()), "whaletap capture 'shop-*' -- 'it'\\''s' ''");
    }

    #[test]
    fn programs_are_found_where_administrators_have_them() {
        let surroundings = Surroundings::for_tests();
        assert_eq!(surroundings.program("tcpdump"), Some(PathBuf::from("/usr/sbin/tcpdump")));
        assert_eq!(surroundings.program("tshark"), None);
    }
}
