//! Containers come and go.

use std::sync::Arc;

use capture::CaptureId;
use docker::{Happening, News, What};
use model::{Container, Target};
use sys::poll::{Trigger, is_readable};

use super::{KEY_SANDBOXES, Supervisor, attaching::open};
use crate::{
    Error, Notice,
    follower::Follower,
    naming::Since,
    roster::Roster,
    sandboxes::{Held, Sandboxes},
    status::now,
};

/// The most failed runs that are remembered.
const MAX_REFUSED: usize = 1024;

/// What it takes to follow.
#[derive(Debug)]
pub(super) struct Following {
    /// Gone before everything else: it asks the opener.
    pub(super) follower: Follower,
    pub(super) sandboxes: Sandboxes,
    pub(super) roster: Roster,
    /// Runs that could not be attached: told once.
    pub(super) refused: Vec<(String, Option<u32>)>,
    /// Since when the engine does not answer, in nanoseconds since the epoch.
    pub(super) lost_since: Option<u64>,
    /// The first list has come: nothing that happens from now on is missed.
    pub(super) is_ready: bool,
}

impl Following {
    pub(super) fn new(follower: Follower, sandboxes: Sandboxes, roster: Roster) -> Self {
        let refused = Vec::new();
        Self { follower, sandboxes, roster, refused, lost_since: None, is_ready: false }
    }
}

