//! A recorder whose windows go on on disk.

use std::{fs, path::Path};

use lab::{Namespace, Net, Program, Records, Reference, judge};

use crate::{
    NONE, names,
    record::{SECOND, about, assert_holds, now, recorded, stamps, stream},
    scratch,
    whaletap::{LIMIT, Summary, Whaletap, eventually, interface},
};

/// Frames a second, and their bytes: two seconds of them are more than the memory.
const RATE: u64 = 4000;
const SIZE: u64 = 1000;
const MEMORY: &str = "8MiB";

/// A file system in memory of so many MiB, which goes away.
struct Disk(tempfile::TempDir);

impl Disk {
    fn of(mib: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let size = format!("size={mib}m,mode=755");
        let mount = Program::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]);
        mount.arg(directory.path()).run().unwrap();
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Bytes that are in use.
    fn used(&self) -> u64 {
        let told =
            Program::new("df").args(["--output=used", "-B1"]).arg(self.path()).run().unwrap();
        told.stdout_text().lines().nth(1).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Program::new("umount").arg("--lazy").arg(self.0.path()).run();
    }
}

/// Records a namespace with little memory, and a spill.
fn record(of: &Namespace, out: &Path, spill: &Path, words: &[&str]) -> Whaletap {
    let own = ["--memory", MEMORY, "--on", "signal", "--spill", spill.to_str().unwrap()];
    Whaletap::record(&[of], out, own.iter().chain(words))
}

/// What a column of the only target's row says.
fn cell(summary: &Summary, head: &str) -> u64 {
    let mut rows = summary.text.lines().skip_while(|line| !line.starts_with("RECORDED"));
    let cells = |row: &str| -> Vec<String> {
        row.split("   ").map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect()
    };
    let (heads, row) = (cells(rows.next().unwrap()), cells(rows.next().unwrap()));
    let at = heads.iter().position(|it| it == head).unwrap();
    row[at].parse().unwrap()
}

#[test]
fn what_memory_cannot_hold_is_in_the_file_all_the_same() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let tcpdump = Reference::tcpdump(&b, "eth0", at("tcpdump.pcap"), NONE).unwrap();
    let (out, spill) = (at("out"), at("spill"));
    fs::create_dir(&out).unwrap();
    fs::create_dir(&spill).unwrap();
    let mut ours = record(&b, &out, &spill, &["--keep", "3s", "--after", "1s"]);
    let keeping = ours.running.wait_for_line("keeping 3.0 s of each target: ", LIMIT).unwrap();
    assert!(keeping.ends_with(&format!(" GB on disk in {}", spill.display())), "{keeping}");
    // For longer than it takes until the file is complete, also where all of this is slow.
    let traffic = stream(&a, SIZE, RATE, 14);
    // More than the window and what is kept beyond it: some of it has left the disk again.
    ours.wait_for(RATE * 7);
    assert_eq!(names(&spill), NONE, "it has no name");
    assert!(ours.running.stderr().contains(" MB on disk\n"), "{}", ours.running.stderr());
    let trigger = now();
    ours.signal("USR2");
    let (file, line) = recorded(&mut ours, b.name(), "signal", 1);
    assert!(line.contains("3.0 s before it"), "{line}");
    let sent = lab::traffic::Report::of(traffic.wait().unwrap()).unwrap().count;
    let records = Records::read(&file).unwrap();
    let (_, theirs) = tcpdump.stop_after(sent, LIMIT).unwrap();
    let stamps = stamps(&records);
    assert!(stamps[0] <= trigger - 3 * SECOND, "{}", trigger - stamps[0]);
    assert!(stamps[0] >= trigger - 8 * SECOND, "{}", trigger - stamps[0]);
    assert!(*stamps.last().unwrap() >= trigger + SECOND - SECOND / 100);
    assert_holds(&records.of(&interface(&b, "eth0")), &theirs, stamps[0], trigger + SECOND);
    assert_eq!(records.inversions(), 0);
    let about = about(&file);
    assert!(about.contains("asked for 3.000 s, held 3.000 s; followed by 1.000 s"), "{about}");
    judge::all(&file, true).unwrap();

    let summary = ours.stop();
    summary.assert_adds_up();
    assert_eq!(cell(&summary, "EVICTED"), 0, "{}", summary.text);
    assert_eq!(summary.captured, summary.received, "{summary:?}");
    assert!(!summary.text.contains("warning: "), "{}", summary.text);
    assert!(summary.text.contains(" at the end\n"), "{}", summary.text);
}

