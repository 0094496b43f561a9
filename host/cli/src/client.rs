//! The host's API as the commands use it: one method a call, errors decoded.
//!
//! Owns addresses and headers. Prints nothing and knows no command.

pub mod answers;
pub mod artifacts;
pub mod lines;
pub mod problem;
mod tenants;
mod tls;

use std::path::Path;
use std::time::Duration;

use modelet_types::split::TrafficSplit;
use modelet_types::{FunctionName, InvocationQuotas, KeyId, RevisionSpec, TenantName};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, header};
use serde::de::DeserializeOwned;

use crate::error::Error;
use answers::{
    DeployEvent, Function, Functions, Identity, Keys, LogLine, MadeKey, Revisions, Secret, Secrets, State,
    Statement, Usage, Verified, WrittenChanges,
};
use lines::Lines;
use problem::HostProblem;

/// Where a host listens unless it is told otherwise.
pub const DEFAULT_HOST: &str = "http://127.0.0.1:8421";
/// A host that does not take a connection within this is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// An answer in two forms: as the host wrote it, for `--json`, and read.
pub struct Answer<T> {
    /// What the host wrote, with the entries that this version does not know.
    pub raw: serde_json::Value,
    /// What this version knows of it.
    pub value: T,
}

impl<T: DeserializeOwned> Answer<T> {
    fn read(raw: serde_json::Value) -> Result<Self, Error> {
        let value = serde_path_to_error::deserialize(&raw)
            .map_err(|error| Error::Protocol(format!("the host's answer is not understood: {error}")))?;
        Ok(Self { raw, value })
    }
}

/// A connection to a host.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    host: Url,
    key: Option<String>,
    tenant: Option<TenantName>,
}

