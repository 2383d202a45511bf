//! When a file ends and the next begins, what it is called, and when the capture ends.
//!
//! Two traditions, each with the letters and the exact names that its users know: tcpdump's
//! (`-C -G -W`) looks before a packet is written, dumpcap's (`-b`) behind it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    path::{Path, PathBuf},
    time::Duration,
};

use sys::disk::Existing;

use crate::{
    Limit,
    clock::nanoseconds,
    file_name::{FileName, Moment, counted, numbered, unused},
};

/// When a file ends and the next one begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Rotation {
    /// Never.
    #[default]
    Off,
    /// As tcpdump does.
    Classic {
        /// `-C`: when the file has more bytes than this.
        bytes: Option<u64>,
        /// `-G`: when it is this old, in seconds.
        seconds: Option<u64>,
        /// `-W`: with `-C` how many files there are before the first is written anew, with `-G`
        /// alone after how many the capture ends.
        files: Option<u32>,
    },
    /// As dumpcap does.
    Ring(RingBuffer),
}

/// dumpcap's `-b`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RingBuffer {
    /// When the file is this old.
    pub duration: Option<Duration>,
    /// When the clock reaches a multiple of this.
    pub interval: Option<Duration>,
    /// When the file has this many bytes.
    pub bytes: Option<u64>,
    /// When the file has this many packets.
    pub packets: Option<u64>,
    /// How many files are kept.
    pub files: Option<u32>,
}

/// When the capture ends by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Autostop {
    /// After so many packets.
    pub packets: Option<u64>,
    /// After so much time.
    pub duration: Option<Duration>,
    /// After so many files.
    pub files: Option<u32>,
    /// When a file has so many bytes; with [`Rotation::Ring`] it ends the file only.
    pub bytes: Option<u64>,
}

/// What is to happen at a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing.
    Stay,
    /// The next file.
    Next,
    /// No further file.
    End(Limit),
}

/// A file to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) path: PathBuf,
    /// What may stand there already.
    pub(crate) existing: Existing,
    /// A file that has fallen out of the ring.
    pub(crate) remove: Option<PathBuf>,
}

/// The files of one output, one after the other.
#[derive(Debug)]
pub struct Series {
    name: FileName,
    target: Option<String>,
    rotation: Rotation,
    autostop: Autostop,
    /// Files opened so far.
    opened: u32,
    /// tcpdump's counter of `-C`, and its counter of `-G`.
    by_size: u32,
    by_time: u32,
    /// When the present file was opened, in nanoseconds since 1970.
    since: u64,
    /// The files that are there.
    kept: VecDeque<PathBuf>,
    /// The files that come round again, by the name that each would have if it were alone.
    round: HashMap<String, PathBuf>,
}

/// The files that a session has made and that are not to be overwritten, whichever series they are
/// of.
#[derive(Debug, Default)]
pub(crate) struct Names(HashSet<PathBuf>);

impl Names {
    /// A name like this one that is not taken: a counter goes before the suffix.
    fn unused(&self, name: String) -> PathBuf {
        unused(name, |path| self.0.contains(path))
    }
}

const SECOND: u64 = 1_000_000_000;

impl Series {
    /// The files under this name; of one target where each has its own.
    #[must_use]
    pub fn new(
        name: FileName,
        target: Option<String>,
        rotation: Rotation,
        autostop: Autostop,
    ) -> Self {
        Self {
            name,
            target,
            rotation,
            autostop,
            opened: 0,
            by_size: 0,
            by_time: 0,
            since: 0,
            kept: VecDeque::new(),
            round: HashMap::new(),
        }
    }

    /// Whether anything has to be asked at packets at all.
    pub(crate) fn is_single(&self) -> bool {
        self.rotation == Rotation::Off && self.autostop.bytes.is_none()
    }

