//! `cargo xtask layers`: does the workspace still have the shape that `ARCHITECTURE.md` draws?
//!
//! The crate table of that page is the rule, not a copy of it: it is parsed here, so the page
//! cannot drift from what is enforced. What the table cannot say (which crate may use which
//! package from outside) stands in `bans`.
//!
//! `cargo deny` can forbid packages as well, and does. It cannot tell a direct `libc` from the
//! one that half of the registry brings along, and it knows no layers.

mod bans;
mod lints;
mod rules;
mod table;
mod workspace;

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

use self::{table::Table, workspace::Workspace};

/// Checks the workspace that this program was built from, and prints what is wrong with it.
///
/// # Errors
///
/// When a file cannot be read, when the table cannot be understood, and when a rule is broken.
pub(crate) fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the workspace is the folder above xtask")?;
    let page = root.join("ARCHITECTURE.md");
    let text =
        fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
    let table = Table::parse(&text).context("ARCHITECTURE.md")?;
    let workspace = Workspace::load(root)?;

    let mut broken = rules::check(&table, &workspace);
    broken.extend(lints::check(root, &workspace)?);
    if broken.is_empty() {
        println!("layers: {} crates, as ARCHITECTURE.md says", workspace.crates.len());
        return Ok(());
    }
    for rule in &broken {
        println!("layers: {rule}");
    }
    bail!("the workspace differs from ARCHITECTURE.md in {} places", broken.len())
}
