use bollard::models::SystemVersion;

/// What an engine says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Release of the engine: `28.2.2`.
    pub engine: String,
    /// Newest API that it speaks: `1.50`.
    pub api: String,
    /// API that we speak with it: the older one of its newest and ours.
    pub negotiated_api: String,
    /// Its own name for itself: `Docker Engine - Community`; often empty.
    pub product: String,
    /// Its operating system: `linux`.
    pub os: String,
    /// Its architecture in Go's words: `amd64`.
    pub arch: String,
    /// Release of the kernel under it, as `uname -r` prints it there.
    pub kernel: String,
}

impl Version {
    pub(crate) fn from_api(said: SystemVersion, negotiated_api: String) -> Self {
        Self {
            engine: said.version.unwrap_or_default(),
            api: said.api_version.unwrap_or_default(),
            negotiated_api,
            product: said.platform.map(|platform| platform.name).unwrap_or_default(),
            os: said.os.unwrap_or_default(),
            arch: said.arch.unwrap_or_default(),
            kernel: said.kernel_version.unwrap_or_default(),
        }
    }
}
