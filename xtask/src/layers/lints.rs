//! Who may write `unsafe`.
//!
//! `cargo metadata` does not tell lint levels, so the manifests are read as text. They are ours
//! and are written one way, which is what makes that enough; a manifest that is written another
//! way fails the check instead of passing it.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use super::workspace::Workspace;

/// The one crate that may.
const UNSAFE: &str = "sys";

/// Each crate whose lints would let unsafe code pass, a sentence each.
///
/// # Errors
///
/// When a manifest cannot be read.
pub(crate) fn check(root: &Path, workspace: &Workspace) -> Result<Vec<String>> {
    let read = |path: &Path| {
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let mut broken = Vec::new();
    if !forbids_unsafe(&read(&root.join("Cargo.toml"))?) {
        broken.push("the workspace's lints do not forbid unsafe code".to_owned());
    }
    for member in workspace.crates.iter().filter(|member| member.name != UNSAFE) {
        if !inherits_lints(&read(&member.manifest)?) {
            broken.push(format!("{} does not take its lints from the workspace", member.name));
        }
    }
    Ok(broken)
}

/// Whether the workspace's manifest has the lint on the level that code cannot lower.
fn forbids_unsafe(manifest: &str) -> bool {
    section(manifest, "[workspace.lints.rust]").any(|line| line == "unsafe_code = \"forbid\"")
}

/// Whether a member's manifest takes the workspace's lints.
fn inherits_lints(manifest: &str) -> bool {
    section(manifest, "[lints]").any(|line| line == "workspace = true")
}

fn section<'a>(manifest: &'a str, header: &'a str) -> impl Iterator<Item = &'a str> {
    manifest
        .lines()
        .map(str::trim)
        .skip_while(move |line| *line != header)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lints_come_from_the_workspace() {
        assert!(inherits_lints("[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n"));
    }

    #[test]
    fn lints_of_ones_own_are_found() {
        assert!(!inherits_lints("[package]\nname = \"a\"\n"));
        assert!(!inherits_lints("[lints]\n[dependencies]\nworkspace = true\n"));
        assert!(!inherits_lints("[lints.rust]\nunsafe_code = \"allow\"\n"));
    }

    #[test]
    fn only_forbid_is_forbidden() {
        assert!(forbids_unsafe("[workspace.lints.rust]\nunsafe_code = \"forbid\"\n"));
        assert!(!forbids_unsafe("[workspace.lints.rust]\nunsafe_code = \"deny\"\n"));
        assert!(!forbids_unsafe("[workspace.lints.rust]\n[other]\nunsafe_code = \"forbid\"\n"));
    }
}
