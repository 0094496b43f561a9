//! Which certificates the client trusts.

use std::path::Path;

use rustls::ClientConfig;

use crate::error::Error;

/// Trusts the public authorities, and those in `ca_file`.
///
/// # Errors
/// If the file cannot be read, or has no certificate.
pub(super) fn trusting(ca_file: Option<&Path>) -> Result<ClientConfig, Error> {
    let Some(path) = ca_file else {
        return modelet_tls::client_config(None)
            .map_err(|error| Error::Protocol(format!("cannot set up TLS: {error}")));
    };
    let wrong = |reason: &dyn std::fmt::Display| {
        Error::Invalid(format!("cannot use the certificates in `{}`: {reason}", path.display()))
    };
    let authorities = std::fs::read(path).map_err(|error| wrong(&error))?;
    modelet_tls::client_config(Some(&authorities)).map_err(|error| wrong(&error))
}
