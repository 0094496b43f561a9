//! Which values of the configuration make sense.

use std::ops::RangeInclusive;

use modelet_observe::Durability;
use modelet_types::manifest::KeyValue;
use modelet_types::{Limits, StatedLimits};
use reqwest::Url;

use super::Config;

/// Far more threads than any machine has cores.
const MAX_THREADS: u64 = 1_024;
/// With less memory a compiler does not get far with any handler.
const MIN_COMPILE_BYTES: u64 = 256 << 20;
/// With less memory a process has hardly room for its threads and a backend.
const MIN_WORKER_BYTES: u64 = 256 << 20;
/// Each has descriptors in the host.
const MAX_WORKER_PROCESSES: u64 = 10_000;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// A setting that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {detail}")]
pub struct InvalidSetting {
    /// Which, such as `limits.memory_bytes`.
    pub key: String,
    /// What is wrong with it, and what would be right.
    pub detail: String,
}

impl InvalidSetting {
    pub(crate) fn new(key: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { key: key.into(), detail: detail.into() }
    }
}

impl Config {
    /// Checks what the types alone do not.
    ///
    /// # Errors
    /// For the first setting that makes no sense.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        let ranges: [(&str, u64, RangeInclusive<u64>); 26] = [
            ("workers", self.workers as u64, 0..=MAX_THREADS),
            ("max_instances", self.max_instances.into(), 1..=100_000),
            ("max_connections", self.max_connections.into(), 0..=1_000_000),
            ("max_awake_revisions", self.max_awake_revisions.into(), 0..=1_000_000),
            ("max_awake_code_bytes", self.max_awake_code_bytes, 0..=1 << 44),
            ("max_artifact_bytes", self.max_artifact_bytes, 1..=1 << 44),
            ("max_grpc_message_bytes", self.max_grpc_message_bytes, 1 << 16..=1 << 30),
            ("artifact_cache_bytes", self.artifact_cache_bytes, 0..=1 << 50),
            ("wake_timeout_ms", self.wake_timeout_ms, 1..=HOUR_MS),
            ("header_timeout_ms", self.header_timeout_ms, 1..=HOUR_MS),
            ("body_idle_timeout_ms", self.body_idle_timeout_ms, 1..=HOUR_MS),
            ("write_timeout_ms", self.write_timeout_ms, 1..=HOUR_MS),
            ("shutdown_grace_ms", self.shutdown_grace_ms, 0..=DAY_MS),
            ("inference.workers", self.inference.workers as u64, 0..=MAX_THREADS),
            ("inference.queue", self.inference.queue as u64, 0..=1_000_000),
            ("inference.memory_bytes", self.inference.memory_bytes, 0..=1 << 50),
            ("inference.worker_processes", self.inference.worker_processes as u64, 0..=MAX_WORKER_PROCESSES),
            ("inference.worker_memory_bytes", self.inference.worker_memory_bytes, MIN_WORKER_BYTES..=1 << 44),
            ("key_value.max_bytes", self.key_value.max_bytes, 0..=KeyValue::HIGHEST_BYTES),
            ("ledger.retention_days", self.ledger.retention_days.into(), 0..=36_500),
            ("audit.retention_days", self.audit.retention_days.into(), 0..=36_500),
            ("usage_export.max_records", self.usage_export.max_records.into(), 1..=1_000),
            ("usage_export.timeout_ms", self.usage_export.timeout_ms, 1..=HOUR_MS),
            ("compile.memory_bytes", self.compile.memory_bytes, MIN_COMPILE_BYTES..=1 << 44),
            ("compile.cpu_time_ms", self.compile.cpu_time_ms, 1_000..=HOUR_MS),
            ("compile.wall_time_ms", self.compile.wall_time_ms, 1_000..=HOUR_MS),
        ];
        for (key, value, range) in ranges {
            if !range.contains(&value) {
                let detail = format!("{value} is out of range: use {} to {}", range.start(), range.end());
                return Err(InvalidSetting::new(key, detail));
            }
        }
        if (1..KeyValue::LOWEST_BYTES).contains(&self.key_value.max_bytes) {
            let low = KeyValue::LOWEST_BYTES;
            let detail =
                format!("a function that may keep anything may keep {low} bytes: use 0 or more than that");
            return Err(InvalidSetting::new("key_value.max_bytes", detail));
        }
        let (certificate, key) = (self.tls.certificate.is_some(), self.tls.key.is_some());
        if certificate != key {
            let missing = if key { "tls.certificate" } else { "tls.key" };
            let detail = "a certificate and its key go together: name both files, or neither";
            return Err(InvalidSetting::new(missing, detail));
        }
        if let Some(url) = &self.usage_export.url {
            check_collector(url).map_err(|detail| InvalidSetting::new("usage_export.url", detail))?;
            if self.ledger.durability == Durability::Off {
                let detail = "nothing is recorded that could be sent: set `ledger.durability` to `process`, or \
                              leave this out";
                return Err(InvalidSetting::new("usage_export.url", detail));
            }
        }
        if self.billing.currency.is_empty() && !self.billing.plans.is_empty() {
            let detail = "prices need a currency: write its code, such as `EUR`";
            return Err(InvalidSetting::new("billing.currency", detail));
        }
        for (name, plan) in &self.billing.plans {
            if let Some((field, detail)) = plan.mistake() {
                return Err(InvalidSetting::new(format!("billing.plans.{name}.{field}"), detail));
            }
        }
        self.allowed_hosts.iter().try_for_each(|name| check_host_name(name))?;
        StatedLimits::from(self.limits.clone())
            .check(&Limits::HIGHEST)
            .map_err(|problem| InvalidSetting::new(problem.field.unwrap_or_default(), problem.detail))
    }
}

