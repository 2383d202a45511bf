use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bollard::{
    models::{
        ContainerCreateBody, ContainerInspectResponse, HostConfig, HostConfigLogConfig, Mount,
        MountType,
    },
    query_parameters::{
        CreateContainerOptions, InspectContainerOptions, ListContainersOptions,
        RemoveContainerOptions, StartContainerOptions,
    },
};
use model::ContainerState;

use super::{
    EXEC_LABEL, HELPER_LABEL, REPOSITORY,
    attached::{AttachedInput, AttachedOutput, attached},
    calls,
};
use crate::{Engine, Error};

/// Between two looks whether a container is gone: engines remove in the background, and do not tell.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Which rights a helper has, and where it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// In the network namespace of one container, by its whole id, to open sockets there and
    /// nowhere else.
    Inside(String),
    /// In this machine's own network and pid namespaces, to enter those of others.
    Host,
}

impl Shape {
    /// The capabilities that it has: all others are dropped.
    #[must_use]
    pub fn capabilities(&self) -> &'static [&'static str] {
        match self {
            Self::Inside(_) => &["NET_RAW"],
            // To enter namespaces, to look into processes that live there, and to open sockets.
            Self::Host => &["SYS_ADMIN", "SYS_PTRACE", "NET_RAW"],
        }
    }
}

/// Which system calls a helper may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// Those of its program, and no others.
    Own,
    /// Those that the engine lets a container make which says nothing of it.
    Engines,
}

/// A helper container that is to be made.
#[derive(Debug, Clone)]
pub struct HelperSpec {
    /// Its name, which nobody else has.
    pub name: String,
    /// Whose it is, for those who find it without its client.
    pub owner: String,
    /// Its image: [`HelperProgram::image`](super::HelperProgram::image).
    pub image: String,
    /// What it may do.
    pub shape: Shape,
    /// What its program may ask of the kernel.
    pub calls: Calls,
    /// What its program is told.
    pub words: Vec<String>,
    /// Directories of this machine: the first of each is seen by the helper as the second, and can
    /// be read.
    pub mounts: Vec<(PathBuf, PathBuf)>,
    /// Whether its program's streams are for a client that is attached to them
    /// ([`Engine::attach_helper`]), and no terminal. When that client is gone its input ends.
    pub attached: bool,
}

impl HelperSpec {
    fn to_api(&self) -> ContainerCreateBody {
        let network = match &self.shape {
            Shape::Inside(id) => format!("container:{id}"),
            Shape::Host => "host".to_owned(),
        };
        let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
        // No label: where SELinux is in force a container could not connect to its client.
        let mut security = vec!["no-new-privileges".to_owned(), "label=disable".to_owned()];
        if self.calls == Calls::Own {
            security.push(format!("seccomp={}", calls::profile()));
        }
        let host_config = HostConfig {
            network_mode: Some(network),
            pid_mode: (self.shape == Shape::Host).then(|| "host".to_owned()),
            // Rights over other users' namespaces are those of the machine's own root.
            userns_mode: Some("host".to_owned()),
            ipc_mode: Some("none".to_owned()),
            cap_drop: words(&["ALL"]),
            cap_add: words(self.shape.capabilities()),
            security_opt: Some(security),
            readonly_rootfs: Some(true),
            auto_remove: Some(true),
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            mounts: Some(self.mounts.iter().map(|(from, to)| mount(from, to)).collect()),
            ..HostConfig::default()
        };
        let attached = self.attached.then_some(true);
        ContainerCreateBody {
            attach_stdin: attached,
            attach_stdout: attached,
            attach_stderr: attached,
            open_stdin: attached,
            stdin_once: attached,
            image: Some(self.image.clone()),
            cmd: Some(self.words.clone()),
            user: Some("0:0".to_owned()),
            labels: Some(HashMap::from([(HELPER_LABEL.to_owned(), self.owner.clone())])),
            host_config: Some(host_config),
            ..ContainerCreateBody::default()
        }
    }
}

