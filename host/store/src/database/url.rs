//! The address of a metastore on PostgreSQL. It may have a password in it, which is shown to nobody.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sqlx::any::AnyConnectOptions;

use crate::StoreError;

/// The parameters that sqlx knows; others it would pass over, with their values in the log.
const PARAMETERS: &[&str] = &[
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// Where the metastore is, such as `postgres://modelet@db.example/modelet`. Shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct MetastoreUrl(String);

impl MetastoreUrl {
    /// Takes any text: what is wrong with it is said where it is used, without the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// What a connection needs to know.
    pub(super) fn options(&self) -> Result<AnyConnectOptions, StoreError> {
        let refused = |reason: String| StoreError::InvalidMetastoreUrl { reason };
        let options: AnyConnectOptions = self.0.parse().map_err(|error: sqlx::Error| match error {
            sqlx::Error::Configuration(source) => refused(source.to_string()),
            _ => refused("it cannot be read".to_owned()),
        })?;
        let url = &options.database_url;
        if !["postgres", "postgresql"].contains(&url.scheme()) {
            return Err(refused(format!("`{}` is no database that this host knows", url.scheme())));
        }
        for (key, _) in url.query_pairs() {
            let is_setting = key.strip_prefix("options[").is_some_and(|key| key.ends_with(']'));
            if !is_setting && !PARAMETERS.contains(&key.as_ref()) {
                return Err(refused(format!(
                    "it has the parameter `{key}`, which is not one of {}",
                    PARAMETERS.join(", ")
                )));
            }
        }
        Ok(options)
    }
}

/// Without the password and the parameters, one of which may be a password too.
impl fmt::Display for MetastoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(options) = self.0.parse::<AnyConnectOptions>() else { return f.write_str("(not a URL)") };
        let mut url = options.database_url;
        let parameters = url.query_pairs().into_owned();
        let shown: Vec<_> =
            parameters.filter(|(key, _)| key != "password" && PARAMETERS.contains(&key.as_str())).collect();
        // A URL that cannot have a password has none.
        let _ = url.set_password(None);
        url.set_query(None);
        url.set_fragment(None);
        if !shown.is_empty() {
            url.query_pairs_mut().extend_pairs(shown);
        }
        f.write_str(url.as_str())
    }
}

impl fmt::Debug for MetastoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MetastoreUrl({self})")
    }
}

impl Serialize for MetastoreUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MetastoreUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        for (text, shown) in [
            ("postgres://u:hunter2@db:1/m", "postgres://u@db:1/m"),
            ("postgres://db/m?password=hunter2&sslmode=require", "postgres://db/m?sslmode=require"),
            ("postgres://db/m?pasword=hunter2", "postgres://db/m"),
            ("postgres://u:hunter2@db:port/m", "(not a URL)"),
        ] {
            let url = MetastoreUrl::new(text);
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}{}", serde_json::to_string(&url).unwrap()).contains("hunter2"));
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_its_text() {
        for (text, reason) in [
            ("mysql://u:hunter2@db/m", "`mysql` is no database"),
            ("postgres://u:hunter2@db:port/m", "invalid port"),
            ("hunter2", "relative URL"),
            ("postgres://db/m?pasword=hunter2", "the parameter `pasword`"),
        ] {
            let refusal = MetastoreUrl::new(text).options().unwrap_err().to_string();
            assert!(refusal.contains(reason) && !refusal.contains("hunter2"), "{refusal}");
        }
        MetastoreUrl::new("postgresql://u:p@db/m?sslmode=require&options[search_path]=x").options().unwrap();
    }
}
