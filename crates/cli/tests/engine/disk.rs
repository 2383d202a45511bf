//! Disks that are full, and directories that go away.

use std::{
    fs,
    path::{Path, PathBuf},
};

use lab::{Container, Engine, Program, judge};
use tempfile::TempDir;

use crate::tap::{FILE, LIMIT, Tapped, assert_ended, capture, count, idle, send, whaletap};

/// A file system of this many KiB.
struct Disk {
    directory: TempDir,
}

impl Disk {
    fn of(kib: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let size = format!("size={kib}k,mode=755");
        let mount = Program::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]);
        mount.arg(directory.path()).run().unwrap();
        Self { directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().to_owned()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Program::new("umount").arg("--lazy").arg(self.directory.path()).run();
    }
}

fn two() -> (Container, Container) {
    let engine = Engine::shared().unwrap();
    (engine.run(idle("web")).unwrap(), engine.run(idle("db")).unwrap())
}

/// The summary adds up, and has as many captured packets as the file.
fn assert_accounted(stderr: &str, file: &Path) {
    let parts = ["captured", "dropped by kernel", "dropped by whaletap", "discarded at stop"];
    let accounted: u64 = parts.iter().map(|what| count(stderr, what)).sum();
    assert_eq!(accounted, count(stderr, "received by filter"), "{stderr}");
    let infos = judge::capinfos(file).unwrap();
    assert_eq!(infos["Number of packets"], count(stderr, "captured").to_string(), "{stderr}");
    assert!(!stderr.contains("bug"), "{stderr}");
}

#[test]
fn a_full_disk_ends_it_with_a_whole_file() {
    let (web, db) = two();
    let disk = Disk::of(1024);
    let file = disk.path().join(FILE);
    let words = [web.name(), "--keep-free", "0", "--", "udp", "port", "9"];
    let mut running = capture(&Engine::endpoint(), &file, &words).start().unwrap();
    running.wait_for_line("capturing ", LIMIT).unwrap();
    send(&db, &web, 2000, "--size 1400 --rate 4000");
    let finished = running.wait().unwrap();
    assert_ended(&finished, 1, &["cannot write", FILE, "No space left on device", "hint: "]);
    assert_accounted(&finished.stderr, &file);
    assert!(count(&finished.stderr, "captured") > 0);
    assert!(count(&finished.stderr, "captured") < 2000);
    judge::all(&file, true).unwrap();
}

#[test]
fn room_is_kept_free() {
    let (web, db) = two();
    let disk = Disk::of(4096);
    let file = disk.path().join(FILE);
    let words = [web.name(), "--keep-free", "2MiB", "--", "udp", "port", "9"];
    let mut running = capture(&Engine::endpoint(), &file, &words).start().unwrap();
    running.wait_for_line("capturing ", LIMIT).unwrap();
    send(&db, &web, 4000, "--size 1400 --rate 4000");
    let finished = running.wait().unwrap();
    assert_ended(&finished, 1, &["no room", "kept free", "--keep-free", "hint: "]);
    assert_accounted(&finished.stderr, &file);
    judge::all(&file, true).unwrap();
    let size = fs::metadata(&file).unwrap().len();
    // What was on its way is still written: a chunk, and the statistics.
    assert!((1 << 20..=(7 << 19)).contains(&size), "{size} bytes");

    // Also where a chunk is more than what is kept free.
    let small = Disk::of(1024);
    let file = small.path().join(FILE);
    let words = [web.name(), "--", "udp", "port", "9"];
    let mut running = capture(&Engine::endpoint(), &file, &words).start().unwrap();
    running.wait_for_line("capturing ", LIMIT).unwrap();
    send(&db, &web, 4000, "--size 1400 --rate 4000");
    let finished = running.wait().unwrap();
    assert_ended(&finished, 1, &["kept free", "--keep-free", "hint: "]);
    assert_accounted(&finished.stderr, &file);
    judge::all(&file, true).unwrap();

    // Where there is too little from the beginning it says so at once.
    let second = disk.path().join("second.pcapng");
    let words = [web.name(), "--keep-free", "90%"];
    let finished = capture(&Engine::endpoint(), &second, &words).finish().unwrap();
    assert_ended(&finished, 1, &["kept free"]);
    judge::all(&second, true).unwrap();
}

#[test]
fn a_directory_that_goes_away_ends_it() {
    let (web, db) = two();
    let parent = tempfile::tempdir().unwrap();
    for more in [&[][..], &["-C", "1"]] {
        let directory = parent.path().join("out");
        fs::create_dir(&directory).unwrap();
        let words = [more, &[web.name(), "--", "udp", "port", "9"]].concat();
        let program = capture(&Engine::endpoint(), &directory.join(FILE), &words);
        let mut running = program.start().unwrap();
        running.wait_for_line("capturing ", LIMIT).unwrap();
        fs::remove_dir_all(&directory).unwrap();
        send(&db, &web, 1500, "--size 1400 --rate 4000");
        let finished = running.wait().unwrap();
        assert_ended(&finished, 1, &[FILE, "the file was removed"]);
        assert!(!directory.exists());
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_told() {
    let (web, _db) = two();
    let disk = Disk::of(64);
    let remount = Program::new("mount").args(["-o", "remount,ro"]);
    remount.arg(disk.path()).run().unwrap();
    let file = disk.path().join(FILE);
    for (path, what) in [
        (file.to_str().unwrap(), "Read-only file system"),
        ("/nonexistent/directory/x.pcapng", "No such file or directory"),
        ("/etc/passwd/x.pcapng", "not a directory"),
    ] {
        let finished = whaletap(&["capture", web.name(), "-w", path]).finish().unwrap();
        assert_ended(&finished, 1, &[what, path.rsplit_once('/').unwrap().0]);
        assert!(!fs::exists(path).unwrap_or(false));
    }
}

/// What a stream's reader sees when it goes away is a normal end.
#[test]
fn a_reader_that_goes_away_is_a_normal_end() {
    let (web, db) = two();
    let (reader, writer) = std::io::pipe().unwrap();
    let words = ["capture", web.name(), "-w", "-", "-U", "--", "udp", "port", "9"];
    let mut running = whaletap(&words).stdout_to(writer).start().unwrap();
    running.wait_for_line("capturing ", LIMIT).unwrap();
    drop(reader);
    send(&db, &web, 100, "--rate 1000");
    let finished = running.wait().unwrap();
    assert_ended(&finished, 0, &["nobody reads the output any more"]);
}

/// A capture into a pipe is the same file.
#[test]
fn a_pipe_gets_a_whole_file() {
    let (web, db) = two();
    let words = ["capture", web.name(), "-w", "-", "-c", "50", "--", "udp", "port", "9"];
    let mut running = whaletap(&words).start().unwrap();
    running.wait_for_line("capturing ", LIMIT).unwrap();
    send(&db, &web, 60, "--run 6 --rate 1000");
    let finished = running.wait().unwrap();
    assert_ended(&finished, 0, &["the limit of 50 packets was reached"]);
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(FILE), &finished.stdout).unwrap();
    let tapped = Tapped { finished, directory };
    assert_eq!(tapped.records().numbers(6), (0..50).collect::<Vec<_>>());
    judge::all(tapped.file(), true).unwrap();
}
