use std::path::{Path, PathBuf};

/// TLS material of an engine's endpoint: PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Who may have signed the engine's certificate; the system's authorities when `None`.
    pub ca: Option<PathBuf>,
    /// Our certificate.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Whether the engine's certificate is checked.
    pub verify: bool,
}

impl Tls {
    /// The files of docker's names that are in `dir`; `None` when there is none of them.
    pub(crate) fn in_dir(dir: &Path, verify: bool) -> Option<Self> {
        let existing = |name| Some(dir.join(name)).filter(|path| path.exists());
        let tls = Self {
            ca: existing("ca.pem"),
            cert: existing("cert.pem"),
            key: existing("key.pem"),
            verify,
        };
        (tls.ca.is_some() || tls.cert.is_some() || tls.key.is_some()).then_some(tls)
    }
}
