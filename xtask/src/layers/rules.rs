use super::{
    bans::BANS,
    table::Table,
    workspace::{Dependency, Kind, Member, Workspace},
};

/// The test lab: the one crate without a layer that shipped crates may use, in their tests.
const LAB: &str = "lab";

/// What is wrong with the workspace, a sentence each; empty when nothing is.
pub(crate) fn check(table: &Table, workspace: &Workspace) -> Vec<String> {
    let mut broken = Vec::new();
    for member in &workspace.crates {
        if table.row(&member.name).is_none() {
            broken.push(format!("crate {} is not in the table", member.name));
            continue;
        }
        for dependency in &member.dependencies {
            broken.extend(judge(table, member, dependency));
        }
    }
    for row in &table.rows {
        if !workspace.crates.iter().any(|member| member.name == row.name) {
            broken.push(format!("the table has {}, the workspace has not", row.name));
        }
    }
    broken
}

fn judge(table: &Table, member: &Member, dependency: &Dependency) -> Option<String> {
    let how = match dependency.kind {
        Kind::Normal => "depends on",
        Kind::Dev => "depends in its tests on",
        Kind::Build => "depends in its build script on",
    };
    let (user, used) = (&member.name, &dependency.name);
    if !dependency.ours {
        let ban = BANS.iter().find(|ban| ban.forbids(used, user))?;
        return Some(format!("{user} {how} {used}: {}", ban.why));
    }
    if used == LAB && dependency.kind == Kind::Dev {
        return None;
    }
    let allowed = table.row(user).is_some_and(|row| row.may_use.contains(used));
    (!allowed).then(|| format!("{user} {how} {used}, which its row does not allow"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "| layer | crate | may use |\n|---|---|---|\n| 0 | `model` | – |\n\
                        | 1 | `sys` | `model` |\n| 2 | `capture` | `model`, `sys` |\n\
                        | – | `lab` | `sys` |\n";

    fn member(name: &str, dependencies: &[(&str, bool, Kind)]) -> Member {
        let dependencies = dependencies
            .iter()
            .map(|&(name, ours, kind)| Dependency { name: name.to_owned(), ours, kind })
            .collect();
        Member { name: name.to_owned(), manifest: "Cargo.toml".into(), dependencies }
    }

    /// A workspace that is right, but for what one of its crates depends on.
    fn broken(name: &str, dependencies: &[(&str, bool, Kind)]) -> Vec<String> {
        let crates = ["model", "sys", "capture", "lab"]
            .map(|other| member(other, if other == name { dependencies } else { &[] }))
            .into();
        check(&Table::parse(PAGE).unwrap(), &Workspace { crates })
    }

    #[test]
    fn what_the_table_allows_passes() {
        let allowed = [("model", true, Kind::Normal), ("sys", true, Kind::Build)];
        assert_eq!(broken("capture", &allowed), Vec::<String>::new());
    }

    #[test]
    fn an_arrow_upwards_is_broken() {
        assert_eq!(
            broken("sys", &[("capture", true, Kind::Normal)]),
            ["sys depends on capture, which its row does not allow"]
        );
    }

    #[test]
    fn tests_and_build_scripts_are_judged_too() {
        assert_eq!(broken("sys", &[("capture", true, Kind::Dev)]).len(), 1);
        assert_eq!(broken("sys", &[("capture", true, Kind::Build)]).len(), 1);
        assert_eq!(broken("model", &[("libc", false, Kind::Dev)]).len(), 1);
    }

    #[test]
    fn the_lab_is_for_tests() {
        assert!(broken("sys", &[("lab", true, Kind::Dev)]).is_empty());
        assert_eq!(broken("sys", &[("lab", true, Kind::Normal)]).len(), 1);
    }

    #[test]
    fn a_door_in_the_wrong_room_is_broken() {
        assert_eq!(
            broken("capture", &[("tokio", false, Kind::Normal)]),
            ["capture depends on tokio: frames travel on plain threads"]
        );
        assert!(broken("capture", &[("thiserror", false, Kind::Normal)]).is_empty());
    }

    #[test]
    fn table_and_workspace_name_the_same_crates() {
        let table = Table::parse(PAGE).unwrap();
        let crates = ["model", "sys", "capture", "tui"].map(|name| member(name, &[])).into();
        assert_eq!(
            check(&table, &Workspace { crates }),
            ["crate tui is not in the table", "the table has lab, the workspace has not"]
        );
    }
}
