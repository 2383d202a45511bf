use std::{
    fs,
    io::{self, IoSlice},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    sys::socket::{
        AddressFamily, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockType, SockaddrLike, bind,
        send as send_one, sendmmsg, setsockopt, socket, sockopt::SndBufForce,
    },
};
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

use crate::{
    Error, Frames, Records, Station, Tag,
    traffic::{Options, Report},
};

/// Frames handed to the kernel in one call.
const BATCH: usize = 64;
/// Bytes of frames that the kernel may hold for the sender.
const SEND_BUFFER: usize = 8 << 20;
/// Where the tag stands in a UDP frame over IPv4.
const TAG_AT: usize = 42;
/// Where its UDP checksum stands.
const UDP_CHECKSUM_AT: usize = 40;
/// A clock's frame: headers, tag, nanoseconds.
const CLOCK_FRAME: usize = TAG_AT + Tag::LENGTH + 8;

/// A packet socket that sends whole frames out of one device, in batches.
///
/// It stays on one CPU: a veth queues what it hands over for each CPU apart, so that frames of a
/// sender that moves can overtake each other.
///
/// # Privileges
///
/// CAP_NET_RAW.
#[derive(Debug)]
pub struct RawSender {
    socket: OwnedFd,
    device: String,
}

impl RawSender {
    /// Opens the socket in the calling thread's namespace.
    ///
    /// # Errors
    ///
    /// [`Error::Call`] when the device is not there or packet sockets are not permitted.
    pub fn open(device: &str) -> Result<Self, Error> {
        let address = link_address(device)?;
        // Protocol 0: this socket receives nothing. The kernel takes a frame's protocol from its
        // Ethernet header then.
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)
            .map_err(Error::call("socket(AF_PACKET)", device))?;
        bind(socket.as_raw_fd(), &address).map_err(Error::call("bind", device))?;
        // Needs CAP_NET_ADMIN, which a container does not have: the default does as well there.
        let _ = setsockopt(&socket, SndBufForce, &SEND_BUFFER);
        Ok(Self { socket, device: device.to_owned() })
    }

    /// Keeps the calling thread on the CPU on which it is.
    ///
    /// # Errors
    ///
    /// [`Error::Call`].
    pub fn stay_on_this_cpu() -> Result<(), Error> {
        stay_on(sched_getcpu())
    }

    /// Sends one frame.
    ///
    /// # Errors
    ///
    /// [`Error::Call`], such as `EMSGSIZE` for a frame that is longer than the device's MTU.
    pub fn send(&self, frame: &[u8]) -> Result<(), Error> {
        loop {
            match send_one(self.socket.as_raw_fd(), frame, MsgFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR) => {}
                Err(errno) => return Err(Error::call("send", self.device.clone())(errno)),
            }
        }
    }

    /// Sends frames one after the other, from one CPU, so that they arrive in order. The
    /// calling thread stays on its CPU afterwards.
    ///
    /// # Errors
    ///
    /// Those of [`RawSender::send`].
    pub fn send_all<F: AsRef<[u8]>>(
        &self,
        frames: impl IntoIterator<Item = F>,
    ) -> Result<(), Error> {
        Self::stay_on_this_cpu()?;
        frames.into_iter().try_for_each(|frame| self.send(frame.as_ref()))
    }

    /// Sends some of a batch's frames and says how many.
    fn send_batch(
        &self,
        headers: &mut MultiHeaders<()>,
        frames: &[Vec<u8>],
    ) -> Result<usize, Error> {
        const NOWHERE: [Option<()>; BATCH] = [None; BATCH];
        let slices: [[IoSlice<'_>; 1]; BATCH] = std::array::from_fn(|index| {
            [IoSlice::new(frames.get(index).map_or(&[], Vec::as_slice))]
        });
        let wanted = &slices[..frames.len().min(BATCH)];
        let sent = sendmmsg(
            self.socket.as_raw_fd(),
            headers,
            wanted,
            &NOWHERE[..wanted.len()],
            [],
            MsgFlags::empty(),
        );
        match sent {
            Ok(results) => Ok(results.count()),
            // The device's queue is full: the same frames again.
            Err(Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR) => Ok(0),
            Err(errno) => Err(Error::call("sendmmsg", self.device.clone())(errno)),
        }
    }
}

fn stay_on(cpu: usize) -> Result<(), Error> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).map_err(Error::call("sched_setaffinity", format!("CPU {cpu}")))
}

/// `--cpu N` or `any`; without it the thread stays where it is.
fn choose_cpu(options: &mut Options) -> Result<(), Error> {
    match options.take::<String>("cpu")?.as_deref() {
        None => RawSender::stay_on_this_cpu(),
        Some("any") => Ok(()),
        Some(number) => match number.parse() {
            Ok(cpu) => stay_on(cpu),
            Err(_) => Err(Error::Usage {
                argument: format!("--cpu {number}"),
                reason: "is neither a number nor any",
            }),
        },
    }
}

