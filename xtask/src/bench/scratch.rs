use std::{
    fs::{self, File},
    io,
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

    /// Takes so many bytes of memory, which are free again when the answer is dropped.
    ///
    /// A virtual machine gives memory that nobody uses back to its host, and has to ask for it anew: a
    /// file that grows into such memory is written at a fifth of the speed, by chance.
    pub(super) fn reserve(&self, bytes: u64) -> Result<Reserve> {
        let reserve = Reserve { path: self.file("reserve") };
        let written = File::create(&reserve.path)
            .and_then(|mut file| io::copy(&mut io::Read::take(io::repeat(0), bytes), &mut file));
        written.with_context(|| format!("cannot write {}", reserve.path.display()))?;
        Ok(reserve)
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

/// Memory that is there and in use.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
}

impl Drop for Reserve {
    fn drop(&mut self) {
        // What stays is removed with everything else.
        let _ = fs::remove_file(&self.path);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Whatever fails leaves an empty directory at worst.
        let _ = Program::new("umount").arg(&self.path).run();
        let _ = fs::remove_dir(&self.path);
    }
}
