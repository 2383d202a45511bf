//! Captures that end and are followed by others of the same target: what stands in the files, and
//! in which. Needs root.

#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod holding;
mod running;

use lab::judge;
use running::{
    Peer, Running, attach, attachment, eventually, following, geometry, identity, interfaces,
};
use std::time::Duration;
use sys::ring::Geometry;
use whaletap_capture::{CaptureId, Error, Identity, Means, RingBuffer, Rotation};

const ID: CaptureId = CaptureId(0);

#[test]
fn a_new_name_stands_in_a_new_block_and_the_same_one_in_none() {
    let mut peer = Peer::new();
    let running = Running::start("x.pcapng", false, Rotation::Off);
    attach(&running, attachment(&peer.namespace, 0, "web"));
    peer.send(2);
    running.wait_for(2);
    running.pipeline.rename(ID, identity("web"));
    running.pipeline.rename(ID, identity("shop"));
    running.wait_for(2);
    peer.send(3);
    running.wait_for(5);
    // eth0 has 10.7.0.2, lo has 127.0.0.1: only what is inside changes its description.
    let network = ("10.7.0.2".parse().unwrap(), "front".to_owned());
    let networks = vec![network];
    running.pipeline.rename(ID, Identity { networks, ..identity("shop") });
    running.wait_for(5);
    peer.send(4);
    running.wait_for(9);
    let file = running.at("x.pcapng");
    let (report, _directory) = running.stop();
    assert_eq!(report.last.sources[0].name, "shop");

    judge::all(&file, true).unwrap();
    let found = interfaces(&file);
    let names: Vec<_> = found.iter().map(|interface| &*interface.name).collect();
    assert_eq!(names, ["web/lo", "web/eth0", "shop/lo", "shop/eth0", "shop/eth0"]);
    assert_eq!([1, 3, 4].map(|number: usize| found[number].packets), [2, 3, 4], "{found:?}");
    assert_eq!(found[4].description, "container shop, network front");
    for (later, earlier) in [(2, 0), (3, 1), (4, 3)] {
        let links = &found[later].comments;
        assert!(links[0].contains(&format!("interface {earlier} of this file")), "{links:?}");
    }
    for interface in &found {
        assert_eq!(interface.statistics.len(), 1, "{interface:?}");
        assert_eq!(interface.statistics[0].0, interface.packets, "{interface:?}");
    }
    let seen = judge::tshark_fields(&file, &[], &["frame.interface_name"]).unwrap();
    let seen: Vec<_> = seen.iter().map(|line| &*line[0]).collect();
    assert_eq!(seen[..2], ["web/eth0"; 2]);
    assert_eq!(seen[2..], ["shop/eth0"; 7]);
}

#[test]
fn an_interface_that_changes_has_its_next_frames_under_the_new_block() {
    let mut peer = Peer::new();
    let running = Running::start("x.pcapng", false, Rotation::Off);
    attach(&running, attachment(&peer.namespace, 0, "web"));
    peer.send(2);
    running.wait_for(2);
    peer.namespace.ip("addr add 10.7.9.9/24 dev eth0").unwrap();
    running::eventually(|| {
        running.pipeline.flush();
        running.pipeline.snapshot().unwrap();
        interfaces(running.at("x.pcapng")).len() == 3
    });
    peer.send(3);
    running.wait_for(5);
    let file = running.at("x.pcapng");
    let (_, _directory) = running.stop();
    let found = interfaces(&file);
    assert_eq!([1, 2].map(|number: usize| found[number].packets), [2, 3], "{found:?}");
}

