//! How namespaces are entered: by an opener of this machine, or by a far side.

use std::{
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::Arc,
    time::Duration,
};

use capture::{
    Means, Sockets,
    far::{self, Ahead, Asked, FarCapture, Link, Seen, Settings},
};
use model::{Connection, Container, Interface, NetnsId};
use opener::{Opened, Opener, Place, Reason, Scope, Spec};
use sys::{
    machine,
    netlink::Netlink,
    poll::{Poller, Trigger, Waker},
    signals::Signals,
};

use crate::{Error, helper::FarHelper};

/// Who enters them.
#[derive(Debug)]
pub(crate) enum Entrance {
    /// An opener: descriptors come from it.
    Here(Arc<Opener>),
    /// A program on another machine: frames come from it.
    Far(Box<Far>),
}

/// A helper on another machine, and the link to it.
#[derive(Debug)]
pub(crate) struct Far {
    link: Link,
    // Behind the link, which is ended first.
    helper: Box<FarHelper>,
}

impl Far {
    /// Begins to speak with a helper that was started. `memory` is what frames may occupy on its
    /// machine while they wait for the link, in bytes.
    pub(crate) fn start(
        stream: UnixStream,
        helper: Box<FarHelper>,
        memory: usize,
    ) -> Result<Self, Error> {
        let settings = Settings { memory: memory as u64, ..SETTINGS };
        match Link::start(stream, env!("CARGO_PKG_VERSION"), settings) {
            Ok(link) => Ok(Self { link, helper }),
            Err(error) => Err(Error::Capture(with_last_words(error, &helper))),
        }
    }
}

impl Far {
    /// The container in whose namespace the helper is, if it is in one.
    pub(crate) fn inside(&self) -> Option<&Container> {
        self.helper.inside()
    }

    fn host(&self) -> &str {
        self.helper.node().unwrap_or(&self.link.host().name)
    }

    /// Where `target` is in the far side's world.
    fn place(&self, target: &str, place: &Place) -> Result<far::Place, Error> {
        let refuse = |why: &str| {
            let what = format!("entering {target}");
            Err(Error::NotPermitted { what, missing: why.to_owned() })
        };
        match (self.inside(), place) {
            (None, place) => match far_place(place) {
                Some(place) => Ok(place),
                None => refuse("it has no place that could be told elsewhere"),
            },
            (Some(inside), Place::Container { id, pid, .. }) if *id == inside.id => {
                if inside.pid == Some(*pid) {
                    Ok(far::Place::Own)
                } else {
                    refuse("it was started again while the helper container was made for it")
                }
            }
            _ => refuse("the helper container reaches one target, and this is another"),
        }
    }

    /// What is in namespaces over there, in the order of the places; `None` where there is no place.
    pub(crate) fn look_all(
        &self,
        places: &[Option<Place>],
    ) -> Vec<Option<Result<Seen, capture::Error>>> {
        let places: Vec<_> =
            places.iter().map(|place| place.as_ref().and_then(far_place)).collect();
        let mut seen = self.link.look_all(places.iter().flatten().cloned().collect()).into_iter();
        let next = |place: &Option<_>| place.as_ref().and_then(|_| seen.next());
        let told = |seen: Result<_, _>| seen.map_err(|it| with_last_words(it, &self.helper));
        places.iter().map(next).map(|seen| seen.map(told)).collect()
    }
}

/// How frames are sent from another machine: compressed where that makes them smaller; together with
/// what comes within 50 ms; and never when they have waited for 2 s.
const SETTINGS: Settings = Settings { compress: true, memory: 0, linger: 50, patience: 2000 };

/// Why a link has ended, in the helper's own words where it had some.
fn with_last_words(error: capture::Error, helper: &FarHelper) -> capture::Error {
    match (error, helper.last_words()) {
        (capture::Error::FarGone { why }, Some(words)) => {
            capture::Error::FarGone { why: format!("{why}: {words}") }
        }
        (error, _) => error,
    }
}

/// A namespace that was entered, and what it takes to capture it.
#[derive(Debug)]
pub(crate) struct Entered {
    pub(crate) netns: NetnsId,
    /// Readable once the process through which it was found has ended.
    pub(crate) pidfd: Option<OwnedFd>,
    pub(crate) program_refused: bool,
    /// Interfaces that were named and are not there.
    pub(crate) missing: Vec<String>,
    /// As [`Opened::created`].
    pub(crate) created: Option<u64>,
    /// As [`Opened::frames_before`].
    pub(crate) frames_before: u64,
    /// When its sockets had been bound, in nanoseconds since the epoch.
    pub(crate) attached: u64,
    /// Bytes of its rings on this machine.
    pub(crate) ring_bytes: u64,
    pub(crate) means: Means,
    /// The interfaces that another machine has told of.
    told: Vec<Interface>,
}

