use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use crate::{Error, Program};

/// How long cargo may take for a program, from nothing and on a busy machine.
const BUILD: Duration = Duration::from_secs(600);

/// A program of this workspace that is static and optimized, for namespaces and for images alike.
#[derive(Debug)]
pub(crate) struct StaticProgram {
    /// The package that it is in.
    pub(crate) package: &'static str,
    /// Its name.
    pub(crate) name: &'static str,
    /// The variable that names it where it is built already.
    pub(crate) variable: &'static str,
}

impl StaticProgram {
    /// Where it is. Cargo builds it once into a directory of its own under the target directory,
    /// which costs a moment when nothing changed.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] with what cargo said.
    pub(crate) fn path(&self, built: &'static OnceLock<PathBuf>) -> Result<PathBuf, Error> {
        if let Some(path) = built.get() {
            return Ok(path.clone());
        }
        let path = match env::var_os(self.variable) {
            Some(path) => PathBuf::from(path),
            None => self.build()?,
        };
        Ok(built.get_or_init(|| path).clone())
    }

    fn build(&self) -> Result<PathBuf, Error> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        // Named although it is this machine's: a static C library and procedural macros need
        // different flags, and cargo keeps them apart only then.
        let target = format!("{}-unknown-linux-gnu", env::consts::ARCH);
        // A directory of its own: cargo may hold the lock of the outer one while it runs tests.
        let directory = target_directory(manifest).join("lab");
        fs::create_dir_all(&directory).map_err(Error::file(&directory))?;
        Program::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--quiet", "--release"])
            .args(["--package", self.package, "--bin", self.name, "--target", &target])
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
        Ok(directory.join(&target).join("release").join(self.name))
    }
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
