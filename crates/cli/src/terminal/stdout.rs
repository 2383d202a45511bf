use std::io::{self, Write};

/// What became of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// All of it was written.
    All,
    /// Nobody reads it any more: a normal end.
    NobodyReads,
}

/// Writes to standard output. A reader that went away (`| head`) is a normal end.
pub(crate) fn print(bytes: &[u8]) -> io::Result<Written> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(Written::All),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Written::NobodyReads),
        Err(error) => Err(error),
    }
}
