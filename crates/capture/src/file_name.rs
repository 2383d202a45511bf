//! Names of files: what the user wrote, with time, host and target filled in.

use std::path::{Path, PathBuf};

use jiff::{Timestamp, fmt::strtime, tz::TimeZone};

use crate::{Compression, Error};

/// The longest name of a target in a file name, in bytes.
const MAX_TARGET: usize = 128;

/// A file name as it was written: `strftime(3)` conversions, `{host}` and `{target}` are filled in
/// when a file is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileName {
    text: String,
    host: String,
    is_ours: bool,
}

/// A time, to be told in the zone of this machine. Which one that is takes a search through hundreds
/// of files: so it is asked where a name has a time in it.
#[derive(Debug, Clone)]
pub struct Moment {
    timestamp: Timestamp,
    /// `None`: this machine's.
    zone: Option<TimeZone>,
}

impl Moment {
    /// The moment of a packet's timestamp, in nanoseconds since 1970.
    #[must_use]
    pub fn of(timestamp: u64) -> Self {
        let timestamp = i64::try_from(timestamp).unwrap_or(i64::MAX);
        let timestamp = Timestamp::from_nanosecond(timestamp.into());
        Self { timestamp: timestamp.unwrap_or(Timestamp::UNIX_EPOCH), zone: None }
    }

    /// With milliseconds and the offset from UTC: `2024-07-14T12:01:17.123+02:00`.
    pub(crate) fn exactly(&self) -> String {
        self.format("%Y-%m-%dT%H:%M:%S%.3f%:z").unwrap_or_default()
    }

    fn format(&self, format: &str) -> Option<String> {
        if !format.contains('%') {
            return Some(format.to_owned());
        }
        let zone = self.zone.clone().unwrap_or_else(TimeZone::system);
        strtime::format(format, &self.timestamp.to_zoned_datetime(zone)).ok()
    }
}

impl FileName {
    /// A name, on a host of this name.
    ///
    /// # Errors
    /// [`Error::FileName`] when it is empty, ends in a slash or has a zero byte.
    pub fn new(text: &str, host: &str) -> Result<Self, Error> {
        let wrong = |why| Error::FileName { name: text.to_owned(), why };
        if text.is_empty() {
            return Err(wrong("it is empty"));
        }
        if text.ends_with('/') {
            return Err(wrong("it names a directory"));
        }
        if text.contains('\0') {
            return Err(wrong("it has a zero byte"));
        }
        Ok(Self { text: text.to_owned(), host: safe(host), is_ours: false })
    }

    /// The same name, chosen by us: never over a file that is there already.
    #[must_use]
    pub fn chosen_by_us(self) -> Self {
        Self { is_ours: true, ..self }
    }

    /// The same name for files that are compressed so: with its suffix, where it is not there.
    #[must_use]
    pub fn compressed(mut self, compression: Compression) -> Self {
        if Compression::of_name(&self.text) != compression {
            self.text.push_str(compression.suffix());
        }
        self
    }

    /// The name for a file that a recorder begins at `moment`: as [`FileName::render`], with the
    /// trigger in place of `{trigger}`, or before the suffix.
    #[must_use]
    pub(crate) fn render_for(&self, moment: &Moment, target: &str, trigger: &str) -> String {
        let name = self.render(moment, Some(target));
        if self.text.contains("{trigger}") {
            name.replace("{trigger}", &safe(trigger))
        } else {
            before_suffix(&name, &format!("-{}", safe(trigger)))
        }
    }

