//! The program of helper containers, which tests of the command need and cargo does not build for
//! them: it is another binary, static, and for a named target.

use std::{path::PathBuf, sync::OnceLock};

use crate::{Error, static_program::StaticProgram};

/// The variable by which the command finds it.
pub const VARIABLE: &str = "WHALETAP_AGENT";

/// Where it is: what [`VARIABLE`] names, or what cargo builds, once.
///
/// # Errors
///
/// [`Error::Failed`] with what cargo said.
pub fn program() -> Result<PathBuf, Error> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let (package, name) = ("whaletap-agent", "whaletap-agent");
    StaticProgram { package, name, variable: VARIABLE }.path(&BUILT)
}
