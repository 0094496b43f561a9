//! The key with which a host signs hashes of the record of changes, so that who can write to the metastore and to
//! the file of hashes, but has not read the key, can forge neither unnoticed.
//!
//! Ed25519 (RFC 8032). The file is PKCS#8 in PEM format, as `openssl genpkey -algorithm ed25519` writes it too; one
//! that a host has made says before it when that was. Knows nothing of what is signed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::folder::{keep_private, write_durably};

const PREFIX: &str = "ed25519:";
const PUBLIC_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;

/// What stands before the time at which a host made the key.
const MADE: &str = "made: ";

/// Characters of a line in PEM format (RFC 7468, section 2).
const PEM_LINE: usize = 64;

/// The host's own key.
pub struct AuditKey {
    pair: Ed25519KeyPair,
    made: Option<Timestamp>,
}

/// A key's file that cannot be used, and why not.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}", path = path.display())]
pub struct AuditKeyError {
    path: PathBuf,
    reason: String,
}

impl AuditKey {
    /// Reads the key's file, and makes it if there is none. Says whether it was there. Blocks.
    ///
    /// # Errors
    /// If the file cannot be read or made, or has no such key.
    pub fn read_or_make(path: &Path) -> Result<(Self, bool), AuditKeyError> {
        let failed =
            |error: &dyn fmt::Display| AuditKeyError { path: path.to_owned(), reason: error.to_string() };
        match std::fs::read_to_string(path).map(Zeroizing::new) {
            Ok(text) => {
                keep_private(path).map_err(|error| failed(&error))?;
                let key = Self::from_pem(&text).ok_or_else(|| {
                    failed(&"it has no Ed25519 key as PKCS#8 in PEM format: put the right file back, or move it away")
                })?;
                Ok((key, true))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let text = Self::make();
                write_durably(path, &text).map_err(|error| failed(&error))?;
                Ok((Self::from_pem(&text).expect("a key that was just made can be read"), false))
            }
            Err(error) => Err(failed(&error)),
        }
    }

    fn make() -> Zeroizing<String> {
        let pkcs8 =
            Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("the system has random bytes");
        let encoded = Zeroizing::new(BASE64_STANDARD.encode(pkcs8.as_ref()));
        let mut text = Zeroizing::new(format!("{MADE}{}\n-----BEGIN PRIVATE KEY-----\n", Timestamp::now()));
        for start in (0..encoded.len()).step_by(PEM_LINE) {
            text.push_str(&encoded[start..encoded.len().min(start + PEM_LINE)]);
            text.push('\n');
        }
        text.push_str("-----END PRIVATE KEY-----\n");
        text
    }

    fn from_pem(text: &str) -> Option<Self> {
        let pkcs8 = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).ok()?;
        // One that OpenSSL has made says nothing of its public key.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8.secret_pkcs8_der()).ok()?;
        let made = text.lines().next().and_then(|line| line.strip_prefix(MADE)?.parse().ok());
        Some(Self { pair, made })
    }

    /// What the signatures of this key are checked with.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.pair.public_key().as_ref().try_into().expect("a public key of Ed25519 has 32 bytes"))
    }

    /// When a host made it; `None` if somebody else did.
    pub fn made(&self) -> Option<Timestamp> {
        self.made
    }

    pub(crate) fn sign(&self, message: &[u8]) -> AuditSignature {
        let signature = self.pair.sign(message);
        AuditSignature(signature.as_ref().try_into().expect("a signature of Ed25519 has 64 bytes"))
    }
}

/// What signatures are checked with, written `ed25519:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; PUBLIC_BYTES]);

impl PublicKey {
    pub(crate) fn verifies(&self, message: &[u8], signature: &AuditSignature) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, &signature.0).is_ok()
    }
}

/// A text that is no public key.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no public key: write `ed25519:` and 64 lower-case hexadecimal digits, as `modelet audit verify` shows it"
)]
pub struct InvalidPublicKey(String);

impl FromStr for PublicKey {
    type Err = InvalidPublicKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.strip_prefix(PREFIX).and_then(from_hex);
        bytes.map(Self).ok_or_else(|| InvalidPublicKey(text.chars().take(80).collect()))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", hex::encode(self.0))
    }
}

impl TryFrom<String> for PublicKey {
    type Error = InvalidPublicKey;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

/// A signature, written as 128 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AuditSignature([u8; SIGNATURE_BYTES]);

impl TryFrom<String> for AuditSignature {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        from_hex(&text).map(Self).ok_or("a signature has 128 lower-case hexadecimal digits")
    }
}

impl From<AuditSignature> for String {
    fn from(signature: AuditSignature) -> Self {
        hex::encode(signature.0)
    }
}

fn from_hex<const BYTES: usize>(digits: &str) -> Option<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    // One way to write each, so that texts can be compared.
    (!digits.bytes().any(|byte| byte.is_ascii_uppercase())).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_keys_file_is_its_owners_alone_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.key");
        let (key, was_there) = AuditKey::read_or_make(&path).unwrap();
        assert!(!was_there && key.made().is_some());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (again, was_there) = AuditKey::read_or_make(&path).unwrap();
        assert!(was_there);
        assert_eq!((again.public(), again.made()), (key.public(), key.made()));
        let signature = again.sign(b"message");
        assert!(key.public().verifies(b"message", &signature));
        assert!(!key.public().verifies(b"massage", &signature));
        fs::write(&path, "half a k").unwrap();
        assert!(AuditKey::read_or_make(&path).is_err());
    }

    #[test]
    fn a_key_that_openssl_made_signs_too() {
        // The first test vector of RFC 8032, section 7.1.
        let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let der = hex::decode(format!("302e020100300506032b657004220420{seed}")).unwrap();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            BASE64_STANDARD.encode(der)
        );
        let key = AuditKey::from_pem(&pem).unwrap();
        assert_eq!(key.made(), None);
        let public = "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert_eq!(key.public().to_string(), public);
        assert_eq!(public.parse::<PublicKey>().unwrap(), key.public());
        assert!(public.to_uppercase().parse::<PublicKey>().is_err());
        assert!(String::from(key.sign(b"")).starts_with("e5564300c360ac729086e2cc806e828a"));
    }
}
