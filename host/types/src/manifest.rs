//! The API's manifest of a revision. It names artifacts by digest; the author's `modelet.toml`,
//! which names files, is the command line's and is turned into this.

mod concurrency;
mod model;
mod signature;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::outbound::OutboundRule;
use crate::secret::SECRET_PREFIX;
use crate::{Code, Digest, Limits, ModelName, Problem, SecretName, StatedLimits};

pub use concurrency::{Concurrency, Priority};
pub use model::{BackendChoice, Batching, DEFAULT_TOLERANCE, Device, Golden, ModelSpec, ResponseCache};
pub use signature::{DeclaredSignature, DeclaredTensor};

/// The most models of one revision.
pub const MAX_MODELS: usize = 32;
/// The longest idle timeout.
const DAY_MS: u64 = 24 * 3_600_000;
/// The most bytes of one revision's configuration, keys and values together.
pub const MAX_CONFIG_BYTES: usize = 64 << 10;
/// The most secrets of one revision.
pub const MAX_SECRETS: usize = 32;

/// The most that a manifest may ask for; the operator sets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ceiling {
    /// Of what one invocation uses.
    pub limits: Limits,
    /// Of what a function keeps.
    pub key_value_bytes: u64,
}

impl Ceiling {
    /// The highest values that this version supports at all.
    pub const HIGHEST: Self = Self { limits: Limits::HIGHEST, key_value_bytes: KeyValue::HIGHEST_BYTES };
}

/// Everything of a revision. Immutable once created.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RevisionSpec {
    /// The handler. Left out, the revision is its one model, which takes and gives tensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<Digest>,
    /// What a handler in tensors takes and gives. Left out by others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<DeclaredSignature>,
    /// The models by the names that the handler uses.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = std::collections::HashMap<String, ModelSpec>))]
    pub models: BTreeMap<ModelName, ModelSpec>,
    /// What one invocation may use. A stored revision states every limit.
    #[serde(default)]
    pub limits: StatedLimits,
    /// When each layer goes cold.
    #[serde(default)]
    pub scale: Scale,
    /// Whether anybody may call it, without a key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub public: bool,
    /// How many invocations one instance answers.
    #[serde(default)]
    pub reuse: Reuse,
    /// How many invocations run and wait at once.
    #[serde(default)]
    pub concurrency: Concurrency,
    /// How the request's body reaches the handler. Left out, it is what suits the handler: a stream for
    /// one of `wasi:http`, all at once for others. A stored revision states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_body: Option<RequestBody>,
    /// What the handler reads through `wasi:config`.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    /// The requests that the handler may make, as `[METHOD,…] [scheme://]host[:port]`. Empty: none.
    #[serde(default)]
    pub outbound: Vec<OutboundRule>,
    /// What the function may keep from one invocation to the next, through `wasi:keyvalue`. Left out: it
    /// keeps nothing. A stored revision states how much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_value: Option<KeyValue>,
    /// The secrets that the handler reads through `wasi:config`, each under `secret.` and its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretName>,
}

impl RevisionSpec {
    /// Checks what the types alone do not.
    ///
    /// # Errors
    /// For the first entry that is wrong, by its path in the manifest.
    pub fn check(&self, ceiling: &Ceiling) -> Result<(), Problem> {
        if self.component.is_none() {
            self.check_model_alone()?;
        }
        let handles = self.limits().handles;
        self.signature.as_ref().map_or(Ok(()), |signature| signature.check(handles))?;
        self.limits.check(&ceiling.limits)?;
        self.scale.check()?;
        self.reuse.check()?;
        self.concurrency.check()?;
        if self.models.len() > MAX_MODELS {
            return Err(invalid("models", format!("at most {MAX_MODELS} models, got {}", self.models.len())));
        }
        for (name, model) in &self.models {
            model.check(&format!("models.{name}"))?;
        }
        let config_bytes: usize = self.config.iter().map(|(key, value)| key.len() + value.len()).sum();
        if config_bytes > MAX_CONFIG_BYTES {
            return Err(invalid("config", format!("at most {MAX_CONFIG_BYTES} bytes, got {config_bytes}")));
        }
        if let Some(key) = self.config.keys().find(|key| key.starts_with(SECRET_PREFIX)) {
            let detail = format!(
                "keys that begin with `{SECRET_PREFIX}` are those of secrets: set it with \
                 `modelet secret set`, and name it in `secrets`"
            );
            return Err(invalid(format!("config.{key}"), detail));
        }
        if let Some(key_value) = &self.key_value {
            key_value.check(ceiling.key_value_bytes)?;
        }
        self.check_secrets()
    }

