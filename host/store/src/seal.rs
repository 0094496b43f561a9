//! How secrets are encrypted where they are stored, and the key that does it.
//!
//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) with a random nonce for each value. What a value belongs to
//! is authenticated with it, so that a row which somebody moves to another function, or leaves to the next
//! function of that name, cannot be opened. Knows nothing of rows.

use std::io;
use std::path::Path;

use chacha20poly1305::aead::{Aead as _, Generate as _, Key, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use modelet_types::{FunctionName, SecretName, SecretValue, TenantName};
use zeroize::Zeroizing;

use crate::StoreError;
use crate::folder::{keep_private, write_durably};

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// What a sealed value begins with, so that another way to seal can follow.
const FORMAT: &str = "1:";

/// Whose a secret is.
pub(crate) struct SealedFor<'a> {
    pub(crate) tenant: &'a TenantName,
    pub(crate) function: &'a FunctionName,
    /// What tells the function from others that had its name before.
    pub(crate) function_id: u64,
    pub(crate) name: &'a SecretName,
}

impl SealedFor<'_> {
    /// In a form that no two of them share: none of the names has a `/`.
    fn associated_data(&self) -> String {
        let Self { tenant, function, function_id, name } = self;
        format!("modelet/secret/{tenant}/{function}/{function_id}/{name}")
    }
}

/// The host's key. Its memory is wiped when it is dropped.
pub(crate) struct SealingKey(XChaCha20Poly1305);

/// A value that this key does not open.
#[derive(Debug, thiserror::Error)]
#[error("the secret cannot be opened with this host's key")]
pub(crate) struct Unopened;

impl SealingKey {
    /// Reads the key's file, and makes it if there is none. Says whether it was there. Blocks.
    pub(crate) fn read_or_make(path: &Path) -> Result<(Self, bool), StoreError> {
        match std::fs::read_to_string(path).map(Zeroizing::new) {
            Ok(text) => {
                keep_private(path)?;
                let key = Self::from_text(&text).map_err(StoreError::damaged(path.display().to_string()))?;
                Ok((key, true))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((Self::make(path)?, false)),
            Err(error) => Err(StoreError::io("read", path)(error)),
        }
    }

    fn from_text(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        hex::decode_to_slice(text.trim_end(), &mut *bytes)?;
        Ok(Self(XChaCha20Poly1305::new_from_slice(&*bytes)?))
    }

    fn make(path: &Path) -> Result<Self, StoreError> {
        let key = Zeroizing::new(<[u8; KEY_BYTES]>::from(Key::<XChaCha20Poly1305>::generate()));
        let text = Zeroizing::new(hex::encode(key.as_slice()) + "\n");
        write_durably(path, &text)?;
        Ok(Self(XChaCha20Poly1305::new((&*key).into())))
    }

    /// Encrypts a value, as text.
    pub(crate) fn seal(&self, owner: &SealedFor<'_>, value: &SecretValue) -> String {
        let nonce = XNonce::generate();
        let data = owner.associated_data();
        let payload = Payload { msg: value.expose().as_bytes(), aad: data.as_bytes() };
        let sealed = self.0.encrypt(&nonce, payload).expect("a secret is far below 256 GiB");
        format!("{FORMAT}{}{}", hex::encode(nonce), hex::encode(sealed))
    }

    /// Decrypts what [`Self::seal`] gave for the same owner.
    pub(crate) fn open(&self, owner: &SealedFor<'_>, sealed: &str) -> Result<SecretValue, Unopened> {
        let bytes = sealed.strip_prefix(FORMAT).and_then(|text| hex::decode(text).ok()).ok_or(Unopened)?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or(Unopened)?;
        let data = owner.associated_data();
        let payload = Payload { msg: sealed, aad: data.as_bytes() };
        let opened = self.0.decrypt(&XNonce::from(*nonce), payload).map_err(|_| Unopened)?;
        let mut opened = Zeroizing::new(opened);
        // The same memory, which is then wiped as the text's.
        let text = String::from_utf8(std::mem::take(&mut *opened)).map_err(|_| Unopened)?;
        SecretValue::new(Zeroizing::new(text)).map_err(|_| Unopened)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn key() -> (SealingKey, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (SealingKey::read_or_make(&folder.path().join("secret.key")).unwrap().0, folder)
    }

    fn value() -> SecretValue {
        SecretValue::new("correct horse".to_owned().into()).unwrap()
    }

    #[test]
    fn opens_for_its_owner_alone() {
        let (key, _folder) = key();
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        let (f, g) = ("f".parse().unwrap(), "g".parse().unwrap());
        let (x, y) = ("x".parse().unwrap(), "y".parse().unwrap());
        let owner = SealedFor { tenant: &a, function: &f, function_id: 7, name: &x };
        let sealed = key.seal(&owner, &value());
        assert_ne!(sealed, key.seal(&owner, &value()), "a nonce is used once");
        assert_eq!(key.open(&owner, &sealed).unwrap(), value());
        for other in [
            SealedFor { tenant: &b, ..owner },
            SealedFor { function: &g, ..owner },
            SealedFor { function_id: 8, ..owner },
            SealedFor { name: &y, ..owner },
        ] {
            assert!(key.open(&other, &sealed).is_err());
        }
    }

    #[test]
    fn what_was_changed_or_cut_is_not_opened() {
        let (key, _folder) = key();
        let (tenant, function, name) = ("a".parse().unwrap(), "f".parse().unwrap(), "x".parse().unwrap());
        let owner = SealedFor { tenant: &tenant, function: &function, function_id: 1, name: &name };
        let sealed = key.seal(&owner, &value());
        let last = if sealed.ends_with('0') { "1" } else { "0" };
        let changed = format!("{}{last}", &sealed[..sealed.len() - 1]);
        for wrong in [&changed, &sealed[..40], "1:", "", "2:00", "not hex"] {
            assert!(key.open(&owner, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_keys_file_is_its_owners_alone_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        let (key, was_there) = SealingKey::read_or_make(&path).unwrap();
        assert!(!was_there);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (tenant, function, name) = ("a".parse().unwrap(), "f".parse().unwrap(), "x".parse().unwrap());
        let owner = SealedFor { tenant: &tenant, function: &function, function_id: 1, name: &name };
        let (again, was_there) = SealingKey::read_or_make(&path).unwrap();
        assert!(was_there);
        assert_eq!(again.open(&owner, &key.seal(&owner, &value())).unwrap(), value());
        std::fs::write(&path, "half a k").unwrap();
        assert!(SealingKey::read_or_make(&path).is_err());
    }
}
