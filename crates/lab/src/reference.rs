use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{Error, Namespace, Program, Records, Running};

/// How long a tool may take until it listens.
const READY: Duration = Duration::from_secs(10);
/// How long a tool may live.
const LIFE: Duration = Duration::from_secs(300);
/// How long to wait for an answer to SIGUSR1.
const ANSWER: Duration = Duration::from_secs(2);
/// How often tcpdump is asked for its counts: it has no way to tell by itself.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// The ring of the reference, in MiB: large, so that the judge loses nothing.
const BUFFER_MIB: u32 = 64;

/// tcpdump or dumpcap, writing what an interface of a namespace sees into a file.
#[derive(Debug)]
pub struct Reference {
    tool: Tool,
    running: Running,
    file: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    Tcpdump,
    Dumpcap,
}

/// What a tool says at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Written to the file.
    pub captured: u64,
    /// Passed by the filter, lost ones included.
    pub received: u64,
    /// Lost by the kernel.
    pub dropped: u64,
}

impl Reference {
    /// Starts `tcpdump -i INTERFACE -w FILE` with nanoseconds and a large ring, and waits until
    /// it listens. `more` stands behind: options, and the expression as one argument.
    ///
    /// # Errors
    ///
    /// [`Error::Start`] and [`Error::NotSaid`].
    pub fn tcpdump<A: AsRef<OsStr>>(
        namespace: &Namespace,
        interface: &str,
        file: impl AsRef<Path>,
        more: impl IntoIterator<Item = A>,
    ) -> Result<Self, Error> {
        let file = file.as_ref();
        let mut running = Program::new("tcpdump")
            .inside(namespace)
            // -Z root: files belong to who runs the test, as ours do.
            .args(["-i", interface, "-n", "-Z", "root", "--time-stamp-precision=nano"])
            .args(["-B", &(BUFFER_MIB * 1024).to_string(), "-w"])
            .arg(file)
            .args(more)
            .limit(LIFE)
            .start()?;
        running.wait_for_line("listening on", READY)?;
        Ok(Self { tool: Tool::Tcpdump, running, file: file.to_owned() })
    }

