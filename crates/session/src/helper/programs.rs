//! The programs of helper containers that are here: one for each architecture of engines.
//!
//! ```text
//!  whaletap-agent           the usual one, for engines like this machine
//!  whaletap-agent-arm64     for others, by Go's words for architectures, as engines have them
//! ```

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use docker::{Engine, HelperProgram, HelperSpec};

use super::Reach;
use crate::Error;

/// What the usual one is called beside this program.
const NAME: &str = "whaletap-agent";
/// The longest word for an architecture that is looked for, in characters.
const MAX_ARCHITECTURE: usize = 16;

/// All of this very release.
#[derive(Debug)]
pub(crate) struct Programs {
    path: PathBuf,
    usual: HelperProgram,
}

impl Programs {
    /// Looks for the usual one where `reach` says, or beside this program.
    pub(super) fn find(reach: &Reach) -> Result<Self, Error> {
        let path = match &reach.program {
            Some(path) => path.clone(),
            None => {
                let own =
                    env::current_exe().map_err(sys::Error::path("readlink", "/proc/self/exe"))?;
                own.with_file_name(NAME)
            }
        };
        let usual = of_this_release(&path)?;
        Ok(Self { path, usual })
    }

    /// The usual one.
    pub(super) fn usual(&self) -> &HelperProgram {
        &self.usual
    }

    /// Makes a container as `spec` says, of the usual program, and its image where that is not there
    /// yet. Which architecture an engine has shows when an image is to be loaded: where it is another
    /// one and there is a program for it, the container is made of that.
    pub(super) async fn make(&self, engine: &Engine, spec: HelperSpec) -> Result<String, Error> {
        match made(engine, &spec, &self.usual).await {
            Err(docker::Error::OtherArchitecture { engine: architecture, .. })
                if let Some(path) = self.beside(&architecture) =>
            {
                let program = of_this_release(&path)?;
                let spec = HelperSpec { image: program.image(), ..spec };
                Ok(made(engine, &spec, &program).await?)
            }
            other => Ok(other?),
        }
    }

    /// The program for an architecture, where there is one. The word is the engine's.
    fn beside(&self, architecture: &str) -> Option<PathBuf> {
        let is_word = architecture.len() <= MAX_ARCHITECTURE
            && architecture.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let mut name: OsString = self.path.file_name()?.to_owned();
        name.push("-");
        name.push(architecture);
        let path = self.path.with_file_name(name);
        (is_word && path.exists()).then_some(path)
    }
}

fn of_this_release(path: &Path) -> Result<HelperProgram, Error> {
    let program = HelperProgram::read(path)?;
    let ours = env!("CARGO_PKG_VERSION");
    if program.release() != ours {
        let (path, theirs) = (path.to_owned(), program.release().to_owned());
        return Err(Error::OtherRelease { path, theirs, ours });
    }
    Ok(program)
}

async fn made(
    engine: &Engine,
    spec: &HelperSpec,
    program: &HelperProgram,
) -> Result<String, docker::Error> {
    match engine.create_helper(spec).await {
        Err(docker::Error::NoSuchImage { .. }) => {
            engine.load_helper(program).await?;
            engine.create_helper(spec).await
        }
        other => other,
    }
}
