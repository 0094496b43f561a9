//! Secrets: values that are handed to handlers and shown to nobody.
//!
//! A value has no form in JSON, none for people and none for debugging, so that it cannot get into an
//! answer, a log or an error by accident. Its memory is wiped when it is dropped.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::{Code, Problem, SecretName};

/// The longest value, in bytes: keys and certificates fit.
pub const MAX_SECRET_BYTES: usize = 16 << 10;

/// What stands before a secret's name where a handler reads it beside its configuration.
pub const SECRET_PREFIX: &str = "secret.";

/// The value of a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Arc<Zeroizing<String>>);

impl SecretValue {
    /// Takes a text for a secret's value.
    ///
    /// # Errors
    /// If it is empty or too long.
    pub fn new(text: Zeroizing<String>) -> Result<Self, Problem> {
        if text.is_empty() || text.len() > MAX_SECRET_BYTES {
            let detail = format!("a secret has 1 to {MAX_SECRET_BYTES} bytes, and this one {}", text.len());
            return Err(Problem::new(Code::InvalidInput, detail).at("value"));
        }
        Ok(Self(Arc::new(text)))
    }

    /// The text. Whoever asks for it answers for where it goes.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

/// Secrets by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<SecretName, SecretValue>);

impl Secrets {
    /// The secret of this name.
    pub fn get(&self, name: &str) -> Option<&SecretValue> {
        self.0.get(name)
    }

    /// Every value.
    pub fn values(&self) -> impl Iterator<Item = &SecretValue> {
        self.0.values()
    }
}

impl FromIterator<(SecretName, SecretValue)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (SecretName, SecretValue)>>(secrets: I) -> Self {
        Self(secrets.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_shows_itself_only_when_asked() {
        let value = SecretValue::new("hunter2".to_owned().into()).unwrap();
        let secrets: Secrets = [("api-key".parse().unwrap(), value)].into_iter().collect();
        assert_eq!(format!("{secrets:?}"), r#"Secrets({"api-key": SecretValue(…)})"#);
        assert_eq!(secrets.get("api-key").map(SecretValue::expose), Some("hunter2"));
    }

    #[test]
    fn a_refusal_does_not_repeat_the_value() {
        let long = "k3y".repeat(MAX_SECRET_BYTES);
        let problem = SecretValue::new(long.into()).unwrap_err();
        assert!(!problem.to_string().contains("k3y"), "{problem}");
        assert!(SecretValue::new(String::new().into()).is_err());
    }
}
