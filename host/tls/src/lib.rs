//! Which authorities those trust who call others over TLS: the command line a host, a host its bucket and its
//! collector of usage, and handlers whom they may reach. The public authorities, and those that an operator names.
//!
//! Reads no files, and knows nothing of addresses. A host's own certificate is `tls.rs` of the server.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::{ClientConfig, RootCertStore};

/// Authorities that cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum InvalidAuthorities {
    /// There is none.
    #[error("it has no certificate in PEM format")]
    None,
    /// The format is not right.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A certificate is not right.
    #[error(transparent)]
    Certificate(#[from] rustls::Error),
}

/// How a client is who trusts the public authorities (Mozilla's list), and those in `named`, certificates in PEM
/// format.
///
/// # Errors
/// If `named` has no certificate, or one that is not right.
pub fn client_config(named: Option<&[u8]>) -> Result<ClientConfig, InvalidAuthorities> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
    if let Some(named) = named {
        let public = roots.len();
        for certificate in CertificateDer::pem_slice_iter(named) {
            roots.add(certificate?)?;
        }
        if roots.len() == public {
            return Err(InvalidAuthorities::None);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_authorities_are_there_and_right() {
        assert!(client_config(None).is_ok());
        for (named, said) in [
            (&b""[..], "no certificate"),
            (b"a text", "no certificate"),
            (b"-----BEGIN CERTIFICATE-----\nAAAA\n", "section"),
            (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate"),
        ] {
            let error = client_config(Some(named)).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
