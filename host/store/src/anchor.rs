//! What a host says of the record of changes outside of the metastore: that a tenant's change had this hash at that
//! time, signed with the host's key. Lines of JSON, in a file that is only appended to.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;

use jiff::Timestamp;
use modelet_types::{Digest, TenantName};
use serde::{Deserialize, Serialize};

use crate::audit_key::AuditSignature;
use crate::{AuditKey, ChainBreak, ChainHead, PublicKey};

/// What tells signatures of heads from those of checkpoints: neither can stand for the other.
const HEAD: &str = "modelet/audit-head/1";
const CHECKPOINT: &str = "modelet/audit-checkpoint/1";

/// A statement of the host, as a line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// When the host said so.
    pub at: Timestamp,
    /// Whose change it is.
    pub tenant: TenantName,
    /// The change's id.
    pub id: u64,
    /// The change's hash.
    pub hash: Digest,
    /// Whether the changes up to this one were forgotten, but for the first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub checkpoint: bool,
    /// The public key of the host; absent if a host before keys said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PublicKey>,
    /// The host's signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<AuditSignature>,
}

/// Why a statement is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    NotSigned,
    UnknownKey,
    WrongSignature,
}

impl Flaw {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NotSigned => "is not signed",
            Self::UnknownKey => "is signed with a key that is not trusted",
            Self::WrongSignature => "has a wrong signature",
        }
    }
}

impl Anchor {
    /// States, and signs, that a change has this hash.
    pub fn head(key: &AuditKey, at: Timestamp, tenant: &TenantName, head: ChainHead) -> Self {
        Self::sign(key, at, tenant, head, false)
    }

    /// States, and signs, that the changes up to this one were forgotten.
    pub(crate) fn checkpoint(key: &AuditKey, at: Timestamp, tenant: &TenantName, head: ChainHead) -> Self {
        Self::sign(key, at, tenant, head, true)
    }

    fn sign(key: &AuditKey, at: Timestamp, tenant: &TenantName, head: ChainHead, checkpoint: bool) -> Self {
        let ChainHead { id, hash } = head;
        let mut anchor =
            Self { at, tenant: tenant.clone(), id, hash, checkpoint, key: None, signature: None };
        anchor.signature = Some(key.sign(&anchor.message()));
        anchor.key = Some(key.public());
        anchor
    }

    /// What is signed: every field with its length before it, so that no two statements have the same.
    fn message(&self) -> Vec<u8> {
        let purpose = if self.checkpoint { CHECKPOINT } else { HEAD };
        let mut message = Vec::new();
        for field in [
            purpose.as_bytes(),
            &self.at.as_nanosecond().to_be_bytes(),
            self.tenant.as_str().as_bytes(),
            &self.id.to_be_bytes(),
            self.hash.to_hex().as_bytes(),
        ] {
            message.extend((field.len() as u64).to_be_bytes());
            message.extend(field);
        }
        message
    }

    /// Whether one of these keys has signed it.
    pub(crate) fn check(&self, trusted: &[PublicKey]) -> Result<(), Flaw> {
        match (&self.key, &self.signature) {
            (None, None) => Err(Flaw::NotSigned),
            (Some(key), _) if !trusted.contains(key) => Err(Flaw::UnknownKey),
            (Some(key), Some(signature)) if key.verifies(&self.message(), signature) => Ok(()),
            _ => Err(Flaw::WrongSignature),
        }
    }

    /// Whether one of these keys has signed it.
    pub fn is_signed_by(&self, trusted: &[PublicKey]) -> bool {
        self.check(trusted).is_ok()
    }

    /// The change that it tells of.
    pub fn change(&self) -> ChainHead {
        ChainHead { id: self.id, hash: self.hash }
    }
}

/// Reads a file of statements, with the number of each line. A line that a killed host has not written to its end
/// is left out. Blocks.
///
/// # Errors
/// If the file is there and cannot be read.
pub fn read_anchors(file: &Path) -> io::Result<Vec<(usize, Anchor)>> {
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut anchors = Vec::new();
    for (number, line) in BufReader::new(opened).split(b'\n').enumerate() {
        if let Ok(anchor) = serde_json::from_slice(&line?) {
            anchors.push((number + 1, anchor));
        }
    }
    Ok(anchors)
}

/// What the file says of one tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heads {
    /// Changes that have to be there as they were.
    pub known: Vec<ChainHead>,
    /// Up to where changes were forgotten, each time that some were.
    pub checkpoints: Vec<Anchor>,
    /// What of it is signed; `None` if nothing is.
    pub signed: Option<Signed>,
    /// Lines that hosts before keys wrote.
    pub unsigned: usize,
}

/// What of the record is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// When a host signed first.
    pub since: Timestamp,
    /// The last change that is covered by a signature.
    pub id: u64,
}

