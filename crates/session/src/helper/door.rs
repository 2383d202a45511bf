//! Who opens namespaces, and how the engine is reached, by whichever way.

use std::{
    fs::Metadata,
    os::unix::{fs::MetadataExt as _, net::UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
};

use docker::{Endpoint, Host, PathDial};
use opener::Opener;
use sys::{
    privileges::{self, User},
    signals::Signals,
};

use super::{FarHelper, Helper, Reach, Way};
use crate::{Error, Notice, Observer, Selection, resolve::EngineDial};

/// Who will open: what there has to be before rights are given up.
#[derive(Debug)]
pub(crate) enum Door {
    /// The opener of this machine.
    Own { opener: Arc<Opener>, dial: Arc<EngineDial> },
    /// A helper that is still to be started.
    Helper {
        helper: Box<Helper>,
        /// Who connects to the engine, where that takes rights that will be gone.
        own: Option<Arc<Opener>>,
    },
    /// A helper elsewhere that is still to be started.
    Far { helper: Box<FarHelper>, dial: Arc<EngineDial> },
}

/// Who opens.
#[derive(Debug)]
pub(crate) enum Open {
    /// An opener, which passes descriptors.
    Here(OpenHere),
    /// A helper elsewhere, which passes frames.
    Far(OpenFar),
}

/// Who opens on this machine.
#[derive(Debug)]
pub(crate) struct OpenHere {
    pub(crate) opener: Arc<Opener>,
    pub(crate) dial: Arc<EngineDial>,
    /// To be kept as long as the opener is needed.
    pub(crate) helper: Option<Box<Helper>>,
}

/// Who opens elsewhere.
#[derive(Debug)]
pub(crate) struct OpenFar {
    /// Connected with the helper's standard input and output.
    pub(crate) stream: UnixStream,
    pub(crate) dial: Arc<EngineDial>,
    /// To be kept as long as the stream is needed.
    pub(crate) helper: Box<FarHelper>,
}

impl Door {
    /// To be called while this process has rights and a single thread.
    pub(crate) fn prepare(
        way: Way,
        reach: &Reach,
        endpoint: &Endpoint,
        needs_engine: bool,
        user: Option<&User>,
    ) -> Result<Self, Error> {
        let start = |needs_engine| {
            let socket = match &endpoint.host {
                Host::Unix(path) if needs_engine => path.to_str(),
                _ => None,
            };
            let opener = Opener::start(socket).map_err(|source| Error::StartOpener { source })?;
            Ok::<_, Error>(Arc::new(opener))
        };
        match way {
            Way::Host => {
                let opener = start(needs_engine)?;
                let dial = Arc::new(crate::way::way(endpoint, &opener, user)?);
                Ok(Self::Own { opener, dial })
            }
            Way::Rootless(rootless) => {
                let opener = Opener::start_among(rootless.users(), rootless.engine());
                let opener = Arc::new(opener.map_err(|source| Error::StartOpener { source })?);
                let path = PathDial(endpoint.socket().map(Path::to_owned).unwrap_or_default());
                let dial = EngineDial::Rootless { path, directory: rootless.directory.clone() };
                Ok(Self::Own { opener, dial: Arc::new(dial) })
            }
            Way::Helper(means) => {
                // Who has no rights gives none up, and to reach what is one's own takes none.
                let takes_rights = !privileges::effective()?.is_empty()
                    && (user.is_some() || !endpoint.socket().is_some_and(is_own_socket));
                let own = if takes_rights { Some(start(true)?) } else { None };
                let helper = Box::new(Helper::prepare(*means, reach)?);
                Ok(Self::Helper { helper, own })
            }
            Way::Far(means) => {
                let dial = match crate::way::through_program(endpoint, user)? {
                    Some(dial) => dial,
                    // TCP, which is not dialled.
                    None => EngineDial::Path(PathDial(PathBuf::new())),
                };
                let helper = Box::new(FarHelper::prepare(*means, endpoint, user)?);
                Ok(Self::Far { helper, dial: Arc::new(dial) })
            }
        }
    }

    /// To be called when rights are gone: from here on there are threads. `only` says what is to be
    /// opened, if that is known by now; `signals` are to end the waiting, where they are held back.
    pub(crate) fn open(
        self,
        endpoint: &Endpoint,
        only: Option<&Selection>,
        signals: Option<&Signals>,
        observer: &mut dyn Observer,
    ) -> Result<Open, Error> {
        match self {
            Self::Own { opener, dial } => {
                if matches!(*dial, EngineDial::Rootless { .. }) {
                    observer.notice(Notice::OfThisUser);
                }
                Ok(Open::Here(OpenHere { opener, dial, helper: None }))
            }
            Self::Helper { mut helper, own } => {
                let path = || match &endpoint.host {
                    Host::Unix(path) => path.clone(),
                    _ => PathBuf::new(),
                };
                let dial = match own {
                    Some(own) => EngineDial::Opener(own),
                    None => EngineDial::Path(PathDial(path())),
                };
                let dial = Arc::new(dial);
                let instead_of = helper.instead_of();
                observer.notice(Notice::ThroughHelper { instead_of });
                let engine = Arc::<EngineDial>::clone(&dial);
                let opener = Arc::new(helper.start(endpoint, engine, only, signals)?);
                Ok(Open::Here(OpenHere { opener, dial, helper: Some(helper) }))
            }
            Self::Far { mut helper, dial } => {
                let instead_of = helper.instead_of();
                observer.notice(Notice::ThroughHelper { instead_of });
                let engine = Arc::<EngineDial>::clone(&dial);
                let stream = helper.start(endpoint, engine, only, signals)?;
                Ok(Open::Far(OpenFar { stream, dial, helper }))
            }
        }
    }
}

/// Whether this user connects there without any right beside those of a file's owner.
fn is_own_socket(path: &Path) -> bool {
    const OWNER_WRITES: u32 = 0o200;
    const OWNER_PASSES: u32 = 0o100;
    const ANYBODY_PASSES: u32 = 0o001;
    let own = privileges::own_uid();
    let is_mine = |found: Metadata| found.uid() == own && found.mode() & OWNER_WRITES != 0;
    let lets_pass = |found: Metadata| {
        let bit = if found.uid() == own { OWNER_PASSES } else { ANYBODY_PASSES };
        found.mode() & bit != 0
    };
    // The way is that of the file itself, whatever links lead there.
    path.canonicalize().is_ok_and(|path| {
        let mut above = path.ancestors().skip(1);
        path.metadata().is_ok_and(is_mine)
            && above.all(|directory| directory.metadata().is_ok_and(lets_pass))
    })
}
