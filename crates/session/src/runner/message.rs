//! What main process and runner say to each other: a byte for the kind, and text behind it.

use std::{
    ffi::OsString,
    io,
    os::unix::ffi::{OsStrExt, OsStringExt},
};

use model::Connection;
use sys::{privileges::User, signals::Signal};

use crate::CommandEnd;

/// A command in bytes, each word with a zero byte behind it: what the kernel takes by default.
pub(super) const MAX_COMMAND: usize = 2 << 20;
/// How much of a command one message carries, in bytes: a message has 64 KiB.
pub(super) const PIECE: usize = 32 << 10;

/// What the runner is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// A piece of the next command's words.
    Words,
    /// A command in the background, which reads from a pipe where one comes along.
    Background,
    /// The same for one that reads from a pipe and writes to an output that come along.
    Reading,
    /// The command of `--run`, with its three streams.
    Foreground,
    /// A signal for that one.
    Signal,
    /// A program that leads to an engine: its input and output, its standard error, and a pipe
    /// whose reader is away when it is needed no longer.
    Dialling,
    /// A question: by which TCP connection such a program leads there. Its input's number comes
    /// along.
    Trace,
}

impl Order {
    const ALL: [Self; 7] = [
        Self::Words,
        Self::Background,
        Self::Reading,
        Self::Foreground,
        Self::Signal,
        Self::Dialling,
        Self::Trace,
    ];

    fn tag(self) -> u8 {
        match self {
            Self::Words => b'w',
            Self::Background => b'b',
            Self::Reading => b'r',
            Self::Foreground => b'f',
            Self::Signal => b's',
            Self::Dialling => b'd',
            Self::Trace => b't',
        }
    }

    /// The message.
    pub(super) fn with(self, text: &[u8]) -> Vec<u8> {
        let mut bytes = vec![self.tag()];
        bytes.extend_from_slice(text);
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (tag, text) = bytes.split_first()?;
        Some((Self::ALL.into_iter().find(|order| order.tag() == *tag)?, text))
    }
}

/// Words as bytes.
pub(super) fn join<W: AsRef<std::ffi::OsStr>>(words: &[W]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in words {
        bytes.extend_from_slice(word.as_ref().as_bytes());
        bytes.push(0);
    }
    bytes
}

/// The words again; `None` when there is none.
pub(super) fn split(bytes: &[u8]) -> Option<Vec<OsString>> {
    let words = bytes.strip_suffix(&[0])?.split(|byte| *byte == 0);
    Some(words.map(|word| OsString::from_vec(word.to_vec())).collect())
}

/// What the first message begins with: an empty one would pass for the end.
const USER: &str = "user";

/// The first message: the user to become, or nobody.
pub(crate) fn user(user: Option<&User>) -> String {
    let mut text = String::from(USER);
    for id in
        user.iter().flat_map(|user| [user.uid, user.gid].into_iter().chain(user.groups.clone()))
    {
        text += &format!(" {id}");
    }
    text
}

/// Who that is; `None` when it does not read.
pub(crate) fn parse_user(bytes: &[u8]) -> Option<Option<User>> {
    let text = std::str::from_utf8(bytes).ok()?.strip_prefix(USER)?;
    let ids: Result<Vec<u32>, _> = text.split_whitespace().map(str::parse).collect();
    match ids.ok()?.as_slice() {
        [] => Some(None),
        [uid, gid, groups @ ..] => {
            Some(Some(User { uid: *uid, gid: *gid, groups: groups.to_vec() }))
        }
        _ => None,
    }
}

/// A signal's letter.
pub(super) fn letter(signal: Signal) -> u8 {
    match signal {
        Signal::Interrupt => b'i',
        Signal::Terminate => b't',
        Signal::HangUp => b'h',
        Signal::User1 => b'1',
        Signal::User2 => b'2',
    }
}

pub(super) fn parse_signal(text: &[u8]) -> Option<Signal> {
    let all = [Signal::Interrupt, Signal::Terminate, Signal::HangUp, Signal::User1, Signal::User2];
    all.into_iter().find(|signal| text == [letter(*signal)])
}

/// What the runner tells.
#[derive(Debug)]
pub(crate) enum News {
    /// A command in the background failed, or could not be run.
    Complaint {
        /// The command.
        command: String,
        /// What happened.
        what: String,
    },
    /// The printing program has ended.
    PrintingEnded,
    /// The command of `--run` runs.
    Started {
        /// As this process.
        pid: u32,
    },
    /// It has ended, or could not be started: the last that is told of it.
    Ended(CommandEnd),
    /// The answer to the question for a connection.
    Traced {
        /// The number that was asked for: nobody may wait for an answer that comes late.
        stream: u64,
        /// `None` where there is not exactly one.
        connection: Option<Connection>,
    },
}