#[test]
fn a_full_disk_is_told_and_the_oldest_goes() {
    const MIB: u64 = 1 << 20;
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let disk = Disk::of(16);
    let out = at("out");
    fs::create_dir(&out).unwrap();
    let words = ["--keep", "60s", "--after", "0", "--cooldown", "0"];
    let mut ours = record(&b, &out, disk.path(), &words);
    let traffic = stream(&a, SIZE, RATE, 30);
    let full = format!("warning: --spill {}: its file system has room for ", disk.path().display());
    ours.running.wait_for_line(&full, LIMIT).unwrap();
    // Another time around.
    let before = ours.counts().captured;
    ours.wait_for(before + 3 * RATE);
    ours.signal("USR2");
    let (file, line) = recorded(&mut ours, b.name(), "signal", 1);
    traffic.kill();
    assert!(line.contains("so the window is short"), "{line}");
    let size = fs::metadata(&file).unwrap().len();
    assert!((16 * MIB..=24 * MIB).contains(&size), "{size} bytes were held");
    // What is to be left is left.
    assert!(disk.used() <= 16 * MIB / 100 * 95, "{}", disk.used());
    assert!(disk.used() >= 14 * MIB, "{}", disk.used());
    let about = about(&file);
    assert!(about.contains("memory and spill were used up (--memory, --spill-size)"), "{about}");
    assert!(!about.contains("gaps"), "the oldest went, and nothing else: {about}");
    // Nothing is missing between the first and the last.
    let records = Records::read(&file).unwrap();
    let numbers = records.numbers(1);
    let (first, last) = (numbers.iter().min().unwrap(), numbers.iter().max().unwrap());
    assert_eq!(last - first + 1, numbers.len() as u64);
    let summary = ours.stop();
    summary.assert_adds_up();
    assert_eq!(summary.dropped_by_us, 0, "eviction is no loss: {summary:?}");
    assert!(cell(&summary, "EVICTED") > 0, "{}", summary.text);
}

#[test]
fn its_size_is_its_bound() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let disk = Disk::of(64);
    let out = at("out");
    fs::create_dir(&out).unwrap();
    let words = ["--keep", "60s", "--after", "0", "--spill-size", "4MiB"];
    let mut ours = record(&b, &out, disk.path(), &words);
    let traffic = stream(&a, SIZE, RATE, 30);
    let short = "warning: memory and spill hold ";
    ours.running.wait_for_line(short, LIMIT).unwrap();
    ours.wait_for(RATE * 6);
    assert!((3 << 20..=4 << 20).contains(&disk.used()), "{}", disk.used());
    traffic.kill();
    let summary = ours.stop();
    summary.assert_adds_up();
    assert!(cell(&summary, "EVICTED") > 0, "{}", summary.text);
    assert!(!summary.text.contains("its file system has room"), "{}", summary.text);
    assert_eq!(disk.used(), 0);
}

#[test]
fn nothing_is_left_of_one_that_is_killed() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let disk = Disk::of(64);
    let out = at("out");
    fs::create_dir(&out).unwrap();
    let ours = record(&b, &out, disk.path(), &["--keep", "60s"]);
    let traffic = stream(&a, SIZE, RATE, 30);
    eventually("it is spilled", LIMIT, || disk.used() > 1 << 20);
    assert_eq!(names(disk.path()), NONE);
    ours.signal("KILL");
    ours.running.wait().unwrap();
    traffic.kill();
    assert_eq!(names(disk.path()), NONE);
    // The kernel frees what has no name some time after its last descriptor is gone.
    eventually("its blocks are free", LIMIT, || disk.used() == 0);
}

#[test]
fn a_directory_that_is_not_there_is_told_at_once() {
    let (_net, _, b) = Net::pair().unwrap();
    let words = ["record", &crate::whaletap::selector(&b), "--spill", "/nowhere/at/all"];
    let finished = crate::whaletap::whaletap(words).finish().unwrap();
    assert_eq!(finished.code(), Some(1), "{finished:?}");
    assert!(finished.stderr.contains("cannot spill into /nowhere/at/all: "), "{}", finished.stderr);
}
