use std::{collections::BTreeSet, fmt, io::Write, path::Path, time::Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use model::NetnsId;
use session::{Notice, Observer, Snapshot};

use crate::{
    exit::{Exit, Failure},
    show::{self, Rate},
    terminal::{Level, safe},
};

/// Names of targets in the first line; of more, how many there are.
const MAX_NAMES: usize = 8;
/// Redraws a second of the live line, at most.
const REDRAWS: u8 = 2;

/// The face of a capture: what people read on stderr while it runs.
#[derive(Debug)]
pub(super) struct Face<W> {
    out: W,
    level: Level,
    quiet: bool,
    wants_live: bool,
    /// Of a recorder: what it keeps, and where.
    keeping: Option<String>,
    /// Where packets go, until a file is open.
    into: String,
    live: Option<ProgressBar>,
    rate: Rate,
    /// What failed, and what was advised, already.
    told: BTreeSet<String>,
    /// Where names of finished files go.
    names: Option<Names>,
}

/// A writer that has no other trait.
struct Names(Box<dyn Write>);

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names")
    }
}

impl<W: Write> Face<W> {
    pub(super) fn new(out: W, level: Level, quiet: bool, wants_live: bool, into: String) -> Self {
        Self {
            out,
            level,
            quiet,
            wants_live,
            keeping: None,
            into,
            live: None,
            rate: Rate::default(),
            told: BTreeSet::new(),
            names: None,
        }
    }

    /// Is a recorder's face from now on, which keeps this.
    pub(super) fn records(&mut self, keeping: String) {
        self.keeping = Some(keeping);
    }

    /// Writes the name of each finished file there.
    pub(super) fn print_names(&mut self, to: Box<dyn Write>) {
        self.names = Some(Names(to));
    }

    /// Takes the live line away, for good.
    pub(super) fn finish(&mut self) {
        self.wants_live = false;
        if let Some(live) = self.live.take() {
            live.finish_and_clear();
        }
    }

    /// What is left of a failure when that is taken away which was told already: the only target's
    /// failure is also the capture's.
    pub(super) fn untold(&self, mut failure: Failure) -> Failure {
        failure.lines.retain(|line| !self.told.contains(line));
        failure.hint.take_if(|hint| self.told.contains(hint));
        failure
    }

    /// Where it writes.
    pub(super) fn out(&mut self) -> &mut W {
        &mut self.out
    }

    /// A line above the live one.
    fn say(&mut self, line: &str) {
        let out = &mut self.out;
        // Nobody is left to be told when this fails.
        let mut write = || drop(writeln!(out, "{line}"));
        match &self.live {
            Some(live) => live.suspend(write),
            None => write(),
        }
    }
}

impl<W: Write> Observer for Face<W> {
    fn started(&mut self, snapshot: &Snapshot) {
        if self.quiet || self.level > Level::Info {
            return;
        }
        let names: Vec<&str> = snapshot.sources.iter().map(|source| &*source.name).collect();
        let netns: BTreeSet<NetnsId> = snapshot.sources.iter().map(|source| source.netns).collect();
        let file = snapshot.file.as_ref().map(|file| file.to_string_lossy());
        let into = file.as_deref().unwrap_or(&self.into);
        let verb = if self.keeping.is_some() { "recording" } else { "capturing" };
        let line = started(verb, &names, netns.len(), into);
        self.say(&line);
        if let Some(keeping) = self.keeping.take() {
            self.say(&safe(&keeping));
        }
    }

    fn notice(&mut self, notice: Notice<'_>) {
        let (level, text) = show::notice(&notice);
        if level < self.level {
            return;
        }
        let word = match level {
            Level::Debug | Level::Info => "",
            Level::Warn => "warning: ",
            Level::Error | Level::Fatal => "error: ",
        };
        self.say(&format!("whaletap: {word}{text}"));
        if let Notice::Failed(failed) = notice {
            let failure = Failure::from(&failed.error);
            self.told.extend(failure.lines);
            if let Some(hint) = failure.hint
                && self.told.insert(hint.clone())
            {
                self.say(&format!("hint: {}", safe(&hint)));
            }
        }
    }

