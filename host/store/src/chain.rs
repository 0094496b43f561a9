//! What chains the changes of a tenant to each other, so that none can be edited, left out or cut off
//! unnoticed by whoever remembers a later hash.
//!
//! A change's hash is SHA-256 over the hash of the change before it and over every field of its own, each with
//! its length before it. The first is chained to the tenant's name.

use modelet_types::digest::Digester;
use modelet_types::{Digest, TenantName};

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

#[cfg(test)]
mod tests {
    use super::*;

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
