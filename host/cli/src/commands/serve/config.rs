//! The host's configuration out of a file, the environment and flags.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use modelet_server::Config;
use modelet_store::MetastoreUrl;

use crate::diagnostic::Diagnostic;
use crate::error::Error;
use crate::manifest::locate;

/// Settings that are changed often enough for a flag. The file has all of them, as
/// docs/operating.md lists them.
#[derive(Debug, Default, Args)]
pub struct Settings {
    /// Folder of everything that the host keeps [default: ./modelet-data].
    #[arg(long, env = "MODELET_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Database with the metastore, such as postgres://modelet@db.example/modelet [default: a file in the data folder].
    #[arg(long, env = "MODELET_METASTORE_URL", hide_env_values = true, value_name = "URL")]
    metastore_url: Option<String>,
    /// Bucket with the artifacts, such as s3://acme-models/host-1 [default: the data folder].
    #[arg(long, env = "MODELET_ARTIFACTS_URL", value_name = "URL")]
    artifacts_url: Option<String>,
    /// Address to listen on; port 0 is any free one [default: 127.0.0.1:8421].
    #[arg(long, env = "MODELET_LISTEN", value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// A `Host` header that the host answers to, beside its own address; may be given several times.
    #[arg(long = "allowed-host", env = "MODELET_ALLOWED_HOSTS", value_delimiter = ',', value_name = "NAME")]
    allowed_hosts: Vec<String>,
    /// Listen beyond this machine without keys (`authentication = "none"`): whoever reaches the host can deploy.
    #[arg(long, env = "MODELET_ALLOW_UNAUTHENTICATED")]
    allow_unauthenticated: bool,
    /// The ONNX Runtime library (libonnxruntime.so) [default: searched for].
    #[arg(long, env = "MODELET_ONNXRUNTIME", value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
    /// How long to wait for running invocations when stopping, in milliseconds.
    #[arg(long, env = "MODELET_SHUTDOWN_GRACE_MS", value_name = "MS")]
    shutdown_grace_ms: Option<u64>,
}

/// Reads `file`, if there is one, and puts `settings` over it.
///
/// # Errors
/// With file, line and the allowed values, if the file is not a configuration.
pub fn load(file: Option<&Path>, settings: Settings) -> anyhow::Result<Config> {
    let mut config = match file {
        None => Config::default(),
        Some(path) => {
            if !path.exists() {
                return Err(
                    Error::FileNotFound { what: "the configuration".into(), path: path.into() }.into()
                );
            }
            let text = Diagnostic::read_text(path)
                .with_context(|| format!("cannot read `{}`", path.display()))?
                .map_err(Error::from)?;
            parse(path, &text).map_err(Error::from)?
        }
    };
    let Settings {
        data_dir,
        metastore_url,
        artifacts_url,
        listen,
        allowed_hosts,
        allow_unauthenticated,
        onnxruntime,
        shutdown_grace_ms,
    } = settings;
    config.data_dir = data_dir.unwrap_or(config.data_dir);
    // A variable may be set to nothing.
    let metastore_url = metastore_url.filter(|url| !url.is_empty()).map(MetastoreUrl::new);
    config.metastore_url = metastore_url.or(config.metastore_url);
    config.artifacts_url = artifacts_url.filter(|url| !url.is_empty()).or(config.artifacts_url);
    config.listen = listen.unwrap_or(config.listen);
    // A variable may be set to nothing.
    let allowed_hosts: Vec<String> = allowed_hosts.into_iter().filter(|name| !name.is_empty()).collect();
    if !allowed_hosts.is_empty() {
        config.allowed_hosts = allowed_hosts;
    }
    config.allow_unauthenticated |= allow_unauthenticated;
    config.inference.onnxruntime = onnxruntime.or(config.inference.onnxruntime);
    config.shutdown_grace_ms = shutdown_grace_ms.unwrap_or(config.shutdown_grace_ms);
    // The file by itself makes sense, so what does not came with a flag or the environment.
    config.check().map_err(|refusal| Error::Invalid(refusal.to_string()))?;
    Ok(config)
}

fn parse(path: &Path, text: &str) -> Result<Config, Box<Diagnostic>> {
    let config: Config =
        toml::from_str(text).map_err(|error| Box::new(Diagnostic::of_toml(path, text, &error)))?;
    config.check().map_err(|refusal| {
        let span = locate::span_of(text, &refusal.key).unwrap_or(0..0);
        Box::new(Diagnostic::new(path, text, span, refusal.to_string()).of_field(refusal.key))
    })?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn flags_come_before_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("host.toml");
        fs::write(&file, "listen = \"127.0.0.1:1\"\nshutdown_grace_ms = 5\n").unwrap();
        let settings = Settings { listen: Some("127.0.0.1:2".parse().unwrap()), ..Settings::default() };
        let config = load(Some(&file), settings).unwrap();
        assert_eq!(config.listen.port(), 2);
        assert_eq!(config.shutdown_grace_ms, 5);
        assert_eq!(config.data_dir, Config::default().data_dir);
    }

    #[test]
    fn a_value_that_makes_no_sense_is_shown_on_its_line() {
        let text = "max_instances = 5\n\n[limits]\nhandles = 1\n";
        let shown = parse(Path::new("host.toml"), text).unwrap_err();
        assert_eq!((shown.line, shown.field.as_deref()), (4, Some("limits.handles")), "{shown}");
        let settings = Settings { allowed_hosts: vec!["a.example:80".into()], ..Settings::default() };
        let error = load(None, settings).unwrap_err();
        assert!(error.to_string().starts_with("allowed_hosts: "), "{error}");
    }

    #[test]
    fn a_mistake_in_the_file_is_shown_on_its_line() {
        let shown = parse(Path::new("host.toml"), "\nlisen = \"127.0.0.1:1\"\n").unwrap_err();
        assert_eq!(shown.line, 2);
        assert!(shown.message.contains("unknown field `lisen`"), "{shown}");
        assert_eq!(shown.help.as_deref(), Some("did you mean `listen`?"));
    }
}
