//! `wasi:config/store`: the `[config]` table of the manifest, and the secrets that it grants.
//!
//! A secret is there under its name behind [`SECRET_PREFIX`]. It is not among all: a handler that prints
//! its configuration does not mean to print those.

use modelet_types::secret::SECRET_PREFIX;

use super::Host;
use crate::bindings::function::wasi::config::store;

impl store::Host for Host {
    fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, store::Error>> {
        let secret = key.strip_prefix(SECRET_PREFIX).and_then(|name| self.secrets.get(name));
        Ok(Ok(match secret {
            // From here on it is in the guest's memory, and the copy on the way there is not wiped.
            Some(value) => Some(value.expose().to_owned()),
            None => self.config.get(&key).cloned(),
        }))
    }

    fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, store::Error>> {
        Ok(Ok(self.config.iter().map(|(key, value)| (key.clone(), value.clone())).collect()))
    }
}
