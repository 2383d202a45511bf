use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use lab::{Namespace, Running};

use super::group::Group;

/// How long a tool may take until it captures.
const READY: Duration = Duration::from_secs(20);
/// How long a tool may live.
pub(super) const LIFE: Duration = Duration::from_secs(180);
/// How long a tool may take to stop.
const STOP: Duration = Duration::from_secs(30);

/// Who captures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Tool {
    Whaletap,
    Tcpdump,
    Dumpcap,
}

impl Tool {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Whaletap, Self::Tcpdump, Self::Dumpcap];

    /// All of them, beginning with another one in each round.
    pub(super) fn turned(round: usize) -> [Self; 3] {
        let mut tools = Self::ALL;
        tools.rotate_left(round % 3);
        tools
    }

    /// Its name.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Whaletap => "whaletap",
            Self::Tcpdump => "tcpdump",
            Self::Dumpcap => "dumpcap",
        }
    }

    /// What it says when it captures.
    pub(super) fn ready(self) -> &'static str {
        match self {
            Self::Whaletap => "capturing ",
            Self::Tcpdump => "listening on",
            Self::Dumpcap => "File: ",
        }
    }

    /// Starts it in the group with its defaults, on one namespace, and waits until it captures.
    pub(super) fn start(
        self,
        whaletap: &Path,
        group: &Group,
        namespace: &Namespace,
        file: &Path,
    ) -> Result<Running> {
        let file = file.to_string_lossy();
        let program = match self {
            Self::Whaletap => {
                let target = format!("netns:{}", namespace.path().display());
                group.program(&[&whaletap.to_string_lossy(), "capture", &target, "-w", &file])
            }
            Self::Tcpdump => {
                // -Z: the files stay root's, and the directory is root's.
                let words = ["tcpdump", "-i", "eth0", "-Z", "root", "-w", &file];
                group.program(&words).inside(namespace)
            }
            Self::Dumpcap => {
                // -q: not a line for each packet count.
                let words = ["dumpcap", "-q", "-i", "eth0", "-w", &file];
                group.program(&words).inside(namespace)
            }
        };
        started(self, program)
    }
}

/// Starts a prepared program of this tool and waits until it captures.
pub(super) fn started(tool: Tool, program: lab::Program) -> Result<Running> {
    // Who calls through sudo is nobody special here: all tools run as root.
    let program = program.env_remove("SUDO_UID").env_remove("SUDO_GID").env_remove("SUDO_USER");
    let mut running = program.limit(LIFE).start()?;
    running.wait_for_line(tool.ready(), READY)?;
    Ok(running)
}

/// What a tool says at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// Packets in the file.
    pub(super) captured: u64,
    /// Packets that it knows to have lost.
    pub(super) dropped: u64,
}

/// Stops a tool and reads its counts.
pub(super) fn stop(tool: Tool, running: Running) -> Result<Counts> {
    let text = interrupted(running)?;
    counts(tool, &text).with_context(|| format!("{} told no counts: {text}", tool.word()))
}

fn interrupted(running: Running) -> Result<String> {
    let pid = running.pid();
    // The limit is for stopping, not for what came before.
    lab::Program::new("kill").args(["-INT", &pid.to_string()]).run()?;
    let finished = running.wait_at_most(STOP)?;
    match finished.code() {
        Some(0) => Ok(finished.stderr),
        _ => bail!("{} ended with {}: {}", finished.program, finished.status, finished.stderr),
    }
}

fn counts(tool: Tool, text: &str) -> Option<Counts> {
    let number_before = |words: &str| {
        let line = text.lines().rev().find(|line| line.contains(words))?;
        line.split_whitespace().next()?.parse().ok()
    };
    if tool == Tool::Dumpcap {
        // `Packets received/dropped on interface 'eth0': 11/1 (pcap:1/dumpcap:0/…)`, where the
        // first number is what was captured.
        let (_, line) = text.rsplit_once("Packets received/dropped on interface")?;
        let (captured, rest) = line.rsplit_once("': ")?.1.split_once('/')?;
        let dropped = rest.split_whitespace().next()?;
        return Some(Counts { captured: captured.parse().ok()?, dropped: dropped.parse().ok()? });
    }
    let by_kernel: u64 = number_before("dropped by kernel")?;
    let by_us: u64 = number_before("dropped by whaletap").unwrap_or_default();
    let captured = number_before(" captured")?;
    Some(Counts { captured, dropped: by_kernel + by_us })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_each_tool() {
        let wanted = Some(Counts { captured: 6, dropped: 1 });
        let lines = "listening\n6 packets captured\n12 packets received by filter\n1 packet \
                     dropped by kernel\n";
        assert_eq!(counts(Tool::Tcpdump, lines), wanted);
        assert_eq!(counts(Tool::Whaletap, lines), wanted);
        let dumpcap = "Capturing on 'eth0'\nFile: x\nPackets captured: 6\nPackets \
                       received/dropped on interface 'eth0': 6/1 (pcap:1/dumpcap:0/flushed:0)";
        assert_eq!(counts(Tool::Dumpcap, dumpcap), wanted);
        assert_eq!(counts(Tool::Tcpdump, "killed"), None);
    }
}