    /// What to do before a packet with this timestamp is written to a file of `bytes` bytes.
    pub(crate) fn before_packet(&mut self, timestamp: u64, bytes: u64) -> Turn {
        let Rotation::Classic { bytes: limit, seconds, files } = self.rotation else {
            return Turn::Stay;
        };
        if let Some(seconds) = seconds
            && (timestamp / SECOND).saturating_sub(self.since / SECOND) >= seconds
        {
            self.by_time += 1;
            self.by_size = 0;
            return match files {
                Some(files) if limit.is_none() && self.by_time >= files => {
                    Turn::End(Limit::Files(files))
                }
                _ => self.next(),
            };
        }
        if limit.is_some_and(|limit| bytes > limit) {
            self.by_size += 1;
            if files.is_some_and(|files| self.by_size >= files) {
                self.by_size = 0;
            }
            return self.next();
        }
        Turn::Stay
    }

    /// What to do behind a packet, after which the file has so many bytes and packets.
    pub(crate) fn after_packet(&self, bytes: u64, packets: u64) -> Turn {
        let ring = match &self.rotation {
            Rotation::Ring(ring) => Some(ring),
            _ => None,
        };
        let is_over = |limit: Option<u64>, value| limit.is_some_and(|limit| value >= limit);
        match ring {
            Some(ring)
                if is_over(ring.bytes, bytes)
                    || is_over(ring.packets, packets)
                    || is_over(self.autostop.bytes, bytes) =>
            {
                self.next()
            }
            None if is_over(self.autostop.bytes, bytes) => {
                Turn::End(Limit::Bytes(self.autostop.bytes.unwrap_or_default()))
            }
            _ => Turn::Stay,
        }
    }

    /// When the present file ends because of the time, in nanoseconds since 1970.
    pub(crate) fn ends_at(&self) -> Option<u64> {
        let Rotation::Ring(ring) = &self.rotation else { return None };
        let by_age = ring.duration.map(|duration| self.since.saturating_add(nanoseconds(duration)));
        let by_clock = ring.interval.map(|interval| {
            let interval = nanoseconds(interval).max(1);
            (self.since / interval + 1).saturating_mul(interval)
        });
        [by_age, by_clock].into_iter().flatten().min()
    }

    /// What to do when the time of [`Series::ends_at`] has come.
    pub(crate) fn next(&self) -> Turn {
        match self.autostop.files {
            Some(files) if self.opened >= files => Turn::End(Limit::Files(files)),
            _ => Turn::Next,
        }
    }

    /// The next file, opened at `now` (nanoseconds since 1970), under a name that is not among
    /// those taken, and is from now on.
    pub(crate) fn open(&mut self, now: u64, names: &mut Names) -> Opening {
        self.since = now;
        self.opened += 1;
        let moment = Moment::of(now);
        let name = self.name.render(&moment, self.target.as_deref());
        let path = match &self.rotation {
            Rotation::Off => names.unused(name),
            Rotation::Classic { bytes, files, .. } => {
                let width = if bytes.is_some() { files.map_or(0, digits) } else { 0 };
                let name = counted(&name, self.by_size, width);
                // Coming round again is what -C with -W is for; otherwise nothing is overwritten.
                if bytes.is_some() && files.is_some() {
                    let fresh = || names.unused(name.clone());
                    self.round.entry(name.clone()).or_insert_with(fresh).clone()
                } else {
                    names.unused(name)
                }
            }
            Rotation::Ring(_) => names.unused(numbered(&name, self.opened, &moment)),
        };
        let is_new = names.0.insert(path.clone());
        let existing = match self.rotation {
            _ if is_new && self.name.is_ours() => Existing::Nothing,
            // The name stands as it was written, and leads where its writer wants it to.
            Rotation::Off if self.target.is_none() => Existing::Any,
            _ => Existing::Replaced,
        };
        Opening { remove: self.keep(&path, names), path, existing }
    }

    fn keep(&mut self, path: &Path, names: &mut Names) -> Option<PathBuf> {
        let Rotation::Ring(RingBuffer { files: Some(files), .. }) = self.rotation else {
            return None;
        };
        self.kept.push_back(path.to_owned());
        if self.kept.len() <= files as usize {
            return None;
        }
        let oldest = self.kept.pop_front();
        if let Some(oldest) = &oldest {
            names.0.remove(oldest);
        }
        oldest
    }
}

