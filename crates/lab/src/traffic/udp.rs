use std::{
    fs::{self, OpenOptions},
    io::{self, IoSlice, Write as _},
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    path::PathBuf,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::socket::{
        MsgFlags, MultiHeaders, sendmmsg, setsockopt,
        sockopt::{SndBufForce, UdpGsoSegment},
    },
};

use crate::{
    Error, Tag,
    traffic::{Options, Report},
};

/// Datagrams (or bundles of segments) handed to the kernel in one call.
const BATCH: usize = 16;
/// The longest bundle that the kernel takes: an IPv4 packet with its headers.
const LONGEST: usize = 65_507;
/// Bytes that the kernel may hold for the sender.
const SEND_BUFFER: usize = 16 << 20;
/// The name of the host, or of the container, in which this runs.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";
/// How long an answer may take unless something else is said, and how often a listener looks at
/// the time.
const ANSWER: Duration = Duration::from_millis(200);

/// Numbered datagrams over a real socket. With several segments the kernel gets them as one
/// bundle (`UDP_SEGMENT`, udp(7)): it travels through a veth as a single GSO frame, or is cut in
/// front of a device whose `tx-udp-segmentation` is off, which is the fastest way to small frames.
///
/// Minimum kernel version for segments: 4.18.
pub(super) fn send(mut options: Options) -> Result<Report, Error> {
    let to: SocketAddr = options.need("to")?;
    let size = options.take("size")?.unwrap_or(22).max(Tag::LENGTH);
    let segments = options.take("segments")?.unwrap_or(1_usize).clamp(1, LONGEST / size);
    let run = options.run()?;
    let socket = connected(to)?;
    if segments > 1 {
        let segment = i32::try_from(size).unwrap_or(i32::MAX);
        setsockopt(&socket, UdpGsoSegment, &segment)
            .map_err(Error::call("setsockopt(UDP_SEGMENT)", to.to_string()))?;
    }
    // Without CAP_NET_ADMIN the default stays.
    let _ = setsockopt(&socket, SndBufForce, &SEND_BUFFER);
    let mut pace = options.pace()?;
    options.end()?;

    let mut bundles = vec![vec![0x5a; size * segments]; BATCH];
    let mut headers = MultiHeaders::<()>::preallocate(BATCH, None);
    let mut number = 0;
    let most = (BATCH * segments) as u64;
    while let Some(due) = pace.due(most) {
        let due = usize::try_from(due).unwrap_or(BATCH * segments);
        let mut lengths = [0; BATCH];
        let mut left = due;
        let mut used = 0;
        for (bundle, length) in bundles.iter_mut().zip(&mut lengths) {
            let here = left.min(segments);
            if here == 0 {
                break;
            }
            for segment in bundle.chunks_exact_mut(size).take(here) {
                segment[..Tag::LENGTH].copy_from_slice(&Tag { run, number }.to_bytes());
                number += 1;
            }
            *length = here * size;
            left -= here;
            used += 1;
        }
        let mut sent = 0;
        while sent < used {
            let slices: Vec<[IoSlice<'_>; 1]> = (sent..used)
                .map(|index| [IoSlice::new(&bundles[index][..lengths[index]])])
                .collect();
            let nowhere = vec![None; slices.len()];
            let call =
                sendmmsg(socket.as_raw_fd(), &mut headers, &slices, nowhere, [], MsgFlags::empty());
            match call {
                Ok(results) => sent += results.count(),
                // ECONNREFUSED tells of an earlier datagram that nobody took.
                Err(Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => {}
                Err(errno) => return Err(Error::call("sendmmsg", to.to_string())(errno)),
            }
        }
        pace.sent(due as u64, (due * size) as u64);
    }
    Ok(pace.report())
}

pub(super) fn echo(options: Options) -> Result<Report, Error> {
    answer(options, |_| Ok(()))
}

/// Like [`echo`], for numbered datagrams: each is noted before it is answered.
pub(super) fn serve(mut options: Options) -> Result<Report, Error> {
    let directory: PathBuf = options.need("log")?;
    let host = fs::read_to_string(HOST_NAME).map_err(Error::file(HOST_NAME))?;
    let path = directory.join(host.trim());
    let opened = OpenOptions::new().create(true).append(true).open(&path);
    let mut log = opened.map_err(Error::file(&path))?;
    answer(options, |datagram| {
        let Some(Tag { run, number }) = Tag::find(datagram) else { return Ok(()) };
        // In one call: who is killed leaves whole lines.
        log.write_all(format!("{run} {number}\n").as_bytes()).map_err(Error::file(&path))
    })
}

/// Answers each datagram with itself, after `note` had it.
fn answer(
    mut options: Options,
    mut note: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<Report, Error> {
    let listen: SocketAddr = options.need("listen")?;
    let mut pace = options.pace()?;
    options.end()?;
    let socket = UdpSocket::bind(listen).map_err(Error::call("bind", listen.to_string()))?;
    socket
        .set_read_timeout(Some(ANSWER))
        .map_err(Error::call("setsockopt(SO_RCVTIMEO)", listen.to_string()))?;
    super::report::say(&format!("listening on {listen}"));
    let mut buffer = vec![0; LONGEST];
    while Instant::now() < pace.ends() && pace.due(1).is_some() {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                note(&buffer[..length])?;
                match socket.send_to(&buffer[..length], from) {
                    Ok(_) => pace.sent(1, length as u64),
                    Err(_) => pace.failed(1),
                }
            }
            Err(error) if is_transient(&error) => {}
            Err(error) => return Err(Error::call("recvfrom", listen.to_string())(error)),
        }
    }
    Ok(pace.report())
}

pub(super) fn ping(mut options: Options) -> Result<Report, Error> {
    let to: SocketAddr = options.need("to")?;
    let size = options.take("size")?.unwrap_or(64).clamp(Tag::LENGTH, LONGEST);
    let run = options.run()?;
    let patience = options.take("patience")?.map_or(ANSWER, Duration::from_secs);
    let mut pace = options.pace()?;
    options.end()?;
    let socket = connected(to)?;
    socket
        .set_read_timeout(Some(patience))
        .map_err(Error::call("setsockopt(SO_RCVTIMEO)", to.to_string()))?;
    let mut question = vec![0x5a; size];
    let mut answer = vec![0; LONGEST];
    let mut number = 0;
    while pace.due(1).is_some() {
        question[..Tag::LENGTH].copy_from_slice(&Tag { run, number }.to_bytes());
        number += 1;
        let asked = socket.send(&question).and_then(|_| socket.recv(&mut answer));
        match asked {
            Ok(length) if answer[..length] == question => pace.sent(1, size as u64),
            Ok(_) => pace.failed(1),
            Err(error) if is_transient(&error) => pace.failed(1),
            Err(error) => return Err(Error::call("send", to.to_string())(error)),
        }
    }
    Ok(pace.report())
}

fn connected(to: SocketAddr) -> Result<UdpSocket, Error> {
    let any: SocketAddr = if to.is_ipv4() { ([0_u8; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).map_err(Error::call("bind", any.to_string()))?;
    socket.connect(to).map_err(Error::call("connect", to.to_string()))?;
    Ok(socket)
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock
            | io::ErrorKind::TimedOut
            | io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionRefused
    )
}
