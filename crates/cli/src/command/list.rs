use std::process::ExitCode;

use session::inventory::{self, Entry};

use super::{text, to_stdout};
use crate::{
    exit::{Exit, Failure},
    flags::{GlobalFlags, ListFlags, ListFormat},
    high::{Surroundings, query},
    show,
    terminal::Level,
};

/// Problems that are told one by one; of more, how many there are.
const MAX_PROBLEMS: usize = 3;

/// `whaletap ls`.
pub(super) fn run(
    flags: &ListFlags,
    global: &GlobalFlags,
    surroundings: &Surroundings,
) -> Result<ExitCode, Failure> {
    let query = query(flags, global, surroundings)?;
    let mut entries = inventory::list(&query)?;
    let lines = match flags.format {
        _ if flags.quiet => show::ids(&entries, flags.no_trunc),
        ListFormat::Json => show::json(&entries, flags.interfaces)
            .map_err(|error| Failure::bug(format!("cannot write JSON: {error}")))?,
        ListFormat::Table if flags.interfaces => show::interface_table(&entries, flags.no_trunc),
        ListFormat::Table => show::table(&entries, flags.no_trunc),
    };
    let problems = problems(&mut entries);
    // Without --interfaces a namespace is by the way, if it is there.
    let matters =
        |failure: &&Failure| flags.interfaces || !matches!(failure.exit, Exit::NotPermitted);
    let exit = match problems.iter().find(matters) {
        None => Exit::Success,
        Some(first) if problems.iter().filter(matters).count() == entries.len() => first.exit,
        Some(_) => Exit::Partial,
    };
    let code = to_stdout(&text(&lines), exit)?;
    // Who wants ids only wants to know why some are not there.
    let tells = !flags.quiet || exit != Exit::Success;
    if global.log_level <= Level::Warn && tells {
        let mut err = anstream::stderr().lock();
        for failure in told(problems, entries.len()) {
            failure.tell(&mut err);
        }
    }
    Ok(code)
}

/// Why targets may not be looked at.
fn problems(entries: &mut [Entry]) -> Vec<Failure> {
    entries.iter_mut().filter_map(|entry| entry.problem.take()).map(Failure::from).collect()
}

/// Few problems as they are; many by the first of them.
fn told(mut problems: Vec<Failure>, targets: usize) -> Vec<Failure> {
    let count = problems.len();
    if count > MAX_PROBLEMS {
        problems.truncate(1);
        for first in &mut problems {
            first.lines.insert(0, format!("{count} of {targets} targets cannot be looked into"));
        }
    }
    // One hint is enough for those that have the same.
    let mut hints: Vec<String> = Vec::new();
    for problem in &mut problems {
        if let Some(hint) = problem.hint.take_if(|hint| hints.contains(hint)) {
            drop(hint);
        }
        hints.extend(problem.hint.clone());
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_problems_are_told_once() {
        let problem = || {
            let hint = Some("use sudo".to_owned());
            Failure { hint, ..Failure::new(Exit::NotPermitted, "web: not permitted") }
        };
        let few = told(vec![problem(), problem()], 5);
        assert_eq!(few.len(), 2);
        assert_eq!((few[0].hint.as_deref(), few[1].hint.as_deref()), (Some("use sudo"), None));
        let many = told((0..300).map(|_| problem()).collect(), 300);
        assert_eq!(many.len(), 1);
        assert_eq!(many[0].lines[0], "300 of 300 targets cannot be looked into");
    }
}
