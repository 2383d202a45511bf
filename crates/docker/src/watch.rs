mod ages;
mod asking;
mod connection;
mod inspections;
mod known;
mod told;

use std::{convert::Infallible, time::Duration};

use model::Container;

use self::{ages::Ages, connection::Connection, known::Known, told::Told};
use crate::{Engine, Error, Filter, Happening};

/// How often containers are listed, so that what no event told is made up for.
pub const RECONCILE: Duration = Duration::from_secs(2);

/// The pause before the first attempt to reach an engine again, doubled with each attempt …
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// … up to this one.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// News of an engine's containers.
#[derive(Debug)]
pub enum News {
    /// The engine answers: for the first time, or again. [`News::Listed`] follows.
    Connected {
        /// The connection, for further questions. Clones of earlier ones may be cut for good.
        engine: Engine,
    },
    /// All live containers that pass the filters: after each connection, and whenever a list shows
    /// that something was missed. What is not among them does not live, or does not pass.
    ///
    /// Where an inspection is not answered yet (after 1 s: the engine waits for something) a
    /// container is there as far as it is known, without a `pid` if nothing more is, and
    /// [`News::Inspected`] follows.
    Listed {
        /// Sorted by name.
        live: Vec<Container>,
    },
    /// Something happened: told at once, before anybody is asked about it.
    ///
    /// Its container is what the event tells, and what was known besides: after
    /// [`crate::What::Died`] it has no `pid` and no sandbox any more, after
    /// [`crate::What::Connected`] the network is among its endpoints, without an address. An event
    /// that is told late may be about an earlier run than the one that is known
    /// ([`Happening::is_before`]): then its container is the one of the present run.
    Happened(Happening),
    /// The whole truth about one container, asked for because something happened to it, or found
    /// changed.
    Inspected(Container),
    /// The engine does not answer any more, or never did, or tells no events: once for each outage.
    /// Attempts go on. As long as it answers lists, [`News::Listed`] and [`News::Inspected`] are
    /// told as before.
    Lost(Error),
}

/// Follows an engine's containers, and tells `tell` what becomes of those that pass `filters`,
/// through all outages, until it is dropped.
///
/// Events are asked for first, then a list is; so nothing falls in between. From then on events
/// are told at once, the engine is asked about containers that were started or changed
/// ([`crate::INSPECT_CONCURRENCY`] at once), and a list every [`RECONCILE`] makes up for events
/// that did not come. Inspections wait for nothing and hold up nothing: an engine does not answer
/// one while it starts the container in question.
///
/// A list tells whether a container was started again, because its endpoints have other ids then.
/// Containers without endpoints of their own (`--network container:…`) are inspected for it, some
/// with each list.
///
/// An engine that lets containers be listed and tells no events, as one behind a proxy may, is asked
/// for both every [`RECONCILE`].
///
/// After an outage the engine is asked for the events that were missed. It still has them if it was
/// only the stream that was cut; one that was started again has forgotten them.
///
/// Filters are applied by the engine: with them, each event of a container that was not listed
/// costs a question before it is told. `since` and `before` are asked for once, and mean from then
/// on what they meant then: the container that they name may be removed.
///
/// # Panics
///
/// Outside a tokio runtime with I/O and time.
pub async fn watch<F>(
    connect: impl Fn() -> F,
    filters: &[Filter],
    mut tell: impl FnMut(News),
) -> Infallible
where
    F: Future<Output = Result<Engine, Error>>,
{
    let (mut ages, filters) = Ages::take_out(filters);
    let mut known = Known::default();
    let mut told = Told::default();
    let mut pause = FIRST_PAUSE;
    let mut is_lost = false;
    let mut is_listed = false;
    loop {
        let error = match begin(connect(), &filters, &mut ages, &told).await {
            Ok(Begun { connection, list, deaf: None }) => {
                (pause, is_lost, is_listed) = (FIRST_PAUSE, false, true);
                tell(News::Connected { engine: connection.engine().clone() });
                connection.follow(list, true, &ages, &mut known, &mut told, &mut tell).await
            }
            Ok(Begun { connection, list, deaf: Some(error) }) => {
                if !std::mem::replace(&mut is_lost, true) {
                    tell(News::Lost(error));
                }
                let all = !std::mem::replace(&mut is_listed, true);
                let lists = connection.follow(list, all, &ages, &mut known, &mut told, &mut tell);
                // Until it is time to ask for events again, or the engine is lost altogether.
                let _ = tokio::time::timeout(RECONCILE, lists).await;
                continue;
            }
            Err(error) => error,
        };
        told.interrupted();
        if !is_lost {
            is_lost = true;
            tell(News::Lost(error));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// A connection that has been made, and a list of containers.
struct Begun {
    connection: Connection,
    list: Vec<crate::api::Described>,
    /// Why there are no events.
    deaf: Option<Error>,
}

/// Events first, then a list.
async fn begin(
    connecting: impl Future<Output = Result<Engine, Error>>,
    filters: &[Filter],
    ages: &mut Ages,
    told: &Told,
) -> Result<Begun, Error> {
    let engine = connecting.await?;
    let (happenings, deaf) = match engine.happenings(told.since()).await {
        Ok(happenings) => (Some(happenings), None),
        // It would not answer the other question either.
        Err(error @ Error::Timeout { .. }) => return Err(error),
        Err(error) => (None, Some(error)),
    };
    let list = match ages.settle(&engine).await {
        Ok(()) => engine.describe_all(filters, true).await,
        Err(error) => Err(error),
    };
    match (list, deaf) {
        (Ok(list), deaf) => {
            let connection = Connection::new(engine, happenings, filters);
            Ok(Begun { connection, list, deaf })
        }
        (Err(_), Some(error)) | (Err(error), None) => Err(error),
    }
}