    /// Whether we chose it.
    pub(crate) fn is_ours(&self) -> bool {
        self.is_ours
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The directory in which files will be, as far as it does not depend on time.
    #[must_use]
    pub fn directory(&self) -> &Path {
        let fixed = self.text.find(['%', '{']).map_or(&*self.text, |at| &self.text[..at]);
        match fixed.rfind('/') {
            Some(0) => Path::new("/"),
            Some(slash) => Path::new(&self.text[..slash]),
            None => Path::new("."),
        }
    }

    /// The name for a file that is opened at `moment`. A target is put before the suffix where the
    /// name does not say where it goes.
    #[must_use]
    pub fn render(&self, moment: &Moment, target: Option<&str>) -> String {
        // Text that is no format is taken as it stands, as tcpdump takes every name without -G.
        let mut name = moment.format(&self.text).unwrap_or_else(|| self.text.clone());
        name = name.replace("{host}", &self.host);
        match target.map(safe) {
            Some(target) if name.contains("{target}") => name.replace("{target}", &target),
            Some(target) => before_suffix(&name, &format!("-{target}")),
            None => name.replace("{target}", "all"),
        }
    }
}

/// A name without the suffix of its compression, and that suffix: whatever makes a name out of
/// another leaves it at the end, so that decompressed files have the names that they would have had.
fn without_compression(name: &str) -> (&str, &str) {
    let suffix = Compression::of_name(name).suffix();
    match name.strip_suffix(suffix) {
        Some(rest) if !rest.is_empty() && !rest.ends_with('/') => (rest, suffix),
        _ => (name, ""),
    }
}

/// `text` between a name and its suffix: `a.pcapng` and `-x` make `a-x.pcapng`, `a.pcapng.zst`
/// makes `a-x.pcapng.zst`.
pub(crate) fn before_suffix(name: &str, text: &str) -> String {
    let (name, compression) = without_compression(name);
    let base = name.rfind('/').map_or(0, |slash| slash + 1);
    match name[base..].rfind('.') {
        Some(dot) if dot > 0 => {
            let (stem, suffix) = name.split_at(base + dot);
            format!("{stem}{text}{suffix}{compression}")
        }
        _ => format!("{name}{text}{compression}"),
    }
}

/// dumpcap's name for a file of a ring: `out_00001_20240714120117.pcapng`.
pub(crate) fn numbered(name: &str, number: u32, moment: &Moment) -> String {
    let time = moment.format("%Y%m%d%H%M%S").unwrap_or_default();
    before_suffix(name, &format!("_{number:05}_{time}"))
}

/// tcpdump's name for the file of this number: the number stands behind everything but the suffix
/// of a compression, in `width` digits; the first has none where there is no width.
pub(crate) fn counted(name: &str, number: u32, width: usize) -> String {
    if number == 0 && width == 0 {
        return name.to_owned();
    }
    let (name, compression) = without_compression(name);
    format!("{name}{number:0width$}{compression}")
}

/// A name from outside as a part of a file name: no slash, no leading dot, nothing that a shell or
/// a terminal minds.
fn safe(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
    let mut safe: String =
        name.chars().map(|c| if allowed(c) { c } else { '_' }).take(MAX_TARGET).collect();
    if safe.is_empty() || safe.starts_with('.') {
        safe.insert(0, '_');
    }
    safe
}

/// A name that is not among `used`: a counter goes before the suffix.
pub(crate) fn unused(name: String, is_used: impl Fn(&Path) -> bool) -> PathBuf {
    let mut path = PathBuf::from(&name);
    let mut counter = 1_u32;
    while is_used(&path) {
        path = PathBuf::from(before_suffix(&name, &format!("-{counter}")));
        counter = counter.saturating_add(1);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment() -> Moment {
        let timestamp = Timestamp::from_second(1_720_958_477).unwrap();
        Moment { timestamp, zone: Some(TimeZone::UTC) }
    }

    fn render(text: &str, target: Option<&str>) -> String {
        FileName::new(text, "node.1").unwrap().render(&moment(), target)
    }

    #[test]
    fn names_are_filled_in() {
        assert_eq!(
            render("{host}-%Y-%m-%d_%H-%M-%S.pcapng", None),
            "node.1-2024-07-14_12-01-17.pcapng"
        );
        assert_eq!(render("/tmp/a.pcapng", Some("web")), "/tmp/a-web.pcapng");
        assert_eq!(render("/tmp.d/a", Some("web")), "/tmp.d/a-web");
        assert_eq!(render("{target}/x.pcap", Some("../../etc")), "_.._.._etc/x.pcap");
        assert_eq!(render("100%", None), "100%");
    }

    #[test]
    fn a_recorders_names_have_the_trigger() {
        let render = |text: &str| {
            FileName::new(text, "h").unwrap().render_for(&moment(), "web/{trigger}", "die")
        };
        assert_eq!(render("d/{target}-{trigger}-%H.pcapng"), "d/web__trigger_-die-12.pcapng");
        assert_eq!(render("d.x/a.pcapng"), "d.x/a-web__trigger_-die.pcapng");
        assert_eq!(moment().exactly(), "2024-07-14T12:01:17.000+00:00");
    }

    #[test]
    fn tcpdump_and_dumpcap_number_their_files_so() {
        assert_eq!(counted("a.pcap", 0, 0), "a.pcap");
        assert_eq!(counted("a.pcap", 1, 0), "a.pcap1");
        assert_eq!(counted("a.pcap", 0, 2), "a.pcap00");
        assert_eq!(counted("a.pcap", 11, 2), "a.pcap11");

        assert_eq!(numbered("outfile.pcapng", 1, &moment()), "outfile_00001_20240714120117.pcapng");
    }

    #[test]
    fn what_says_that_a_file_is_compressed_stays_at_its_end() {
        assert_eq!(render("/tmp/a.pcapng.zst", Some("web")), "/tmp/a-web.pcapng.zst");
        assert_eq!(render("/tmp/a.zst", Some("web")), "/tmp/a-web.zst");
        assert_eq!(render("/tmp/.zst", Some("web")), "/tmp/.zst-web", "a hidden file");
        assert_eq!(counted("a.pcapng.zst", 0, 0), "a.pcapng.zst");
        assert_eq!(counted("a.pcapng.zst", 1, 0), "a.pcapng1.zst");
        assert_eq!(counted("a.pcap.zst", 3, 2), "a.pcap03.zst");
        let dumpcaps = numbered("a.pcapng.zst", 1, &moment());
        assert_eq!(dumpcaps, "a_00001_20240714120117.pcapng.zst");
        let again = unused("a.pcapng.zst".to_owned(), |path| path == Path::new("a.pcapng.zst"));
        assert_eq!(again, Path::new("a-1.pcapng.zst"));
        for (text, compression, name) in [
            ("a.pcapng", Compression::Zstd, "a.pcapng.zst"),
            ("a.pcapng.zst", Compression::Zstd, "a.pcapng.zst"),
            ("a.pcapng", Compression::None, "a.pcapng"),
        ] {
            let compressed = FileName::new(text, "h").unwrap().compressed(compression);
            assert_eq!(compressed.text(), name);
        }
    }

    #[test]
    fn the_directory_does_not_depend_on_time() {
        for (text, directory) in [
            ("a.pcap", "."),
            ("/a.pcap", "/"),
            ("x/y/%Y/a.pcap", "x/y"),
            ("x/{target}/a", "x"),
            ("x%H", "."),
        ] {
            assert_eq!(
                FileName::new(text, "h").unwrap().directory(),
                Path::new(directory),
                "{text}"
            );
        }
    }
}
