use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use crate::{Error, Program, name};

/// What `openssl req` needs to know; nothing of the machine's own configuration.
const CONFIGURATION: &str = "\
[req]
distinguished_name = name
prompt = no
[name]
CN = whaletap-lab
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[engine]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = serverAuth
subjectAltName = $ENV::ADDRESSES
[selfmade]
basicConstraints = critical, CA:TRUE
subjectAltName = $ENV::ADDRESSES
[person]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = clientAuth
";

/// Keys and certificates of one authority, made by openssl, under the names that docker gives them:
/// `ca.pem`, `cert.pem` and `key.pem` for a person, `engine-cert.pem` and `engine-key.pem`.
#[derive(Debug, Clone)]
pub struct Certificates {
    directory: PathBuf,
    name: String,
}

impl Certificates {
    /// Makes an authority, and certificates by it for an engine at `address` and for a person, in a
    /// directory that is made for that.
    ///
    /// # Errors
    ///
    /// [`Error::File`], and [`Error::Failed`] with what openssl said.
    pub fn make(directory: impl Into<PathBuf>, address: IpAddr) -> Result<Self, Error> {
        let directory = directory.into();
        fs::create_dir_all(&directory).map_err(Error::file(&directory))?;
        let certificates = Self { directory, name: name::unique() };
        let configuration = certificates.at("openssl.cnf");
        fs::write(&configuration, CONFIGURATION).map_err(Error::file(&configuration))?;
        for (kind, key, cert) in [
            ("authority", "ca-key.pem", "ca.pem"),
            ("engine", "engine-key.pem", "engine-cert.pem"),
            ("person", "key.pem", "cert.pem"),
        ] {
            certificates.issue(kind, address, key, cert)?;
        }
        Ok(certificates)
    }

    /// Makes a certificate for an engine at `address` that is its own authority,
    /// `selfmade-cert.pem` and `selfmade-key.pem`: Go takes it, and webpki does not.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] with what openssl said.
    pub fn make_selfmade(&self, address: IpAddr) -> Result<(), Error> {
        self.issue("selfmade", address, "selfmade-key.pem", "selfmade-cert.pem")
    }

    /// Those that were made there.
    pub(super) fn in_directory(directory: PathBuf) -> Self {
        Self { directory, name: name::unique() }
    }

    /// Makes a certificate of a kind: of the authority, or by it.
    fn issue(&self, kind: &str, address: IpAddr, key: &str, cert: &str) -> Result<(), Error> {
        let mut openssl = Program::new("openssl")
            .env("ADDRESSES", format!("IP:{address}"))
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-days", "2", "-extensions", kind, "-config"])
            .arg(self.at("openssl.cnf"))
            // No two authorities have one name: a reader would take one's signature for a forged one.
            .args(["-subj", &format!("/CN={} {kind}", self.name), "-keyout"])
            .arg(self.at(key))
            .arg("-out")
            .arg(self.at(cert));
        if !matches!(kind, "authority" | "selfmade") {
            openssl = openssl.arg("-CA").arg(self.at("ca.pem"));
            openssl = openssl.arg("-CAkey").arg(self.at("ca-key.pem"));
        }
        openssl.run().map(drop)
    }

    /// The directory: what `DOCKER_CERT_PATH` takes.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A file of them.
    #[must_use]
    pub fn at(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}
