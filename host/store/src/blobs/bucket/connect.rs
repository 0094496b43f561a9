//! How a bucket is reached: its URL, the variables that Amazon's tools read, certificates, and how long is
//! waited.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::{ClientConfigKey, ClientOptions, HttpClient, HttpConnector};
use object_store::path::Path as Location;
use object_store::{BackoffConfig, RetryConfig};
use rustls::ClientConfig;
use url::Url;

use crate::StoreError;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a server may say nothing.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest pause between two tries.
const MAX_BACKOFF: Duration = Duration::from_secs(5);
const MAX_RETRIES: usize = 8;

/// A bucket, and what it takes to use it.
#[derive(Clone, PartialEq, Eq)]
pub struct BucketConfig {
    /// `s3://bucket/prefix`. The prefix is this store's alone.
    pub url: String,
    /// The variables by which Amazon's tools are configured, such as `AWS_ACCESS_KEY_ID`. Others are of no
    /// consequence.
    pub variables: BTreeMap<String, String>,
    /// How long a request that fails is tried again.
    pub retry_for: Duration,
}

impl BucketConfig {
    /// A bucket by the environment's `AWS_` variables.
    pub fn from_env(url: String) -> Self {
        let variables = std::env::vars().filter(|(name, _)| name.starts_with("AWS_"));
        Self { url, variables: variables.collect(), retry_for: Duration::from_secs(20) }
    }
}

/// Without the variables, some of which are secrets.
impl fmt::Debug for BucketConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.variables.keys().collect();
        f.debug_struct("BucketConfig").field("url", &self.url).field("variables", &names).finish()
    }
}

/// What may help when the bucket does not answer.
pub(super) fn hint(config: &BucketConfig) -> &'static str {
    let has = |name: &str| config.variables.contains_key(name);
    let endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"].map(has).contains(&true);
    if !has("AWS_ACCESS_KEY_ID") {
        "it does not answer, or there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
         unless the machine has a role"
    } else if endpoint {
        "it does not answer: check AWS_ENDPOINT_URL, and for `http://` set AWS_ALLOW_HTTP to `true`"
    } else {
        "it does not answer: check AWS_REGION, or set AWS_ENDPOINT_URL for a bucket that is not Amazon's"
    }
}

/// The client of a bucket, and the prefix.
pub(super) fn store(config: &BucketConfig) -> Result<(AmazonS3, Location), StoreError> {
    let (bucket, prefix) = split(&config.url)?;
    let mut builder = AmazonS3Builder::new();
    for (name, value) in &config.variables {
        if let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    let options = ClientOptions::new().with_allow_http(allows_http(config)?);
    let retry = RetryConfig {
        backoff: BackoffConfig { max_backoff: MAX_BACKOFF, ..BackoffConfig::default() },
        max_retries: MAX_RETRIES,
        retry_timeout: config.retry_for,
    };
    let bundle = config.variables.get("AWS_CA_BUNDLE").map(PathBuf::from);
    let store = builder
        .with_bucket_name(bucket)
        .with_client_options(options)
        .with_retry(retry)
        .with_http_connector(Connector { tls: tls(bundle.as_deref())? })
        .build()
        .map_err(|source| refused(config, source))?;
    Ok((store, prefix))
}

fn refused(config: &BucketConfig, source: object_store::Error) -> StoreError {
    let hint = "the variables that begin with AWS_ make no sense together";
    StoreError::BucketRefused { url: config.url.clone(), hint, source: Box::new(source) }
}

/// The bucket and the prefix of a URL.
fn split(url: &str) -> Result<(String, Location), StoreError> {
    // Not shown: somebody may have written a secret into it.
    let wrong = |detail: &str| StoreError::BucketUrl(detail.to_owned());
    let parsed = Url::parse(url).map_err(|_| wrong("it is no URL: write `s3://BUCKET/PREFIX`"))?;
    if parsed.scheme() != "s3" {
        return Err(wrong("only buckets of S3 are supported: write `s3://BUCKET/PREFIX`"));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(wrong("it has credentials: put them into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"));
    }
    if parsed.port().is_some() || parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(wrong("a bucket and a prefix are all that it has: set AWS_ENDPOINT_URL for the server"));
    }
    let bucket = parsed.host_str().filter(|host| !host.is_empty());
    let bucket = bucket.ok_or_else(|| wrong("it names no bucket: write `s3://BUCKET/PREFIX`"))?;
    let prefix = parsed.path().trim_matches('/');
    let prefix =
        Location::parse(prefix).map_err(|error| wrong(&format!("the prefix cannot be used: {error}")))?;
    Ok((bucket.to_owned(), prefix))
}