impl From<Opened> for Entered {
    fn from(opened: Opened) -> Self {
        Self {
            netns: opened.netns,
            pidfd: opened.pidfd,
            program_refused: opened.program_refused,
            missing: opened.missing,
            created: opened.created,
            frames_before: opened.frames_before,
            attached: opened.attached,
            ring_bytes: opened.geometry.bytes() as u64 * opened.sockets.len() as u64,
            means: Means::Here(Sockets {
                packet: opened.sockets,
                geometry: opened.geometry,
                netlink: opened.netlink,
            }),
            told: Vec::new(),
        }
    }
}

impl Entered {
    fn far(capture: FarCapture) -> Self {
        let FarCapture { netns, program_refused, since, interfaces, arrivals, ended, .. } = capture;
        Self {
            netns,
            pidfd: Some(ended),
            program_refused,
            missing: capture.missing,
            created: capture.created,
            frames_before: capture.frames_before,
            attached: since,
            ring_bytes: 0,
            means: Means::Far(arrivals),
            told: interfaces,
        }
    }

    /// Whether nothing is listened on, of what `scope` asks for.
    fn is_deaf(&self, scope: &Scope) -> bool {
        match &self.means {
            Means::Here(sockets) => sockets.packet.is_empty(),
            Means::Far(_) => {
                matches!(scope, Scope::Named(names) if names.len() == self.missing.len())
            }
        }
    }

    /// The interfaces that are there now; none where they cannot be asked for.
    pub(crate) fn interfaces(&self) -> Vec<Interface> {
        match &self.means {
            // Out of descriptors: the capture itself is about to say so.
            Means::Here(sockets) => sockets.netlink[0]
                .try_clone()
                .ok()
                .and_then(|fd| Netlink::from_fd(fd).interfaces().ok())
                .unwrap_or_default(),
            Means::Far(_) => self.told.clone(),
        }
    }
}

impl Entrance {
    /// The opener of this machine, if it is that.
    pub(crate) fn opener(&self) -> Option<&Arc<Opener>> {
        match self {
            Self::Here(opener) => Some(opener),
            Self::Far(_) => None,
        }
    }

    /// The one container whose end nobody sees who enters its namespace.
    pub(crate) fn inside(&self) -> Option<&Container> {
        match self {
            Self::Here(_) => None,
            Self::Far(far) => far.inside(),
        }
    }

    /// Opens `target`'s namespace. What takes long elsewhere is given up when somebody wants the end,
    /// where `signals` are to tell that.
    pub(crate) fn open(
        &self,
        target: &str,
        place: &Place,
        spec: &Spec,
        signals: Option<&Signals>,
    ) -> Result<Entered, Error> {
        let entered: Entered = match self {
            Self::Here(opener) => {
                let opened = opener.open(place.clone(), spec.clone());
                opened.map_err(|source| refused(target, source))?.into()
            }
            Self::Far(far) => {
                let place = far.place(target, place)?;
                let asked = far.link.ask_to_attach(place, far_spec(spec))?;
                wait_for(&asked, signals)?;
                let attached = asked.take();
                Entered::far(attached.map_err(|source| far_refused(target, source))?)
            }
        };
        if entered.is_deaf(&spec.scope) {
            if let Means::Far(arrivals) = &entered.means {
                arrivals.refuse();
            }
            let interfaces = entered.missing.join(", ");
            return Err(Error::NoInterface { target: target.to_owned(), interfaces });
        }
        Ok(entered)
    }

    /// The host on which captures are.
    pub(crate) fn host(&self) -> String {
        match self {
            Self::Here(_) => machine::hostname(),
            Self::Far(far) => far.host().to_owned(),
        }
    }

    /// The operating system of that host.
    pub(crate) fn os(&self) -> String {
        match self {
            Self::Here(_) => machine::kernel(),
            Self::Far(far) => {
                let host = far.link.host();
                format!("Linux {} {}", host.kernel, host.architecture)
            }
        }
    }

    /// What a file says of its making: what was asked for, and whose clock its times are.
    pub(crate) fn comment(&self, command_line: &str) -> String {
        let Self::Far(far) = self else { return command_line.to_owned() };
        let link = &far.link;
        let Ahead { nanoseconds, uncertainty } = link.ahead();
        let left_out = self.left_out().map(|it| format!("; {}", in_words(&it)));
        let left_out = left_out.unwrap_or_default();
        format!(
            "{command_line}{left_out}; times are those of {}, whose clock was {:.6} s ahead of this machine's \
             when the capture began, give or take {:.6} s",
            far.host(),
            Duration::from_nanos(nanoseconds.unsigned_abs()).as_secs_f64()
                * if nanoseconds < 0 { -1.0 } else { 1.0 },
            Duration::from_nanos(uncertainty).as_secs_f64(),
        )
    }

    /// The connection by which what is captured elsewhere travels here: it is not to be captured. `None`
    /// where there is none, or it is not known.
    ///
    /// It is left out of every capture elsewhere, because programs are made before it is known what
    /// leads to the namespace that it passes through; in others it cannot occur.
    pub(crate) fn left_out(&self) -> Option<Connection> {
        match self {
            Self::Here(_) => None,
            // Both ends of such a one are on this machine: it leads to somebody who carries it on.
            Self::Far(far) => far.helper.connection().filter(|it| !it.here.ip().is_loopback()),
        }
    }