impl News {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Complaint { command, what } => format!("c{command}\0{what}"),
            Self::PrintingEnded => "p".to_owned(),
            Self::Started { pid } => format!("s{pid}"),
            Self::Ended(CommandEnd::Exited { code }) => format!("e{code}"),
            Self::Ended(CommandEnd::Killed { signal }) => format!("k{signal}"),
            Self::Ended(CommandEnd::NotStarted { source }) => {
                // EINVAL stands for what Rust's library refuses by itself: a zero byte in a word.
                format!("n{}", source.raw_os_error().unwrap_or(EINVAL))
            }
            Self::Ended(CommandEnd::Unknown) => "u".to_owned(),
            Self::Traced { stream, connection: Some(Connection { here, there }) } => {
                format!("t{stream} {here} {there}")
            }
            Self::Traced { stream, connection: None } => format!("t{stream}"),
        }
        .into_bytes()
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let tag = text.chars().next()?;
        let rest = &text[tag.len_utf8()..];
        Some(match tag {
            'c' => {
                let (command, what) = rest.split_once('\0')?;
                Self::Complaint { command: command.to_owned(), what: what.to_owned() }
            }
            'p' => Self::PrintingEnded,
            's' => Self::Started { pid: rest.parse().ok()? },
            'e' => Self::Ended(CommandEnd::Exited { code: rest.parse().ok()? }),
            'k' => Self::Ended(CommandEnd::Killed { signal: rest.parse().ok()? }),
            'n' => {
                let source = io::Error::from_raw_os_error(rest.parse().ok()?);
                Self::Ended(CommandEnd::NotStarted { source })
            }
            'u' => Self::Ended(CommandEnd::Unknown),
            't' => {
                let mut words = rest.split(' ');
                let stream = words.next()?.parse().ok()?;
                let connection = match (words.next(), words.next(), words.next()) {
                    (None, _, _) => None,
                    (Some(here), Some(there), None) => {
                        Some(Connection::between(here.parse().ok()?, there.parse().ok()?)?)
                    }
                    _ => return None,
                };
                Self::Traced { stream, connection }
            }
            _ => return None,
        })
    }
}

/// `errno(3)`.
const EINVAL: i32 = 22;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_as_they_were() {
        let odd = OsString::from_vec(vec![0xff, b' ', b'\'']);
        for words in [vec!["a".into()], vec!["sh".into(), "".into(), odd], vec!["".into(); 3]] {
            assert_eq!(split(&join(&words)), Some(words));
        }
        assert_eq!(split(b""), None);
        assert_eq!(split(b"cut sho"), None);
    }

    #[test]
    fn orders_and_signals_come_back() {
        for order in Order::ALL {
            assert_eq!(Order::parse(&order.with(b"x")), Some((order, &b"x"[..])));
        }
        assert_eq!(Order::parse(b"?x"), None);
        assert_eq!(Order::parse(b""), None);
        for signal in [Signal::Interrupt, Signal::Terminate, Signal::HangUp] {
            assert_eq!(parse_signal(&[letter(signal)]), Some(signal));
        }
        assert_eq!(parse_signal(b"9"), None);
    }

    #[test]
    fn a_user_comes_back() {
        let somebody = User { uid: 1000, gid: 100, groups: vec![4, 24] };
        for (given, read) in [
            (user(Some(&somebody)), Some(Some(somebody))),
            (user(None), Some(None)),
            ("user 7".to_owned(), None),
            ("user 7 x".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(parse_user(given.as_bytes()), read, "{given}");
        }
    }

    #[test]
    fn news_come_back() {
        let traced = "t7 [::1]:5 [::2]:22";
        for text in ["cnice\0exit status: 1", "p", "s77", "e3", "k15", "n2", "u", "t7", traced] {
            let news = News::parse(text.as_bytes()).unwrap();
            assert_eq!(news.to_bytes(), text.as_bytes(), "{news:?}");
        }
        for text in ["", "c", "sx", "x", "é", "t", "t7 1", "t7 1.2.3.4:5 [::1]:6"] {
            assert!(News::parse(text.as_bytes()).is_none(), "{text}");
        }
    }
}