/// The address is not shown: somebody may have written a secret into it.
fn check_collector(url: &str) -> Result<(), &'static str> {
    let parsed = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let Some(parsed) = parsed else {
        return Err("it is no address of a collector: write one such as \
                    `https://openmeter.example.com/api/v1/events`");
    };
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(
            "it has credentials: put the token into a file, and name that in `usage_export.token_file`",
        );
    }
    if parsed.fragment().is_some() {
        return Err("what comes behind `#` is never sent: leave it out");
    }
    Ok(())
}

/// What is compared is a `Host` header without its port.
fn check_host_name(entry: &str) -> Result<(), InvalidSetting> {
    let is_name = |text: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        !text.is_empty() && text.bytes().all(fits)
    };
    if is_name(entry) {
        return Ok(());
    }
    let authority = entry.split_once("://").map_or(entry, |(_, rest)| rest);
    let name = authority.split([':', '/']).next().unwrap_or_default();
    let detail = if is_name(name) {
        format!("`{entry}` can never match: write the name alone, `{name}`")
    } else {
        format!("`{entry}` is not the name of a host: write one such as `models.example.com`")
    };
    Err(InvalidSetting::new("allowed_hosts", detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        CompileSettings, InferenceSettings, KeyValueSettings, LedgerSettings, UsageExportSettings,
    };

    fn refused(config: Config) -> InvalidSetting {
        config.check().unwrap_err()
    }

    #[test]
    fn names_the_setting_that_makes_no_sense() {
        let config = Config::default;
        assert_eq!(config().check(), Ok(()));
        assert_eq!(refused(Config { workers: usize::MAX, ..config() }).key, "workers");
        assert_eq!(refused(Config { max_instances: 0, ..config() }).key, "max_instances");
        assert_eq!(refused(Config { max_artifact_bytes: 0, ..config() }).key, "max_artifact_bytes");
        assert_eq!(refused(Config { wake_timeout_ms: 0, ..config() }).key, "wake_timeout_ms");
        assert_eq!(refused(Config { header_timeout_ms: 0, ..config() }).key, "header_timeout_ms");
        assert_eq!(refused(Config { body_idle_timeout_ms: 0, ..config() }).key, "body_idle_timeout_ms");
        assert_eq!(refused(Config { write_timeout_ms: u64::MAX, ..config() }).key, "write_timeout_ms");
        assert_eq!(refused(Config { shutdown_grace_ms: u64::MAX, ..config() }).key, "shutdown_grace_ms");
        let key_value = |max_bytes| Config { key_value: KeyValueSettings { max_bytes }, ..config() };
        assert_eq!(key_value(0).check(), Ok(()));
        assert_eq!(refused(key_value(1)).key, "key_value.max_bytes");
        assert_eq!(refused(key_value(u64::MAX)).key, "key_value.max_bytes");
        let compile = CompileSettings { memory_bytes: 1 << 20, ..CompileSettings::default() };
        assert_eq!(refused(Config { compile, ..config() }).key, "compile.memory_bytes");
        let inference = InferenceSettings { queue: usize::MAX, ..InferenceSettings::default() };
        let refusal = refused(Config { inference, ..config() });
        assert_eq!(
            refusal.to_string(),
            format!("inference.queue: {} is out of range: use 0 to 1000000", usize::MAX)
        );
    }

    #[test]
    fn a_collector_has_an_address_that_is_not_shown_and_something_to_collect() {
        let with = |url: &str, ledger| {
            let usage_export = UsageExportSettings { url: Some(url.into()), ..Default::default() };
            Config { usage_export, ledger, ..Config::default() }
        };
        let on = LedgerSettings::default;
        assert_eq!(with("https://c.example/api/v1/events?a=b", on()).check(), Ok(()));
        assert_eq!(with("http://127.0.0.1:8888", on()).check(), Ok(()));
        for (url, why) in [
            ("c.example/hunter2", "no address"),
            ("ftp://c.example/hunter2", "no address"),
            ("https://user:hunter2@c.example", "usage_export.token_file"),
            ("https://c.example/#hunter2", "never sent"),
        ] {
            let refusal = refused(with(url, on()));
            assert_eq!(refusal.key, "usage_export.url");
            assert!(refusal.detail.contains(why) && !refusal.detail.contains("hunter2"), "{refusal}");
        }
        let off = LedgerSettings { durability: Durability::Off, ..on() };
        assert!(refused(with("https://c.example", off)).detail.contains("ledger.durability"));
        for max_records in [0, 1_001] {
            let usage_export = UsageExportSettings { max_records, ..Default::default() };
            assert_eq!(refused(Config { usage_export, ..Config::default() }).key, "usage_export.max_records");
        }
    }

    #[test]
    fn a_ceiling_must_leave_room_for_a_handler() {
        let with = |limits: Limits| refused(Config { limits, ..Config::default() }).key;
        assert_eq!(with(Limits { memory_bytes: 1, ..Limits::HIGHEST }), "limits.memory_bytes");
        assert_eq!(with(Limits { wall_time_ms: u64::MAX, ..Limits::HIGHEST }), "limits.wall_time_ms");
    }

    #[test]
    fn allowed_hosts_are_names_alone() {
        let check = |entry: &str| check_host_name(entry).map_err(|refusal| refusal.detail);
        assert_eq!(check("Models.example.com"), Ok(()));
        for entry in
            ["models.example.com:8421", "https://models.example.com", "http://models.example.com:1/x"]
        {
            let detail = check(entry).unwrap_err();
            assert!(detail.ends_with("write the name alone, `models.example.com`"), "{detail}");
        }
        for entry in ["", "*.example.com", "::1"] {
            assert!(check(entry).unwrap_err().contains("is not the name of a host"), "{entry}");
        }
    }
}