fn link_address(device: &str) -> Result<LinkAddr, Error> {
    let addresses = getifaddrs().map_err(Error::call("getifaddrs", device))?;
    addresses
        .filter(|address| address.interface_name == device)
        .filter_map(|address| address.address)
        .find(|address| address.family() == Some(AddressFamily::Packet))
        .and_then(|address| address.as_link_addr().copied())
        .ok_or_else(|| Error::call("getifaddrs", device)(io::Error::from(Errno::ENODEV)))
}

/// Frames to a station that nobody is, so that nobody answers.
fn template(run: u32, size: usize) -> Vec<u8> {
    let mut frame = Frames::new(run, Station::A, Station::NOBODY).udp4(size);
    // No checksum: the tag changes with each frame, and IPv4 lets UDP go without one.
    frame[UDP_CHECKSUM_AT..UDP_CHECKSUM_AT + 2].fill(0);
    frame
}

pub(super) fn send(mut options: Options) -> Result<Report, Error> {
    let sender = RawSender::open(&options.need::<String>("dev")?)?;
    let size = options.take("size")?.unwrap_or(64);
    let run = options.run()?;
    choose_cpu(&mut options)?;
    let mut pace = options.pace()?;
    options.end()?;

    let mut frames = vec![template(run, size); BATCH];
    let mut headers = MultiHeaders::preallocate(BATCH, None);
    let length = u64::try_from(frames[0].len()).unwrap_or(0);
    let mut next = 0_u64;
    while let Some(due) = pace.due(BATCH as u64) {
        let batch = usize::try_from(due).unwrap_or(BATCH);
        for (frame, number) in frames[..batch].iter_mut().zip(next..) {
            frame[TAG_AT..TAG_AT + Tag::LENGTH].copy_from_slice(&Tag { run, number }.to_bytes());
        }
        let mut sent = 0;
        while sent < batch {
            sent += sender.send_batch(&mut headers, &frames[sent..batch])?;
        }
        next += due;
        pace.sent(due, due * length);
    }
    Ok(pace.report())
}

pub(super) fn clock(mut options: Options) -> Result<Report, Error> {
    let sender = RawSender::open(&options.need::<String>("dev")?)?;
    let interval: u64 = options.take("interval-us")?.unwrap_or(500);
    let run = options.run()?;
    let count = options.take("count")?;
    let mut pace = super::Pace::new(count, options.seconds()?, Some(1_000_000 / interval.max(1)));
    options.end()?;

    let mut frame = template(run, CLOCK_FRAME);
    let mut number = 0;
    while pace.due(1).is_some() {
        frame[TAG_AT..TAG_AT + Tag::LENGTH].copy_from_slice(&Tag { run, number }.to_bytes());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        frame[TAG_AT + Tag::LENGTH..].copy_from_slice(&now.to_be_bytes());
        sender.send(&frame)?;
        number += 1;
        pace.sent(1, CLOCK_FRAME as u64);
    }
    Ok(pace.report())
}

pub(super) fn inject(mut options: Options) -> Result<Report, Error> {
    let sender = RawSender::open(&options.need::<String>("dev")?)?;
    let frames = read_frames(&options.need::<PathBuf>("file")?)?;
    let repeat: u64 = options.take("repeat")?.unwrap_or(1);
    choose_cpu(&mut options)?;
    let frames_in_file = frames.len() as u64;
    let rate = options.take("rate")?;
    let mut pace = super::Pace::new(frames_in_file.checked_mul(repeat), options.seconds()?, rate);
    options.end()?;

    let mut frames = frames.iter().cycle();
    while pace.due(1).is_some() {
        let Some(frame) = frames.next() else { break };
        sender.send(frame)?;
        pace.sent(1, frame.len() as u64);
    }
    Ok(pace.report())
}

/// Frames of a capture file, or of a text with a frame in hexadecimal on each line.
fn read_frames(path: &Path) -> Result<Vec<Vec<u8>>, Error> {
    let bytes = fs::read(path).map_err(Error::file(path))?;
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return Ok(Records::read(path)?.all.into_iter().map(|record| record.data).collect());
    };
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| {
            parse_hex(line).ok_or_else(|| Error::Format {
                path: path.to_owned(),
                reason: format!("{line:?} is not hexadecimal"),
            })
        })
        .collect()
}

fn parse_hex(line: &str) -> Option<Vec<u8>> {
    if !line.is_ascii() || !line.len().is_multiple_of(2) {
        return None;
    }
    (0..line.len()).step_by(2).map(|at| u8::from_str_radix(&line[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_read_or_refused() {
        assert_eq!(parse_hex("00ff7A"), Some(vec![0, 255, 0x7a]));
        assert_eq!(parse_hex("00f"), None);
        assert_eq!(parse_hex("0g"), None);
        assert_eq!(parse_hex("é"), None);
    }

    #[test]
    fn a_frame_of_64_bytes_has_room_for_its_tag() {
        let frame = template(9, 64);
        assert_eq!(frame.len(), 64);
        assert_eq!(Tag::find(&frame), Some(Tag { run: 9, number: 0 }));
    }
}
