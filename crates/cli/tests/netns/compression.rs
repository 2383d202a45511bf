//! Compressed files, as other people's tools see them, and what is left of one that is cut short.

use std::{
    fs,
    path::{Path, PathBuf},
};

use lab::{Frames, Namespace, Net, Program, Records, Station, judge};

use crate::{
    NONE,
    blocks::{Blocks, PACKET, SECTION},
    frames_for_tshark, inject, kill_in_a_flood, names, scratch, send,
    whaletap::{LIMIT, Whaletap, eventually, selector, whaletap},
};

/// zstd's own program: decompresses to the end or fails.
fn unpack(file: &Path) -> PathBuf {
    let plain = file.with_extension("");
    Program::new("zstd").args(["-q", "-f", "-d", "-o"]).arg(&plain).arg(file).run().unwrap();
    plain
}

/// Frames of a file, by zstd's own count.
fn frames(file: &Path) -> usize {
    let listed = Program::new("zstd").args(["-l", "-v"]).arg(file).run().unwrap().stdout_text();
    let line = listed.lines().find_map(|line| line.strip_prefix("# Zstandard Frames: "));
    assert!(listed.contains("Check: XXH64"), "{listed}");
    line.unwrap().trim().parse().unwrap()
}

/// Every tool reads the compressed file like the one that is in it.
fn assert_the_same(file: &Path, packets: u64) {
    let plain = unpack(file);
    judge::all(&plain, true).unwrap();
    let [count, expected] = [file, &plain]
        .map(|file| judge::capinfos(file).unwrap().remove("Number of packets").unwrap());
    assert_eq!((count, expected), (packets.to_string(), packets.to_string()));
    let fields = ["frame.time_epoch", "frame.len", "frame.interface_name", "frame.protocols"];
    // Once from the beginning to the end, and once more with a second look at each packet, which
    // jumps around in the file.
    for options in [&["-n"][..], &["-n", "-2"]] {
        let [seen, expected] =
            [file, &plain].map(|file| judge::tshark_fields(file, options, &fields).unwrap());
        assert!(seen == expected, "{}: tshark {options:?} reads something else", file.display());
        assert_eq!(seen.len() as u64, packets);
    }
}

fn capture_zoo(a: &Namespace, b: &Namespace, file: &Path, words: &[&str]) -> Vec<Vec<u8>> {
    let mut ours = Whaletap::capture(&[b], file, words);
    let sent = Frames::new(1, Station::A, Station::NOBODY).zoo();
    inject(a, "eth0", &sent);
    ours.wait_for(sent.len() as u64);
    ours.stop().assert_adds_up();
    sent
}

#[test]
fn compressed_files_are_read_by_everybody() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    for (name, written, words) in [
        ("x.pcapng.zst", "x.pcapng.zst", &[][..]),
        ("x.pcap.zst", "x.pcap.zst", &[]),
        ("y.pcapng", "y.pcapng.zst", &["--compress", "zstd"]),
        // Each packet is a frame of its own, and it is a file all the same.
        ("u.pcapng.zst", "u.pcapng.zst", &["-U"]),
    ] {
        let sent = capture_zoo(&a, &b, &at(name), words);
        let file = at(written);
        assert_the_same(&file, sent.len() as u64);
        assert!(frames(&file) >= 2, "{name}");
        let plain = unpack(&file);
        Records::read(&plain).unwrap().same_bytes(&sent).unwrap();
        let head = &fs::read(&plain).unwrap()[..4];
        let classic = 0xa1b2_3c4d_u32.to_ne_bytes();
        assert_eq!(head == classic, name == "x.pcap.zst", "{name}");
    }
    // A silent one is a file, too.
    for name in ["silent.pcapng.zst", "silent.pcap.zst"] {
        Whaletap::capture(&[&b], &at(name), NONE).stop();
        assert_the_same(&at(name), 0);
    }
}

