//! Requests that handlers make: to whom they may go, and how they are sent.
//!
//! A rule of the manifest names a destination; which addresses stand behind its name is found out
//! here, once for each request, and the connection goes to an address that was looked at. So a name
//! that comes to mean something inside the operator's network opens nothing. Redirects are followed by
//! nobody here: a handler that follows one makes another request.

mod addresses;
mod function;
mod send;

use std::io;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Semaphore;

use addresses::Addresses;
pub(crate) use send::Sender;

/// Connections of all handlers of a host at one time.
const MAX_CONNECTIONS: usize = 512;

/// Names that are looked up at one time: each lookup keeps a thread of those that the whole host uses
/// for blocking work.
const MAX_LOOKUPS: usize = 32;

/// What the operator says of handlers' requests.
#[derive(Clone, Debug, Default)]
pub struct OutboundConfig {
    /// Networks that are not public and may be connected to all the same, as `10.0.0.0/8`. A rule of
    /// the manifest is needed as well.
    pub allowed_networks: Vec<ipnet::IpNet>,
    /// Networks that may not be connected to although they are public, such as the operator's own. They
    /// come before the allowed ones.
    pub denied_networks: Vec<ipnet::IpNet>,
    /// Certificates of authorities in PEM format that are trusted beside the public ones (those of
    /// Mozilla's list).
    pub authorities: Vec<u8>,
}

/// What sends the requests of all handlers.
pub(crate) struct Outbound {
    addresses: Addresses,
    tls: Arc<ClientConfig>,
    connections: Arc<Semaphore>,
    lookups: Arc<Semaphore>,
}

impl Outbound {
    /// # Errors
    /// If the authorities are no certificates.
    pub(crate) fn new(config: &OutboundConfig) -> io::Result<Self> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
        let public = roots.len();
        for certificate in CertificateDer::pem_slice_iter(&config.authorities) {
            let certificate = certificate.map_err(io::Error::other)?;
            roots.add(certificate).map_err(io::Error::other)?;
        }
        if roots.len() == public && !config.authorities.is_empty() {
            return Err(io::Error::other("there is no certificate in PEM format in the file"));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            addresses: Addresses::new(config.allowed_networks.clone(), config.denied_networks.clone()),
            tls: Arc::new(tls),
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)),
        })
    }
}