    /// Checks that a revision without a handler is a model, and states nothing that only a handler uses.
    fn check_model_alone(&self) -> Result<(), Problem> {
        if self.models.len() != 1 {
            let detail = format!(
                "a function without a handler is exactly one model, got {}: name the handler in \
                 `component`, or one model in `models`",
                self.models.len()
            );
            return Err(invalid("models", detail));
        }
        let of_handlers = [
            ("signature", self.signature.is_some()),
            ("reuse", self.reuse != Reuse::default()),
            ("request_body", self.request_body.is_some()),
            ("config", !self.config.is_empty()),
            ("outbound", !self.outbound.is_empty()),
            ("key_value", self.key_value.is_some()),
            ("secrets", !self.secrets.is_empty()),
        ];
        match of_handlers.into_iter().find(|(_, is_stated)| *is_stated) {
            Some((field, _)) => {
                let detail = format!("only a handler uses `{field}`: leave it out, or name a `component`");
                Err(invalid(field, detail))
            }
            None => Ok(()),
        }
    }

    fn check_secrets(&self) -> Result<(), Problem> {
        if self.secrets.len() > MAX_SECRETS {
            let detail = format!("at most {MAX_SECRETS} secrets, got {}", self.secrets.len());
            return Err(invalid("secrets", detail));
        }
        for (index, name) in self.secrets.iter().enumerate() {
            if self.secrets[..index].contains(name) {
                return Err(invalid(format!("secrets[{index}]"), format!("`{name}` is named twice")));
            }
        }
        Ok(())
    }

    /// Fills in each limit that is not stated: with its default, or with the ceiling where that is
    /// lower, so that a manifest without limits suits every host.
    pub fn settle_limits(&mut self, ceiling: &Ceiling) {
        self.limits = self.limits.or(&Limits::default().at_most(&ceiling.limits)).into();
        if let Some(key_value) = &mut self.key_value {
            let bytes = key_value.max_bytes.unwrap_or(KeyValue::DEFAULT_BYTES.min(ceiling.key_value_bytes));
            key_value.max_bytes = Some(bytes);
        }
    }

    /// The limits in numbers.
    pub fn limits(&self) -> Limits {
        self.limits.or(&Limits::default())
    }
}

fn invalid(field: impl Into<String>, detail: String) -> Problem {
    Problem::new(Code::InvalidManifest, detail).at(field)
}

/// What a function keeps: keys and values that outlive an invocation. They are the function's, of all its
/// revisions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct KeyValue {
    /// The most bytes that they may be when this revision writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
}

impl KeyValue {
    /// What is kept at most if the manifest does not say: 16 MiB.
    pub const DEFAULT_BYTES: u64 = 16 << 20;
    /// Less would not hold anything worth keeping.
    pub const LOWEST_BYTES: u64 = 4 << 10;
    /// What this version supports at all: 1 GiB.
    pub const HIGHEST_BYTES: u64 = 1 << 30;

    /// The most bytes in numbers.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes.unwrap_or(Self::DEFAULT_BYTES)
    }

    fn check(&self, ceiling: u64) -> Result<(), Problem> {
        if ceiling == 0 {
            let detail = "this host lets no function keep keys and values: leave the table out";
            return Err(invalid("key_value", detail.into()));
        }
        let range = Self::LOWEST_BYTES..=ceiling;
        match self.max_bytes.filter(|bytes| !range.contains(bytes)) {
            Some(bytes) => {
                let default = Self::DEFAULT_BYTES.min(ceiling);
                let (low, high) = (range.start(), range.end());
                let detail = format!("{bytes} is out of range: use {low} to {high} (default {default})");
                Err(invalid("key_value.max_bytes", detail))
            }
            None => Ok(()),
        }
    }
}