#[test]
fn many_frames_are_one_file() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let file = at("x.pcapng.zst");
    // Frames of every length, so that they end anywhere in a reader's buffer.
    let mut ours = Whaletap::capture(&[&b], &file, ["-U"]);
    let count = send(&a, "send --dev eth0 --size 200 --count 6000 --rate 3000");
    ours.wait_for(count);
    ours.stop().assert_adds_up();
    assert!(frames(&file) > 100, "{}", frames(&file));
    assert_the_same(&file, count);

    let file = at("y.pcapng.zst");
    let mut ours = Whaletap::capture(&[&b], &file, ["-B", "64MiB"]);
    let count = send(&a, "send --dev eth0 --size 1400 --count 20000 --rate 20000");
    ours.wait_for(count);
    let summary = ours.stop();
    summary.assert_adds_up();
    assert!(frames(&file) > 40, "{}", frames(&file));
    assert_the_same(&file, summary.captured);
    let plain = unpack(&file);
    let [packed, whole] = [&file, &plain].map(|file| fs::metadata(file).unwrap().len());
    assert!(packed * 3 < whole, "{packed} of {whole}");
    Blocks::read(&plain).assert_adds_up();
}

#[test]
fn a_compressed_file_cut_by_sigkill_is_readable_to_its_last_whole_frame() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let file = at("x.pcapng.zst");
    kill_in_a_flood([&a, &b], &file, 400_000);

    // As it was left: nothing but whole frames, unless it was killed in the middle of a write.
    let bytes = fs::read(&file).unwrap();
    let mut before = u64::MAX;
    for cut in [0, 1, 1000, bytes.len() / 2] {
        let file = at(&format!("cut-{cut}.pcapng.zst"));
        fs::write(&file, &bytes[..bytes.len() - cut]).unwrap();
        // zstd complains of the end and gives everything before.
        let unpacked = Program::new("zstd").args(["-q", "-d", "-c"]).arg(&file).finish().unwrap();
        assert!(cut == 0 || unpacked.status.code() == Some(1), "{unpacked:?}");
        let blocks = Blocks::from_reader(&unpacked.stdout[..]);
        assert!(blocks.count(PACKET) > 2000 && blocks.count(PACKET) <= before, "cut {cut}");
        before = blocks.count(PACKET);
        // tshark likewise. It may get at a part of the last frame that zstd's program does not give.
        let (seen, complaint) = frames_for_tshark(&file);
        assert!(seen >= before, "cut {cut}: {seen} of {before}: {complaint}");
    }
}

/// The counter stands where it would stand without compression, and `.zst` behind it.
#[test]
fn files_that_follow_each_other_keep_the_suffix() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let done = at("done");
    let text = format!("#!/bin/sh\nbasename \"$1\" >>{}\n", done.display());
    fs::write(at("finished.sh"), text).unwrap();
    Program::new("chmod").arg("+x").arg(at("finished.sh")).run().unwrap();
    let script = at("finished.sh");
    let script = script.to_str().unwrap();
    for (name, words, expected) in [
        // Sizes are those before compression: a million bytes is a thousand frames.
        ("plain", &["-C", "1"][..], &["x.pcapng.zst", "x.pcapng1.zst", "x.pcapng2.zst"][..]),
        ("ring", &["-C", "1", "-W", "3"], &["x.pcapng0.zst", "x.pcapng1.zst", "x.pcapng2.zst"]),
        ("numbers", &["-b", "packets:1000"], &["x_00001_T", "x_00002_T", "x_00003_T"]),
    ] {
        let directory = at(name);
        fs::create_dir(&directory).unwrap();
        let words = [words, &["-z", script]].concat();
        let mut ours = Whaletap::capture(&[&b], &directory.join("x.pcapng.zst"), &words);
        let count = send(&a, "send --dev eth0 --size 1000 --count 2500");
        ours.wait_for(count);
        ours.stop().assert_adds_up();
        let found = names(&directory);
        let expected: Vec<String> = match name {
            "numbers" => {
                let time = |name: &String| name[8..22].to_owned();
                let filled = expected.iter().zip(&found);
                filled.map(|(e, f)| e.replace('T', &time(f)) + ".pcapng.zst").collect()
            }
            _ => expected.iter().map(|name| (*name).to_owned()).collect(),
        };
        assert_eq!(found, expected, "{name}");
        let mut all: Vec<Vec<u64>> = Vec::new();
        for name in &found {
            let plain = unpack(&directory.join(name));
            judge::all(&plain, true).unwrap();
            assert_eq!(Blocks::read(&plain).count(SECTION), 1, "{name}");
            all.push(Records::read(&plain).unwrap().numbers(1));
        }
        assert_eq!(all.concat(), (0..count).collect::<Vec<_>>(), "{name}");
        // The command of -z hears of the files that are there.
        eventually("the command has run for two", LIMIT, || {
            let told = fs::read_to_string(&done).unwrap_or_default();
            let mut told: Vec<&str> = told.lines().collect();
            told.sort_unstable();
            told == found[..2]
        });
        fs::remove_file(&done).unwrap();
    }

    // With a file for each target its name comes before both suffixes.
    let directory = at("split");
    fs::create_dir(&directory).unwrap();
    let words = ["--split", "--compress", "zstd"];
    Whaletap::capture(&[&a, &b], &directory.join("x.pcapng"), words).stop();
    let mut expected = [&a, &b].map(|ns| format!("x-{}.pcapng.zst", ns.name()));
    expected.sort();
    assert_eq!(names(&directory), expected);
    expected.iter().for_each(|name| assert_the_same(&directory.join(name), 0));
}

