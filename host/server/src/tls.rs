//! TLS: the certificate with which the host shows who it is, and its renewal without a restart.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

/// How often it is looked whether the files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A file that cannot be used, and why not.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}", path = path.display())]
pub struct CertificateError {
    path: PathBuf,
    reason: String,
}

impl CertificateError {
    fn new(path: &Path, reason: impl ToString) -> Self {
        Self { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// A certificate with its key, as two files in PEM format have them.
#[derive(Debug)]
pub(crate) struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    current: ArcSwap<CertifiedKey>,
    /// When the files were written that `current` was read from.
    written: Mutex<[SystemTime; 2]>,
}

impl Certificate {
    /// Reads the files. Blocks.
    pub(crate) fn read(certificate: PathBuf, key: PathBuf) -> Result<Arc<Self>, CertificateError> {
        // Before the files themselves: what is written meanwhile is read again.
        let written = times(&certificate, &key)?;
        let current = ArcSwap::from_pointee(load(&certificate, &key)?);
        Ok(Arc::new(Self { certificate, key, current, written: Mutex::new(written) }))
    }

    /// What speaks TLS with this certificate, whichever it is by then. HTTP/2 and HTTP/1 are offered.
    pub(crate) fn acceptor(self: &Arc<Self>) -> TlsAcceptor {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has what TLS 1.2 and 1.3 need")
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }

    /// Reads the files again whenever they were written to. New connections get the new certificate; one
    /// that cannot be read leaves the old one in its place. Never returns.
    pub(crate) async fn renew_forever(self: Arc<Self>) -> std::convert::Infallible {
        let mut interval = tokio::time::interval(LOOK_EVERY);
        loop {
            interval.tick().await;
            let this = self.clone();
            match tokio::task::spawn_blocking(move || this.renew()).await.map_err(io::Error::other) {
                Ok(Ok(false)) => {}
                Ok(Ok(true)) => {
                    tracing::info!(path = %self.certificate.display(), "read the new certificate")
                }
                Ok(Err(error)) => {
                    tracing::error!(%error, "cannot read the new certificate; the old one stays")
                }
                Err(error) => tracing::error!(%error, "cannot look for a new certificate"),
            }
        }
    }

    fn renew(&self) -> Result<bool, CertificateError> {
        let written = times(&self.certificate, &self.key)?;
        let mut known = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == written {
            return Ok(false);
        }
        // Certificate and key are two files: until both are new they do not fit, and are tried again.
        self.current.store(Arc::new(load(&self.certificate, &self.key)?));
        *known = written;
        Ok(true)
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn times(certificate: &Path, key: &Path) -> Result<[SystemTime; 2], CertificateError> {
    let time = |path: &Path| {
        let metadata = std::fs::metadata(path).and_then(|metadata| metadata.modified());
        metadata.map_err(|error| CertificateError::new(path, error))
    };
    Ok([time(certificate)?, time(key)?])
}

fn load(certificate: &Path, key: &Path) -> Result<CertifiedKey, CertificateError> {
    let wrong = |error| CertificateError::new(certificate, error);
    let chain = CertificateDer::pem_file_iter(certificate).map_err(wrong)?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    if chain.is_empty() {
        return Err(CertificateError::new(certificate, "there is no certificate in PEM format"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| CertificateError::new(key, error))?;
    CertifiedKey::from_der(chain, private, &provider()).map_err(|error| CertificateError::new(key, error))
}
