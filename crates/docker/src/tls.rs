use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};

use crate::Error;

/// Where systems keep the authorities that everybody trusts: Debian, Fedora, SUSE.
const SYSTEM_AUTHORITIES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
];

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

/// What is in the files of a [`Tls`].
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Material {
    /// Authorities and the file that they are from; none where nothing is checked.
    authorities: Option<(PathBuf, Vec<u8>)>,
    /// Our certificate and its key, with their files.
    own: Option<[(PathBuf, Vec<u8>); 2]>,
}

/// Without what is in it: there is a key.
impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").finish_non_exhaustive()
    }
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

    /// Reads the files.
    ///
    /// As docker's CLI: authorities only where they are needed, and a certificate only with its
    /// key (`cli/context/docker/load.go` of docker/cli).
    pub(crate) fn read(&self) -> Result<Material, Error> {
        let read = |path: &Path| match std::fs::read(path) {
            Ok(bytes) => Ok((path.to_owned(), bytes)),
            Err(source) => Err(Error::ReadConfig { path: path.to_owned(), source }),
        };
        let system = || SYSTEM_AUTHORITIES.map(Path::new).into_iter().find(|path| path.exists());
        let authorities = match (self.verify, self.ca.as_deref().or_else(system)) {
            (true, Some(path)) => Some(read(path)?),
            _ => None,
        };
        let own = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some([read(cert)?, read(key)?]),
            _ => None,
        };
        Ok(Material { authorities, own })
    }

    /// What a connection is made with.
    pub(crate) fn configuration(&self, material: &Material) -> Result<ClientConfig, Error> {
        let provider = Arc::new(ring::default_provider());
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source: Box<dyn std::error::Error + Send + Sync>| Error::TlsFile { path, source }
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(Path::new("TLS"))(error.into()))?;
        let builder = if self.verify {
            let mut roots = RootCertStore::empty();
            if let Some((path, pem)) = &material.authorities {
                let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
                let found = found.map_err(|error| failed(path)(error.into()))?;
                // The system's authorities are many, and some are of a kind that nobody reads.
                if roots.add_parsable_certificates(found).0 == 0 {
                    let none = io::Error::other("there is no certificate in it");
                    return Err(failed(path)(none.into()));
                }
            }
            builder.with_root_certificates(roots)
        } else {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        };
        let Some([(cert_path, cert), (key_path, key)]) = &material.own else {
            return Ok(builder.with_no_client_auth());
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert).collect();
        let chain = chain.map_err(|error| failed(cert_path)(error.into()))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| failed(key_path)(e.into()))?;
        builder.with_client_auth_cert(chain, key).map_err(|error| failed(key_path)(error.into()))
    }
}

/// Takes any engine for the right one: `--tls` without `--tlsverify`, or a context that skips
/// verification. That it holds the key of the certificate which it shows is checked all the same.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Whether docker's own TLS may take what ours refuses: a certificate of an unusual form, an old
/// version. A certificate that is refused for what it says is refused by both.
pub(crate) fn is_beyond_us(error: &rustls::Error) -> bool {
    match error {
        rustls::Error::InvalidCertificate(reason) => {
            matches!(reason, CertificateError::BadEncoding | CertificateError::Other(_))
        }
        rustls::Error::PeerIncompatible(_) => true,
        rustls::Error::AlertReceived(alert) => {
            matches!(
                alert,
                rustls::AlertDescription::ProtocolVersion
                    | rustls::AlertDescription::HandshakeFailure
            )
        }
        _ => false,
    }
}