    /// Starts `dumpcap -i INTERFACE -w FILE` with a large ring, and waits until it captures.
    /// `more` stands behind: options, with an expression after `-f`.
    ///
    /// # Errors
    ///
    /// [`Error::Start`] and [`Error::NotSaid`].
    pub fn dumpcap<A: AsRef<OsStr>>(
        namespace: &Namespace,
        interface: &str,
        file: impl AsRef<Path>,
        more: impl IntoIterator<Item = A>,
    ) -> Result<Self, Error> {
        let file = file.as_ref();
        let mut running = Program::new("dumpcap")
            .inside(namespace)
            .args(["-i", interface, "-B", &BUFFER_MIB.to_string()])
            .arg("-w")
            .arg(file)
            .args(more)
            .limit(LIFE)
            .start()?;
        // It says this when its sockets are open and bound.
        running.wait_for_line("File: ", READY)?;
        Ok(Self { tool: Tool::Dumpcap, running, file: file.to_owned() })
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Its file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Waits until it has taken this many frames out of its ring, or until the limit.
    ///
    /// # Errors
    ///
    /// [`Error::NotSaid`] when there are fewer at the limit.
    pub fn wait_for(&mut self, captured: u64, limit: Duration) -> Result<(), Error> {
        let ends = Instant::now() + limit;
        match self.tool {
            Tool::Tcpdump => {
                let mut seen = 0;
                loop {
                    seen += 1;
                    self.running.signal(Signal::USR1)?;
                    let answer = self.nth_answer(seen)?;
                    let taken = tcpdump_counts(&answer).captured;
                    if taken >= captured {
                        return Ok(());
                    }
                    if Instant::now() >= ends {
                        return Err(Error::NotSaid {
                            program: "tcpdump".to_owned(),
                            wanted: format!("{captured} packets captured"),
                            limit,
                            stderr: answer,
                        });
                    }
                    std::thread::sleep(ASK_EVERY);
                }
            }
            Tool::Dumpcap => {
                let wanted = format!("Packets: {captured}");
                let reached = |line: &str| {
                    let counts = line.rsplit("Packets: ").next();
                    counts.and_then(first_number).is_some_and(|taken| taken >= captured)
                        && line.contains("Packets: ")
                };
                // Each count stands behind a carriage return, with nothing after it.
                self.running.wait_for_counter(&wanted, limit, reached).map(drop)
            }
        }
    }

    /// The `n`th line that answers SIGUSR1.
    fn nth_answer(&mut self, n: usize) -> Result<String, Error> {
        let mut left = n;
        self.running.wait_for("counts", ANSWER, |line| {
            let is_answer = line.contains("captured, ");
            left -= usize::from(is_answer);
            is_answer && left == 0
        })
    }

    /// Stops it with SIGINT and reads its counts. Frames that it has not taken out of its ring
    /// by then are not in its file: see [`Reference::stop_after`].
    ///
    /// # Errors
    ///
    /// [`Error::Failed`], [`Error::TimedOut`], and [`Error::Unexpected`] when there are no counts.
    pub fn stop(self) -> Result<Counts, Error> {
        let finished = self.running.interrupt()?.success()?;
        let stderr = finished.stderr;
        let counts = match self.tool {
            Tool::Tcpdump => stderr.contains("received by filter").then(|| tcpdump_counts(&stderr)),
            Tool::Dumpcap => dumpcap_counts(&stderr),
        };
        counts.ok_or(Error::Unexpected { program: finished.program, text: stderr })
    }

    /// Waits for `captured` frames, stops it, and reads the file.
    ///
    /// # Errors
    ///
    /// Those of [`Reference::wait_for`], [`Reference::stop`] and [`Records::read`].
    pub fn stop_after(
        mut self,
        captured: u64,
        limit: Duration,
    ) -> Result<(Counts, Records), Error> {
        self.wait_for(captured, limit)?;
        let file = self.file.clone();
        let counts = self.stop()?;
        Ok((counts, Records::read(file)?))
    }
}

/// `6 packets captured`, one a line or separated by commas.
fn tcpdump_counts(text: &str) -> Counts {
    let mut counts = Counts::default();
    for part in text.split(['\n', ',']) {
        let part = part.trim_start_matches("tcpdump:");
        let Some(number) = first_number(part) else { continue };
        if part.contains("captured") {
            counts.captured = number;
        } else if part.contains("received by filter") {
            counts.received = number;
        } else if part.contains("dropped by kernel") {
            counts.dropped = number;
        }
    }
    counts
}

/// `Packets captured: 6` and `Packets received/dropped on interface 'eth0': 6/0 (…)`.
fn dumpcap_counts(text: &str) -> Option<Counts> {
    let captured = first_number(text.rsplit_once("Packets captured: ")?.1)?;
    let (_, line) = text.rsplit_once("Packets received/dropped on interface")?;
    let (received, rest) = line.rsplit_once("': ")?.1.split_once('/')?;
    // dumpcap's first number does not count what was dropped.
    let dropped = first_number(rest)?;
    Some(Counts { captured, received: received.parse::<u64>().ok()? + dropped, dropped })
}

/// The number that a text begins with, after blanks.
fn first_number(text: &str) -> Option<u64> {
    let digits = text.trim_start();
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_in_each_form() {
        let wanted = Counts { captured: 6, received: 12, dropped: 1 };
        let lines = "tcpdump: listening on lo\n6 packets captured\n12 packets received by filter\n\
                     1 packet dropped by kernel\n";
        assert_eq!(tcpdump_counts(lines), wanted);
        let line = "tcpdump: 6 packets captured, 12 packets received by filter, 1 packet dropped \
                    by kernel";
        assert_eq!(tcpdump_counts(line), wanted);
        let dumpcap = "Capturing on 'eth0'\nFile: x\nPackets: 2 \rPackets captured: 6\n\
                       Packets received/dropped on interface 'eth0': 11/1 \
                       (pcap:1/dumpcap:0/flushed:0/ps_ifdrop:0) (91.7%)\n";
        assert_eq!(dumpcap_counts(dumpcap), Some(wanted));
        assert_eq!(dumpcap_counts("Capturing on 'eth0'"), None);
    }
}
