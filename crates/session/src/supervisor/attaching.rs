//! Targets become captures, and captures end.

use std::{collections::HashMap, path::Path, time::Instant};

use capture::{Attachment, CaptureId, Hold};
use filter::Never;
use model::{Interface, NetnsId, Target};
use opener::{Place, Scope, Spec};
use sys::{netns, poll::Trigger, signals::Signals};

use super::{KEY_TARGET, Supervisor, group::Group};
use crate::{
    Error, Failed, Notice,
    entrance::{Entered, Entrance},
    naming::{Since, identity, place},
};

/// The most targets that are remembered after their end, to be known again when they come back.
const MAX_LEFT: usize = 1024;

/// A target that is not captured any more.
#[derive(Debug)]
pub(super) struct Left {
    /// Its last capture.
    id: u32,
    /// Its containers.
    containers: Vec<String>,
    at: Instant,
}

/// Opens every target's namespace, or as many as there are before somebody wants the end. Targets that
/// share one become one group.
pub(super) fn open_all(
    (entrance, signals): (&Entrance, &Signals),
    targets: Vec<Target>,
    spec: &Spec,
    failed: &mut Vec<Failed>,
) -> Result<Vec<(Group, Entered)>, Error> {
    let mut found: Vec<(Group, Entered)> = Vec::new();
    let mut by_netns: HashMap<NetnsId, usize> = HashMap::new();
    for target in targets {
        let name = target.name.clone();
        match open((entrance, Some(signals)), &target, spec) {
            Ok((place, mut opened)) => match by_netns.get(&opened.netns) {
                Some(index) => found[*index].0.join(target, place, opened.pidfd),
                None => {
                    by_netns.insert(opened.netns, found.len());
                    found.push((Group::new(target, place, &mut opened), opened));
                }
            },
            Err(Error::Interrupted) if !found.is_empty() => break,
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) => failed.push(Failed { name, error }),
        }
    }
    Ok(found)
}

/// Opens a target's namespace. `signals`: as for [`Entrance::open`].
pub(super) fn open(
    (entrance, signals): (&Entrance, Option<&Signals>),
    target: &Target,
    spec: &Spec,
) -> Result<(Place, Entered), Error> {
    let name = &target.name;
    let Some(place) = place(target) else {
        let lines = vec![format!("{name} does not run any more")];
        return Err(crate::error::NoSuchTarget { lines }.into());
    };
    let entered = entrance.open(name, &place, spec, signals)?;
    Ok((place, entered))
}

