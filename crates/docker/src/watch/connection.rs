use std::{collections::HashSet, future::Future, pin::Pin, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::Instant;

use super::{
    News, RECONCILE,
    ages::Ages,
    asking::{Asking, narrowed},
    inspections::Inspections,
    known::{Known, Learnt},
    told::Told,
};
use crate::{Engine, Error, Filter, Happening, Happenings, What, api::Described};

/// How long a list of all waits for inspections before it is told without them.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many containers are inspected with each list because no list would show their new start.
const UNATTACHED: usize = 8;

/// One connection to an engine that is followed.
pub(super) struct Connection {
    engine: Engine,
    /// `None` from an engine that tells none.
    happenings: Option<Happenings>,
    filters: Vec<Filter>,
    inspections: Inspections,
    asking: Asking,
    answers: FuturesUnordered<Question>,
    /// When the next list is due; `None` while one is under way.
    next_list: Option<Instant>,
    /// A list of all that is to be told, once these are inspected or the time has come.
    owed: Option<(HashSet<String>, Instant)>,
    /// Where the round of those without endpoints goes on: behind this id.
    round: String,
}

type Question = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// The next event; never one where there are none.
async fn next(happenings: &mut Option<Happenings>) -> Result<Happening, Error> {
    match happenings {
        Some(happenings) => happenings.next().await,
        None => std::future::pending().await,
    }
}

enum Answer {
    Inspection(String, Result<Described, Error>),
    List(Result<Vec<Described>, Error>),
    /// Whether a container passes the filters: its row if it does.
    Passes(String, Result<Option<Described>, Error>),
}

impl Connection {
    pub(super) fn new(engine: Engine, happenings: Option<Happenings>, filters: &[Filter]) -> Self {
        Self {
            engine,
            happenings,
            filters: filters.to_vec(),
            inspections: Inspections::default(),
            asking: Asking::default(),
            answers: FuturesUnordered::new(),
            next_list: Some(Instant::now() + RECONCILE),
            owed: None,
            round: String::new(),
        }
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Tells what becomes of the containers, beginning with this list of them, until the
    /// connection is lost; the reason. With `all` the whole list is told and asked about, otherwise
    /// what differs from what is known.
    pub(super) async fn follow(
        mut self,
        list: Vec<Described>,
        all: bool,
        ages: &Ages,
        known: &mut Known,
        told: &mut Told,
        tell: &mut impl FnMut(News),
    ) -> Error {
        known.list_begins();
        self.listed(list, all, ages, known);
        loop {
            self.ask(known);
            if self.owed.as_ref().is_some_and(|(awaited, _)| awaited.is_empty()) {
                self.owed = None;
                tell(News::Listed { live: known.live() });
            }
            let wake = [self.next_list, self.owed.as_ref().map(|(_, until)| *until)];
            let wake =
                wake.into_iter().flatten().min().unwrap_or_else(|| Instant::now() + RECONCILE);
            tokio::select! {
                happening = next(&mut self.happenings) => match happening {
                    Ok(happening)
                        if ages.pass(&happening.container.id) && told.is_new(&happening) =>
                    {
                        self.happened(happening, known, tell);
                    }
                    Ok(_) => {}
                    Err(error) => return error,
                },
                Some(answer) = self.answers.next() => {
                    if let Err(error) = self.answered(answer, ages, known, tell) {
                        return error;
                    }
                }
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// Asks what is to be asked now.
    fn ask(&mut self, known: &mut Known) {
        let now = Instant::now();
        if let Some((awaited, until)) = &mut self.owed
            && *until <= now
        {
            awaited.clear();
        }
        if self.next_list.is_some_and(|due| due <= now) {
            self.next_list = None;
            known.list_begins();
            let (engine, filters) = (self.engine.clone(), self.filters.clone());
            self.answers.push(Box::pin(async move {
                Answer::List(engine.describe_all(&filters, true).await)
            }));
        }
        while let Some(id) = self.inspections.next() {
            let engine = self.engine.clone();
            self.answers.push(Box::pin(async move {
                let answer = engine.describe(&id).await;
                Answer::Inspection(id, answer)
            }));
        }
        while let Some(id) = self.asking.next() {
            let (engine, filters) = (self.engine.clone(), narrowed(&self.filters, &id));
            self.answers.push(Box::pin(async move {
                let rows = engine.describe_all(&filters, true).await;
                let mine = |rows: Vec<Described>| rows.into_iter().find(|r| r.container.id == id);
                let answer = rows.map(mine);
                Answer::Passes(id, answer)
            }));
        }
    }

    fn answered(
        &mut self,
        answer: Answer,
        ages: &Ages,
        known: &mut Known,
        tell: &mut impl FnMut(News),
    ) -> Result<(), Error> {
        match answer {
            Answer::List(list) => {
                self.next_list = Some(Instant::now() + RECONCILE);
                self.listed(list?, false, ages, known);
            }
            Answer::Inspection(id, answer) => self.inspected(id, answer, known, tell),
            Answer::Passes(id, answer) => {
                // Where the engine does not answer, the next list does.
                let row = answer.ok().flatten();
                let events = self.asking.answered(&id, row.is_some());
                if let Some(row) = row
                    && !events.is_empty()
                {
                    known.meet(row);
                }
                for happening in events {
                    self.tell(happening, known, tell);
                }
            }
        }
        Ok(())
    }

    /// A list came; `all` of it is new to us, or only what differs from what is known.
    fn listed(&mut self, mut list: Vec<Described>, all: bool, ages: &Ages, known: &mut Known) {
        list.retain(|row| ages.pass(&row.container.id));
        let inspections = &self.inspections;
        let differences = known.list(list, all, |id| inspections.is_pending(id));
        let mut awaited = HashSet::new();
        for id in differences.ask {
            if self.inspections.want_later(&id) {
                awaited.insert(id);
            }
        }
        if differences.any {
            self.owed = Some((awaited, Instant::now() + PATIENCE));
        }
        let mut unattached: Vec<&str> = known.unattached().collect();
        unattached.sort_unstable();
        let behind = unattached.partition_point(|id| **id <= *self.round);
        unattached.rotate_left(behind);
        unattached.truncate(UNATTACHED);
        for id in &unattached {
            self.inspections.want_later(id);
        }
        self.round = unattached.last().map(|id| (*id).to_owned()).unwrap_or_default();
    }

    fn happened(&mut self, happening: Happening, known: &mut Known, tell: &mut impl FnMut(News)) {
        let id = &happening.container.id;
        // One that was listed meanwhile has earlier events that wait: they go first.
        if self.filters.is_empty() || (known.contains(id) && !self.asking.has(id)) {
            self.tell(happening, known, tell);
        } else {
            self.asking.add(happening);
        }
    }

    /// Tells an event of a container that passes.
    fn tell(&mut self, mut happening: Happening, known: &mut Known, tell: &mut impl FnMut(News)) {
        if known.happened(&mut happening) {
            self.inspections.want(&happening.container.id, happening.what == What::Started);
        }
        tell(News::Happened(happening));
    }

    fn inspected(
        &mut self,
        id: String,
        answer: Result<Described, Error>,
        known: &mut Known,
        tell: &mut impl FnMut(News),
    ) {
        let meanwhile = self.inspections.answered(&id);
        let is_awaited = self.owed.as_mut().is_some_and(|(awaited, _)| awaited.remove(&id));
        let mut again = meanwhile.changed || meanwhile.started;
        match answer {
            Ok(described) => {
                let container = described.container.clone();
                match known.inspected(described) {
                    Learnt::Stale => {}
                    learnt => {
                        again =
                            meanwhile.changed || (meanwhile.started && !container.state.is_live());
                        if learnt == Learnt::News && !is_awaited {
                            tell(News::Inspected(container));
                        }
                    }
                }
            }
            Err(Error::Timeout { .. }) if !again => self.inspections.sulks(id.clone()),
            // It is gone, which an event or the next list tells; or the engine is.
            Err(_) => {}
        }
        if again {
            self.inspections.want(&id, false);
        }
    }
}