#[test]
fn a_stream_is_compressed_only_when_that_is_asked_for() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let sent = Frames::new(1, Station::A, Station::NOBODY).zoo();
    for words in [&["-w", "-"][..], &["-w", "-", "--compress", "zstd"]] {
        let file = fs::File::create(at("x.pcapng.zst")).unwrap();
        let program = whaletap(["capture", &selector(&b)]).args(words).stdout_to(file);
        let mut ours = Whaletap::start(program);
        inject(&a, "eth0", &sent);
        ours.wait_for(sent.len() as u64);
        ours.stop().assert_adds_up();
        if words.len() == 2 {
            judge::all(at("x.pcapng.zst"), true).unwrap();
            Records::read(at("x.pcapng.zst")).unwrap().same_bytes(&sent).unwrap();
        } else {
            assert_the_same(&at("x.pcapng.zst"), sent.len() as u64);
        }
    }

    // A FIFO keeps its name, and what is printed beside a compressed file is not compressed.
    let fifo = at("fifo");
    Program::new("mkfifo").arg(&fifo).run().unwrap();
    let read = {
        let fifo = fifo.clone();
        std::thread::spawn(move || fs::read(fifo).unwrap())
    };
    let mut ours = Whaletap::capture(&[&b], &fifo, ["--compress", "zstd", "--print=tcpdump", "-n"]);
    inject(&a, "eth0", &sent);
    ours.wait_for(sent.len() as u64);
    ours.signal("INT");
    let finished = ours.running.wait_at_most(LIMIT).unwrap();
    let printed = finished.stdout_text();
    // What stands in a line of its own behind a frame are bytes that tcpdump has no words for.
    let lines = printed.lines().filter(|line| !line.starts_with(['\t', ' '])).count();
    assert_eq!(lines, sent.len(), "{printed}");
    fs::write(at("copy.pcapng.zst"), read.join().unwrap()).unwrap();
    assert_the_same(&at("copy.pcapng.zst"), sent.len() as u64);
    assert!(!fs::exists(at("fifo.zst")).unwrap());
}

/// Of a write that fails nothing stays: what is on the disk is whole frames.
#[test]
fn a_full_disk_leaves_whole_frames() {
    let (_net, a, b) = Net::pair().unwrap();
    let (_directory, at) = scratch();
    let disk = at("disk");
    fs::create_dir(&disk).unwrap();
    let mount = Program::new("mount").args(["-t", "tmpfs", "-o", "size=256k,mode=755", "none"]);
    mount.arg(&disk).run().unwrap();
    let _unmounted = Unmounted(disk.clone());
    let file = disk.join("x.pcapng.zst");
    let mut ours = Whaletap::capture(&[&b], &file, ["--keep-free", "0"]);
    let flood = a.traffic("send --dev eth0 --size 300 --seconds 20 --rate 20000").unwrap();
    let ended = ours.running.wait_for_line("No space left on device", LIMIT);
    flood.kill();
    let line = ended.unwrap();
    assert!(line.contains("cannot write") && line.contains("x.pcapng.zst"), "{line}");
    let summary = ours.ended(1);
    summary.assert_adds_up();
    assert!(summary.dropped_by_us > 0 && summary.captured > 0, "{summary:?}");
    let copy = at("copy.pcapng.zst");
    fs::copy(&file, &copy).unwrap();
    assert_the_same(&copy, summary.captured);
}

/// A mount that goes away whatever the test comes to.
struct Unmounted(PathBuf);

impl Drop for Unmounted {
    fn drop(&mut self) {
        let _ = Program::new("umount").arg("--lazy").arg(&self.0).run();
    }
}
