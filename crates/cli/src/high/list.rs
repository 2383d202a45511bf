use session::{Selection, inventory::Query};

use super::{Surroundings, endpoint, reach};
use crate::{
    exit::Failure,
    flags::{GlobalFlags, ListFlags},
};

/// What `ls` asks for.
pub(crate) fn query(
    flags: &ListFlags,
    global: &GlobalFlags,
    surroundings: &Surroundings,
) -> Result<Query, Failure> {
    // No selector is everything, and that is an engine's to say.
    let everything = [model::Selector::Name("*".to_owned())];
    let asked = if flags.selectors.is_empty() { &everything[..] } else { &flags.selectors };
    Ok(Query {
        endpoint: endpoint(global, asked, surroundings)?,
        reach: reach(&flags.reach, surroundings),
        selection: Selection {
            selectors: flags.selectors.clone(),
            exclude: flags.exclude.clone(),
            filters: flags.filters.clone(),
        },
        all: flags.all,
        interfaces: flags.interfaces,
    })
}