#[test]
fn who_comes_back_is_linked_to_who_was_there() {
    let mut peer = Peer::new();
    let running = Running::start("x.pcapng", false, Rotation::Off);
    attach(&running, attachment(&peer.namespace, 0, "web"));
    peer.send(2);
    running.wait_for(2);
    running.pipeline.suspend(ID);
    let first = running.detached();
    assert!(first.ended && first.stats.captured == 2 && first.until.unwrap() > first.since);
    assert_eq!(first.blind, None);
    // All of it is written when its end is told.
    let written = interfaces(running.at("x.pcapng"));
    assert_eq!((written.len(), written[1].packets), (2, 2));
    assert_eq!(written[1].statistics[0].0, 2);

    let mut again = Peer::new();
    attach(&running, following(&again.namespace, 1, "web", 0));
    again.send(3);
    running.wait_for(5);
    // Before the second has ended, a third is there.
    attach(&running, following(&peer.namespace, 2, "web", 1));
    running.pipeline.suspend(CaptureId(1));
    let second = running.detached();
    assert_eq!((second.id, second.blind.unwrap().frames), (CaptureId(1), 3));
    peer.send(1);
    running.wait_for(6);
    // Unrelated, and not to be followed by anyone.
    running.pipeline.forget(CaptureId(7));
    running.pipeline.detach(CaptureId(2));
    running.detached();
    running.pipeline.forget(CaptureId(2));
    attach(&running, following(&peer.namespace, 3, "web", 2));
    let file = running.at("x.pcapng");
    let (report, _directory) = running.stop();
    assert_eq!(report.last.sources.len(), 4);

    judge::all(&file, true).unwrap();
    let found = interfaces(&file);
    assert!(found.iter().step_by(2).all(|interface| interface.name == "web/lo"));
    assert!(found.iter().skip(1).step_by(2).all(|interface| interface.name == "web/eth0"));
    let links: Vec<_> = found.iter().map(|interface| interface.comments.join("")).collect();
    for number in [2, 3, 4, 5] {
        let earlier = number - 2;
        assert!(
            links[number].contains(&format!("in place of interface {earlier} of")),
            "{links:?}"
        );
    }
    assert!(links[0].is_empty() && links[1].is_empty(), "{links:?}");
    assert!(links[6].is_empty() && links[7].is_empty(), "its place was given up: {links:?}");
    assert_eq!(found[3].notes, ["web: the capture begins here"]);
    // Nothing came for the last one's note.
    let said = &found[6].statistics[0].1;
    assert!(said.contains(&"web: the capture begins here".to_owned()), "{said:?}");
    assert!(!found[2].statistics[0].1.contains(&"web: the capture begins here".to_owned()));
}

#[test]
fn a_file_of_its_own_goes_on_for_who_comes_back_and_ends_for_who_is_forgotten() {
    let mut peer = Peer::new();
    let mut again = Peer::new();
    let running = Running::start("x.pcapng", true, Rotation::Off);
    attach(&running, attachment(&peer.namespace, 0, "web"));
    peer.send(2);
    running.pipeline.suspend(ID);
    running.detached();
    attach(&running, following(&again.namespace, 1, "web", 0));
    again.send(3);
    running.pipeline.suspend(CaptureId(1));
    running.detached();
    assert_eq!(running.names(), ["x-web.pcapng"]);
    running.pipeline.forget(CaptureId(1));
    assert_eq!(running.file_done(), running.at("x-web.pcapng"));

    // The name is this session's already.
    attach(&running, following(&peer.namespace, 2, "web", 1));
    peer.send(1);
    running.pipeline.detach(CaptureId(2));
    running.detached();
    attach(&running, attachment(&peer.namespace, 3, "web"));
    // Files are made by who writes them.
    let names = ["x-web-1.pcapng", "x-web-2.pcapng", "x-web.pcapng"];
    eventually(|| running.names() == names);
    let snapshot = running.pipeline.snapshot().unwrap();
    assert_eq!((snapshot.files, snapshot.packets), (3, 6));
    assert_eq!(snapshot.file, Some(running.at("x-web-2.pcapng")));
    let files = ["x-web.pcapng", "x-web-1.pcapng", "x-web-2.pcapng"].map(|name| running.at(name));
    let (report, _directory) = running.stop();
    let sizes: u64 = files.iter().map(|file| file.metadata().unwrap().len()).sum();
    assert_eq!(report.last.bytes, sizes);
    for (file, count) in files.iter().zip(["5", "1", "0"]) {
        judge::all(file, true).unwrap();
        let info = judge::capinfos(file).unwrap();
        assert_eq!(info["Number of packets"], count);
        assert_eq!(info["File encapsulation"], "ether");
    }
    let found = interfaces(&files[0]);
    assert_eq!(found.len(), 4);
    assert!(found[3].comments[0].contains("interface 1 of this file"), "{found:?}");
    assert!(interfaces(&files[1]).iter().all(|interface| interface.comments.is_empty()));
}