impl Client {
    /// For the host at `address`, such as `http://127.0.0.1:8421`; the scheme may be left out. Certificates
    /// are trusted if a public authority has signed them, or one in `ca_file`.
    ///
    /// # Errors
    /// If it is no address, or the file has no certificate.
    pub fn new(address: &str, ca_file: Option<&Path>) -> Result<Self, Error> {
        let with_scheme =
            if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let wrong = |reason: &str| {
            Error::Usage(format!(
                "`{address}` is not the address of a host: {reason}, such as {DEFAULT_HOST}"
            ))
        };
        let host = Url::parse(&with_scheme).map_err(|error| wrong(&format!("{error}; write one")))?;
        if !matches!(host.scheme(), "http" | "https") || !host.has_host() {
            return Err(wrong("write an http or https address"));
        }
        // A host is addressed directly: a proxy for the web does not know the way to it.
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .user_agent(concat!("modelet/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls::trusting(ca_file)?)
            .build()
            .map_err(|error| Error::Protocol(format!("cannot set up the HTTP client: {error}")))?;
        Ok(Self { http, host, key: None, tenant: None })
    }

    /// The same host, asked with a key.
    #[must_use]
    pub fn with_key(self, key: String) -> Self {
        Self { key: Some(key), ..self }
    }

    /// The same host, asked for a tenant.
    #[must_use]
    pub fn for_tenant(self, tenant: TenantName) -> Self {
        Self { tenant: Some(tenant), ..self }
    }

    /// Whose functions are called: the tenant's that was named with the command, else the key's.
    ///
    /// # Errors
    /// If the host cannot be reached, does not know the key, or its answer is not understood.
    pub async fn tenant(&self) -> Result<TenantName, Error> {
        match (&self.tenant, &self.key) {
            (Some(tenant), _) => Ok(tenant.clone()),
            // Without a key there is a host that asks for none, or a function that anybody may call.
            (None, None) => Ok(TenantName::default_tenant()),
            (None, Some(_)) => Ok(self.identity().await?.value.tenant),
        }
    }

    /// Scheme, name and port of the host.
    pub fn origin(&self) -> String {
        self.host.origin().ascii_serialization()
    }

    /// The full address of a path on the host.
    ///
    /// # Errors
    /// If it is not a path.
    pub fn url(&self, path: &str) -> Result<Url, Error> {
        self.host.join(path).map_err(|error| Error::Usage(format!("`{path}` is not a path: {error}")))
    }

    /// All functions.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses, or its answer is not understood.
    pub async fn functions(&self) -> Result<Answer<Functions>, Error> {
        self.list("/api/v1/functions", "functions").await
    }

    /// One function.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses, or its answer is not understood.
    pub async fn function(&self, function: &FunctionName) -> Result<Answer<Function>, Error> {
        self.json(self.request(Method::GET, &of(function.as_str(), ""))?).await
    }

    /// Deletes a function with all its revisions.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses.
    pub async fn delete_function(&self, function: &str) -> Result<(), Error> {
        self.send(self.request(Method::DELETE, &of(function, ""))?).await.map(drop)
    }

    /// A function's revisions, newest first.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses, or its answer is not understood.
    pub async fn revisions(&self, function: &str) -> Result<Answer<Revisions>, Error> {
        self.list(&of(function, "/revisions"), "revisions").await
    }

    /// Deletes one revision.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses.
    pub async fn delete_revision(&self, function: &str, revision: u64) -> Result<(), Error> {
        let path = of(function, &format!("/revisions/{revision}"));
        self.send(self.request(Method::DELETE, &path)?).await.map(drop)
    }

    /// Divides a function's calls.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses, or its answer is not understood.
    pub async fn set_traffic(&self, function: &str, split: &TrafficSplit) -> Result<Answer<Function>, Error> {
        self.json(self.request(Method::PUT, &of(function, "/traffic"))?.json(split)).await
    }

    /// Gives the calls back to the revision that had them before.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses, or its answer is not understood.
    pub async fn roll_back(&self, function: &str) -> Result<Answer<Function>, Error> {
        self.json(self.request(Method::POST, &of(function, "/rollback"))?).await
    }

    /// Which layers of a function are warm.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses, or its answer is not understood.
    pub async fn state(&self, function: &str) -> Result<Answer<State>, Error> {
        self.json(self.request(Method::GET, &of(function, "/state"))?).await
    }

    /// The secrets of a function, without their values.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses, or its answer is not understood.
    pub async fn secrets(&self, function: &str) -> Result<Answer<Secrets>, Error> {
        self.json(self.request(Method::GET, &of(function, "/secrets"))?).await
    }

    /// Sets a secret.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses, or its answer is not understood.
    pub async fn set_secret(&self, function: &str, name: &str, value: &str) -> Result<Answer<Secret>, Error> {
        let path = of(function, &format!("/secrets/{name}"));
        self.json(self.request(Method::PUT, &path)?.json(&serde_json::json!({ "value": value }))).await
    }

    /// Deletes a secret.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses.
    pub async fn delete_secret(&self, function: &str, name: &str) -> Result<(), Error> {
        let path = of(function, &format!("/secrets/{name}"));
        self.send(self.request(Method::DELETE, &path)?).await.map(drop)
    }

    /// Changes of the tenant after the one with the id `after`.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses, or its answer is not understood.
    pub async fn changes(&self, after: u64) -> Result<Answer<serde_json::Value>, Error> {
        self.json(self.request(Method::GET, &format!("/api/v1/changes?limit=1000&after={after}"))?).await
    }

    /// The same, with each change to the letter.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses, or its answer is not understood.
    pub async fn changes_as_written(&self, after: u64) -> Result<WrittenChanges, Error> {
        let path = format!("/api/v1/changes?limit=1000&after={after}");
        let response = self.send(self.request(Method::GET, &path)?).await?;
        response.json().await.map_err(|error| self.failed(error))
    }

    /// Whether the tenant's changes are as they were recorded.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses, or its answer is not understood.
    pub async fn verify_changes(&self, body: &serde_json::Value) -> Result<Answer<Verified>, Error> {
        self.json(self.request(Method::POST, "/api/v1/changes/verify")?.json(body)).await
    }

    /// Whose key the commands use.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses, or its answer is not understood.
    pub async fn identity(&self) -> Result<Answer<Identity>, Error> {
        self.json(self.request(Method::GET, "/api/v1/identity")?).await
    }

    /// The tenant's keys.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses, or its answer is not understood.
    pub async fn keys(&self) -> Result<Answer<Keys>, Error> {
        self.json(self.request(Method::GET, "/api/v1/keys")?).await
    }

    /// Makes a key.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses, or its answer is not understood.
    pub async fn create_key(&self, spec: &serde_json::Value) -> Result<Answer<MadeKey>, Error> {
        self.json(self.request(Method::POST, "/api/v1/keys")?.json(spec)).await
    }

    /// Makes the successor of a key.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses, or its answer is not understood.
    pub async fn rotate_key(&self, key: &KeyId, overlap_s: u64) -> Result<Answer<MadeKey>, Error> {
        let request = self.request(Method::POST, &format!("/api/v1/keys/{key}/rotate"))?;
        self.json(request.json(&serde_json::json!({ "overlap_s": overlap_s }))).await
    }

    /// Revokes a key.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses.
    pub async fn revoke_key(&self, key: &KeyId) -> Result<(), Error> {
        self.send(self.request(Method::DELETE, &format!("/api/v1/keys/{key}"))?).await.map(drop)
    }

    /// What the tenant has used.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses, or its answer is not understood.
    pub async fn usage(&self, parameters: &[(&str, String)]) -> Result<Answer<Usage>, Error> {
        self.json(self.request(Method::GET, "/api/v1/usage")?.query(parameters)).await
    }

    /// What the tenant owes for a month.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses, or its answer is not understood.
    pub async fn statement(&self, month: &str) -> Result<Answer<Statement>, Error> {
        self.json(self.request(Method::GET, &statement_path(month))?).await
    }

    /// The same in another form, by its media type.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses.
    pub async fn statement_as(&self, month: &str, form: &str) -> Result<String, Error> {
        let request = self.request(Method::GET, &statement_path(month))?.header(header::ACCEPT, form);
        self.send(request).await?.text().await.map_err(|error| self.failed(error))
    }

    /// What the tenant, or one of its functions, may use, and what it uses.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses, or its answer is not understood.
    pub async fn quotas(&self, function: Option<&FunctionName>) -> Result<Answer<serde_json::Value>, Error> {
        let path = function.map_or_else(|| "/api/v1/quotas".into(), |name| of(name.as_str(), "/quotas"));
        self.json(self.request(Method::GET, &path)?).await
    }

    /// Sets a function's quotas.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses, or its answer is not understood.
    pub async fn set_function_quotas(
        &self,
        function: &FunctionName,
        quotas: &InvocationQuotas,
    ) -> Result<Answer<Function>, Error> {
        let request = self.request(Method::PUT, &of(function.as_str(), "/quotas"))?;
        self.json(request.json(quotas)).await
    }

    /// Says whether a change of a function's traffic needs a second person.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses, or its answer is not understood.
    pub async fn set_approval(
        &self,
        function: &FunctionName,
        needed: bool,
    ) -> Result<Answer<Function>, Error> {
        let request = self.request(Method::PUT, &of(function.as_str(), "/approval"))?;
        self.json(request.json(&serde_json::json!({ "needed": needed }))).await
    }

    /// Approves an activation that waits.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses, or its answer is not understood.
    pub async fn approve(&self, function: &FunctionName, activation: u64) -> Result<Answer<Function>, Error> {
        let path = of(function.as_str(), &format!("/activations/{activation}/approve"));
        self.json(self.request(Method::POST, &path)?).await
    }

    /// Rejects an activation that waits.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses, or its answer is not understood.
    pub async fn reject(&self, function: &FunctionName, activation: u64) -> Result<Answer<Function>, Error> {
        let path = of(function.as_str(), &format!("/activations/{activation}/reject"));
        self.json(self.request(Method::POST, &path)?).await
    }

    /// The last `tail` lines of a function's log, and with `follow` those to come.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses.
    pub async fn logs(&self, function: &str, tail: u64, follow: bool) -> Result<Lines<LogLine>, Error> {
        let path = of(function, &format!("/logs?tail={tail}&follow={follow}"));
        Ok(Lines::new(self.send(self.request(Method::GET, &path)?).await?))
    }

    /// Creates a revision, and tells what the host does meanwhile.
    ///
    /// # Errors
    /// If the host cannot be reached or refuses at once. What it finds out later is an event.
    pub async fn create_revision(
        &self,
        function: &str,
        spec: &RevisionSpec,
        activate: bool,
    ) -> Result<Lines<DeployEvent>, Error> {
        let path = of(function, &format!("/revisions?activate={activate}"));
        let request = self.request(Method::POST, &path)?.header(header::ACCEPT, "application/x-ndjson");
        Ok(Lines::new(self.send(request.json(spec)).await?))
    }

    /// Sends a request as it is; the caller reads the answer, whatever its status.
    ///
    /// # Errors
    /// If the host cannot be reached, or the connection breaks.
    pub async fn send_raw(&self, request: RequestBuilder) -> Result<Response, Error> {
        request.send().await.map_err(|error| self.failed(error))
    }

    /// A request to a path on the host.
    ///
    /// # Errors
    /// If it is not a path.
    pub fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, Error> {
        let mut request = self.http.request(method, self.url(path)?);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        // The address of a function has its tenant in it.
        if let Some(tenant) = self.tenant.as_ref().filter(|_| path.starts_with("/api/")) {
            request = request.header("modelet-tenant", tenant.as_str());
        }
        Ok(request)
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<Answer<T>, Error> {
        let response = self.send(request).await?;
        Answer::read(response.json().await.map_err(|error| self.failed(error))?)
    }

    /// The whole of a list that the host gives in pages; `items` is the list's field.
    async fn list<T: DeserializeOwned>(&self, path: &str, items: &str) -> Result<Answer<T>, Error> {
        let (mut all, mut after) = (Vec::new(), None::<String>);
        loop {
            let mut request = self.request(Method::GET, path)?.query(&[("limit", "1000")]);
            if let Some(after) = &after {
                request = request.query(&[("after", after)]);
            }
            let mut page = self.json::<serde_json::Value>(request).await?.raw;
            if let Some(items) = page[items].as_array_mut() {
                all.append(items);
            }
            after = match &page["next"] {
                serde_json::Value::Null => return Answer::read(serde_json::json!({ items: all })),
                serde_json::Value::String(name) => Some(name.clone()),
                number => Some(number.to_string()),
            };
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let response = self.send_raw(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(HostProblem::read(response).await.into())
    }

    fn failed(&self, error: reqwest::Error) -> Error {
        // What stands between is the client's own words for the layers that it consists of.
        let reason = root_cause(&error).to_string();
        if error.is_connect() || error.is_timeout() {
            return Error::Unreachable { host: self.host.as_str().trim_end_matches('/').into(), reason };
        }
        Error::Protocol(format!("the connection to the host broke: {reason}"))
    }
}

fn root_cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    std::iter::successors(Some(error), |error| error.source()).last().unwrap_or(error)
}

/// The path of a function in the API. Names are checked by clap, so they need no escapes.
fn of(function: &str, rest: &str) -> String {
    format!("/api/v1/functions/{function}{rest}")
}

fn statement_path(month: &str) -> String {
    // What a person typed must not become another address; the host says what is wrong with the rest.
    let month: String = month.chars().filter(|c| c.is_ascii_graphic() && !"/?#%".contains(*c)).collect();
    format!("/api/v1/statements/{month}")
}

/// Whether an answer says that the host is too busy.
fn is_busy(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_addresses_with_and_without_a_scheme() {
        let url = |address: &str| {
            Client::new(address, None).and_then(|client| client.url("/f/x?y=1")).map(String::from)
        };
        assert_eq!(url("localhost:8421").unwrap(), "http://localhost:8421/f/x?y=1");
        assert_eq!(url("http://10.0.0.1:9/").unwrap(), "http://10.0.0.1:9/f/x?y=1");
        assert_eq!(url("https://example.com").unwrap(), "https://example.com/f/x?y=1");
        for wrong in ["ftp://example.com", "http://", "unix:///socket"] {
            let error = url(wrong).unwrap_err();
            assert!(error.to_string().contains("is not the address of a host"), "{error}");
        }
    }
}
