use std::{
    fs::{self, File},
    os::fd::AsFd,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{Error, Program, Running};

/// Where `ip netns` keeps its namespaces.
pub(crate) const DIRECTORY: &str = "/run/netns";

/// A network namespace of a [`Net`](crate::Net), reachable as a file.
///
/// A handle: it can be cloned, and it does not keep the namespace alive.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    pub(crate) fn named(name: String) -> Self {
        Self { name }
    }

    /// Its name for `ip -n` and `ip netns`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its file: what `netns:PATH` takes.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.name)
    }

    /// The kernel's identity of it: device and inode.
    ///
    /// # Errors
    ///
    /// [`Error::File`] when the namespace is gone.
    pub fn id(&self) -> Result<(u64, u64), Error> {
        let metadata = fs::metadata(self.path()).map_err(Error::file(self.path()))?;
        Ok((metadata.dev(), metadata.ino()))
    }

    /// Runs `work` on a thread of its own inside the namespace: sockets that it opens stay there,
    /// wherever they are used afterwards.
    ///
    /// # Errors
    ///
    /// [`Error::File`] when the namespace is gone, [`Error::Call`] when it may not be entered.
    ///
    /// # Panics
    ///
    /// When `work` panics.
    ///
    /// # Privileges
    ///
    /// CAP_SYS_ADMIN.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        let file = File::open(self.path()).map_err(Error::file(self.path()))?;
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .map_err(Error::call("setns", self.name.clone()))?;
                Ok(work())
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Writes a setting under `/proc/sys/net` of this namespace, such as `ipv4/ip_forward`.
    ///
    /// # Errors
    ///
    /// Those of [`Namespace::enter`], and [`Error::File`] when the setting is not there.
    pub fn set(&self, setting: &str, value: &str) -> Result<(), Error> {
        let path = Path::new("/proc/sys/net").join(setting);
        self.enter(|| fs::write(&path, value).map_err(Error::file(&path)))?
    }

    /// Runs `ip` with these arguments (separated by blanks) inside the namespace.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] with what `ip` said.
    pub fn ip(&self, arguments: &str) -> Result<String, Error> {
        let finished =
            Program::new("ip").args(["-n", &self.name]).args(arguments.split_whitespace()).run()?;
        Ok(finished.stdout_text())
    }

    /// The hardware address of a device inside.
    ///
    /// # Errors
    ///
    /// [`Error::File`] when there is no such device.
    pub fn mac(&self, device: &str) -> Result<[u8; 6], Error> {
        let text = self.ip(&format!("-o link show dev {device}"))?;
        text.split_once("link/")
            .and_then(|(_, rest)| rest.split_whitespace().nth(1))
            .and_then(parse_mac)
            .ok_or(Error::Unexpected { program: "ip".to_owned(), text })
    }

    /// Switches offloads of a device: `features` as ethtool names them, such as `tso`, `gso`,
    /// `tx-udp-segmentation`.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] with what `ethtool` said.
    pub fn offload(&self, device: &str, features: &[&str], on: bool) -> Result<(), Error> {
        let mut program = Program::new("ethtool").inside(self).args(["-K", device]);
        for feature in features {
            program = program.args([*feature, if on { "on" } else { "off" }]);
        }
        program.run().map(drop)
    }

    /// Starts the traffic program inside with these arguments (separated by blanks).
    ///
    /// # Errors
    ///
    /// [`Error::Start`], and [`Error::Failed`] when the program does not build.
    pub fn traffic(&self, arguments: &str) -> Result<Running, Error> {
        Program::new(crate::traffic::program()?)
            .args(arguments.split_whitespace())
            .inside(self)
            .start()
    }
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}
