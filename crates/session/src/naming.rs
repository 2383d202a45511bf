//! What captures are called, and how targets are found.

use std::{net::IpAddr, time::Duration};

use capture::{Blind, Identity};
use model::{Container, NetnsId, Origin, Target};
use opener::Place;

use crate::entrance::Entered;

/// Since when a target has been there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// Since before the session.
    Start,
    /// It came while others were captured.
    Later,
}

impl Since {
    /// What was missed of a target that came while others were captured.
    pub(crate) fn blind(self, opened: &Entered) -> Option<Blind> {
        let created = opened.created.filter(|_| self == Self::Later)?;
        let time = Duration::from_nanos(opened.attached.saturating_sub(created));
        Some(Blind { time, frames: opened.frames_before })
    }
}

/// The name of a capture of these targets, which share a namespace: `a+b`.
pub(crate) fn joined(targets: &[Target]) -> String {
    let mut names: Vec<&str> = targets.iter().map(|target| &*target.name).collect();
    names.dedup();
    names.join("+")
}

/// What files say about a capture.
pub(crate) fn identity(
    targets: &[Target],
    netns: NetnsId,
    host: &str,
    blind: Option<Blind>,
    gap: Option<Duration>,
) -> Identity {
    let mut parts: Vec<String> = targets.iter().map(describe).collect();
    parts.push(format!("node {host}"));
    parts.push(format!("netns {}", netns.ino));
    let networks: Vec<(IpAddr, String)> = targets
        .iter()
        .filter_map(Target::as_container)
        .flat_map(|container| &container.endpoints)
        .flat_map(|endpoint| {
            endpoint.addresses.iter().map(|address| (*address, endpoint.network.clone()))
        })
        .collect();
    let name = joined(targets);
    let begins = match gap {
        None => format!("{name}: the capture begins here"),
        Some(gap) => format!(
            "{name}: the capture goes on here, {:.3} s after it had ended there",
            gap.as_secs_f64()
        ),
    };
    let note = Some(match blind {
        None => format!("{begins}; what it sent and received before is not in this file"),
        Some(Blind { time, frames }) => format!(
            "{begins}, {:.1} ms after its namespace was made; {frames} frames had passed before",
            time.as_secs_f64() * 1e3
        ),
    });
    Identity { name, description: parts.join(", "), networks, note }
}

fn describe(target: &Target) -> String {
    match &target.origin {
        Origin::Container(container) => describe_container(container),
        Origin::Process { pid } => format!("process {pid}"),
        Origin::Netns { path } => format!("namespace {path}"),
        Origin::Host => "the host's own namespace".to_owned(),
    }
}

fn describe_container(container: &Container) -> String {
    let mut parts = vec![
        format!("container {} {}", container.name, container.short_id()),
        format!("image {}", container.image),
    ];
    if let Some(compose) = &container.compose {
        parts.push(format!("compose {}/{}", compose.project, compose.service));
    }
    if let Some(swarm) = &container.swarm {
        parts.push(format!("service {}, task {}", swarm.service, swarm.task));
    }
    parts.join(", ")
}

/// Where a target's namespace is to be found; `None` for a container that does not run.
pub(crate) fn place(target: &Target) -> Option<Place> {
    Some(match &target.origin {
        Origin::Container(container) => Place::Container {
            pid: container.pid?,
            id: container.id.clone(),
            sandbox_key: container.sandbox_key.clone(),
        },
        Origin::Process { pid } => Place::Process { pid: *pid },
        Origin::Netns { path } => Place::Netns { path: path.clone() },
        Origin::Host => Place::Host,
    })
}
