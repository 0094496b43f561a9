//! What chains the changes of a tenant to each other, so that none can be edited, left out or cut off
//! unnoticed by whoever remembers a later hash.
//!
//! A change's hash is SHA-256 over the hash of the change before it and over every field of its own, each with
//! its length before it. The first is chained to the tenant's name. Where changes were forgotten, the first is still
//! there, and the chain goes on from the hash that a checkpoint has.

use std::collections::BTreeMap;

use modelet_types::digest::Digester;
use modelet_types::{Digest, TenantName};

use crate::{ChainBreak, ChainHead};

/// What is hashed of one change.
pub(crate) struct Link<'a> {
    pub(crate) id: i64,
    pub(crate) at: i64,
    pub(crate) actor: &'a str,
    pub(crate) origin: Option<&'a str>,
    pub(crate) action: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) before: Option<&'a str>,
    pub(crate) after: Option<&'a str>,
}

/// What the first change of a tenant is chained to.
pub(crate) fn genesis(tenant: &TenantName) -> Digest {
    Digest::of(format!("modelet/changes/{tenant}").as_bytes())
}

impl Link<'_> {
    /// The hash of this change behind the one whose hash is `previous`.
    pub(crate) fn hash(&self, previous: Digest) -> Digest {
        let mut digester = Digester::default();
        digester.update(previous.to_hex().as_bytes());
        digester.update(&self.id.to_be_bytes());
        digester.update(&self.at.to_be_bytes());
        let texts =
            [Some(self.actor), self.origin, Some(self.action), Some(self.subject), self.before, self.after];
        for text in texts {
            match text {
                Some(text) => {
                    digester.update(&[1]);
                    digester.update(&(text.len() as u64).to_be_bytes());
                    digester.update(text.as_bytes());
                }
                // Nothing is not the same as an empty text.
                None => digester.update(&[0]),
            }
        }
        digester.finish()
    }
}

/// Follows the changes of a tenant from the first to the last, and stops at the first that is not right.
pub(crate) struct Follower {
    last: ChainHead,
    checkpoint: Option<ChainHead>,
    known: BTreeMap<u64, Vec<Digest>>,
}

impl Follower {
    /// Begins before the first change. What is known of changes has to be true of those that are there.
    pub(crate) fn begin(
        tenant: &TenantName,
        checkpoint: Option<ChainHead>,
        known: impl IntoIterator<Item = ChainHead>,
    ) -> Result<Self, ChainBreak> {
        let mut follower =
            Self { last: ChainHead { id: 0, hash: genesis(tenant) }, checkpoint, known: BTreeMap::new() };
        for ChainHead { id, hash } in known {
            follower.known.entry(id).or_default().push(hash);
        }
        checkpoint.map_or(Ok(()), |checkpoint| follower.compare(checkpoint))?;
        Ok(follower)
    }

    /// What the next change has to be chained to: behind the first, the last that was forgotten.
    fn previous(&self) -> ChainHead {
        match self.checkpoint {
            Some(checkpoint) if self.last.id == 1 => checkpoint,
            _ => self.last,
        }
    }

    /// Takes the next change, which is stored with the hash `stored`.
    pub(crate) fn next(&mut self, link: &Link<'_>, stored: Option<&str>) -> Result<(), ChainBreak> {
        let previous = self.previous();
        let (id, expected) = (link.id.unsigned_abs(), previous.id + 1);
        if id < expected {
            return Err(ChainBreak { id, reason: "it is there although it was forgotten".into() });
        }
        if id > expected {
            return Err(ChainBreak { id: expected, reason: "it is missing".into() });
        }
        let hash = link.hash(previous.hash);
        if stored != Some(hash.to_hex().as_str()) {
            return Err(ChainBreak { id, reason: "it is not as it was recorded".into() });
        }
        self.last = ChainHead { id, hash };
        self.compare(self.last)
    }

