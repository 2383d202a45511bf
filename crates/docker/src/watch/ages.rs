use std::collections::HashSet;

use crate::{Engine, Error, Filter};

/// Filters that compare a container's age with another's.
///
/// The engine applies them only as long as that other container exists, and refuses every list
/// from then on. What they come to is settled by the first list, though: those that were there pass
/// or do not, and whoever is made later is younger than any of them.
#[derive(Debug)]
pub(super) struct Ages {
    filters: Vec<Filter>,
    /// `None` until the engine has answered.
    settled: Option<Settled>,
}

#[derive(Debug)]
struct Settled {
    /// Those that were there.
    old: HashSet<String>,
    /// Those of them that pass.
    passing: HashSet<String>,
}

impl Ages {
    /// Takes filters of this kind out of all.
    pub(super) fn take_out(filters: &[Filter]) -> (Self, Vec<Filter>) {
        let is_by_age = |filter: &Filter| matches!(filter.key(), "before" | "since");
        let (filters, others) = filters.iter().cloned().partition(is_by_age);
        (Self { filters, settled: None }, others)
    }

    /// Asks the engine, unless it has answered before.
    pub(super) async fn settle(&mut self, engine: &Engine) -> Result<(), Error> {
        if self.filters.is_empty() || self.settled.is_some() {
            return Ok(());
        }
        // Whoever is made between the two counts as made later, which it is.
        let old = ids(engine, &[]).await?;
        let passing = ids(engine, &self.filters).await?;
        self.settled = Some(Settled { old, passing });
        Ok(())
    }

    /// Whether a container passes.
    pub(super) fn pass(&self, id: &str) -> bool {
        match &self.settled {
            Some(settled) if settled.old.contains(id) => settled.passing.contains(id),
            _ => self.filters.iter().all(|filter| filter.key() == "since"),
        }
    }
}

async fn ids(engine: &Engine, filters: &[Filter]) -> Result<HashSet<String>, Error> {
    let rows = engine.describe_all(filters, true).await?;
    Ok(rows.into_iter().map(|row| row.container.id).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_made_later_is_younger_than_anybody() {
        let parse = |words: &[&str]| -> Vec<Filter> {
            words.iter().map(|word| word.parse().unwrap()).collect()
        };
        let set = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        for (words, takes_new) in [
            (&["since=a"][..], true),
            (&["before=c"], false),
            (&["since=a", "before=c"], false),
            (&["label=x"], true),
        ] {
            let (mut ages, others) = Ages::take_out(&parse(words));
            assert_eq!(others.len(), usize::from(words[0] == "label=x"));
            assert_eq!(ages.pass("new"), takes_new, "{words:?}");
            ages.settled = Some(Settled { old: set(&["a", "b", "c"]), passing: set(&["b"]) });
            assert_eq!(["a", "b", "c"].map(|id| ages.pass(id)), [false, true, false]);
            assert_eq!(ages.pass("new"), takes_new, "{words:?}");
        }
    }
}
