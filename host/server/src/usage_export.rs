//! The collector to which usage records are sent: CloudEvents over HTTP, many in one request (the HTTP
//! protocol binding of CloudEvents 1.0.2, §3.3), as OpenMeter takes them.
//!
//! Its address is the operator's own, so it may be anywhere. But its token goes there and nowhere else: no
//! redirect is followed, and no proxy used. When something is sent, and what becomes of what is not taken, is
//! for control to say.

mod answer;
mod event;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::header::CONTENT_TYPE;
use modelet_control::{NotSent, UsageExport, UsageSink};
use modelet_observe::UsageRecord;
use reqwest::Url;
use rustls::ClientConfig;
use zeroize::Zeroizing;

use crate::config::UsageExportSettings;

/// Shorter than servers keep a connection that lies idle, so that none is closed just when it is used again.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);
const EVENTS: &str = "application/cloudevents-batch+json";
const USER_AGENT: &str = concat!("modelet/", env!("CARGO_PKG_VERSION"));

/// Why usage cannot be sent to its collector.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// A file that the settings name cannot be used.
    #[error("{path} ({field}) cannot be used: {reason}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The setting that names it.
        field: &'static str,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// There can be no client of it.
    #[error("cannot set up the client of the collector (usage_export.url)")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Where usage records go by the host's settings, if anywhere. Reads the files that they name.
pub(crate) fn from_settings(settings: &UsageExportSettings) -> Result<Option<UsageExport>, CollectorError> {
    let Some(url) = &settings.url else { return Ok(None) };
    let client = |error: Box<dyn std::error::Error + Send + Sync>| CollectorError::Client(error);
    let url = Url::parse(url).map_err(|error| client(error.into()))?;
    let http = reqwest::Client::builder()
        .tls_backend_preconfigured(tls(settings.ca_file.as_deref())?)
        .timeout(Duration::from_millis(settings.timeout_ms))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .user_agent(USER_AGENT)
        .build()
        .map_err(|error| client(error.into()))?;
    let token = settings.token_file.as_deref().map(token).transpose()?;
    let max_records = settings.max_records.try_into().unwrap_or(usize::MAX);
    Ok(Some(UsageExport { sink: Arc::new(Collector { http, url, token }), max_records }))
}

fn token(path: &Path) -> Result<Zeroizing<String>, CollectorError> {
    let wrong = |reason: &dyn fmt::Display| wrong_file(path, "usage_export.token_file", reason);
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|error| wrong(&error))?);
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong(&"a token is one word of ASCII: write it to the file, and nothing else"));
    }
    Ok(Zeroizing::new(token.to_owned()))
}

fn wrong_file(path: &Path, field: &'static str, reason: &dyn fmt::Display) -> CollectorError {
    CollectorError::File { path: path.to_owned(), field, reason: reason.to_string() }
}

/// Who may say who the collector is: Mozilla's list, and the file that the operator names.
fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, CollectorError> {
    let Some(path) = ca_file else {
        return modelet_tls::client_config(None).map_err(|error| CollectorError::Client(error.into()));
    };
    let wrong = |reason: &dyn fmt::Display| wrong_file(path, "usage_export.ca_file", reason);
    let authorities = std::fs::read(path).map_err(|error| wrong(&error))?;
    modelet_tls::client_config(Some(&authorities)).map_err(|error| wrong(&error))
}

/// A collector, and what it takes to reach it.
struct Collector {
    http: reqwest::Client,
    url: Url,
    token: Option<Zeroizing<String>>,
}

impl Collector {
    async fn post(&self, body: Vec<u8>) -> Result<(), NotSent> {
        let mut request = self.http.post(self.url.clone()).header(CONTENT_TYPE, EVENTS).body(body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.as_str());
        }
        match request.send().await {
            Ok(response) => answer::read(response, self.token.as_deref().map(String::as_str)).await,
            Err(error) => Err(answer::none(error)),
        }
    }
}

impl UsageSink for Collector {
    fn send<'a>(&'a self, ledger: &'a str, records: &'a [UsageRecord]) -> BoxFuture<'a, Result<(), NotSent>> {
        self.post(event::batch(ledger, records)).boxed()
    }
}

/// An event, as a collector reads it.
#[cfg(test)]
pub(crate) fn sample_event() -> serde_json::Value {
    event::tests::sample()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_cannot_be_used_are_named_with_their_setting_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let with = |token_file: Option<&PathBuf>, ca_file: Option<&PathBuf>| {
            let settings = UsageExportSettings {
                url: Some("https://c.example".into()),
                token_file: token_file.cloned(),
                ca_file: ca_file.cloned(),
                ..Default::default()
            };
            from_settings(&settings).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(with(None, None), Ok(()));
        let missing = with(Some(&file), None).unwrap_err();
        assert!(missing.contains("usage_export.token_file") && missing.contains("No such file"), "{missing}");
        std::fs::write(&file, "hunter2 hunter3").unwrap();
        for (error, setting) in
            [(with(Some(&file), None), "usage_export.token_file"), (with(None, Some(&file)), "ca_file")]
        {
            let error = error.unwrap_err();
            assert!(error.contains(setting) && !error.contains("hunter2"), "{error}");
        }
        std::fs::write(&file, "hunter2\n").unwrap();
        assert_eq!(with(Some(&file), None), Ok(()));
        assert!(from_settings(&UsageExportSettings::default()).unwrap().is_none());
    }
}
