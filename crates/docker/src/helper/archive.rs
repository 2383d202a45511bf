//! Archives in memory: the few kinds of entries that an image takes.
//!
//! Source: POSIX.1-1988 `ustar`, as in tar(5).

/// The unit of an archive, in bytes.
const BLOCK: usize = 512;

/// Something in an archive. Names are shorter than 100 bytes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Entry<'a> {
    /// A directory; its name ends with a slash.
    Directory(&'a str),
    /// A link, and where it leads.
    Link(&'a str, &'a str),
    /// A file and what is in it.
    File(&'a str, &'a [u8]),
    /// The same, and it can be run.
    Program(&'a str, &'a [u8]),
}

/// An archive of these entries, all of them root's and of no time: the same bytes for the same
/// contents.
pub(super) fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        let (name, mode, kind, target, contents): (_, _, _, _, &[u8]) = match entry {
            Entry::Directory(name) => (*name, 0o755, b'5', "", &[]),
            Entry::Link(name, target) => (*name, 0o777, b'2', *target, &[]),
            Entry::File(name, contents) => (*name, 0o644, b'0', "", *contents),
            Entry::Program(name, contents) => (*name, 0o755, b'0', "", *contents),
        };
        out.extend_from_slice(&header(name, mode, kind, target, contents.len()));
        out.extend_from_slice(contents);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
    }
    out.resize(out.len() + 2 * BLOCK, 0);
    out
}

fn header(name: &str, mode: u32, kind: u8, target: &str, size: usize) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| {
        for (place, byte) in header.iter_mut().skip(at).zip(bytes) {
            *place = *byte;
        }
    };
    put(0, name.as_bytes());
    put(100, format!("{mode:07o}").as_bytes());
    // Owner, group.
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{size:011o}").as_bytes());
    // Time, and the place of the sum, which counts as blanks.
    put(136, b"00000000000");
    put(148, b"        ");
    put(156, &[kind]);
    put(157, target.as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    for (place, byte) in header.iter_mut().skip(148).zip(format!("{sum:06o}\0 ").bytes()) {
        *place = byte;
    }
    header
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, process::Command};

    use super::*;

    #[test]
    fn tar_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let long = vec![7; 3 * BLOCK + 1];
        let bytes = archive(&[
            Entry::Directory("var/"),
            Entry::Link("var/run", "../run"),
            Entry::File("empty", b""),
            Entry::File("text", b"hello"),
            Entry::Program("program", &long),
        ]);
        assert_eq!(bytes.len() % BLOCK, 0);
        let file = directory.path().join("x.tar");
        fs::write(&file, bytes).unwrap();
        let root = directory.path().join("root");
        fs::create_dir(&root).unwrap();
        let status = Command::new("tar").arg("-C").arg(&root).arg("-xf").arg(&file).status();
        assert!(status.unwrap().success());
        assert_eq!(fs::read_link(root.join("var/run")).unwrap().to_str(), Some("../run"));
        assert_eq!(fs::read(root.join("empty")).unwrap(), b"");
        assert_eq!(fs::read(root.join("text")).unwrap(), b"hello");
        assert_eq!(fs::read(root.join("program")).unwrap(), long);
        let mode = |name| fs::metadata(root.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("text"), mode("program")), (0o644, 0o755));
    }
}