/// Digits of the last number when counting to `files` from 0.
fn digits(files: u32) -> usize {
    (files.saturating_sub(1)).checked_ilog10().map_or(0, |log| log as usize + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, rotation: Rotation, autostop: Autostop) -> Series {
        Series::new(FileName::new(name, "host").unwrap(), None, rotation, autostop)
    }

    fn classic(bytes: Option<u64>, seconds: Option<u64>, files: Option<u32>) -> Rotation {
        Rotation::Classic { bytes, seconds, files }
    }

    /// The names of the first files, each ended by its size.
    fn names(series: &mut Series, count: usize) -> Vec<String> {
        (0..count)
            .map(|_| {
                let name = series.open(0, &mut Names::default()).path.display().to_string();
                assert_eq!(series.before_packet(0, 1_000_001), Turn::Next);
                name
            })
            .collect()
    }

    #[test]
    fn size_alone_counts_up() {
        let mut series =
            series("a.pcap", classic(Some(1_000_000), None, None), Autostop::default());
        assert_eq!(names(&mut series, 3), ["a.pcap", "a.pcap1", "a.pcap2"]);
    }

    #[test]
    fn a_file_is_left_only_when_it_is_larger_than_the_limit() {
        let mut series = series("a", classic(Some(1000), None, None), Autostop::default());
        series.open(0, &mut Names::default());
        assert_eq!(series.before_packet(0, 1000), Turn::Stay);
        assert_eq!(series.before_packet(0, 1001), Turn::Next);
    }

    #[test]
    fn size_with_a_number_of_files_goes_round_with_zeros() {
        let mut three = series("a", classic(Some(1_000_000), None, Some(3)), Autostop::default());
        assert_eq!(names(&mut three, 5), ["a0", "a1", "a2", "a0", "a1"]);
        let mut eleven = series("a", classic(Some(1_000_000), None, Some(11)), Autostop::default());
        assert_eq!(names(&mut eleven, 2), ["a00", "a01"]);
        let mut ten = series("a", classic(Some(1_000_000), None, Some(10)), Autostop::default());
        assert_eq!(names(&mut ten, 2), ["a0", "a1"]);
    }

    #[test]
    fn time_ends_after_so_many_files_and_never_overwrites() {
        let mut series = series("same", classic(None, Some(10), Some(3)), Autostop::default());
        let mut taken = Names::default();
        assert_eq!(series.open(0, &mut taken).path, Path::new("same"));
        assert_eq!(series.before_packet(9 * SECOND, 0), Turn::Stay);
        assert_eq!(series.before_packet(10 * SECOND, 0), Turn::Next);
        assert_eq!(series.open(10 * SECOND, &mut taken).path, Path::new("same-1"));
        assert_eq!(series.before_packet(20 * SECOND, 0), Turn::Next);
        series.open(20 * SECOND, &mut taken);
        assert_eq!(series.before_packet(30 * SECOND, 0), Turn::End(Limit::Files(3)));
    }

    #[test]
    fn what_may_stand_under_a_name_depends_on_who_chose_it() {
        let chosen = FileName::new("x", "host").unwrap().chosen_by_us();
        let rotation = || classic(Some(1), None, Some(1));
        let mut ours = Series::new(chosen, None, rotation(), Autostop::default());
        let mut taken = Names::default();
        assert_eq!(ours.open(0, &mut taken).existing, Existing::Nothing);
        assert_eq!(ours.open(0, &mut taken).existing, Existing::Replaced, "coming round again");
        let mut given = series("x", Rotation::Off, Autostop::default());
        assert_eq!(given.open(0, &mut Names::default()).existing, Existing::Any);
        let mut made = series("x", rotation(), Autostop::default());
        assert_eq!(made.open(0, &mut Names::default()).existing, Existing::Replaced);
    }

    /// The names of the first files of a second series of the same target.
    fn names_behind_others(rotation: Rotation) -> Vec<String> {
        let mut taken = Names::default();
        let of = || {
            let name = FileName::new("a.pcapng", "host").unwrap();
            Series::new(name, Some("web".to_owned()), rotation.clone(), Autostop::default())
        };
        let mut first = of();
        for _ in 0..2 {
            first.open(0, &mut taken);
            first.before_packet(0, 1_000_001);
        }
        let mut second = of();
        (0..3)
            .map(|_| {
                let name = second.open(0, &mut taken).path.display().to_string();
                second.before_packet(0, 1_000_001);
                name
            })
            .collect()
    }

    #[test]
    fn no_series_takes_a_name_of_another() {
        let off = names_behind_others(Rotation::Off);
        assert_eq!(off[0], "a-web-2.pcapng", "two stand before it");
        let by_size = names_behind_others(classic(Some(1_000_000), None, None));
        assert_eq!(by_size, ["a-web-1.pcapng", "a-web-1.pcapng1", "a-web.pcapng2"]);
        let round = names_behind_others(classic(Some(1_000_000), None, Some(2)));
        assert_eq!(round, ["a-web-1.pcapng0", "a-web-1.pcapng1", "a-web-1.pcapng0"]);
        let ring = RingBuffer { packets: Some(1), files: Some(2), ..RingBuffer::default() };
        let ring = names_behind_others(Rotation::Ring(ring));
        assert!(ring[0].starts_with("a-web_00001_") && ring[0].ends_with("-1.pcapng"), "{ring:?}");
        assert!(ring[2].starts_with("a-web_00003_") && !ring[2].ends_with("-1.pcapng"), "{ring:?}");
    }

    #[test]
    fn a_file_that_fell_out_of_its_ring_gives_its_name_back() {
        let ring = RingBuffer { packets: Some(1), files: Some(1), ..RingBuffer::default() };
        let mut series = series("o.pcapng", Rotation::Ring(ring), Autostop::default());
        let mut taken = Names::default();
        for _ in 0..100 {
            series.open(0, &mut taken);
        }
        assert_eq!(taken.0.len(), 1);
    }

    #[test]
    fn a_ring_keeps_the_last_files() {
        let ring = RingBuffer { packets: Some(2), files: Some(2), ..RingBuffer::default() };
        let mut series = series("o.pcapng", Rotation::Ring(ring), Autostop::default());
        let first = series.open(0, &mut Names::default());
        assert!(first.path.display().to_string().starts_with("o_00001_1970"));
        assert_eq!(series.after_packet(0, 1), Turn::Stay);
        assert_eq!(series.after_packet(0, 2), Turn::Next);
        assert_eq!(series.open(0, &mut Names::default()).remove, None);
        assert_eq!(series.open(0, &mut Names::default()).remove, Some(first.path));
    }

    #[test]
    fn a_ring_ends_files_by_age_and_by_the_clock() {
        let ring = |duration, interval| {
            let seconds = |n: Option<u64>| n.map(Duration::from_secs);
            Rotation::Ring(RingBuffer {
                duration: seconds(duration),
                interval: seconds(interval),
                ..RingBuffer::default()
            })
        };
        let mut age = series("o", ring(Some(60), None), Autostop::default());
        age.open(7 * SECOND, &mut Names::default());
        assert_eq!(age.ends_at(), Some(67 * SECOND));
        let mut clock = series("o", ring(Some(600), Some(60)), Autostop::default());
        clock.open(67 * SECOND, &mut Names::default());
        assert_eq!(clock.ends_at(), Some(120 * SECOND));
    }

    #[test]
    fn limits_end_it() {
        let ring = RingBuffer { packets: Some(1), ..RingBuffer::default() };
        let files = Autostop { files: Some(2), ..Autostop::default() };
        let mut two = series("o", Rotation::Ring(ring), files);
        two.open(0, &mut Names::default());
        assert_eq!(two.after_packet(0, 1), Turn::Next);
        two.open(0, &mut Names::default());
        assert_eq!(two.after_packet(0, 1), Turn::End(Limit::Files(2)));
        let bytes = Autostop { bytes: Some(1000), ..Autostop::default() };
        let mut sized = series("o", Rotation::Off, bytes);
        sized.open(0, &mut Names::default());
        assert_eq!(sized.after_packet(999, 1), Turn::Stay);
        assert_eq!(sized.after_packet(1000, 1), Turn::End(Limit::Bytes(1000)));
    }
}