impl Supervisor<'_> {
    /// Begins to capture a target, or tells that it is captured already because it shares a
    /// namespace.
    pub(super) fn take_in(
        &mut self,
        target: Target,
        place: Place,
        mut opened: Entered,
        since: Since,
        hold: Option<Hold>,
    ) -> Result<(), Error> {
        let same = self.groups.iter_mut().find(|(_, group)| group.netns == opened.netns);
        let Some((&id, group)) = same else {
            let group = Group::new(target, place, &mut opened);
            return self.attach(group, opened, since, hold);
        };
        if let Some(pidfd) = &opened.pidfd {
            self.poller.add(pidfd, KEY_TARGET + u64::from(id), Trigger::Level)?;
        }
        group.join(target, place, opened.pidfd);
        let (name, netns) = (group.name(), group.netns);
        self.observer.notice(Notice::Shared { name: &name, netns });
        self.rename(id);
        Ok(())
    }

    /// Begins to capture a namespace.
    pub(super) fn attach(
        &mut self,
        group: Group,
        opened: Entered,
        since: Since,
        hold: Option<Hold>,
    ) -> Result<(), Error> {
        let name = group.name();
        if group.targets.len() > 1 {
            self.observer.notice(Notice::Shared { name: &name, netns: group.netns });
        }
        if group.is_host_network() {
            self.observer.notice(Notice::HostNetwork { name: &name });
        }
        if let Some(text) = self.stage.entrance.left_out_of(group.netns) {
            self.observer.notice(Notice::Remark { text: &text });
        }
        for interface in &opened.missing {
            self.observer.notice(Notice::MissingInterface { name: &name, interface });
        }
        if opened.program_refused {
            let why = "the kernel refuses the program for its length (net.core.optmem_max)";
            self.observer.notice(Notice::InUserSpace { why });
        }
        if !self.never.is_empty() {
            self.tell_never(&opened.interfaces());
        }
        let id = self.next_id;
        self.next_id += 1;
        for pidfd in &group.pidfds {
            self.poller.add(pidfd, KEY_TARGET + u64::from(id), Trigger::Level)?;
        }
        let only = match self.rings.scope() {
            Scope::Named(names) => Some(names.clone()),
            _ => None,
        };
        let left = self.left.remove(&name);
        let gap = left.as_ref().map(|left| left.at.elapsed());
        let blind = since.blind(&opened);
        let attachment = Attachment {
            id: CaptureId(id),
            identity: identity(&group.targets, group.netns, &self.host, blind, gap),
            netns: opened.netns,
            means: opened.means,
            program_refused: opened.program_refused || self.judged_here,
            only,
            follows: left.as_ref().map(|left| CaptureId(left.id)),
            blind,
            hold,
        };
        let attached = match since {
            Since::Start => self.pipeline.attach(attachment),
            // Others are about to start.
            Since::Later => self.pipeline.attach_aside(attachment),
        };
        match attached {
            // It has ended, by a limit or by a failure: how is told at the end.
            Ok(()) | Err(capture::Error::Ended) => {}
            Err(error) => return Err(error.into()),
        }
        if since != Since::Start {
            self.observer.notice(Notice::Attached { name: &name, blind, gap });
        }
        self.rings.take(group.ring_bytes);
        self.groups.insert(id, group);
        Ok(())
    }

    /// A target that came later could not be captured: the others go on.
    pub(super) fn fail(&mut self, name: String, error: Error) {
        let failure = Failed { name, error };
        self.observer.notice(Notice::Failed(&failure));
        self.failed.push(failure);
    }

    /// One that was to be attached aside is not captured.
    pub(super) fn not_attached(&mut self, id: CaptureId, error: capture::Error) {
        let name = match self.groups.remove(&id.0) {
            Some(group) => {
                self.rings.give_back(group.ring_bytes);
                for container in group.targets.iter().filter_map(Target::as_container) {
                    self.refuse_run((container.id.clone(), container.pid));
                }
                group.name()
            }
            // It has ended meanwhile.
            None => {
                let left = self.left.iter().find(|(_, left)| left.id == id.0);
                left.map_or_else(|| "a container".to_owned(), |(name, _)| name.clone())
            }
        };
        if !matches!(error, capture::Error::Ended) {
            self.fail(name, error.into());
        }
    }

    /// Tells the pipeline what a group is called now.
    pub(super) fn rename(&self, id: u32) {
        if let Some(group) = self.groups.get(&id) {
            let identity = identity(&group.targets, group.netns, &self.host, None, None);
            self.pipeline.rename(CaptureId(id), capture::Identity { note: None, ..identity });
        }
    }

    /// Tells of each link type that is there and on which the expression matches nothing.
    fn tell_never(&mut self, interfaces: &[Interface]) {
        let is_captured = |name: &String| match self.rings.scope() {
            Scope::Named(names) => names.contains(name),
            _ => true,
        };
        self.never.retain(|Never { link_type, message }| {
            let found = interfaces.iter().any(|interface| {
                interface.up && interface.link_type() == *link_type && is_captured(&interface.name)
            });
            if found {
                self.observer.notice(Notice::NeverMatches { link_type: *link_type, message });
            }
            !found
        });
    }

    /// A socket for an interface that came up where each has its own.
    pub(super) fn extend(&mut self, id: CaptureId, index: u32) {
        let Some(group) = self.groups.get_mut(&id.0) else { return };
        let Some(opener) = self.stage.entrance.opener() else { return };
        let spec = Spec { scope: Scope::Index(index), ..self.rings.spec(1) };
        match opener.open(group.place.clone(), spec) {
            Ok(opened) if opened.netns == group.netns => {
                let bytes = opened.geometry.bytes() as u64 * opened.sockets.len() as u64;
                group.ring_bytes += bytes;
                self.pipeline.extend(id, opened.sockets, opened.geometry);
            }
            // The target is on its way out, which is told elsewhere.
            _ => {}
        }
    }

    /// One of a group's processes has ended.
    pub(super) fn process_ended(&mut self, id: u32) -> Result<(), Error> {
        let Some(group) = self.groups.get_mut(&id) else { return Ok(()) };
        let mut left = Vec::new();
        for pidfd in group.pidfds.drain(..) {
            if sys::poll::is_readable(&pidfd)? {
                self.poller.remove(&pidfd)?;
            } else {
                left.push(pidfd);
            }
        }
        group.pidfds = left;
        self.end_if_over(id);
        Ok(())
    }

    /// Looks whether paths still lead where they led: the opener is asked where this process may not.
    pub(super) fn look(&mut self) {
        // A far side looks for itself.
        let Some(opener) = self.stage.entrance.opener() else { return };
        let (mut lost, mut unseen) = (Vec::new(), Vec::new());
        for (id, group) in &self.groups {
            for place in &group.paths {
                let Place::Netns { path } = place else { continue };
                match netns::leads_to(Path::new(path), group.netns) {
                    Some(true) => {}
                    Some(false) => lost.push((*id, place.clone())),
                    None => unseen.push((*id, place.clone())),
                }
            }
        }
        if !unseen.is_empty() && !self.opener_gone {
            let places: Vec<Place> = unseen.iter().map(|(_, place)| place.clone()).collect();
            // When the opener is gone that says nothing of the namespaces.
            let identities = opener.identify_all(&places).unwrap_or_default();
            for ((id, place), identity) in unseen.into_iter().zip(identities) {
                let expected = self.groups.get(&id).map(|group| group.netns);
                if identity.ok() != expected {
                    lost.push((id, place));
                }
            }
        }
        for (id, place) in lost {
            if let Some(group) = self.groups.get_mut(&id) {
                group.paths.retain(|it| *it != place);
            }
            self.end_if_over(id);
        }
    }

    /// Lets a group go of which nothing is left.
    pub(super) fn end_if_over(&mut self, id: u32) {
        // A far side lets everything go at its end, and no target has ended by that.
        let is_let_go = self.stopping || self.stage.entrance.gone().is_some();
        if is_let_go || !self.groups.get(&id).is_some_and(Group::is_over) {
            return;
        }
        let Some(group) = self.groups.remove(&id) else { return };
        self.rings.give_back(group.ring_bytes);
        let name = group.name();
        self.observer.notice(Notice::Ended { name: &name });
        if self.following.is_some() {
            self.pipeline.suspend(CaptureId(id));
            self.remember(id, &group);
            return;
        }
        self.pipeline.detach(CaptureId(id));
        if self.groups.is_empty() && !self.stopping {
            self.all_ended = true;
            self.pipeline.stop();
        }
    }

    /// Remembers a target for the case that it comes back.
    fn remember(&mut self, id: u32, group: &Group) {
        if self.left.len() >= MAX_LEFT
            && let Some(oldest) = self.left.iter().min_by_key(|(_, left)| left.at)
        {
            let oldest = oldest.0.clone();
            self.give_up(&oldest);
        }
        let containers = group.targets.iter().filter_map(Target::as_container);
        let containers = containers.map(|container| container.id.clone()).collect();
        let left = Left { id, containers, at: Instant::now() };
        if let Some(before) = self.left.insert(group.name(), left) {
            self.pipeline.forget(CaptureId(before.id));
        }
    }

    /// The capture of a container, or its last one.
    pub(super) fn capture_of(&self, container: &str) -> Option<u32> {
        let is_in = |group: &Group| group.has_run(container, None);
        let live = self.groups.iter().find(|(_, group)| is_in(group)).map(|(id, _)| *id);
        live.or_else(|| {
            let mine = |left: &&Left| left.containers.iter().any(|id| id == container);
            self.left.values().find(mine).map(|left| left.id)
        })
    }

    /// A container was removed: what it was captured as does not come back.
    pub(super) fn removed(&mut self, container: &str) {
        let mine = |left: &Left| left.containers.iter().any(|id| id == container);
        let name = self.left.iter().find(|(_, left)| mine(left)).map(|(name, _)| name.clone());
        if let Some(name) = name {
            self.give_up(&name);
        }
    }

    fn give_up(&mut self, name: &str) {
        if let Some(left) = self.left.remove(name) {
            self.pipeline.forget(CaptureId(left.id));
        }
    }
}
