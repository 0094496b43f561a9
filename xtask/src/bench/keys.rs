//! The keys of the hosts that are measured, so that whoever calls one can send its own. Servers of others
//! have none.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::{LazyLock, PoisonError, RwLock};

use anyhow::Context as _;

static KEYS: LazyLock<RwLock<HashMap<String, String>>> = LazyLock::new(RwLock::default);

/// Remembers the operator's key of the host at `origin`, out of its data folder.
pub fn learn(origin: &str, data: &Path) -> anyhow::Result<()> {
    let file = data.join("operator-key");
    let key = fs::read_to_string(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let mut keys = KEYS.write().unwrap_or_else(PoisonError::into_inner);
    keys.insert(origin.to_owned(), key.trim().to_owned());
    Ok(())
}

/// The key of the server at `origin`, if it asks for one.
pub fn of(origin: &str) -> Option<String> {
    KEYS.read().unwrap_or_else(PoisonError::into_inner).get(origin).cloned()
}

/// The line of a request's head that has the key of the server at `origin`; nothing if it asks for none.
pub fn line(origin: &str) -> String {
    of(origin).map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default()
}

/// A request to `path` of the server at `origin`, with its key.
pub fn get(origin: &str, path: &str) -> ureq::RequestBuilder<ureq::typestate::WithoutBody> {
    let request = ureq::get(format!("{origin}{path}"));
    match of(origin) {
        Some(key) => request.header("authorization", format!("Bearer {key}")),
        None => request,
    }
}
