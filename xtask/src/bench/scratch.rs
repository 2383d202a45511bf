use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use lab::Program;

/// A tmpfs of our own with default options; dropping it unmounts it.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Mounts it on a new directory.
    pub(super) fn mount() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("whaletap-bench-{}", std::process::id()));
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
