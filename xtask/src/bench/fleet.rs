use anyhow::Result;
use lab::{Namespace, Net, Program};

use super::load;

/// Many namespaces on one bridge. What is sent into the bridge to a station that nobody is
/// reaches each of them.
///
/// ```text
///   hub: br0 ─┬─ p0 ── eth0 of namespace 0
///             ├─ p1 ── eth0 of namespace 1
///             └─ …
/// ```
#[derive(Debug)]
pub(super) struct Fleet {
    hub: Namespace,
    all: Vec<Namespace>,
    _net: Net,
}

impl Fleet {
    /// Makes `size` of them, of which none is on the bridge yet.
    pub(super) fn new(size: usize) -> Result<Self> {
        let mut net = Net::new();
        let hub = net.namespace()?;
        net.bridge(&hub, "br0", &[])?;
        let mut all = Vec::new();
        for number in 0..size {
            let namespace = net.namespace()?;
            net.veth((&namespace, "eth0"), (&hub, &format!("p{number}")), 1500)?;
            all.push(namespace);
        }
        Ok(Self { hub, all, _net: net })
    }

    /// All of them.
    pub(super) fn namespaces(&self) -> &[Namespace] {
        &self.all
    }

    /// Puts the first `size` on the bridge, which already has the first `present`.
    pub(super) fn join(&self, present: usize, size: usize) -> Result<()> {
        for number in present..size {
            self.hub.ip(&format!("link set p{number} master br0"))?;
        }
        Ok(())
    }

    /// A sender of 1400-byte frames into the bridge.
    pub(super) fn send(&self, rate: u64, seconds: u64) -> Result<Program> {
        let words = format!("send --dev br0 --size 1400 --rate {rate} --seconds {seconds}");
        load::from_device(&self.hub, &words)
    }
}
