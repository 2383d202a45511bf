use bollard::models::SystemInfo;

/// The machine that an engine runs on, as the engine describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its hostname.
    pub name: String,
    /// Its id in a Swarm, where it is a member of one.
    pub swarm_id: Option<String>,
    /// Whether the engine runs without root.
    pub rootless: bool,
}

impl Node {
    pub(crate) fn from_api(said: SystemInfo) -> Self {
        let swarm_id = said.swarm.and_then(|swarm| swarm.node_id).filter(|id| !id.is_empty());
        let options = said.security_options.unwrap_or_default();
        Self {
            name: said.name.unwrap_or_default(),
            swarm_id,
            rootless: options.iter().any(|option| option.split(',').any(|o| o == "name=rootless")),
        }
    }
}