    fn tick(&mut self, snapshot: &Snapshot) {
        if !self.wants_live {
            return;
        }
        let rate = self.rate.look(Instant::now(), snapshot.packets);
        let live = self.live.get_or_insert_with(|| {
            let target = ProgressDrawTarget::stderr_with_hz(REDRAWS);
            let style = ProgressStyle::with_template("{wide_msg}");
            ProgressBar::with_draw_target(None, target)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
        live.set_message(show::live_line(snapshot, rate));
    }

    fn wants_ticks(&self) -> bool {
        self.wants_live
    }

    fn file_done(&mut self, path: &Path) {
        let Some(Names(to)) = &mut self.names else { return };
        // Who reads the names may have gone away; the files are there all the same.
        let _ = writeln!(to, "{}", path.display()).and_then(|()| to.flush());
    }

    fn counts(&mut self, snapshot: &Snapshot) {
        let mut line = show::one_line(&snapshot.total());
        if let Some(held) = snapshot.held {
            line.push_str(&format!(", {}", show::held(held)));
        }
        self.say(&format!("whaletap: {line}"));
    }

    fn interrupted_twice(&mut self) {
        self.finish();
        let what = "ended at once; what was written until now can be read";
        Failure::new(Exit::Interrupted, what).tell(&mut self.out);
        std::process::exit(Exit::Interrupted.code().into());
    }
}

/// `capturing web, db (2 namespaces) into x.pcapng, Ctrl-C ends it`.
fn started(verb: &str, names: &[&str], namespaces: usize, into: &str) -> String {
    let mut shown = names.iter().take(MAX_NAMES).copied().collect::<Vec<_>>().join(", ");
    if names.len() > MAX_NAMES {
        shown.push_str(&format!(" and {} more", names.len() - MAX_NAMES));
    }
    if names.is_empty() {
        shown.push_str("nobody yet");
    }
    let namespaces = show::count_of(namespaces as u64, "namespace");
    format!("{verb} {} ({namespaces}) into {}, Ctrl-C ends it", safe(&shown), safe(into))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(level: Level, quiet: bool) -> Face<Vec<u8>> {
        Face::new(Vec::new(), level, quiet, false, "x.pcapng".to_owned())
    }

    fn told(mut face: Face<Vec<u8>>) -> String {
        face.started(&Snapshot::default());
        face.notice(Notice::Ended { name: "web" });
        face.notice(Notice::HostNetwork { name: "db" });
        face.counts(&Snapshot::default());
        String::from_utf8(face.out).unwrap()
    }

    #[test]
    fn the_first_line_says_what_is_captured() {
        assert_eq!(
            started("capturing", &["web", "db\x1b"], 2, "x.pcapng"),
            "capturing web, db\\x1b (2 namespaces) into x.pcapng, Ctrl-C ends it"
        );
        let many = ["a"; 50];
        assert!(started("recording", &many, 1, "x").contains("a and 42 more (1 namespace)"));
    }

    #[test]
    fn what_happens_is_told_by_its_weight() {
        let counts = "whaletap: 0 packets captured, 0 packets received by filter, 0 packets dropped by kernel\n";
        let warning = "whaletap: warning: db has the host's own network: everything of this host \
                       is captured\n";
        assert_eq!(
            told(face(Level::Info, false)),
            format!(
                "capturing nobody yet (0 namespaces) into x.pcapng, Ctrl-C ends it\nwhaletap: web: \
                 ended\n{warning}{counts}"
            )
        );
        assert_eq!(told(face(Level::Warn, true)), format!("{warning}{counts}"));
        assert_eq!(told(face(Level::Error, false)), counts);
    }

    #[test]
    fn the_failure_of_the_only_target_is_told_once() {
        let error = || session::Error::NoInterface { target: "web".into(), interfaces: "x".into() };
        let mut face = face(Level::Info, false);
        let untold = face.untold(error().into());
        assert!(untold.lines.len() == 1 && untold.hint.is_some());
        let failed = session::Failed { name: "web".into(), error: error() };
        face.notice(Notice::Failed(&failed));
        face.notice(Notice::Failed(&failed));
        let untold = face.untold(error().into());
        assert!(untold.lines.is_empty() && untold.hint.is_none());
        let text = String::from_utf8(face.out).unwrap();
        assert_eq!(text.matches("hint: ").count(), 1, "{text}");
    }

    #[test]
    fn without_a_terminal_there_is_no_live_line() {
        let mut face = face(Level::Info, false);
        assert!(!face.wants_ticks());
        face.tick(&Snapshot::default());
        assert!(face.live.is_none() && face.out.is_empty());
    }
}
