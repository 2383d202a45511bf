use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use crate::{Error, Program};

/// How long cargo may take for the traffic program, from nothing and on a busy machine.
const BUILD: Duration = Duration::from_secs(600);

/// The traffic program: one static, optimized binary for namespaces and for the image alike.
///
/// `WHALETAP_TRAFFIC` names it where it is built already; else cargo builds it once into its own
/// directory under the target directory, which costs a moment when nothing changed.
///
/// # Errors
///
/// [`Error::Failed`] with what cargo said.
pub fn program() -> Result<PathBuf, Error> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = BUILT.get() {
        return Ok(path.clone());
    }
    let path = match env::var_os("WHALETAP_TRAFFIC") {
        Some(path) => PathBuf::from(path),
        None => build()?,
    };
    Ok(BUILT.get_or_init(|| path).clone())
}

fn build() -> Result<PathBuf, Error> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Named although it is this machine's: a static C library and procedural macros need
    // different flags, and cargo keeps them apart only then.
    let target = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    // A directory of its own: cargo may hold the lock of the outer one while it runs tests.
    let directory = target_directory(manifest).join("lab");
    fs::create_dir_all(&directory).map_err(Error::file(&directory))?;
    Program::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--release"])
        .args(["--package", "whaletap-lab", "--bin", "whaletap-traffic", "--target", &target])
        .arg("--target-dir")
        .arg(&directory)
        .current_dir(manifest)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        // It is built on the spot and copied into an image: quick and small.
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "none")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET")
        .limit(BUILD)
        .run()?;
    Ok(directory.join(&target).join("release/whaletap-traffic"))
}

/// Cargo's target directory that the running program was built into; the workspace's when it
/// was moved elsewhere.
fn target_directory(manifest: &Path) -> PathBuf {
    let program = env::current_exe().unwrap_or_default();
    // Cargo writes both, the tag only into a directory that it made itself.
    let is_target = |directory: &Path| {
        ["CACHEDIR.TAG", ".rustc_info.json"].iter().any(|mark| directory.join(mark).is_file())
    };
    let marked = program.ancestors().find(|directory| is_target(directory));
    match marked {
        Some(directory) => directory.to_owned(),
        None => manifest.join("../../target"),
    }
}
