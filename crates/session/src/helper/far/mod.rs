//! A helper on an engine elsewhere, and the line to it.
//!
//! No directory and no descriptor reaches another machine. There the helper does all of the work, and
//! what it says travels over the streams of its program, which the engine gives to whoever is
//! attached to them.
//!
//! ```text
//!  client ═ a pair of sockets ═ line (a thread) ═ engine ═ stdin, stdout of whaletap-agent stdio
//!    │                            └─ keeps the end of its stderr
//!    └─ holds ─► reaper: removes the helper when main is gone
//! ```
//!
//! The client attaches before the helper starts, so nothing that it says is missed. Neither side is
//! read faster than the other is written: who does not read makes the other wait.

mod line;
mod tail;

use std::{
    net::Shutdown,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, PoisonError},
};

use docker::{Dial, Endpoint, Engine, HelperSpec};
use model::{Connection, Container};
use sys::{lifetime::Lifetime, privileges::User, signals::Signals};

use self::line::Line;
use super::{
    DEADLINE, Reach,
    calls::with_calls,
    container_name, only_one,
    programs::Programs,
    reaper::{Charge, Reaper},
    runtime, shape,
};
use crate::{Error, Selection, interrupt::unless_interrupted, resolve::Machine};

/// What the helper's program is told.
pub(super) const WORDS: &str = "stdio";

/// What a helper elsewhere takes, and was found.
#[derive(Debug)]
pub(crate) struct FarMeans {
    programs: Programs,
    /// Why namespaces are not reached from here; `None` where the user said so.
    instead_of: Option<String>,
}

impl FarMeans {
    /// Looks whether there can be a helper, as far as that can be seen from here.
    pub(super) fn find(reach: &Reach, instead_of: Option<String>) -> Result<Self, Error> {
        Ok(Self { programs: Programs::find(reach)?, instead_of })
    }
}

/// A helper of this session on an engine elsewhere. When this is dropped the line is closed, and the
/// helper ends and is removed; that is waited for, and the helper is ended by force where it takes
/// too long.
#[derive(Debug)]
pub(crate) struct FarHelper {
    means: FarMeans,
    name: String,
    owner: Lifetime,
    /// What there is once it was started.
    started: Option<Started>,
    // Behind the line: removes what is left.
    reaper: Reaper,
}

#[derive(Debug)]
struct Started {
    inside: Option<Container>,
    /// The name of the machine, where the helper has another one.
    node: Option<String>,
    /// The client's end of the line.
    stream: UnixStream,
    line: Line,
    connection: Option<Connection>,
}

impl FarHelper {
    /// Makes what has to be there before this process gives up its rights and has threads: who tidies
    /// up, as the `user` that the client is going to be.
    pub(crate) fn prepare(
        means: FarMeans,
        endpoint: &Endpoint,
        user: Option<&User>,
    ) -> Result<Self, Error> {
        let owner = Lifetime::own()?;
        let name = container_name(&owner);
        let charge = Charge {
            endpoint: endpoint.clone(),
            user: user.cloned(),
            container: name.clone(),
            directory: None,
        };
        let reaper = Reaper::start(&charge)?;
        Ok(Self { means, name, owner, started: None, reaper })
    }

    /// The image that it is made of.
    fn image(&self) -> String {
        self.means.programs.usual().image()
    }

    /// Why namespaces are not reached from here.
    pub(crate) fn instead_of(&self) -> Option<&str> {
        self.means.instead_of.as_deref()
    }

    /// Makes the container, loads its image where that is not there yet, takes its streams, starts it,
    /// and gives the client's end of the line: what is written there is read by the helper's program,
    /// and the other way round. The end of either shows as the end of the other. `only` says what is
    /// to be opened, if that is known and is all.
    ///
    /// That the program runs and is of the right release it has to tell itself.
    pub(crate) fn start(
        &mut self,
        endpoint: &Endpoint,
        dial: Arc<dyn Dial>,
        only: Option<&Selection>,
        signals: Option<&Signals>,
    ) -> Result<UnixStream, Error> {
        let runtime = runtime()?;
        let work = async {
            let engine = Engine::connect_through(endpoint, dial, DEADLINE).await?;
            let inside = match only {
                Some(selection) => only_one(&engine, Machine::Another, selection).await,
                None => None,
            };
            // A container that joins another's network has its name.
            let node = match &inside {
                Some(_) => Some(engine.node().await?.name),
                None => None,
            };
            let attached = with_calls(&engine, &self.name, async |calls| {
                let spec = HelperSpec {
                    name: self.name.clone(),
                    owner: self.owner.to_string(),
                    image: self.image(),
                    shape: shape(inside.as_ref()),
                    calls,
                    words: vec![WORDS.to_owned()],
                    mounts: Vec::new(),
                    attached: true,
                };
                // From here on there may be one, whatever becomes of this process.
                self.reaper.makes();
                let made = self.means.programs.make(&engine, spec).await;
                if made.as_ref().is_err_and(is_refusal) {
                    // Nobody has to wait for one that might come.
                    self.reaper.made_none();
                }
                let id = made?;
                let attached = engine.attach_helper(&id).await?;
                engine.start_helper(&id).await?;
                Ok(attached)
            });
            let attached = attached.await?;
            Ok::<_, Error>((engine, inside, node, attached))
        };
        let (engine, inside, node, attached) =
            runtime.block_on(unless_interrupted(signals, work))?;
        self.reaper.runs();
        let connection = attached.1.connection();
        let (line, stream) = Line::start(runtime, engine, attached)?;
        let ours = stream.try_clone().map_err(sys::Error::call("fcntl(F_DUPFD)"))?;
        self.started = Some(Started { inside, node, stream: ours, line, connection });
        Ok(stream)
    }

    /// The container in whose namespace it is, as it was shortly before: it opens there and nowhere
    /// else.
    pub(crate) fn inside(&self) -> Option<&Container> {
        self.started.as_ref()?.inside.as_ref()
    }

    /// The name of its machine, where the engine was asked for it.
    pub(crate) fn node(&self) -> Option<&str> {
        self.started.as_ref()?.node.as_deref()
    }

    /// The TCP connection by which the line leads there, as this machine sees it, if that is known.
    pub(crate) fn connection(&self) -> Option<Connection> {
        self.started.as_ref()?.connection
    }

    /// Why the line has ended, as far as that is known: the last lines that the helper's program wrote
    /// to its standard error, or what was wrong with the connection. Complete as soon as the client's
    /// end of the line shows the end. `None` where nothing was said, as at an end that the client
    /// wanted. Text from outside: not safe for a terminal.
    pub(crate) fn last_words(&self) -> Option<String> {
        self.started.as_ref()?.line.last_words()
    }
}

impl Drop for FarHelper {
    fn drop(&mut self) {
        if let Some(Started { stream, line, .. }) = self.started.take() {
            // Also where the client still has its own descriptor of it.
            let _ = stream.shutdown(Shutdown::Both);
            line.end();
        }
    }
}

/// Whether the engine has answered, or was not asked for one: so it is known that there is no container.
fn is_refusal(error: &Error) -> bool {
    use docker::Error as E;
    matches!(
        error,
        Error::OtherRelease { .. }
            | Error::Engine(
                E::Api { .. }
                    | E::NoSuchImage { .. }
                    | E::OtherArchitecture { .. }
                    | E::HelperProgram { .. }
            )
    )
}

/// Something that two threads look at.
type Shared<T> = Arc<Mutex<T>>;

/// What is shared, although whoever had it may have panicked.
fn locked<T>(shared: &Shared<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
