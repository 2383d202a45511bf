use std::{collections::BTreeMap, fmt, net::IpAddr};

/// A container as the engine describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Full id: 64 hex digits.
    pub id: String,
    /// Name without the API's leading slash.
    pub name: String,
    /// Image as the user wrote it: `nginx:1.27`.
    pub image: String,
    /// What it is doing.
    pub state: ContainerState,
    /// Its first process, in the engine's pid namespace; `None` unless it runs. May be a
    /// stranger's pid on this machine: never trusted without proof.
    pub pid: Option<u32>,
    /// When its present run began, in nanoseconds since the epoch by the engine's clock; `None`
    /// unless it runs, and where nobody inspected it.
    pub started_at: Option<u64>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Compose coordinates, from its labels.
    pub compose: Option<Compose>,
    /// Swarm coordinates, from its labels.
    pub swarm: Option<Swarm>,
    /// Its network mode: `bridge`, `host`, `none`, `container:ID`, or a network's name.
    pub network_mode: String,
    /// Path of its namespace file in the engine's mount namespace; empty when it does not run.
    pub sandbox_key: String,
    /// Where it is attached, sorted by network name.
    pub endpoints: Vec<Endpoint>,
}

impl Container {
    /// The first 12 hex digits of the id, as docker prints it.
    #[must_use]
    pub fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }

    /// What it is called in summaries and files: `service.slot` for a Swarm task, its name
    /// otherwise.
    #[must_use]
    pub fn display_name(&self) -> &str {
        self.swarm.as_ref().map_or(&self.name, |swarm| &swarm.short_task)
    }

    /// Whether it has the host's own network stack.
    #[must_use]
    pub fn is_host_network(&self) -> bool {
        self.network_mode == "host"
    }
}

/// State of a container, in the engine's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    /// Made, not started.
    Created,
    /// Its process runs.
    Running,
    /// Its process is frozen; its namespace lives.
    Paused,
    /// Between two runs.
    Restarting,
    /// Being taken away.
    Removing,
    /// Its process has ended.
    Exited,
    /// Half removed.
    Dead,
    /// A word that this version does not know.
    Unknown(String),
}

impl ContainerState {
    /// From the engine's word.
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        match word {
            "created" => Self::Created,
            "running" => Self::Running,
            "paused" => Self::Paused,
            "restarting" => Self::Restarting,
            "removing" => Self::Removing,
            "exited" => Self::Exited,
            "dead" => Self::Dead,
            other => Self::Unknown(other.to_owned()),
        }
    }

    /// Whether it has a network namespace now.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

impl fmt::Display for ContainerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
            Self::Unknown(word) => word,
        })
    }
}

/// Where a container stands in a Compose project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compose {
    /// `com.docker.compose.project`.
    pub project: String,
    /// `com.docker.compose.service`.
    pub service: String,
    /// `com.docker.compose.container-number`.
    pub number: Option<u32>,
}

/// Where a container stands in a Swarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swarm {
    /// `com.docker.swarm.service.name`.
    pub service: String,
    /// `com.docker.stack.namespace`.
    pub stack: Option<String>,
    /// `com.docker.swarm.task.name`: `service.slot.task-id`, or `service.node-id.task-id` for a
    /// global service.
    pub task: String,
    /// The task's name without the task id: `service.slot`.
    pub short_task: String,
    /// `com.docker.swarm.node.id`.
    pub node_id: Option<String>,
}

/// A container's place in one Docker network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Name of the network.
    pub network: String,
    /// Addresses there.
    pub addresses: Vec<IpAddr>,
    /// Link-layer address, in the engine's spelling.
    pub mac: String,
    /// Other names that resolve to it there.
    pub aliases: Vec<String>,
}
