use std::{
    fmt,
    fs::{self, File},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    sync::Once,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Error, Namespace, Program, Station, name, namespace::DIRECTORY};

/// Serializes what `ip netns add` does to the mounts of `/run/netns`, between processes.
const LOCK: &str = "/run/whaletap-lab.lock";

/// An address with the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// How many of its bits name the network.
    pub prefix: u8,
}

impl Address {
    /// An IPv4 address in a /24.
    #[must_use]
    pub const fn v4(a: u8, b: u8, c: u8, d: u8) -> Self {
        Self { ip: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix: 24 }
    }

    /// An IPv6 address in a /64.
    #[must_use]
    pub const fn v6(ip: Ipv6Addr) -> Self {
        Self { ip: IpAddr::V6(ip), prefix: 64 }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

/// Private network namespaces and the links between them. Dropping it removes them, last first.
///
/// A new namespace is silent: IPv6 is off until an address of it is given to a device, so that
/// no router solicitation stands between a test's frames. There is never a default route.
///
/// ```text
///   Net::pair()        wt-7-0                          wt-7-1
///                      eth0 10.7.0.1/24  ──── veth ────  eth0 10.7.0.2/24
/// ```
///
/// # Privileges
///
/// CAP_SYS_ADMIN and CAP_NET_ADMIN.
#[derive(Debug, Default)]
pub struct Net {
    namespaces: Vec<Namespace>,
}

impl Net {
    /// Removes namespaces whose makers are dead, with the processes that still sit in them.
    pub fn sweep() {
        let Ok(entries) = fs::read_dir(DIRECTORY) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name::is_stale(&name) {
                continue;
            }
            if let Ok(finished) = Program::new("ip").args(["netns", "pids", &name]).run() {
                for pid in
                    finished.stdout_text().lines().filter_map(|line| line.trim().parse().ok())
                {
                    if let Some(pid) = Pid::from_raw(pid) {
                        // Another sweep may have been faster.
                        let _ = kill_process(pid, Signal::KILL);
                    }
                }
            }
            let _ = Program::new("ip").args(["netns", "delete", &name]).run();
        }
    }

    /// An empty net. The first one of a process removes what dead processes left.
    #[must_use]
    pub fn new() -> Self {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(Self::sweep);
        Self::default()
    }

    /// Two namespaces with a veth between them, `eth0` on both sides, each knowing the other's
    /// hardware address, so that no ARP is needed.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] with what `ip` said.
    pub fn pair() -> Result<(Self, Namespace, Namespace), Error> {
        let mut net = Self::new();
        let (a, b) = (net.namespace()?, net.namespace()?);
        net.veth((&a, "eth0"), (&b, "eth0"), 1500)?;
        for (namespace, station) in [(&a, Station::A), (&b, Station::B)] {
            net.station(namespace, "eth0", station)?;
        }
        net.neighbour(&a, "eth0", Station::B.ipv4.into(), Station::B.mac)?;
        net.neighbour(&b, "eth0", Station::A.ipv4.into(), Station::A.mac)?;
        Ok((net, a, b))
    }

    /// A new namespace with its loopback device up.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] with what `ip` said.
    pub fn namespace(&mut self) -> Result<Namespace, Error> {
        let name = name::unique();
        {
            let lock = File::create(LOCK).map_err(Error::file(LOCK))?;
            lock.lock().map_err(Error::file(LOCK))?;
            Program::new("ip").args(["netns", "add", &name]).run()?;
        }
        let namespace = Namespace::named(name);
        self.namespaces.push(namespace.clone());
        namespace.enter(|| {
            for setting in ["all/disable_ipv6", "default/disable_ipv6"] {
                let path = Path::new("/proc/sys/net/ipv6/conf").join(setting);
                // A kernel without IPv6 is as silent as one where it is off.
                if path.exists() {
                    fs::write(&path, "1").map_err(Error::file(path))?;
                }
            }
            Ok(())
        })??;
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// A veth between two namespaces, both ends up.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] with what `ip` said.
    pub fn veth(
        &mut self,
        a: (&Namespace, &str),
        b: (&Namespace, &str),
        mtu: u32,
    ) -> Result<(), Error> {
        a.0.ip(&format!(
            "link add {} mtu {mtu} type veth peer name {} mtu {mtu} netns {}",
            a.1,
            b.1,
            b.0.name()
        ))?;
        for (namespace, device) in [a, b] {
            namespace.ip(&format!("link set {device} up"))?;
        }
        Ok(())
    }

    /// A bridge inside a namespace, up, with these devices as its ports.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] with what `ip` said.
    pub fn bridge(
        &mut self,
        namespace: &Namespace,
        bridge: &str,
        ports: &[&str],
    ) -> Result<(), Error> {
        namespace.ip(&format!("link add {bridge} type bridge stp_state 0 mcast_snooping 0"))?;
        for port in ports {
            namespace.ip(&format!("link set {port} master {bridge}"))?;
        }
        namespace.ip(&format!("link set {bridge} up")).map(drop)
    }

    /// Gives a device an address. The first one of IPv6 switches IPv6 on for this device, without
    /// duplicate address detection and without a link-local address; the kernel still announces
    /// multicast groups then.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] with what `ip` said.
    pub fn address(
        &mut self,
        namespace: &Namespace,
        device: &str,
        address: Address,
    ) -> Result<(), Error> {
        if address.ip.is_ipv6() {
            namespace.ip(&format!("link set {device} addrgenmode none"))?;
            namespace.set(&format!("ipv6/conf/{device}/accept_dad"), "0")?;
            namespace.set(&format!("ipv6/conf/{device}/router_solicitations"), "0")?;
            namespace.set(&format!("ipv6/conf/{device}/disable_ipv6"), "0")?;
            return namespace.ip(&format!("addr add {address} dev {device} nodad")).map(drop);
        }
        namespace.ip(&format!("addr add {address} dev {device}")).map(drop)
    }

    /// Makes a device the one of a [`Station`]: its hardware address and its IPv4 address.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] with what `ip` said.
    pub fn station(
        &mut self,
        namespace: &Namespace,
        device: &str,
        station: Station,
    ) -> Result<(), Error> {
        namespace.ip(&format!("link set {device} address {}", station.mac_text()))?;
        self.address(namespace, device, Address { ip: station.ipv4.into(), prefix: 24 })
    }

    /// Tells a namespace who has an address, so that it never asks.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] with what `ip` said.
    pub fn neighbour(
        &mut self,
        namespace: &Namespace,
        device: &str,
        address: IpAddr,
        mac: [u8; 6],
    ) -> Result<(), Error> {
        let mac = Station::text_of(mac);
        namespace
            .ip(&format!("neigh replace {address} lladdr {mac} dev {device} nud permanent"))
            .map(drop)
    }

    /// The namespaces, in the order in which they were made.
    #[must_use]
    pub fn namespaces(&self) -> &[Namespace] {
        &self.namespaces
    }

    /// Removes one namespace before the others.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] with what `ip` said.
    pub fn remove(&mut self, namespace: &Namespace) -> Result<(), Error> {
        self.namespaces.retain(|kept| kept != namespace);
        Program::new("ip").args(["netns", "delete", namespace.name()]).run().map(drop)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        while let Some(namespace) = self.namespaces.pop() {
            // All of them are tried; what stays is swept by the next run.
            let _ = Program::new("ip").args(["netns", "delete", namespace.name()]).run();
        }
    }
}