/// How the request's body reaches the handler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum RequestBody {
    /// All at once, when it has arrived whole.
    #[default]
    Bytes,
    /// As it arrives.
    Stream,
}

/// Whether an instance answers more than one invocation: one after another, never two at a time, and
/// of one revision only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Reuse {
    /// The most invocations of one instance; 1 gives each an instance of its own.
    pub max_invocations: u32,
    /// Idle time after which an instance that has answered is dropped.
    pub idle_timeout_ms: u64,
}

impl Default for Reuse {
    fn default() -> Self {
        Self { max_invocations: 1, idle_timeout_ms: 10_000 }
    }
}

impl Reuse {
    fn check(&self) -> Result<(), Problem> {
        if !(1..=1_000_000).contains(&self.max_invocations) {
            let detail = format!("{} is out of range: use 1 to 1000000", self.max_invocations);
            return Err(invalid("reuse.max_invocations", detail));
        }
        if self.idle_timeout_ms > DAY_MS {
            let detail = format!("{} is out of range: use 0 to {DAY_MS}", self.idle_timeout_ms);
            return Err(invalid("reuse.idle_timeout_ms", detail));
        }
        Ok(())
    }

    /// Idle time of an instance.
    pub fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms)
    }
}

/// When each layer of an idle function goes cold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Scale {
    /// Idle time after which the handler's compiled code is unmapped.
    pub handler_idle_timeout_ms: u64,
    /// Idle time after which the linked component, ready to make instances, is dropped.
    pub instance_idle_timeout_ms: u64,
    /// Idle time after which a model's session is dropped.
    pub session_idle_timeout_ms: u64,
    /// Whether handler and models are loaded when the revision is given traffic, before it gets any, and
    /// when the host starts.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub preload: bool,
    /// How much of the revision never goes cold: 0 for nothing, 1 for its handler and its models, which are
    /// preloaded too.
    #[serde(skip_serializing_if = "is_zero")]
    pub min_scale: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Default for Scale {
    fn default() -> Self {
        // Knative's stable window is 60 s. Code is cheap to keep and cheap to map again; a session
        // costs the most of both, so it stays longest.
        Self {
            handler_idle_timeout_ms: 60_000,
            instance_idle_timeout_ms: 60_000,
            session_idle_timeout_ms: 300_000,
            preload: false,
            min_scale: 0,
        }
    }
}

impl Scale {
    fn check(&self) -> Result<(), Problem> {
        let timeouts = [
            ("scale.handler_idle_timeout_ms", self.handler_idle_timeout_ms),
            ("scale.instance_idle_timeout_ms", self.instance_idle_timeout_ms),
            ("scale.session_idle_timeout_ms", self.session_idle_timeout_ms),
        ];
        match timeouts.into_iter().find(|(_, timeout)| *timeout > DAY_MS) {
            Some((field, timeout)) => {
                Err(invalid(field, format!("{timeout} is out of range: use 0 to {DAY_MS}")))
            }
            None if self.min_scale > 1 => {
                Err(invalid("scale.min_scale", format!("{} is out of range: use 0 or 1", self.min_scale)))
            }
            None => Ok(()),
        }
    }

    /// Whether it is loaded before it is called.
    pub fn preloads(&self) -> bool {
        self.preload || self.pins()
    }

    /// Whether it is never to go cold.
    pub fn pins(&self) -> bool {
        self.min_scale > 0
    }

    /// Idle time of the compiled code.
    pub fn handler_idle_timeout(&self) -> Duration {
        Duration::from_millis(self.handler_idle_timeout_ms)
    }

    /// Idle time of the linked component.
    pub fn instance_idle_timeout(&self) -> Duration {
        Duration::from_millis(self.instance_idle_timeout_ms)
    }

