use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use lab::Program;

/// What the names of directories begin with, before the process that made them.
const PREFIX: &str = "whaletap-bench-";

/// A tmpfs of our own with default options; dropping it unmounts it.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Removes those of benches that were killed.
    pub(super) fn sweep() -> Result<()> {
        for entry in fs::read_dir(std::env::temp_dir())?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name.strip_prefix(PREFIX);
            if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                drop(Self { path: entry.path() });
            }
        }
        Ok(())
    }

    /// Mounts it on a new directory.
    pub(super) fn mount() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let scratch = Self { path };
        Program::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&scratch.path).run()?;
        Ok(scratch)
    }

    /// A path in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Removes every file: memory is needed for the next ones.
    pub(super) fn clear(&self) -> Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            fs::remove_file(&path).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Whatever fails leaves an empty directory at worst.
        let _ = Program::new("umount").arg(&self.path).run();
        let _ = fs::remove_dir(&self.path);
    }
}