    fn compare(&self, found: ChainHead) -> Result<(), ChainBreak> {
        let known = self.known.get(&found.id).map_or(&[][..], Vec::as_slice);
        if known.iter().any(|known| *known != found.hash) {
            let reason = "it has another hash than the one remembered".into();
            return Err(ChainBreak { id: found.id, reason });
        }
        Ok(())
    }

    /// Ends behind the last change; `made` were made, or more.
    pub(crate) fn end(self, made: u64) -> Result<ChainHead, ChainBreak> {
        let known = self.known.last_key_value().map_or(0, |(id, _)| *id);
        let forgotten = self.checkpoint.map_or(0, |checkpoint| checkpoint.id + 1);
        if self.last.id < known.max(made).max(forgotten) {
            return Err(ChainBreak { id: self.previous().id + 1, reason: "it is missing".into() });
        }
        Ok(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The changes `first..=last` as [`Follower`] takes them, chained to `previous`.
    fn chain(follower: &mut Follower, ids: std::ops::RangeInclusive<u64>) -> Result<ChainHead, ChainBreak> {
        for id in ids {
            let subject = id.to_string();
            let link = Link {
                id: id.cast_signed(),
                at: 0,
                actor: "a",
                origin: None,
                action: "b",
                subject: &subject,
                before: None,
                after: None,
            };
            let hash = link.hash(follower.previous().hash).to_hex();
            follower.next(&link, Some(&hash))?;
        }
        Ok(follower.last)
    }

    #[test]
    fn a_chain_goes_on_from_its_checkpoint() {
        let tenant = "acme".parse().unwrap();
        let follow = |checkpoint, known: &[ChainHead]| Follower::begin(&tenant, checkpoint, known.to_vec());
        let mut whole = follow(None, &[]).unwrap();
        let checkpoint = chain(&mut whole, 1..=5).unwrap();
        let last = chain(&mut whole, 6..=8).unwrap();
        let forgotten = |known: &[ChainHead]| {
            let mut follower = follow(Some(checkpoint), known)?;
            chain(&mut follower, 1..=1)?;
            chain(&mut follower, 6..=8)?;
            follower.end(8)
        };
        assert_eq!(forgotten(&[]), Ok(last));
        assert_eq!(forgotten(&[last, checkpoint, ChainHead { id: 3, ..last }]), Ok(last));
        let id_of = |broken: Result<ChainHead, ChainBreak>| broken.unwrap_err().id;
        assert_eq!(id_of(forgotten(&[ChainHead { id: 5, ..last }])), 5);
        assert_eq!(id_of(forgotten(&[ChainHead { id: 9, ..last }])), 9);
        let mut without = follow(None, &[]).unwrap();
        chain(&mut without, 1..=1).unwrap();
        assert_eq!(id_of(chain(&mut without, 6..=6)), 2);
        for (there, missing) in [(0, 1), (1, 6)] {
            let mut cut = follow(Some(checkpoint), &[]).unwrap();
            chain(&mut cut, 1..=there).unwrap();
            assert_eq!(id_of(cut.end(0)), missing);
        }
        let mut again = follow(Some(checkpoint), &[]).unwrap();
        chain(&mut again, 1..=1).unwrap();
        assert_eq!(id_of(chain(&mut again, 2..=2)), 2);
    }

    #[test]
    fn every_field_and_its_place_counts() {
        let link = || Link {
            id: 1,
            at: 2,
            actor: "a",
            origin: None,
            action: "b",
            subject: "c",
            before: None,
            after: Some("d"),
        };
        let start = genesis(&"acme".parse().unwrap());
        let others = [
            Link { id: 2, ..link() },
            Link { at: 3, ..link() },
            Link { actor: "ab", action: "", ..link() },
            Link { origin: Some(""), ..link() },
            Link { subject: "", before: Some("c"), ..link() },
            Link { before: Some("d"), after: None, ..link() },
        ];
        for other in others {
            assert_ne!(other.hash(start), link().hash(start));
        }
        assert_ne!(link().hash(start), link().hash(genesis(&"globex".parse().unwrap())));
        assert_eq!(link().hash(start), link().hash(start));
    }
}