    /// Idle time of a session.
    pub fn session_idle_timeout(&self) -> Duration {
        Duration::from_millis(self.session_idle_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(extra: &str) -> Result<RevisionSpec, serde_json::Error> {
        let component = Digest::of(b"x");
        serde_json::from_str(&format!(r#"{{"component":"{component}"{extra}}}"#))
    }

    #[test]
    fn a_component_is_enough() {
        let spec = spec("").unwrap();
        assert_eq!(spec.check(&Ceiling::HIGHEST), Ok(()));
        assert_eq!(spec.concurrency.limit, 64);
    }

    #[test]
    fn without_a_handler_there_is_one_model_and_nothing_for_handlers() {
        let refused = |extra: &str| {
            let digest = Digest::of(b"m");
            let text = format!(r#"{{"models":{{"m":{{"artifact":"{digest}"}}}}{extra}}}"#);
            let spec: RevisionSpec = serde_json::from_str(&text).unwrap();
            spec.check(&Ceiling::HIGHEST).err().and_then(|problem| problem.field)
        };
        assert_eq!(refused(""), None);
        assert_eq!(refused(r#","config":{"a":"b"}"#).as_deref(), Some("config"));
        assert_eq!(refused(r#","reuse":{"max_invocations":2}"#).as_deref(), Some("reuse"));
        let empty: RevisionSpec = serde_json::from_str("{}").unwrap();
        assert_eq!(empty.check(&Ceiling::HIGHEST).unwrap_err().field.as_deref(), Some("models"));
    }

    #[test]
    fn unknown_fields_are_refused_with_the_allowed_ones() {
        let error = spec(r#","limits":{"memory":1}"#).unwrap_err();
        assert!(error.to_string().contains("memory_bytes"), "{error}");
    }

    #[test]
    fn limits_that_are_not_stated_fit_under_the_ceiling() {
        let limits = Limits { memory_bytes: 1 << 20, ..Limits::HIGHEST };
        let ceiling = Ceiling { limits, ..Ceiling::HIGHEST };
        let mut silent = spec("").unwrap();
        assert_eq!(silent.check(&ceiling), Ok(()));
        silent.settle_limits(&ceiling);
        assert_eq!(silent.limits(), Limits { memory_bytes: 1 << 20, ..Limits::default() });
        let stated = spec(r#","limits":{"memory_bytes":2000000}"#).unwrap();
        let problem = stated.check(&ceiling).unwrap_err();
        assert_eq!(problem.field.as_deref(), Some("limits.memory_bytes"));
    }

    #[test]
    fn golden_outputs_are_checked_by_path() {
        let digest = Digest::of(b"m");
        let golden = r#"{"inputs":{},"outputs":{"p":{"shape":[2],"f32":[1]}}}"#;
        let spec =
            spec(&format!(r#","models":{{"m":{{"artifact":"{digest}","golden":[{golden}]}}}}"#)).unwrap();
        let problem = spec.check(&Ceiling::HIGHEST).unwrap_err();
        assert_eq!(problem.field.as_deref(), Some("models.m.golden[0].outputs.p"));
    }

    #[test]
    fn what_a_function_keeps_fits_under_the_ceiling() {
        let ceiling = Ceiling { key_value_bytes: 1 << 20, ..Ceiling::HIGHEST };
        let mut silent = spec(r#","key_value":{}"#).unwrap();
        assert_eq!(silent.check(&ceiling), Ok(()));
        silent.settle_limits(&ceiling);
        assert_eq!(silent.key_value.unwrap().max_bytes, Some(1 << 20));
        let refused = |extra: &str, ceiling: &Ceiling| spec(extra).unwrap().check(ceiling).unwrap_err();
        let problem = refused(r#","key_value":{"max_bytes":2000000}"#, &ceiling);
        assert_eq!(problem.field.as_deref(), Some("key_value.max_bytes"));
        let none = Ceiling { key_value_bytes: 0, ..ceiling };
        assert_eq!(refused(r#","key_value":{}"#, &none).field.as_deref(), Some("key_value"));
    }

    #[test]
    fn secrets_are_named_once_and_not_put_into_the_configuration() {
        let field = |extra: &str| spec(extra).unwrap().check(&Ceiling::HIGHEST).unwrap_err().field.unwrap();
        assert_eq!(field(r#","secrets":["api-key","other","api-key"]"#), "secrets[2]");
        assert_eq!(field(r#","config":{"secret.api-key":"x"}"#), "config.secret.api-key");
        assert!(spec(r#","secrets":["API_KEY"]"#).is_err());
    }
}