fn mount(from: &Path, to: &Path) -> Mount {
    let text = |path: &Path| Some(path.to_string_lossy().into_owned());
    Mount {
        typ: Some(MountType::BIND),
        source: text(from),
        target: text(to),
        read_only: Some(true),
        ..Mount::default()
    }
}

/// A container that was found and has a label of ours, which an image may have given it as well: what it
/// is says [`Engine::purpose`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftContainer {
    /// Its whole id.
    pub id: String,
    /// Whose it is, as it was said when it was made. Text from outside.
    pub owner: String,
    /// Whether its program runs.
    pub is_live: bool,
    /// When it was made, in seconds since the epoch by the engine's clock.
    pub created: i64,
}

/// What a container of ours was made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// To be a helper, whose program is told these words ([`HelperSpec::words`]).
    Helper {
        /// One each.
        words: Vec<String>,
    },
    /// To run a program of an image beside a target: docker's command line was told so, with
    /// [`EXEC_LABEL`].
    Exec,
}

impl Purpose {
    /// `None` where it is none of ours. Labels alone do not show that; but nobody else has the agent's
    /// image, and of what the engine removes by itself nothing is lost.
    fn of(said: ContainerInspectResponse) -> Option<Self> {
        let (config, host) = (said.config?, said.host_config?);
        let labels = config.labels.filter(|_| host.auto_remove == Some(true))?;
        let is_agents = || {
            let tag = config.image.as_ref()?.strip_prefix(REPOSITORY)?;
            Some(tag.starts_with(':'))
        };
        if labels.contains_key(HELPER_LABEL) && is_agents() == Some(true) {
            return Some(Self::Helper { words: config.cmd.unwrap_or_default() });
        }
        let is_beside = host.network_mode?.starts_with("container:");
        (labels.contains_key(EXEC_LABEL) && is_beside).then_some(Self::Exec)
    }
}

impl Engine {
    /// Makes a helper container; the whole id of it.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`]: [`Engine::load_helper`] is to come first. [`Error::NoMount`]: one of
    /// the directories is not there, as the engine sees this machine. [`Error::CallsRefused`].
    pub async fn create_helper(&self, spec: &HelperSpec) -> Result<String, Error> {
        let options =
            CreateContainerOptions { name: Some(spec.name.clone()), ..Default::default() };
        let request = self.docker.create_container(Some(options), spec.to_api());
        match self.within_deadline(request).await {
            Ok(made) => Ok(made.id),
            Err(Error::Api { status: 404, .. }) => {
                Err(Error::NoSuchImage { image: spec.image.clone() })
            }
            // "invalid mount config for type "bind": bind source path does not exist: /x"
            Err(Error::Api { status: 400, message, .. })
                if message.contains("source path does not exist") =>
            {
                Err(Error::NoMount { message })
            }
            Err(error) => Err(calls_refused(error)),
        }
    }

