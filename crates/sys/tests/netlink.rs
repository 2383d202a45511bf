//! The devices of private namespaces.

#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod child;

use std::{
    collections::BTreeSet,
    io::Write,
    net::IpAddr,
    os::fd::{AsFd, OwnedFd},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use child::alone;
use model::{Hatype, Interface, MacAddress, NetnsId};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{SendFlags, getsockname, netlink::SocketAddrNetlink, sendto, sockopt},
};
use whaletap_sys::{
    Error,
    netlink::{Changes, Netlink, open},
    netns::{Netns, in_private_namespace},
    privileges::give_up,
};

/// Runs `ip` with these lines as its commands, in the calling thread's namespace.
fn ip(commands: &str) {
    let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    ip.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
    assert!(ip.wait().unwrap().success(), "ip {commands}");
}

fn named<'a>(interfaces: &'a [Interface], name: &str) -> &'a Interface {
    interfaces.iter().find(|interface| interface.name == name).unwrap_or_else(|| panic!("{name}"))
}

fn addresses(interface: &Interface) -> Vec<String> {
    interface.addresses.iter().map(ToString::to_string).collect()
}

fn becomes_readable(fd: impl AsFd) -> bool {
    let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit)).unwrap() == 1
}

const WORLD: &str = "\
link add va type veth peer name vb
link set va address 02:00:00:00:00:0a mtu 1400
addr add 10.7.0.1/24 dev va
addr add 10.7.0.9 peer 10.7.0.10/32 dev va
addr add fd07::1/64 dev va nodad
link set va up
link add br0 type bridge
tuntap add tun0 mode tun
";

#[test]
fn devices_are_told_as_ip_made_them() {
    let interfaces = in_private_namespace(|| {
        ip(WORLD);
        Netlink::open().unwrap().interfaces().unwrap()
    })
    .unwrap();
    let (lo, a, b) = (named(&interfaces, "lo"), named(&interfaces, "va"), named(&interfaces, "vb"));

    assert_eq!((lo.index, lo.hatype, lo.up, lo.mtu), (1, Hatype::LOOPBACK, true, 65_536));
    assert_eq!((&lo.kind, lo.peer_index), (&None, None));
    assert!(addresses(lo).contains(&"127.0.0.1/8".to_owned()));

    assert_eq!(a.mac, Some(MacAddress([2, 0, 0, 0, 0, 10])));
    assert_eq!(
        (a.hatype, a.up, a.mtu, a.kind.as_deref()),
        (Hatype::ETHER, true, 1400, Some("veth"))
    );
    assert_eq!((a.peer_index, b.peer_index), (Some(b.index), Some(a.index)));
    // The point-to-point address is one's own, not the far end's.
    assert_eq!(addresses(a)[..2], ["10.7.0.1/24", "10.7.0.9/32"]);
    assert!(addresses(a).contains(&"fd07::1/64".to_owned()), "{:?}", addresses(a));
    assert!(!b.up && b.addresses.is_empty());

    assert_eq!(named(&interfaces, "br0").kind.as_deref(), Some("bridge"));
    let tun = named(&interfaces, "tun0");
    assert_eq!((tun.hatype, tun.mac, tun.kind.as_deref()), (Hatype::NONE, None, Some("tun")));
}

/// A namespace with the world in it, and sockets that were opened inside.
fn sockets_from_inside() -> (OwnedFd, OwnedFd, Netns) {
    in_private_namespace(|| {
        ip(WORLD);
        (open().unwrap(), open().unwrap(), Netns::current().unwrap())
    })
    .unwrap()
}

