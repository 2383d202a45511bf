use std::{fmt, io};

use tappers::{DeviceState, Interface, linux::Tun};

use crate::{
    Error, Frames, Station,
    traffic::{Options, Report, report},
};

/// A tun device (raw IP, no packet information), which lives as long as this.
///
/// What is sent into it comes in through the device, as if from a network; what the namespace
/// sends out of the device is received here.
///
/// # Privileges
///
/// CAP_NET_ADMIN.
pub struct TunDevice {
    tun: Tun,
    name: String,
}

impl fmt::Debug for TunDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunDevice").field("name", &self.name).finish_non_exhaustive()
    }
}

impl TunDevice {
    /// Makes the device in the calling thread's namespace and sets it up.
    ///
    /// # Errors
    ///
    /// [`Error::Call`] when there is one of this name, or tun devices are not permitted.
    pub fn create(name: &str) -> Result<Self, Error> {
        let call = |call: &'static str| Error::call::<io::Error>(call, name);
        let interface = Interface::new(name).map_err(call("if_nametoindex"))?;
        let tun = Tun::create_named(interface).map_err(call("ioctl(TUNSETIFF)"))?;
        tun.set_state(DeviceState::Up).map_err(call("ioctl(SIOCSIFFLAGS)"))?;
        Ok(Self { tun, name: name.to_owned() })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lets a packet, which begins with its IP header, come in through the device.
    ///
    /// # Errors
    ///
    /// [`Error::Call`], such as `EINVAL` for what is no IP packet.
    pub fn send(&self, packet: &[u8]) -> Result<(), Error> {
        self.tun.send(packet).map(drop).map_err(Error::call("write", self.name.clone()))
    }

    /// The next packet that the namespace sends out of the device; waits for it.
    ///
    /// # Errors
    ///
    /// [`Error::Call`].
    pub fn receive(&self, buffer: &mut [u8]) -> Result<usize, Error> {
        self.tun.recv(buffer).map_err(Error::call("read", self.name.clone()))
    }
}

/// Numbered packets, IPv4 and IPv6 in turn.
pub(super) fn send(mut options: Options) -> Result<Report, Error> {
    let device = TunDevice::create(&options.need::<String>("dev")?)?;
    let size = options.take("size")?.unwrap_or(64_usize);
    let run = options.run()?;
    report::say(&format!("up {}", device.name()));
    // Whoever wants to capture from the first packet on needs a moment that it chooses: a line
    // (or the end) of standard input starts the traffic.
    wait_for_word()?;
    let mut pace = options.pace()?;
    options.end()?;
    let mut frames = Frames::new(run, Station::B, Station::NOBODY);
    while pace.due(1).is_some() {
        let frame = match frames.made() % 2 {
            0 => frames.udp4(size + 14),
            _ => frames.udp6(size + 14),
        };
        let packet = Frames::ip_of(&frame).unwrap_or_default();
        device.send(packet)?;
        pace.sent(1, packet.len() as u64);
    }
    let report = pace.report();
    // The device goes with this process, and with it what a tap has not read yet.
    wait_for_word()?;
    Ok(report)
}

/// Waits for a line of standard input or its end.
fn wait_for_word() -> Result<(), Error> {
    let mut line = String::new();
    io::stdin().read_line(&mut line).map_err(Error::call("read", "standard input"))?;
    Ok(())
}