impl Supervisor<'_> {
    /// Waits for what happens in the directories of namespaces.
    pub(super) fn watch_sandboxes(&mut self) -> Result<(), Error> {
        if let Some(following) = &self.following {
            for (index, watch) in following.sandboxes.watches().enumerate() {
                self.poller.add(watch, KEY_SANDBOXES + index as u64, Trigger::Level)?;
            }
        }
        Ok(())
    }

    /// Opens namespaces that have appeared, and lets go of those that are nobody's who is meant.
    pub(super) fn turn_to_sandboxes(&mut self) -> Result<(), Error> {
        let Some(following) = &mut self.following else { return Ok(()) };
        // A far side tells of no namespaces: what starts there is taken when the engine tells of it.
        let Some(opener) = self.stage.entrance.opener().filter(|_| !self.opener_gone) else {
            following.sandboxes.wait_no_more();
            return Ok(());
        };
        let opener = Arc::clone(opener);
        if following.sandboxes.read(&opener) {
            self.watch_sandboxes_anew()?;
        }
        let Some(following) = &mut self.following else { return Ok(()) };
        let (rings, pipeline) = (&self.rings, &self.pipeline);
        let hold = || pipeline.hold(now());
        let spec = |coming| rings.spec(coming);
        let errors = following.sandboxes.open(&opener, hold, spec);
        following.sandboxes.ask(&opener);
        let roster = &following.roster;
        let netns: Vec<_> = self.groups.values().map(|group| group.netns).collect();
        // Dropping them lets them go.
        following.sandboxes.take(|held| {
            let stranger = held
                .container()
                .and_then(|id| roster.get(id))
                .is_some_and(|container| !container.name.is_empty() && !roster.may_take(container));
            stranger || netns.contains(&held.opened.netns)
        });
        following.sandboxes.ease_holds(|id| roster.get(id).is_some());
        let overdue = following.sandboxes.take(|held| held.is_overdue());
        for held in overdue {
            let known = held.container().and_then(|id| self.known(id));
            if let Some(container) = known.filter(|container| self.takes(container)) {
                self.adopt(held, container)?;
            }
        }
        for error in errors {
            self.fail(
                "a new namespace".to_owned(),
                Error::Opener { target: "it".into(), source: error },
            );
        }
        Ok(())
    }

    /// Hears what becomes of containers.
    pub(super) fn hear_news(&mut self) -> Result<(), Error> {
        while let Some(news) =
            self.following.as_ref().and_then(|following| following.follower.next())
        {
            match news {
                News::Connected { .. } => self.engine_answers()?,
                News::Listed { live } => self.listed(&live)?,
                News::Happened(happening) => self.happened(&happening)?,
                News::Inspected(container) => self.inspected(&container)?,
                News::Lost(error) => {
                    if let Some(following) = &mut self.following {
                        following.lost_since = Some(now());
                    }
                    self.observer.notice(Notice::EngineLost { why: &error });
                }
            }
        }
        Ok(())
    }

    fn engine_answers(&mut self) -> Result<(), Error> {
        let Some(following) = &mut self.following else { return Ok(()) };
        if following.lost_since.take().is_none() {
            return Ok(());
        }
        for watch in following.sandboxes.watches() {
            // One that could not be waited for is not there.
            let _ = self.poller.remove(watch);
        }
        if let Some(opener) = self.stage.entrance.opener() {
            following.sandboxes.renew(opener, &self.stage.dial);
        }
        self.observer.notice(Notice::EngineBack);
        self.watch_sandboxes()
    }

    fn listed(&mut self, live: &[Container]) -> Result<(), Error> {
        if let Some(following) = &mut self.following {
            following.roster.learn_all(live);
        }
        for container in live {
            self.consider(container)?;
        }
        self.tell_names();
        if let Some(following) = &mut self.following
            && !following.is_ready
        {
            following.is_ready = true;
            self.start_command()?;
        }
        Ok(())
    }

    fn happened(&mut self, happening: &Happening) -> Result<(), Error> {
        let Some(following) = &mut self.following else { return Ok(()) };
        let container = &happening.container;
        following.roster.learn(container);
        match &happening.what {
            What::Died { .. } => self.settle(container)?,
            What::Destroyed => {
                following.roster.forget(&container.id);
                self.removed(&container.id);
            }
            What::Renamed { .. } => self.called(container),
            _ => {}
        }
        self.pull_trigger(happening);
        Ok(())
    }

    /// What happened to a container may be what a recorder waits for.
    fn pull_trigger(&self, Happening { container, what, at }: &Happening) {
        let Some(recording) = &self.stage.request.recording else { return };
        if let Some(trigger) = recording.on.fires(what, *at)
            && let Some(id) = self.capture_of(&container.id)
        {
            self.pipeline.trigger(Some(CaptureId(id)), trigger);
        }
    }

    fn inspected(&mut self, container: &Container) -> Result<(), Error> {
        if let Some(following) = &mut self.following {
            following.roster.learn(container);
        }
        self.consider(container)?;
        self.tell_names();
        Ok(())
    }

    /// A container of which everything is known: is it meant, and is it captured?
    fn consider(&mut self, container: &Container) -> Result<(), Error> {
        self.settle(container)?;
        self.called(container);
        if !container.state.is_live() || container.pid.is_none() || !self.takes(container) {
            return Ok(());
        }
        let run = (container.id.clone(), container.pid);
        let is_captured = self.groups.values().any(|group| group.has_run(&run.0, run.1));
        let Some(following) = &mut self.following else { return Ok(()) };
        if let Some(opener) = self.stage.entrance.opener()
            && following.sandboxes.learn(&container.sandbox_key, opener)
        {
            self.watch_sandboxes_anew()?;
        }
        let Some(following) = &self.following else { return Ok(()) };
        if is_captured || self.opener_gone || self.stopping || following.refused.contains(&run) {
            return Ok(());
        }
        let target = Target::container(container.clone());
        // Those that are the command's end nothing here.
        let signals = (!self.command_runs).then_some(&self.stage.signals);
        match open((&self.stage.entrance, signals), &target, &self.rings.spec(1)) {
            Ok((place, opened)) => self.take_in(target, place, opened, Since::Later, None),
            // It has ended, which is told by an event.
            Err(error) if error.is_not_found() => Ok(()),
            // Which is what happens next.
            Err(Error::Interrupted) => Ok(()),
            Err(error) => {
                self.refuse_run(run);
                self.fail(target.name, error);
                Ok(())
            }
        }
    }

    /// A run that could not be attached is told once.
    pub(super) fn refuse_run(&mut self, run: (String, Option<u32>)) {
        if let Some(following) = &mut self.following {
            if following.refused.len() >= MAX_REFUSED {
                following.refused.remove(0);
            }
            following.refused.push(run);
        }
    }

    /// What is held and this container's becomes its capture, or is let go.
    fn settle(&mut self, container: &Container) -> Result<(), Error> {
        let Some(following) = &mut self.following else { return Ok(()) };
        let (id, key) = (&*container.id, &*container.sandbox_key);
        let held = following.sandboxes.take(|held| held.is_of(id, key));
        if held.is_empty() {
            return Ok(());
        }
        let full = self.known(id).unwrap_or_else(|| container.clone());
        for held in held {
            if self.takes(&full) {
                self.adopt(held, full.clone())?;
            }
        }
        Ok(())
    }

    fn adopt(&mut self, mut held: Held, container: Container) -> Result<(), Error> {
        if self.stopping {
            return Ok(());
        }
        // Whoever was found in it may have been a step of the runtime's, which does not last. Podman's
        // namespaces are there before the runtime is.
        let is_alive =
            held.opened.pidfd.as_ref().is_some_and(|pidfd| !is_readable(pidfd).unwrap_or(true));
        if !is_alive
            && let Some(opener) = self.stage.entrance.opener()
            && let Ok(seen) = opener.look(held.place())
            && seen.netns == held.opened.netns
        {
            held.opened.pidfd = seen.pidfd.or(held.opened.pidfd.take());
        }
        let place = held.place();
        let netns = held.opened.netns;
        let target = Target::container(container);
        self.take_in(target, place, held.opened.into(), Since::Later, held.hold)?;
        // One that has ended meanwhile has nobody who could tell its end.
        let over = self.groups.iter().find(|(_, group)| group.netns == netns && group.is_over());
        if let Some(id) = over.map(|(id, _)| *id) {
            self.end_if_over(id);
        }
        Ok(())
    }

    /// A container may have another name, or other addresses.
    fn called(&mut self, container: &Container) {
        if container.name.is_empty() {
            return;
        }
        let mut renamed = Vec::new();
        for (id, group) in &mut self.groups {
            let Some(target) = group.container_mut(&container.id) else { continue };
            let fresh = Target::container(container.clone());
            let is_whole = container.pid.is_some();
            let is_renamed = fresh.name != target.name;
            if is_whole {
                target.origin = fresh.origin;
            }
            if is_renamed {
                target.name = fresh.name;
                renamed.push(*id);
            }
        }
        for id in renamed {
            self.rename(id);
        }
    }

    fn watch_sandboxes_anew(&mut self) -> Result<(), Error> {
        if let Some(following) = &self.following {
            for watch in following.sandboxes.watches() {
                // The new one is not there yet.
                let _ = self.poller.remove(watch);
            }
        }
        self.watch_sandboxes()
    }

    fn tell_names(&mut self) {
        let Some(following) = &self.following else { return };
        let names = following.roster.names();
        if names != self.names {
            self.pipeline.set_names(names.clone());
            self.names = names;
        }
    }

    fn known(&self, id: &str) -> Option<Container> {
        self.following.as_ref().and_then(|following| following.roster.get(id)).cloned()
    }

    fn takes(&self, container: &Container) -> bool {
        self.following.as_ref().is_some_and(|following| following.roster.takes(container))
    }
}