fn allows_http(config: &BucketConfig) -> Result<bool, StoreError> {
    match config.variables.get("AWS_ALLOW_HTTP").map(|value| value.to_ascii_lowercase()).as_deref() {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(_) => Err(StoreError::BucketUrl("AWS_ALLOW_HTTP is neither `true` nor `false`".into())),
    }
}

/// Who may say who a server is: Mozilla's list, and the file that AWS_CA_BUNDLE names.
fn tls(bundle: Option<&Path>) -> Result<ClientConfig, StoreError> {
    let Some(bundle) = bundle else {
        return modelet_tls::client_config(None)
            .map_err(|source| StoreError::BucketUrl(format!("TLS cannot be set up: {source}")));
    };
    let read = StoreError::io("read AWS_CA_BUNDLE", bundle);
    let trusting = std::fs::read(bundle).and_then(|authorities| {
        modelet_tls::client_config(Some(&authorities))
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
    });
    trusting.map_err(read)
}

/// Makes HTTP clients with this host's own TLS.
struct Connector {
    tls: ClientConfig,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        // What gives a machine its role is asked without TLS, and says so in its options.
        let allows_http =
            options.get_config_value(&ClientConfigKey::AllowHttp).is_some_and(|it| it == "true");
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .https_only(!allows_http)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            // One address after another would be asked with what is signed for the first.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|source| object_store::Error::Generic { store: "S3", source: source.into() })?;
        Ok(HttpClient::new(client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str, variables: &[(&str, &str)]) -> BucketConfig {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        BucketConfig { url: url.into(), variables, retry_for: Duration::ZERO }
    }

    fn refusal(url: &str, variables: &[(&str, &str)]) -> String {
        store(&config(url, variables)).map(drop).unwrap_err().to_string()
    }

    #[test]
    fn a_url_is_a_bucket_and_a_prefix() {
        for (url, bucket, prefix) in [
            ("s3://models", "models", ""),
            ("s3://models/", "models", ""),
            ("s3://models/hosts/one/", "models", "hosts/one"),
        ] {
            assert_eq!(split(url).unwrap(), (bucket.to_owned(), Location::from(prefix)), "{url}");
        }
    }

    #[test]
    fn a_url_that_is_something_else_is_refused_and_not_shown() {
        for (url, why) in [
            ("models", "no URL"),
            ("https://models.example.com", "only buckets of S3"),
            ("s3://AKIA:hunter2@models", "AWS_SECRET_ACCESS_KEY"),
            ("s3://models:9000/a", "AWS_ENDPOINT_URL"),
            ("s3://models/a?key=hunter2", "AWS_ENDPOINT_URL"),
            ("s3:///a", "names no bucket"),
            ("s3://models/a//b", "prefix cannot be used"),
        ] {
            let text = refusal(url, &[]);
            assert!(text.contains(why) && text.contains("artifacts_url"), "{url}: {text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn variables_that_make_no_sense_are_refused() {
        assert!(refusal("s3://models", &[("AWS_ALLOW_HTTP", "perhaps")]).contains("AWS_ALLOW_HTTP"));
        assert!(refusal("s3://models", &[("AWS_ACCESS_KEY_ID", "AKIA")]).contains("AWS_"));
        assert!(refusal("s3://models", &[("AWS_CA_BUNDLE", "/nowhere.pem")]).contains("AWS_CA_BUNDLE"));
    }

    #[test]
    fn a_secret_is_not_shown() {
        let config = config("s3://models", &[("AWS_SECRET_ACCESS_KEY", "hunter2")]);
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
