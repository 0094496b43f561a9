//! Who may do what: roles, permissions, API keys, and how far a tenant is trusted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::Digest;

/// How far the operator trusts a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Its quick models run on the threads that serve connections.
    Trusted,
    /// Its models run on threads of their own, however quick they are.
    Untrusted,
}

impl Trust {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::Untrusted => "untrusted",
        }
    }
}

/// A text that is none of the words that it could be.
#[derive(Debug, thiserror::Error)]
#[error("`{found}` is not one of {allowed}")]
pub struct UnknownWord {
    found: String,
    allowed: String,
}

impl UnknownWord {
    fn new(found: &str, allowed: impl IntoIterator<Item = &'static str>) -> Self {
        let allowed: Vec<_> = allowed.into_iter().map(|word| format!("`{word}`")).collect();
        Self { found: found.chars().take(80).collect(), allowed: allowed.join(", ") }
    }
}

impl FromStr for Trust {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let all = [Self::Trusted, Self::Untrusted];
        let found = all.into_iter().find(|trust| trust.as_str() == text);
        found.ok_or_else(|| UnknownWord::new(text, all.map(Self::as_str)))
    }
}

/// What somebody asks to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Call functions.
    Invoke,
    /// See functions, revisions, their state and their logs.
    Read,
    /// Upload artifacts; make, divide, roll back and delete functions and revisions; set secrets; load
    /// and unload models.
    Deploy,
    /// See the keys of the tenant, its usage and the record of its changes.
    Audit,
    /// Make, rotate and revoke the tenant's keys; set the quotas of its functions, and which of them need a
    /// second person.
    Manage,
    /// Make and delete tenants, act for any of them, and see what concerns the host.
    Operate,
}

impl Permission {
    /// Every permission, in the order of the documentation.
    pub const ALL: [Self; 6] =
        [Self::Invoke, Self::Read, Self::Deploy, Self::Audit, Self::Manage, Self::Operate];

    /// What it lets somebody do, as it follows "may not".
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invoke => "call functions",
            Self::Read => "see functions, revisions, state and logs",
            Self::Deploy => "deploy, change traffic, set secrets and delete",
            Self::Audit => "see keys, usage and changes",
            Self::Manage => "manage keys, and quotas and approval of functions",
            Self::Operate => "manage tenants and see the host's metrics",
        }
    }
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Runs the host, for all tenants.
    Operator,
    /// Does everything within its tenant.
    Owner,
    /// Deploys functions and calls them.
    Deployer,
    /// Calls functions.
    Invoker,
    /// Sees everything of its tenant and changes nothing.
    Auditor,
}

impl Role {
    /// Every role, in the order of the documentation.
    pub const ALL: [Self; 5] = [Self::Operator, Self::Owner, Self::Deployer, Self::Invoker, Self::Auditor];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Owner => "owner",
            Self::Deployer => "deployer",
            Self::Invoker => "invoker",
            Self::Auditor => "auditor",
        }
    }

    /// Whether whoever has this role may do something.
    pub const fn may(self, permission: Permission) -> bool {
        use Permission::{Audit, Deploy, Invoke, Manage, Operate, Read};
        match self {
            Self::Operator => matches!(permission, Invoke | Read | Deploy | Audit | Manage | Operate),
            Self::Owner => matches!(permission, Invoke | Read | Deploy | Audit | Manage),
            Self::Deployer => matches!(permission, Invoke | Read | Deploy),
            Self::Invoker => matches!(permission, Invoke),
            Self::Auditor => matches!(permission, Read | Audit),
        }
    }

    /// Whether a key of this role can be restricted to some functions: only where all that it may do
    /// concerns functions.
    pub const fn can_be_restricted(self) -> bool {
        matches!(self, Self::Deployer | Self::Invoker)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| UnknownWord::new(text, Self::ALL.map(Self::as_str)))
    }
}

/// What every key begins with, so that scanners for leaked secrets can know one.
const PREFIX: &str = "mk_";
const ID_BYTES: usize = 6;
const SECRET_BYTES: usize = 24;

/// The part of an API key that may be shown: what it is found by. 12 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; ID_BYTES]);

/// A text that is not the id of a key.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not the id of a key: write the 12 hexadecimal digits after `{PREFIX}`")]
pub struct InvalidKeyId(String);

impl FromStr for KeyId {
    type Err = InvalidKeyId;

    fn from_str(text: &str) -> Result<Self, InvalidKeyId> {
        lower_hex(text).map(Self).ok_or_else(|| InvalidKeyId(text.chars().take(80).collect()))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A whole API key, `mk_`, its id, `_` and 192 random bits. Its memory is wiped when it is dropped.
#[derive(Clone)]
pub struct ApiKeyText(Zeroizing<String>);

impl ApiKeyText {
    /// Random bytes that a key is made of.
    pub const RANDOM_BYTES: usize = ID_BYTES + SECRET_BYTES;

    /// The key that random bytes make.
    pub fn from_random(random: &[u8; Self::RANDOM_BYTES]) -> Self {
        let (id, secret) = random.split_at(ID_BYTES);
        let secret = Zeroizing::new(hex::encode(secret));
        Self(Zeroizing::new(format!("{PREFIX}{}_{}", hex::encode(id), *secret)))
    }

    /// The key, to be handed to its owner.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The id of the key that this text could be; `None` if it can be none.
    pub fn id_of(text: &str) -> Option<KeyId> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        (secret.len() == 2 * SECRET_BYTES).then(|| lower_hex(id).map(KeyId))?
    }

    /// What is stored instead of a key. A plain hash does, since there are 192 random bits to guess; one
    /// that is slow on purpose would only slow every request down (NIST SP 800-63B §5.1.2.2, "look-up
    /// secrets" of at least 112 bits).
    pub fn digest_of(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }
}

impl fmt::Debug for ApiKeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeyText(…)")
    }
}

/// Reads hexadecimal digits in the one way that they are written.
fn lower_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut raw = [0; N];
    let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    (is_lower && hex::decode_to_slice(text, &mut raw).is_ok()).then_some(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_its_id() {
        let key = ApiKeyText::from_random(&std::array::from_fn(|at| at as u8));
        let text = key.expose();
        assert_eq!(text, "mk_000102030405_060708090a0b0c0d0e0f101112131415161718191a1b1c1d");
        let id = ApiKeyText::id_of(text).unwrap();
        assert_eq!(id.to_string(), "000102030405");
        assert_eq!("000102030405".parse::<KeyId>().unwrap(), id);
        assert!(!format!("{key:?}").contains("0607"));
    }

    #[test]
    fn what_is_no_key_has_no_id() {
        let secret = "0".repeat(48);
        for wrong in [
            String::new(),
            "mk_".into(),
            format!("mk_00010203040_{secret}"),
            format!("mk_00010203040A_{secret}"),
            format!("mk_000102030405_{secret}0"),
            format!("mx_000102030405_{secret}"),
            format!("mk_000102030405{secret}"),
        ] {
            assert!(ApiKeyText::id_of(&wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn only_operators_operate_and_auditors_change_nothing() {
        for role in Role::ALL {
            assert_eq!(role.may(Permission::Operate), role == Role::Operator);
            assert_eq!(role.as_str().parse::<Role>().unwrap(), role);
        }
        for permission in [Permission::Invoke, Permission::Deploy, Permission::Manage] {
            assert!(!Role::Auditor.may(permission));
        }
        assert_eq!(
            "root".parse::<Role>().unwrap_err().to_string(),
            "`root` is not one of `operator`, `owner`, `deployer`, `invoker`, `auditor`"
        );
    }
}
