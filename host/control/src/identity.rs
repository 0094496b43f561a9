//! Who makes a request, as far as this host knows, and the keys by which it knows them.
//!
//! Checking a key touches neither the metastore nor a lock that anybody holds for long, since it is part of
//! every request. [`Authenticator`] is what a request's credential is given to, so that another kind of
//! credential (a signed token, say, whose issuer's keys are kept at hand) can be put beside keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use dashmap::DashMap;
use jiff::Timestamp;
use modelet_store::{Actor, StoredKey};
use modelet_types::{ApiKeyText, Digest, FunctionName, KeyId, Permission, Role, TenantName};

/// Who makes a request, and what they may do.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The tenant for which they act.
    pub tenant: TenantName,
    /// What the record of changes calls them.
    pub actor: Actor,
    /// What they may do.
    pub role: Role,
    /// The functions that they may have to do with; `None`: all of the tenant's.
    pub functions: Option<Vec<FunctionName>>,
}

impl Identity {
    /// Whoever reaches a host that asks for no key.
    pub fn local() -> Self {
        let tenant = TenantName::default_tenant();
        Self { tenant, actor: Actor::LOCAL, role: Role::Operator, functions: None }
    }

    /// Whether they may do something at all.
    pub fn may(&self, permission: Permission) -> bool {
        self.role.may(permission)
    }

    /// Whether they have to do with a function of their tenant.
    pub fn covers(&self, function: &str) -> bool {
        self.functions.as_ref().is_none_or(|names| names.iter().any(|name| name.as_str() == function))
    }
}

/// Finds out who somebody is by what they show.
pub trait Authenticator: Send + Sync {
    /// Whose credential this is; `None` if it is nobody's. Must not block.
    fn authenticate(&self, credential: &str) -> Option<Arc<Identity>>;
}

/// Never used.
const NEVER: i64 = i64::MIN;

/// A key that can be used.
struct KnownKey {
    identity: Arc<Identity>,
    digest: Digest,
    expires_at: Option<Timestamp>,
    /// Microseconds since 1970.
    last_used: AtomicI64,
    /// What of that the store has.
    written: AtomicI64,
}

/// Every key of the host.
#[derive(Default)]
pub(crate) struct Keyring {
    keys: DashMap<KeyId, KnownKey>,
}

impl Keyring {
    /// Puts a key in place of what is known of it.
    pub(crate) fn insert(&self, stored: StoredKey) {
        let StoredKey { key, digest } = stored;
        let last_used = key.last_used_at.map_or(NEVER, Timestamp::as_microsecond);
        let known = self.keys.get(&key.id).map_or(NEVER, |known| known.last_used.load(Relaxed));
        let identity = Identity {
            actor: Actor::key(key.id),
            tenant: key.tenant,
            role: key.role,
            functions: key.functions,
        };
        let known = KnownKey {
            identity: Arc::new(identity),
            digest,
            expires_at: key.expires_at,
            last_used: AtomicI64::new(last_used.max(known)),
            written: AtomicI64::new(last_used),
        };
        self.keys.insert(key.id, known);
    }

    /// Forgets a key.
    pub(crate) fn remove(&self, id: KeyId) {
        self.keys.remove(&id);
    }

    /// Forgets every key of a tenant.
    pub(crate) fn remove_tenant(&self, tenant: &TenantName) {
        self.keys.retain(|_, known| known.identity.tenant != *tenant);
    }

    /// The keys that were used since this was last asked, and when.
    pub(crate) fn take_used(&self) -> Vec<(TenantName, KeyId, Timestamp)> {
        let used = self.keys.iter().filter_map(|entry| {
            let at = entry.last_used.load(Relaxed);
            let is_news = entry.written.swap(at, Relaxed) != at;
            let at = Timestamp::from_microsecond(at).ok().filter(|_| is_news)?;
            Some((entry.identity.tenant.clone(), *entry.key(), at))
        });
        used.collect()
    }
}

impl Authenticator for Keyring {
    fn authenticate(&self, credential: &str) -> Option<Arc<Identity>> {
        let known = self.keys.get(&ApiKeyText::id_of(credential)?)?;
        // How many of its bytes are right shows in the time this takes, which tells nothing: what was
        // hashed to get them cannot be found from them.
        if ApiKeyText::digest_of(credential) != known.digest {
            return None;
        }
        let now = Timestamp::now();
        if known.expires_at.is_some_and(|expires| expires <= now) {
            return None;
        }
        known.last_used.store(now.as_microsecond(), Relaxed);
        Some(known.identity.clone())
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;
    use modelet_store::ApiKey;

    use super::*;

    fn stored(text: &ApiKeyText, expires_at: Option<Timestamp>) -> StoredKey {
        let id = ApiKeyText::id_of(text.expose()).unwrap();
        let key = ApiKey {
            tenant: "acme".parse().unwrap(),
            id,
            person: id,
            role: Role::Invoker,
            functions: Some(vec!["digits".parse().unwrap()]),
            description: String::new(),
            created_at: Timestamp::now(),
            created_by: Actor::LOCAL,
            expires_at,
            lifetime_s: None,
            last_used_at: None,
        };
        StoredKey { key, digest: ApiKeyText::digest_of(text.expose()) }
    }

    #[test]
    fn a_key_is_known_whole_until_it_ends() {
        let keyring = Keyring::default();
        let text = ApiKeyText::from_random(&[7; ApiKeyText::RANDOM_BYTES]);
        assert!(keyring.authenticate(text.expose()).is_none());
        keyring.insert(stored(&text, Some(Timestamp::now() + 1.hour())));
        let identity = keyring.authenticate(text.expose()).unwrap();
        assert_eq!((identity.tenant.as_str(), identity.role), ("acme", Role::Invoker));
        assert!(identity.covers("digits") && !identity.covers("embed"));
        assert!(keyring.authenticate(&text.expose().replace("_07", "_17")).is_none(), "another secret");
        keyring.insert(stored(&text, Some(Timestamp::now())));
        assert!(keyring.authenticate(text.expose()).is_none(), "it has ended");
    }

    #[test]
    fn a_use_is_written_down_once() {
        let keyring = Keyring::default();
        let text = ApiKeyText::from_random(&[7; ApiKeyText::RANDOM_BYTES]);
        keyring.insert(stored(&text, None));
        assert!(keyring.take_used().is_empty());
        keyring.authenticate(text.expose()).unwrap();
        assert_eq!(keyring.take_used().len(), 1);
        assert!(keyring.take_used().is_empty());
    }
}