    /// The same in words, where it passes through this namespace.
    pub(crate) fn left_out_of(&self, netns: NetnsId) -> Option<String> {
        let Self::Far(far) = self else { return None };
        let passes = far.link.host().netns == netns;
        self.left_out().filter(|_| passes).map(|connection| in_words(&connection))
    }

    /// Whole seconds by which times are to be moved to be this machine's.
    pub(crate) fn tsoffset(&self) -> Option<i64> {
        match self {
            Self::Here(_) => None,
            Self::Far(far) => tsoffset(far.link.ahead().nanoseconds),
        }
    }

    /// Readable once nothing can be entered any more.
    pub(crate) fn link(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Here(_) => None,
            Self::Far(far) => Some(far.link.as_fd()),
        }
    }

    /// Why that is so.
    pub(crate) fn gone(&self) -> Option<capture::Error> {
        match self {
            Self::Here(_) => None,
            Self::Far(far) => far.link.gone().map(|error| with_last_words(error, &far.helper)),
        }
    }

    /// Readable once there is something to be told from another machine.
    pub(crate) fn noticed(&self) -> Option<&Waker> {
        match self {
            Self::Here(_) => None,
            Self::Far(far) => Some(far.link.noticed()),
        }
    }

    /// The next of it.
    pub(crate) fn next_notice(&self) -> Option<String> {
        let Self::Far(far) = self else { return None };
        far.link.next_notice().map(|text| format!("{}: {text}", far.host()))
    }
}

/// The seconds, to the nearest, that have to be added to times of a clock that is ahead by this.
fn tsoffset(ahead: i64) -> Option<i64> {
    const SECOND: i64 = 1_000_000_000;
    let seconds = (ahead.abs() + SECOND / 2) / SECOND * ahead.signum();
    (seconds != 0).then_some(-seconds)
}

/// Waits for an answer, as long as nobody wants the end.
fn wait_for(asked: &Asked, signals: Option<&Signals>) -> Result<(), Error> {
    let mut poller = Poller::new()?;
    poller.add(asked, 0, Trigger::Level)?;
    if let Some(signals) = signals {
        // Those that mean something else stay where they are.
        poller.add(signals, 1, Trigger::Edge)?;
    }
    while !asked.is_over() {
        if signals.is_some_and(Signals::asks_for_end) {
            return Err(Error::Interrupted);
        }
        poller.wait(Some(asked.left()))?;
    }
    Ok(())
}

/// What is known of it is what this machine sees; what another one sees behind an address translation or
/// a forwarder has other addresses, and is noticed over there.
fn in_words(connection: &Connection) -> String {
    format!("{connection}, as this machine sees it, is left out: it carries the capture")
}

fn refused(target: &str, source: opener::Error) -> Error {
    match source.reason() {
        Reason::NotPermitted => {
            Error::NotPermitted { what: format!("entering {target}"), missing: source.to_string() }
        }
        _ => Error::Opener { target: target.to_owned(), source },
    }
}

fn far_refused(target: &str, source: capture::Error) -> Error {
    match &source {
        capture::Error::FarRefused { refused } if refused.reason == far::Reason::NotPermitted => {
            Error::NotPermitted { what: format!("entering {target}"), missing: source.to_string() }
        }
        _ => Error::Far { target: target.to_owned(), source },
    }
}

/// Where it is in the far side's world.
fn far_place(place: &Place) -> Option<far::Place> {
    Some(match place {
        Place::Container { pid, id, sandbox_key } => far::Place::Container(far::ContainerPlace {
            pid: *pid,
            id: id.clone(),
            sandbox_key: sandbox_key.clone(),
        }),
        Place::Process { pid } => far::Place::Process(*pid),
        Place::Netns { path } => far::Place::Netns(path.clone()),
        Place::Host => far::Place::Host,
        Place::Sandbox { .. } => return None,
    })
}

fn far_spec(spec: &Spec) -> far::Spec {
    far::Spec {
        program: spec.program.clone(),
        fallback: spec.fallback.clone(),
        ring: u32::try_from(spec.geometry.bytes()).unwrap_or(u32::MAX),
        retire: u32::try_from(spec.geometry.retire().as_micros()).unwrap_or(u32::MAX),
        scope: match &spec.scope {
            Scope::Namespace => far::Scope::Namespace,
            // The far side knows its own kernel, and its interfaces as they come.
            Scope::EachInterface | Scope::Index(_) => far::Scope::EachInterface,
            Scope::Named(names) => far::Scope::Named(names.clone()),
        },
        promiscuous: spec.promiscuous,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_moved_against_the_clocks_lead() {
        const MS: i64 = 1_000_000;
        for (ahead, offset) in [(0, None), (499 * MS, None), (-499 * MS, None)] {
            assert_eq!(tsoffset(ahead), offset, "{ahead}");
        }
        for (ahead, offset) in [(1500 * MS, -2), (-1400 * MS, 1), (86_400_000 * MS, -86_400)] {
            assert_eq!(tsoffset(ahead), Some(offset), "{ahead}");
        }
    }
}
