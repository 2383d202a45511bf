use std::{thread, time::Duration};

use crate::{Address, DockerNetwork, Engine, Error, Namespace, Net, PrivateEngine, engine::IMAGE};

/// How long a node may take to come into the Swarm, or to leave it.
const JOIN: Duration = Duration::from_secs(60);
/// Where managers listen.
const PORT: u16 = 2377;
/// The port of the switch, and the device of a node, behind which the others are.
const UPLINK: &str = "eth0";

/// Several engines that are one Swarm, each on what looks like a machine of its own.
///
/// ```text
///   switch ── br0 ─┬─ node0  eth0 10.99.0.1/24   manager
///                  ├─ node1  eth0 10.99.0.2/24   worker
///                  └─ node2  eth0 10.99.0.3/24   worker
/// ```
///
/// No node has a default route: nothing leaves the machine. A kernel without `IP_VS` has no virtual
/// addresses: services are found by `--endpoint-mode dnsrr`, and publish no ports.
///
/// Dropping it lets the nodes leave and stops their engines.
///
/// # Privileges
///
/// root.
#[derive(Debug)]
pub struct Swarm {
    nodes: Vec<PrivateEngine>,
    // Last: the network goes after those who live in it.
    _net: Net,
}

impl Swarm {
    /// Starts `count` engines side by side, with the test image, and makes one Swarm of them. The
    /// first is its manager.
    ///
    /// # Errors
    ///
    /// Those of [`PrivateEngine::start_in`], and [`Error::Failed`] with what docker said.
    pub fn start(count: u8) -> Result<Self, Error> {
        let mut net = Net::new();
        let switch = net.namespace()?;
        let mut ports = Vec::new();
        let mut machines = Vec::new();
        for number in 1..=count {
            let machine = net.namespace()?;
            let port = format!("port{number}");
            net.veth((&switch, &port), (&machine, UPLINK), 1500)?;
            net.address(&machine, UPLINK, Address::v4(10, 99, 0, number))?;
            ports.push(port);
            machines.push(machine);
        }
        let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
        net.bridge(&switch, "br0", &ports)?;

        let start = |machine: &Namespace| {
            // A Swarm's engine cannot leave its containers alone.
            let node = PrivateEngine::start_in(machine, machine.name(), false)?;
            node.engine().image()?;
            Ok(node)
        };
        let nodes = side_by_side(&machines, start)?;
        let swarm = Self { nodes, _net: net };
        let token = swarm.found()?;
        side_by_side(&swarm.nodes[1..], |node| {
            let at = format!("10.99.0.1:{PORT}");
            let join = ["swarm", "join", "--token", &token, &at];
            node.engine().docker().args(join).limit(JOIN).run()
        })?;
        Ok(swarm)
    }

    /// Makes the first node a Swarm, and gives what others need to join.
    fn found(&self) -> Result<String, Error> {
        let init = ["swarm", "init", "--advertise-addr", "10.99.0.1"];
        self.manager().docker().args(init).limit(JOIN).run()?;
        let token = ["swarm", "join-token", "--quiet", "worker"];
        Ok(self.manager().docker().args(token).run()?.stdout_text().trim().to_owned())
    }

    /// Its engines; the first one's is the manager.
    #[must_use]
    pub fn nodes(&self) -> &[PrivateEngine] {
        &self.nodes
    }

    /// The engine of the manager, which knows of services.
    ///
    /// # Panics
    ///
    /// When the Swarm was started with no nodes at all.
    #[must_use]
    pub fn manager(&self) -> &Engine {
        self.nodes[0].engine()
    }

    /// Makes an overlay network that all nodes share, for services and for other containers.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] with what docker said.
    pub fn network(&self, name: &str) -> Result<DockerNetwork, Error> {
        DockerNetwork::create(self.manager(), name, &["--driver", "overlay", "--attachable"])
    }

    /// Makes a service of the test image, whose tasks run these words. `options` are those of
    /// `docker service create`. Nobody waits for the tasks.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] with what docker said.
    pub fn service(
        &self,
        name: &str,
        network: &DockerNetwork,
        options: &[&str],
        words: &[&str],
    ) -> Result<Service, Error> {
        self.manager()
            .docker()
            .args(["service", "create", "--detach", "--quiet", "--name", name])
            // There is no registry that would know the image's digest.
            .args(["--no-resolve-image", "--endpoint-mode", "dnsrr"])
            // Nothing in the image heeds SIGTERM as process 1.
            .args(["--network", network.name(), "--stop-grace-period", "1s"])
            .args(options)
            .arg(IMAGE)
            .args(words)
            .run()?;
        Ok(Service { manager: self.manager().clone(), name: name.to_owned() })
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        thread::scope(|scope| {
            for node in self.nodes.drain(..) {
                scope.spawn(move || {
                    let leave = ["swarm", "leave", "--force"];
                    // What is left of a node is killed with its engine.
                    let _ = node.engine().docker().args(leave).limit(JOIN).run();
                    drop(node);
                });
            }
        });
    }
}

/// A service of a [`Swarm`]. It ends with the Swarm.
#[derive(Debug)]
pub struct Service {
    manager: Engine,
    name: String,
}

impl Service {
    /// Asks for this many tasks; nobody waits for them.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] with what docker said.
    pub fn scale(&self, tasks: u32) -> Result<(), Error> {
        self.update(&["--replicas", &tasks.to_string()])
    }

    /// Replaces all tasks, one after the other; nobody waits for it.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] with what docker said.
    pub fn roll_over(&self) -> Result<(), Error> {
        self.update(&["--force"])
    }

    fn update(&self, options: &[&str]) -> Result<(), Error> {
        let update = ["service", "update", "--detach", "--quiet", "--no-resolve-image"];
        self.manager.docker().args(update).args(options).arg(&self.name).run().map(drop)
    }
}

/// Does the same with each, at the same time.
fn side_by_side<T: Sync, U: Send>(
    each: &[T],
    work: impl Fn(&T) -> Result<U, Error> + Sync,
) -> Result<Vec<U>, Error> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = each.iter().map(|one| scope.spawn(move || work(one))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| match thread.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        // All are waited for, whatever became of the first: no engine is left behind.
        let done: Vec<Result<U, Error>> = threads.into_iter().map(join).collect();
        done.into_iter().collect()
    })
}