#[test]
fn a_passed_socket_speaks_for_its_namespace_to_a_process_without_rights() {
    alone("a_passed_socket_speaks_for_its_namespace_to_a_process_without_rights", || {
        let (questions, news, netns) = sockets_from_inside();
        let inside: NetnsId = netns.id();
        assert_ne!(inside, Netns::current().unwrap().id());
        let mut elsewhere = Command::new("nsenter");
        elsewhere.arg(format!("--net=/proc/{}/fd/{}", std::process::id(), fd_number(&netns)));
        elsewhere.args(["sh", "-c", "read go; ip link set vb up"]).stdin(Stdio::piped());
        let mut elsewhere = elsewhere.spawn().unwrap();
        give_up_when_entered(&elsewhere, inside);

        let mut netlink = Netlink::from_fd(questions);
        let changes = Changes::from_fd(news).unwrap();
        let before = netlink.interfaces().unwrap();
        assert!(!named(&before, "vb").up);
        assert!(!changes.changed().unwrap());
        let error = netlink.set_up(named(&before, "vb").index).unwrap_err();
        assert!(error.is_permission(), "{error}");

        elsewhere.stdin.take().unwrap().write_all(b"go\n").unwrap();
        assert!(becomes_readable(&changes));
        assert!(changes.changed().unwrap());
        assert!(elsewhere.wait().unwrap().success());
        assert!(named(&netlink.interfaces().unwrap(), "vb").up);
    });
}

fn fd_number(netns: &Netns) -> String {
    // The namespace's descriptor, found by its identity.
    let wanted = netns.id();
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .find(|fd| {
            let path = format!("/proc/self/fd/{fd}");
            Netns::open(path.as_ref()).is_ok_and(|netns| netns.id() == wanted)
        })
        .unwrap()
}

/// Waits until nsenter is inside, since it takes our descriptor by its path; then drops all rights.
fn give_up_when_entered(child: &std::process::Child, inside: NetnsId) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while Netns::of_process(child.id()).unwrap().id() != inside {
        assert!(std::time::Instant::now() < deadline, "nsenter does not enter");
        thread::yield_now();
    }
    give_up(None).unwrap();
}

#[test]
fn changes_are_told_once_each_time() {
    in_private_namespace(|| {
        let changes = Changes::open().unwrap();
        assert!(!changes.changed().unwrap(), "nothing has happened yet");
        for commands in [
            "link add va type veth peer name vb",
            "addr add 10.7.0.1/24 dev va",
            "addr add fd07::1/64 dev va nodad",
            "addr del 10.7.0.1/24 dev va",
            "link set va name vc",
            "link del vc",
        ] {
            ip(commands);
            assert!(becomes_readable(&changes), "{commands}");
            assert!(changes.changed().unwrap(), "{commands}");
        }
        // Routes and neighbours are not devices.
        ip("route add 10.9.0.0/24 dev lo");
        assert!(!changes.changed().unwrap());
    })
    .unwrap();
}

#[test]
fn lost_news_are_news() {
    in_private_namespace(|| {
        let socket = open().unwrap();
        sockopt::set_socket_recv_buffer_size(&socket, 1).unwrap();
        let changes = Changes::from_fd(socket).unwrap();
        let adding: String =
            (1..200).map(|last| format!("addr add 10.7.0.{last}/24 dev lo\n")).collect();
        ip(&adding);
        assert!(changes.changed().unwrap(), "the queue was too small");
        assert!(!changes.changed().unwrap(), "and is empty now");
        assert_eq!(Netlink::open().unwrap().interfaces().unwrap()[0].addresses.len(), 200 + v6());
    })
    .unwrap();
}

/// Addresses of IPv6 that lo has, where the kernel has IPv6.
fn v6() -> usize {
    usize::from(std::path::Path::new("/proc/net/if_inet6").exists())
}