    /// Takes the streams of a helper container that was made for that ([`HelperSpec::attached`]) and
    /// is not started yet, so that nothing is missed.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn attach_helper(&self, id: &str) -> Result<(AttachedInput, AttachedOutput), Error> {
        let path = format!("/containers/{id}/attach?stream=1&stdin=1&stdout=1&stderr=1");
        let taken = self.within_deadline(self.streams.take_over(&self.api, &path)).await?;
        let (stream, connection) = taken;
        Ok(attached(stream, connection, Arc::clone(&self.endpoint)))
    }

    /// Starts a helper container.
    ///
    /// # Errors
    /// When the engine refuses, or its program cannot be started. [`Error::CallsRefused`]: it is to be
    /// removed, and made anew with [`Calls::Engines`].
    pub async fn start_helper(&self, id: &str) -> Result<(), Error> {
        let request = self.docker.start_container(id, None::<StartContainerOptions>);
        self.within_deadline(request).await.map_err(calls_refused)
    }

    /// Whether a helper container is there and its program runs.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn is_helper_live(&self, id: &str) -> Result<bool, Error> {
        let request = self.docker.inspect_container(id, None::<InspectContainerOptions>);
        match self.within_deadline(request).await {
            Ok(said) => Ok(said.state.and_then(|state| state.running) == Some(true)),
            Err(Error::Api { status: 404, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Ends and removes a helper container by its name or id, and waits until it is gone. `false`
    /// when there was none.
    ///
    /// # Errors
    /// When the engine refuses, or the container is not gone within the deadline.
    pub async fn remove_helper(&self, name: &str) -> Result<bool, Error> {
        let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
        let request = self.docker.remove_container(name, Some(options));
        match self.within_deadline(request).await {
            Ok(()) => return Ok(true),
            Err(Error::Api { status: 404, .. }) => return Ok(false),
            // It is being removed already: by the engine, because its program has ended.
            Err(Error::Api { status: 409, .. }) => {}
            Err(error) => return Err(error),
        }
        let gone = async {
            loop {
                let look = self.docker.inspect_container(name, None::<InspectContainerOptions>);
                match self.within_deadline(look).await {
                    Ok(_) => tokio::time::sleep(LOOK_EVERY).await,
                    Err(Error::Api { status: 404, .. }) => return Ok(true),
                    Err(error) => return Err(error),
                }
            }
        };
        self.within(self.deadline, gone).await
    }

    /// The containers with a label of ours that are there, in whatever state.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn left_containers(&self) -> Result<Vec<LeftContainer>, Error> {
        let mut left = Vec::new();
        for label in [HELPER_LABEL, EXEC_LABEL] {
            let filters = HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
            let options =
                ListContainersOptions { all: true, filters: Some(filters), ..Default::default() };
            let listed = self.within_deadline(self.docker.list_containers(Some(options))).await?;
            left.extend(listed.into_iter().filter_map(|said| {
                let state = said.state.as_ref().map_or("", AsRef::as_ref);
                Some(LeftContainer {
                    id: said.id?,
                    owner: said.labels?.remove(label)?,
                    is_live: ContainerState::from_word(state).is_live(),
                    created: said.created.unwrap_or_default(),
                })
            }));
        }
        Ok(left)
    }

    /// What a container was made for; `None` where it is none of ours, whatever labels it has, or is gone.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn purpose(&self, id: &str) -> Result<Option<Purpose>, Error> {
        let request = self.docker.inspect_container(id, None::<InspectContainerOptions>);
        match self.within_deadline(request).await {
            Ok(said) => Ok(Purpose::of(said)),
            Err(Error::Api { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whether it is our list of system calls that an engine does not take. Docker says so at the start, where
/// the kernel has no seccomp; podman when the container is made, because it takes the name of a file.
fn calls_refused(error: Error) -> Error {
    match error {
        Error::Api { message, .. } if message.to_ascii_lowercase().contains("seccomp") => {
            Error::CallsRefused { message }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_has_what_it_needs_and_no_more() {
        let spec = HelperSpec {
            name: "x".into(),
            owner: "me".into(),
            image: "whaletap-agent:1".into(),
            shape: Shape::Host,
            calls: Calls::Engines,
            words: vec!["opener".into(), "/s".into()],
            mounts: vec![("/run/user/7/x".into(), "/run/x".into())],
            attached: false,
        };
        let json = serde_json::to_value(spec.to_api()).unwrap();
        let host = &json["HostConfig"];
        assert_eq!(host["CapDrop"], serde_json::json!(["ALL"]));
        assert_eq!(host["CapAdd"], serde_json::json!(["SYS_ADMIN", "SYS_PTRACE", "NET_RAW"]));
        assert_eq!((&host["PidMode"], &host["NetworkMode"]), (&"host".into(), &"host".into()));
        for key in ["ReadonlyRootfs", "AutoRemove"] {
            assert_eq!(host[key], true, "{key}");
        }
        assert_eq!(host["LogConfig"]["Type"], "none");
        assert_eq!(host["Privileged"], serde_json::Value::Null);
        assert_eq!(host["Mounts"][0]["ReadOnly"], true);
        let security = serde_json::json!(["no-new-privileges", "label=disable"]);
        assert_eq!(host["SecurityOpt"], security);
        let own = HelperSpec { calls: Calls::Own, ..spec.clone() };
        let json = serde_json::to_value(own.to_api()).unwrap();
        let security = json["HostConfig"]["SecurityOpt"].as_array().unwrap();
        let profile = security[2].as_str().unwrap().strip_prefix("seccomp=").unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(profile).is_ok(), "{profile}");
        const STREAMS: [&str; 5] =
            ["AttachStdin", "AttachStdout", "AttachStderr", "OpenStdin", "StdinOnce"];
        for key in STREAMS {
            assert_eq!(json[key], serde_json::Value::Null, "{key}");
        }
        let attached = HelperSpec { attached: true, mounts: Vec::new(), ..spec.clone() };
        let json = serde_json::to_value(attached.to_api()).unwrap();
        for key in STREAMS {
            assert_eq!(json[key], true, "{key}");
        }
        assert_eq!(json["Tty"], serde_json::Value::Null);
        assert_eq!(json["HostConfig"]["LogConfig"]["Type"], "none");
        assert_eq!(json["HostConfig"]["Mounts"], serde_json::json!([]));
        let inside = HelperSpec { shape: Shape::Inside("ab".into()), ..spec };
        let json = serde_json::to_value(inside.to_api()).unwrap();
        let host = &json["HostConfig"];
        assert_eq!(host["CapAdd"], serde_json::json!(["NET_RAW"]));
        assert_eq!(host["NetworkMode"], "container:ab");
        assert_eq!(host["PidMode"], serde_json::Value::Null);
        assert_eq!(json["Labels"]["whaletap.helper"], "me");
    }

    /// The words of docker 20.10 where the kernel has no seccomp, and of podman 4.3.
    #[test]
    fn an_engine_that_takes_no_list_of_calls_is_known_by_its_words() {
        let said = |message: &str| {
            let (endpoint, message) = ("unix:///x".to_owned(), message.to_owned());
            calls_refused(Error::Api { endpoint, status: 500, message })
        };
        for message in [
            "seccomp is not enabled in your kernel, cannot run a custom seccomp profile",
            "container create: opening seccomp profile failed: open {\"defaultAction\": …",
        ] {
            assert!(matches!(said(message), Error::CallsRefused { .. }), "{message}");
        }
        assert!(matches!(said("no space left on device"), Error::Api { .. }));
    }

    #[test]
    fn a_label_alone_makes_no_container_ours() {
        let purpose = |image: &str, label: &str, removes: bool, network: &str| {
            let said = serde_json::json!({
                "Config": { "Image": image, "Cmd": ["stdio"], "Labels": { label: "me" } },
                "HostConfig": { "AutoRemove": removes, "NetworkMode": network },
            });
            Purpose::of(serde_json::from_value(said).unwrap())
        };
        let helper = Some(Purpose::Helper { words: vec!["stdio".to_owned()] });
        let (agents, own) = ("whaletap-agent:0123456789ab", "whaletap.helper");
        assert_eq!(purpose(agents, own, true, "host"), helper);
        assert_eq!(purpose("web", "whaletap.exec", true, "container:ab"), Some(Purpose::Exec));
        for (image, label, removes, network) in [
            ("web", own, true, "host"),
            ("web", own, true, "container:ab"),
            ("whaletap-agents:1", own, true, "host"),
            ("evil/whaletap-agent:1", own, true, "host"),
            (agents, own, false, "host"),
            (agents, "else", true, "host"),
            ("web", "whaletap.exec", false, "container:ab"),
            ("web", "whaletap.exec", true, "bridge"),
        ] {
            assert_eq!(purpose(image, label, removes, network), None, "{image} {label} {network}");
        }
    }
}