impl Heads {
    /// Reads off the lines what they say of a tenant, if they are to be believed.
    ///
    /// A line may be unsigned only if no signed one is before it in the file, and if it is from before the host had
    /// its key (`key_made`).
    ///
    /// # Errors
    /// For the first line of the tenant that is not to be believed.
    pub fn of(
        tenant: &TenantName,
        lines: &[(usize, Anchor)],
        trusted: &[PublicKey],
        key_made: Option<Timestamp>,
    ) -> Result<Self, ChainBreak> {
        let (mut heads, mut are_signed) = (Self::default(), false);
        for (number, anchor) in lines {
            if anchor.tenant == *tenant {
                match anchor.check(trusted) {
                    Ok(()) => heads.add_signed(anchor),
                    Err(Flaw::NotSigned)
                        if !are_signed
                            && !anchor.checkpoint
                            && key_made.is_none_or(|made| anchor.at < made) =>
                    {
                        heads.unsigned += 1;
                    }
                    Err(flaw) => {
                        let reason = format!("line {number} of the file of hashes {}", flaw.as_str());
                        return Err(ChainBreak { id: anchor.id, reason: reason.into() });
                    }
                }
                heads.known.push(anchor.change());
            }
            are_signed |= anchor.signature.is_some();
        }
        Ok(heads)
    }

    fn add_signed(&mut self, anchor: &Anchor) {
        let signed = self.signed.get_or_insert(Signed { since: anchor.at, id: anchor.id });
        *signed = Signed { since: signed.since.min(anchor.at), id: signed.id.max(anchor.id) };
        if anchor.checkpoint {
            self.checkpoints.push(anchor.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> AuditKey {
        AuditKey::read_or_make(&tempfile::tempdir().unwrap().path().join("key")).unwrap().0
    }

    fn head(id: u64) -> ChainHead {
        ChainHead { id, hash: Digest::of(&id.to_be_bytes()) }
    }

    fn numbered(anchors: &[Anchor]) -> Vec<(usize, Anchor)> {
        anchors.iter().cloned().enumerate().map(|(index, anchor)| (index + 1, anchor)).collect()
    }

    #[test]
    fn every_field_is_signed() {
        let (key, tenant) = (key(), "acme".parse().unwrap());
        let trusted = [key.public()];
        let signed = Anchor::head(&key, Timestamp::now(), &tenant, head(7));
        assert_eq!(signed.check(&trusted), Ok(()));
        let line = serde_json::to_string(&signed).unwrap();
        assert_eq!(serde_json::from_str::<Anchor>(&line).unwrap().check(&trusted), Ok(()));
        let later = signed.at + std::time::Duration::from_nanos(1);
        for other in [
            Anchor { at: later, ..signed.clone() },
            Anchor { tenant: "acme-2".parse().unwrap(), ..signed.clone() },
            Anchor { id: 8, ..signed.clone() },
            Anchor { hash: head(8).hash, ..signed.clone() },
            Anchor { checkpoint: true, ..signed.clone() },
            Anchor { signature: None, ..signed.clone() },
            Anchor { key: None, ..signed.clone() },
        ] {
            assert_eq!(other.check(&trusted), Err(Flaw::WrongSignature), "{other:?}");
        }
        let unsigned = Anchor { key: None, signature: None, ..signed.clone() };
        assert_eq!(unsigned.check(&trusted), Err(Flaw::NotSigned));
        assert_eq!(signed.check(&[]), Err(Flaw::UnknownKey));
    }

    #[test]
    fn lines_of_before_count_where_they_can_be_of_before() {
        let (key, tenant) = (key(), "acme".parse().unwrap());
        let (trusted, made) = ([key.public()], key.made().unwrap());
        let signed = |id| Anchor::head(&key, Timestamp::now(), &tenant, head(id));
        let unsigned = |id, at| Anchor { at, key: None, signature: None, ..signed(id) };
        let before = made - std::time::Duration::from_secs(60);
        let lines = numbered(&[unsigned(1, before), signed(2), signed(5)]);
        let heads = Heads::of(&tenant, &lines, &trusted, Some(made)).unwrap();
        assert_eq!((heads.unsigned, heads.known.len()), (1, 3));
        assert_eq!(heads.signed.unwrap().id, 5);
        let late = numbered(&[unsigned(1, made)]);
        let broken = Heads::of(&tenant, &late, &trusted, Some(made)).unwrap_err();
        assert_eq!((broken.id, &*broken.reason), (1, "line 1 of the file of hashes is not signed"));
        let behind = numbered(&[signed(1), unsigned(2, before)]);
        assert_eq!(Heads::of(&tenant, &behind, &trusted, Some(made)).unwrap_err().id, 2);
        let of_others = Heads::of(&"globex".parse().unwrap(), &behind, &trusted, Some(made));
        assert_eq!(of_others.unwrap(), Heads::default());
    }
}