#[test]
fn no_file_is_made_for_nobody_and_the_next_one_reads_alone() {
    let mut peer = Peer::new();
    let ring = RingBuffer { duration: Some(Duration::from_millis(300)), ..RingBuffer::default() };
    let running = Running::start("x.pcapng", true, Rotation::Ring(ring));
    attach(&running, attachment(&peer.namespace, 0, "web"));
    peer.send(2);
    running.pipeline.suspend(ID);
    running.detached();
    running.file_done();
    let before = running.names().len();
    // Another target's files go on: three of them are as long as three of the first one's would be.
    attach(&running, attachment(&peer.namespace, 1, "other"));
    for _ in 0..3 {
        running.file_done();
    }
    let of_web = || running.names().iter().filter(|name| name.contains("web")).count();
    assert_eq!(of_web(), before);
    attach(&running, following(&peer.namespace, 2, "web", 0));
    eventually(|| of_web() == before + 1);
    peer.send(1);
    running.wait_for(4);
    let names: Vec<_> = running.names().iter().map(|name| running.at(name)).collect();
    let (_, _directory) = running.stop();
    for file in &names {
        judge::all(file, true).unwrap();
        assert_eq!(judge::capinfos(file).unwrap()["File encapsulation"], "ether");
        let found = interfaces(file);
        assert_eq!(found.len(), 2, "{}", file.display());
        // What it stands in place of is in another file.
        assert!(found.iter().all(|interface| interface.comments.is_empty()), "{found:?}");
    }
}

#[test]
fn a_ring_that_cannot_be_mapped_fails_alone() {
    let mut peer = Peer::new();
    let running = Running::start("x.pcapng", true, Rotation::Off);
    attach(&running, attachment(&peer.namespace, 0, "web"));
    let mut unmappable = attachment(&peer.namespace, 1, "broken");
    let more = geometry().blocks() * 2;
    let Means::Here(sockets) = &mut unmappable.means else { panic!("{unmappable:?}") };
    sockets.geometry =
        Geometry::from_parts(geometry().block_bytes(), more, geometry().retire()).unwrap();
    assert_eq!(peer.sockets(), 2);
    let refused = running.pipeline.attach(unmappable);
    assert!(matches!(refused, Err(Error::Kernel(_))), "{refused:?}");
    assert_eq!(peer.sockets(), 1);
    eventually(|| running.names() == ["x-web.pcapng"]);
    // It goes on, and the number can be used.
    attach(&running, attachment(&peer.namespace, 1, "mended"));
    peer.send(2);
    running.wait_for(4);
    let (report, _directory) = running.stop();
    let names: Vec<_> = report.last.sources.iter().map(|source| &*source.name).collect();
    assert_eq!(names, ["web", "mended"]);
}

#[test]
fn what_is_told_of_one_that_is_being_attached_is_heard() {
    let (mut first, mut second) = (Peer::new(), Peer::new());
    let running = Running::start("x.pcapng", false, Rotation::Off);
    let pipeline = &running.pipeline;
    let web = attachment(&first.namespace, 0, "web");
    first.send(3);
    pipeline.attach_aside(web).unwrap();
    pipeline.rename(ID, Identity { note: None, ..identity("shop") });
    pipeline.suspend(ID);
    // Another one that is the same target.
    let next = following(&second.namespace, 1, "web", 0);
    second.send(2);
    pipeline.attach_aside(next).unwrap();
    // The end waits for who was announced.
    let (report, directory) = running.stop();
    let counts = report.last.sources.iter().map(|source| source.stats.captured);
    assert_eq!(counts.collect::<Vec<_>>(), [3, 2], "{report:?}");
    assert!(report.last.total().adds_up());
    let found = interfaces(directory.path().join("x.pcapng"));
    let linked = found.iter().flat_map(|interface| &interface.comments);
    assert!(linked.into_iter().any(|comment| comment.contains("another namespace")), "{found:?}");
    judge::all(directory.path().join("x.pcapng"), true).unwrap();
}

#[test]
fn one_that_cannot_be_attached_aside_is_told() {
    let peer = Peer::new();
    let running = Running::start("x.pcapng", false, Rotation::Off);
    let mut unmappable = attachment(&peer.namespace, 7, "broken");
    let Means::Here(sockets) = &mut unmappable.means else { panic!("{unmappable:?}") };
    let more = geometry().blocks() * 2;
    sockets.geometry =
        Geometry::from_parts(geometry().block_bytes(), more, geometry().retire()).unwrap();
    running.pipeline.attach_aside(unmappable).unwrap();
    assert_eq!(running.not_attached(), CaptureId(7));
    running.stop();
}

#[test]
fn nothing_is_attached_once_the_end_has_begun() {
    let peer = Peer::new();
    let running = Running::start("x.pcapng", false, Rotation::Off);
    attach(&running, attachment(&peer.namespace, 0, "web"));
    running.pipeline.stop();
    let late = running.pipeline.attach(attachment(&peer.namespace, 1, "late"));
    assert!(matches!(late, Err(Error::Ended)), "{late:?}");
    let (report, _directory) = running.stop();
    assert_eq!(report.last.sources.len(), 1);
}