#[test]
fn a_list_of_many_datagrams_is_whole() {
    in_private_namespace(|| {
        let mut commands = String::new();
        for number in 0..100 {
            commands += &format!("link add left{number} type veth peer name right{number}\n");
        }
        for address in 0..3000 {
            let (high, low) = (address / 250, address % 250 + 1);
            commands += &format!("addr add 10.7.{high}.{low}/32 dev left{}\n", address % 100);
        }
        ip(&commands);
        let interfaces = Netlink::open().unwrap().interfaces().unwrap();
        assert_eq!(interfaces.len(), 201);
        let names: BTreeSet<_> = interfaces.iter().map(|interface| &interface.name).collect();
        assert_eq!(names.len(), 201);
        let v4 = |interface: &&Interface| {
            interface.addresses.iter().filter(|a| a.address.is_ipv4()).count()
        };
        for number in 0..100 {
            assert_eq!(v4(&named(&interfaces, &format!("left{number}"))), 30);
        }
    })
    .unwrap();
}

#[test]
fn lists_made_during_changes_hold_what_did_not_change() {
    let done = AtomicBool::new(false);
    in_private_namespace(|| {
        let mut commands = String::new();
        for number in 0..60 {
            commands += &format!("link add left{number} type veth peer name right{number}\n");
        }
        ip(&commands);
        let mut netlink = Netlink::open().unwrap();
        thread::scope(|scope| {
            // A thread that is started here is in this namespace.
            scope.spawn(|| {
                let mut commands = String::new();
                for number in 0..15 {
                    commands += &format!("link add x{number} type veth peer name y{number}\n");
                    commands += &format!("link del x{number}\n");
                }
                ip(&commands);
                done.store(true, Ordering::Release);
            });
            let mut lists = 0;
            while !done.load(Ordering::Acquire) || lists == 0 {
                let interfaces = match netlink.interfaces() {
                    Ok(interfaces) => interfaces,
                    // Allowed, and told; the socket must still work afterwards.
                    Err(Error::Netlink { .. }) => continue,
                    Err(error) => panic!("{error}"),
                };
                lists += 1;
                let steady = interfaces.iter().filter(|i| i.name.starts_with(['l', 'r']));
                assert_eq!(steady.count(), 121);
                let indices: BTreeSet<_> = interfaces.iter().map(|i| i.index).collect();
                assert_eq!(indices.len(), interfaces.len(), "none twice");
            }
        });
    })
    .unwrap();
}

#[test]
fn only_the_kernel_is_believed() {
    in_private_namespace(|| {
        let mut netlink = Netlink::open().unwrap();
        let truth = netlink.interfaces().unwrap();
        let port = SocketAddrNetlink::try_from(getsockname(&netlink).unwrap()).unwrap().pid();
        // "That was all", for each of the next questions: RTM_GETLINK was 1, RTM_GETADDR 2.
        let liar = open().unwrap();
        for sequence in 3_u32..9 {
            let mut done = Vec::new();
            done.extend(20_u32.to_ne_bytes());
            done.extend(3_u16.to_ne_bytes());
            done.extend(2_u16.to_ne_bytes());
            done.extend(sequence.to_ne_bytes());
            done.extend(0_u32.to_ne_bytes());
            done.extend(0_i32.to_ne_bytes());
            sendto(&liar, &done, SendFlags::empty(), &SocketAddrNetlink::new(port, 0)).unwrap();
        }
        assert_eq!(netlink.interfaces().unwrap(), truth);
        assert!(truth[0].addresses.iter().any(|a| a.address == IpAddr::from([127, 0, 0, 1])));
    })
    .unwrap();
}

#[test]
fn a_refusal_is_told_with_the_kernels_word() {
    in_private_namespace(|| {
        let mut netlink = Netlink::open().unwrap();
        match netlink.set_up(4242).unwrap_err() {
            Error::Call { call, source } => {
                assert_eq!(call, "netlink(RTM_SETLINK)");
                assert_eq!(source.raw_os_error(), Some(libc::ENODEV));
            }
            other => panic!("{other}"),
        }
        ip("link add va type veth peer name vb");
        let index = named(&netlink.interfaces().unwrap(), "va").index;
        netlink.set_up(index).unwrap();
        assert!(named(&netlink.interfaces().unwrap(), "va").up);
    })
    .unwrap();
}
