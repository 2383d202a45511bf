use std::{
    collections::HashMap,
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use crate::{Error, Source, Tls};

/// The part of docker's `config.json` that names an engine.
#[derive(Deserialize, Default)]
struct ConfigFile {
    #[serde(default, rename = "currentContext")]
    current_context: String,
}

/// `meta.json` of a context.
#[derive(Deserialize)]
struct Meta {
    #[serde(default, rename = "Endpoints")]
    endpoints: HashMap<String, MetaEndpoint>,
}

#[derive(Deserialize)]
struct MetaEndpoint {
    #[serde(default, rename = "Host")]
    host: String,
    #[serde(default, rename = "SkipTLSVerify")]
    skip_tls_verify: bool,
}

/// What docker's store says about one context.
pub(crate) struct StoredContext {
    /// Address as written; empty for the default.
    pub(crate) host: String,
    /// TLS material that is stored with it.
    pub(crate) tls: Option<Tls>,
}

/// `currentContext` of `config.json` in `dir`; `None` when there is no file, or no word in it.
pub(crate) fn current(dir: &Path) -> Result<Option<String>, Error> {
    let config: Option<ConfigFile> = read_json(&dir.join("config.json"))?;
    Ok(config.map(|config| config.current_context).filter(|name| !name.is_empty()))
}

/// Reads the context `name` from docker's store under `dir`.
///
/// Source: `cli/context/store` of docker/cli: the directory's name is the SHA-256 of the
/// context's.
pub(crate) fn read(dir: &Path, name: &str, origin: Source) -> Result<StoredContext, Error> {
    let mut id = String::with_capacity(64);
    for byte in Sha256::digest(name.as_bytes()) {
        // Writing to a string cannot fail.
        let _ = write!(id, "{byte:02x}");
    }
    let contexts = dir.join("contexts");
    let path = contexts.join("meta").join(&id).join("meta.json");
    let meta: Option<Meta> = read_json(&path)?;
    let mut meta =
        meta.ok_or_else(|| Error::NoSuchContext { context: name.to_owned(), origin, path })?;
    let endpoint = meta
        .endpoints
        .remove("docker")
        .ok_or_else(|| Error::NoDockerEndpoint { context: name.to_owned() })?;
    let verify = !endpoint.skip_tls_verify;
    let tls = Tls::in_dir(&contexts.join("tls").join(&id).join("docker"), verify)
        .or_else(|| (!verify).then_some(Tls { ca: None, cert: None, key: None, verify }));
    Ok(StoredContext { host: endpoint.host, tls })
}

/// A JSON file; `None` when it does not exist, or has nothing in it.
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let owned = || PathBuf::from(path);
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::ReadConfig { path: owned(), source }),
    };
    if text.trim_ascii().is_empty() {
        return Ok(None);
    }
    match serde_json::from_slice(&text) {
        Ok(value) => Ok(Some(value)),
        Err(source) => Err(Error::ParseConfig { path: owned(), source }),
    }
}
