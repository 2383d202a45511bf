use std::fmt;

use crate::{Error, Finished};

/// What a sender did, as it prints it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Report {
    /// Frames, datagrams, answers; bytes of a stream.
    pub count: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// What could not be sent, or was not answered.
    pub failed: u64,
}

impl Report {
    /// Reads what a traffic program printed.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] when it failed, [`Error::Unexpected`] when it printed something else.
    pub fn of(finished: Finished) -> Result<Self, Error> {
        let finished = finished.success()?;
        let text = finished.stdout_text();
        let read = || {
            let line: serde_json::Value = serde_json::from_str(text.lines().last()?).ok()?;
            Some(Self {
                count: line["count"].as_u64()?,
                bytes: line["bytes"].as_u64()?,
                seconds: line["seconds"].as_f64()?,
                failed: line["failed"].as_u64()?,
            })
        };
        read().ok_or(Error::Unexpected { program: finished.program.clone(), text: text.clone() })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{{\"count\":{},\"bytes\":{},\"seconds\":{:.6},\"failed\":{}}}",
            self.count, self.bytes, self.seconds, self.failed
        )
    }
}

/// Tells whoever started the program, on stderr.
#[expect(clippy::print_stderr, reason = "how a mode of the traffic program says that it is ready")]
pub(super) fn say(line: &str) {
    eprintln!("{line}");
}
