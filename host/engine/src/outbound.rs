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

use rustls::ClientConfig;
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
        let named = (!config.authorities.is_empty()).then_some(&*config.authorities);
        let tls = modelet_tls::client_config(named).map_err(io::Error::other)?;
        Ok(Self {
            addresses: Addresses::new(config.allowed_networks.clone(), config.denied_networks.clone()),
            tls: Arc::new(tls),
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)),
        })
    }
}
