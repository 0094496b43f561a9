//! A host: everything started in order, and stopped in order.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use modelet_control::{AuditConfig, Control, ControlConfig, Identity};
use modelet_engine::{CompileConfig, Engine, EngineConfig, Layers, OutboundConfig};
use modelet_inference::{Inference, InferenceConfig, WorkerConfig};
use modelet_keyvalue::{KeyValueConfig, KeyValueStores};
use modelet_observe::function_log::FunctionLogsConfig;
use modelet_observe::ledger::LedgerConfig;
use modelet_observe::metrics::{MetricsConfig, ModelRun, SessionState};
use modelet_observe::{FunctionLogs, Ledger, Metrics};
use modelet_runtime::{Runtime, RuntimeConfig};
use modelet_store::{ArtifactsConfig, AuditKey, AuditKeyError, BucketConfig, Store, StoreConfig};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};

use crate::caller::Identification;
use crate::config::{Authentication, CompileSettings, Config, Confinement, InvalidSetting};
use crate::context::{Context, Shared};
use crate::controllers::host::HostBody;
use crate::deploys::Deploys;
use crate::functions::ToController;
use crate::model_files::FromStore;
use crate::publisher::ToRuntime;
use crate::tls::{Certificate, CertificateError};
use crate::usage_export::{self, CollectorError};
use crate::{awake, descriptors, listener, machine, routes, status};

/// Why a host cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting makes no sense.
    #[error(transparent)]
    Config(#[from] InvalidSetting),
    /// Others could reach the host, which asks for no key.
    #[error(
        "{0} can be reached from other machines, and this host asks for no key: leave `authentication` at \
         `keys`, or listen on 127.0.0.1 (or set allow_unauthenticated, if something in front checks who calls)"
    )]
    Unauthenticated(SocketAddr),
    /// The address is taken or not this machine's.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The host's own certificate cannot be used.
    #[error("cannot use the certificate (tls): {0}")]
    Certificate(#[from] CertificateError),
    /// The certificates for handlers' requests cannot be read.
    #[error("cannot read {path} (outbound.ca_file)", path = path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Usage cannot be sent to its collector.
    #[error(transparent)]
    Collector(#[from] CollectorError),
    /// The data folder cannot be used.
    #[error(transparent)]
    Store(#[from] modelet_store::StoreError),
    /// The key that signs hashes of changes cannot be used.
    #[error("cannot use the key of the record of changes (audit.key_file): {0}")]
    AuditKey(#[from] AuditKeyError),
    /// The folder of what functions keep cannot be used.
    #[error("cannot use {path}", path = path.display())]
    KeyValues {
        /// The folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The ledger or the functions' logs cannot be used.
    #[error(transparent)]
    Observe(#[from] modelet_observe::Error),
    /// Inference cannot start.
    #[error(transparent)]
    Inference(#[from] modelet_inference::InferenceError),
    /// Handlers cannot be compiled, or not in a process that is confined as is required.
    #[error("cannot compile handlers")]
    Compile(#[source] modelet_types::Problem),
    /// The engine cannot start, or what is stored cannot be published.
    #[error(transparent)]
    Problem(#[from] modelet_types::Problem),
}

/// A running host.
pub struct Host {
    address: SocketAddr,
    context: Context,
    stopping: watch::Sender<bool>,
    serving: JoinHandle<()>,
    upkeep: Vec<JoinHandle<()>>,
}

impl Host {
    /// Starts a host. When this returns, requests are answered.
    ///
    /// # Errors
    /// If a setting makes no sense, or the address or the data folder cannot be used.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        config.check()?;
        let connections = listener::Settings {
            header_timeout: config.header_timeout(),
            write_timeout: config.write_timeout(),
            max_connections: descriptors::max_connections(config.max_connections)?,
            shutdown_grace: config.shutdown_grace(),
        };
        let asks_for_keys = config.authentication == Authentication::Keys;
        if !config.listen.ip().is_loopback() && !asks_for_keys && !config.allow_unauthenticated {
            return Err(StartError::Unauthenticated(config.listen));
        }
        let certificate = match (&config.tls.certificate, &config.tls.key) {
            (Some(certificate), Some(key)) => Some(Certificate::read(certificate.clone(), key.clone())?),
            _ => None,
        };
        let usage_export = usage_export::from_settings(&config.usage_export)?;
        let store_config = StoreConfig {
            data_dir: config.data_dir.clone(),
            metastore_url: config.metastore_url.clone(),
            artifacts: ArtifactsConfig {
                bucket: config.artifacts_url.clone().map(BucketConfig::from_env),
                cache_bytes: config.artifact_cache_bytes,
            },
        };
        let store = Store::open(&store_config).await?;
        let ledger_dir = config.data_dir.join("ledger");
        let ledger_config = LedgerConfig { durability: config.ledger.durability, ..LedgerConfig::default() };
        let ledger = Ledger::open(ledger_dir, ledger_config)?;
        let logs = FunctionLogs::open(config.data_dir.join("logs"), FunctionLogsConfig::default())?;
        let key_values_dir = config.data_dir.join("key-value");
        let key_values = KeyValueStores::open(key_values_dir.clone(), KeyValueConfig::default())
            .map_err(|source| StartError::KeyValues { path: key_values_dir, source })?;
        let engine = Engine::start(&engine_config(&config)?)?;
        let inference = Inference::start(inference_config(&config))?;
        // Side by side, since each waits for a process.
        let (compiler, worker) = tokio::join!(engine.check_compiler(), inference.check_worker());
        say_what_is_missing(compiler.map_err(StartError::Compile)?);
        say_what_workers_lack(worker?);
        let metrics = metrics(&ledger, &logs, &engine, &inference);
        let functions = Arc::new(ToController::default());
        let runtime = Runtime::start(RuntimeConfig {
            engine: engine.clone(),
            inference: inference.clone(),
            ledger: ledger.clone(),
            logs: logs.clone(),
            key_values: key_values.clone(),
            metrics: metrics.clone(),
            wake_timeout: config.wake_timeout(),
            body_idle_timeout: config.body_idle_timeout(),
            request_body_budget_bytes: RuntimeConfig::DEFAULT_REQUEST_BODY_BUDGET_BYTES,
            model_files: Arc::new(FromStore(store.clone())),
            functions: functions.clone(),
            awake: awake::budget(&config, connections.max_connections),
            status_of: status::number_of,
        });
        let control_config = ControlConfig {
            store,
            engine: engine.clone(),
            inference: inference.clone(),
            logs: logs.clone(),
            key_values: key_values.clone(),
            metrics: metrics.clone(),
            ledger,
            ledger_retention: config.ledger.retention(),
            usage_export,
            audit: audit_config(&config)?,
            billing: config.billing.clone(),
            ceiling: config.ceiling(),
        };
        let control = Control::new(control_config, Arc::new(ToRuntime(runtime.clone())));
        control.load_tenants().await?;
        control.publish_all().await?;
        let identification = if asks_for_keys {
            control.ensure_operator_key(&operator_key_file(control.store().data_dir())).await?;
            Identification::Keys(control.clone())
        } else {
            Identification::None(Arc::new(Identity::local()), Some(control.clone()))
        };

        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|source| StartError::Listen { address: config.listen, source })?;
        let address =
            listener.local_addr().map_err(|source| StartError::Listen { address: config.listen, source })?;
        let (stopping, stopped) = watch::channel(false);
        let shared = Shared {
            config,
            identification,
            control: control.clone(),
            runtime,
            engine,
            inference,
            logs,
            key_values,
            metrics,
            deploys: Deploys::default(),
            stopping: stopped.clone(),
        };
        let context = Context::new(shared);
        functions.connect(&context);
        let app = routes::app(context.clone());
        let tls = certificate.as_ref().map(Certificate::acceptor);
        let serving = tokio::spawn(listener::serve(listener, app, tls, connections, stopped));
        let mut upkeep = upkeep(control);
        if let Some(certificate) = certificate {
            upkeep.push(tokio::spawn(async move { match certificate.renew_forever().await {} }));
        }
        Ok(Self { address, context, stopping, serving, upkeep })
    }

    /// Where the host listens; the real port if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The data folder.
    pub fn data_dir(&self) -> &Path {
        &self.context.config.data_dir
    }

    /// The file with the operator's key, on a host that asks for keys.
    pub fn operator_key_file(&self) -> Option<PathBuf> {
        let asks_for_keys = self.context.config.authentication == Authentication::Keys;
        asks_for_keys.then(|| operator_key_file(self.context.control.store().data_dir()))
    }

    /// What the host is and can do, as `GET /api/v1/host` answers it.
    pub fn about(&self) -> serde_json::Value {
        serde_json::to_value(HostBody::new(&self.context)).expect("text and numbers can be written")
    }

    /// Where the host is called, if `address` leads to it.
    pub fn url(&self, address: SocketAddr) -> String {
        let scheme = if self.context.config.tls.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{address}")
    }

    /// Waits for the end of the listener, which before [`Host::shutdown`] only a defect brings
    /// about. The host is of no use then.
    ///
    /// # Errors
    /// If the listener panicked.
    pub async fn ended(&mut self) -> Result<(), JoinError> {
        (&mut self.serving).await
    }

    /// Takes no more requests, finishes those that run within the grace, and closes the store.
    pub async fn shutdown(self) {
        self.stopping.send_replace(true);
        self.context.runtime.drain();
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the listener failed");
        }
        for task in self.upkeep {
            task.abort();
            // Its end, so that nothing holds the data folder once this returns. The only error is
            // that the task was aborted.
            let _ = task.await;
        }
        if let Err(error) = self.context.logs.flush().await {
            tracing::error!(%error, "cannot write the functions' logs to their end");
        }
        if let Err(problem) = self.context.control.add_up_usage().await {
            tracing::error!(%problem, "cannot add up usage; the next start does");
        }
        self.context.control.export_rest_of_usage().await;
        if let Err(problem) = self.context.control.write_last_used().await {
            tracing::error!(%problem, "cannot write down when keys were last used");
        }
        self.context.control.write_heads().await;
        self.context.key_values.close().await;
        self.context.control.store().close().await;
    }
}

fn operator_key_file(data_dir: &Path) -> PathBuf {
    data_dir.join("operator-key")
}

/// Blocks.
fn audit_config(config: &Config) -> Result<AuditConfig, AuditKeyError> {
    let file = config.audit_key_file();
    let (key, was_there) = AuditKey::read_or_make(&file)?;
    if !was_there {
        tracing::info!(file = %file.display(), public_key = %key.public(), "made the key that signs hashes of changes");
    }
    Ok(AuditConfig {
        heads_file: config.audit_heads_file(),
        key,
        trusted_keys: config.audit.trusted_keys.clone(),
        retention: config.audit.retention(),
        is_key_new: !was_there,
    })
}

fn engine_config(config: &Config) -> Result<EngineConfig, StartError> {
    let settings = &config.outbound;
    let authorities = match &settings.ca_file {
        Some(path) => {
            std::fs::read(path).map_err(|source| StartError::Authorities { path: path.clone(), source })?
        }
        None => Vec::new(),
    };
    let outbound = OutboundConfig {
        allowed_networks: settings.allowed_networks.clone(),
        denied_networks: settings.denied_networks.clone(),
        authorities,
    };
    let defaults = EngineConfig::new(config.data_dir.join("code"));
    Ok(EngineConfig {
        max_instances: config.max_instances,
        outbound,
        compile: compile_config(&config.compile),
        ..defaults
    })
}

fn compile_config(settings: &CompileSettings) -> CompileConfig {
    let defaults = CompileConfig::default();
    CompileConfig {
        program: settings.program.clone().unwrap_or(defaults.program),
        memory_bytes: settings.memory_bytes,
        cpu_time: Duration::from_millis(settings.cpu_time_ms),
        wall_time: Duration::from_millis(settings.wall_time_ms),
        require_confinement: settings.confinement == Confinement::Required,
    }
}

/// What a machine lacks that has no layer at all.
const NEEDS_BOTH: &str = "Linux 5.13 with `landlock` among its security modules, and a container that lets a \
                          process filter its own system calls";

fn say_what_is_missing(layers: Layers) {
    if layers == Layers::default() {
        tracing::warn!(
            needs = NEEDS_BOTH,
            "handlers are compiled without Landlock and seccomp: nothing but limits confines the compiler"
        );
        return;
    }
    if !layers.landlock {
        tracing::warn!(
            needs = "Linux 5.13 with `landlock` among its security modules",
            "handlers are compiled without Landlock: only seccomp keeps the compiler from files"
        );
    }
    if !layers.seccomp {
        tracing::warn!(
            needs = "a kernel and a container that let a process filter its own system calls",
            "handlers are compiled without seccomp: the compiler may start processes and open sockets"
        );
    }
}

fn say_what_workers_lack(layers: Layers) {
    if layers == Layers::default() {
        tracing::warn!(
            needs = NEEDS_BOTH,
            "models of untrusted tenants run without Landlock and seccomp: nothing but limits confines them, and \
             who takes over a backend has what the host has"
        );
        return;
    }
    if !layers.landlock {
        tracing::warn!(
            needs = "Linux 5.13 with `landlock` among its security modules",
            "models of untrusted tenants run without Landlock: only seccomp keeps them from files"
        );
    }
    if !layers.seccomp {
        tracing::warn!(
            needs = "a kernel and a container that let a process filter its own system calls",
            "models of untrusted tenants run without seccomp: they may start processes and open sockets"
        );
    }
}

/// The library of ONNX Runtime that `modelet backend install` has put into a host's data folder: of several, the
/// newest. A host that runs goes on with the file that it has.
fn installed_onnxruntime(data_dir: &Path) -> Option<PathBuf> {
    let folder = backends_folder(data_dir);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) => {
            if error.kind() != std::io::ErrorKind::NotFound {
                tracing::warn!(folder = %folder.display(), %error, "cannot look for installed backends");
            }
            return None;
        }
    };
    let version = |name: &str| {
        let version = name.strip_prefix(ONNXRUNTIME_FILE)?.strip_prefix('.')?;
        version.split('.').map(|part| part.parse::<u32>().ok()).collect::<Option<Vec<_>>>()
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let newest = names.filter_map(|name| Some((version(&name)?, name))).max();
    newest.map(|(_, name)| folder.join(name))
}

/// Where the libraries of backends are that were installed into a data folder.
pub fn backends_folder(data_dir: &Path) -> PathBuf {
    data_dir.join("backends")
}

/// The name of ONNX Runtime's library, before its version.
pub const ONNXRUNTIME_FILE: &str = "libonnxruntime.so";

fn inference_config(config: &Config) -> InferenceConfig {
    let settings = &config.inference;
    let defaults = InferenceConfig::default();
    let or = |value: usize, default: usize| if value == 0 { default } else { value };
    InferenceConfig {
        workers: or(settings.workers, defaults.workers),
        queue: or(settings.queue, defaults.queue),
        onnxruntime: settings.onnxruntime.clone().or_else(|| installed_onnxruntime(&config.data_dir)),
        memory_bytes: if settings.memory_bytes == 0 { machine::memory() / 2 } else { settings.memory_bytes },
        worker: WorkerConfig {
            program: settings.worker_program.clone().unwrap_or(defaults.worker.program),
            processes: match settings.worker_processes {
                0 => worker_processes(machine::memory(), settings.worker_memory_bytes),
                processes => processes,
            },
            memory_bytes: settings.worker_memory_bytes,
            require_confinement: settings.worker_confinement == Confinement::Required,
            ..defaults.worker
        },
        prepared_dir: Some(config.data_dir.join("prepared")),
        ..defaults
    }
}

/// As many worker processes as there is memory for, and at least so many that a small host is of use to some
/// tenants: few take all that they may.
fn worker_processes(memory_bytes: u64, of_each: u64) -> usize {
    usize::try_from(memory_bytes / of_each.max(1)).unwrap_or(usize::MAX).clamp(8, 1024)
}

fn metrics(
    ledger: &Arc<Ledger>,
    logs: &Arc<FunctionLogs>,
    engine: &Engine,
    inference: &Arc<Inference>,
) -> Arc<Metrics> {
    let metrics =
        Metrics::new(MetricsConfig { version: env!("CARGO_PKG_VERSION"), ..MetricsConfig::default() });
    metrics.watch_ledger(ledger.clone());
    metrics.watch_function_logs(logs.clone());
    let (engine, inference) = (engine.clone(), inference.clone());
    metrics.before_scrape(move |host| {
        let stats = inference.stats();
        host.model_loads.set_total(stats.loads);
        host.model_prepared_loads.set_total(stats.prepared_loads);
        host.model_cached_answers.set_total(stats.cached);
        host.model_evictions.set_total(stats.evictions);
        let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        host.model_memory.set(bytes(stats.memory_bytes));
        host.model_memory_budget.set(bytes(stats.memory_budget_bytes));
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        host.sessions(SessionState::Ready).set(gauge(stats.sessions));
        host.sessions(SessionState::Loading).set(gauge(stats.sessions_loading));
        host.model_runs(ModelRun::Inline).set_total(stats.inline_runs);
        host.model_runs(ModelRun::Single).set_total(stats.single_runs);
        host.model_runs(ModelRun::Together).set_total(stats.batched_runs);
        host.model_batches.set_total(stats.batches);
        host.model_runs_waiting.set(gauge(stats.runs_waiting));
        host.worker_processes.set(gauge(stats.worker_processes));
        host.worker_processes_lost.set_total(stats.worker_processes_lost);
        host.instances_running.set(gauge(engine.running_instances()));
    });
    metrics
}

fn upkeep(control: Control) -> Vec<JoinHandle<()>> {
    let (compiling, keys) = (control.clone(), control.clone());
    let (usage, export) = (control.clone(), control.clone());
    let (audit, forgetting) = (control.clone(), control.clone());
    vec![
        tokio::spawn(async move { match forgetting.forget_changes_forever().await {} }),
        tokio::spawn(async move { match audit.write_heads_forever().await {} }),
        tokio::spawn(async move { match usage.add_up_usage_forever().await {} }),
        tokio::spawn(async move { match export.export_usage_forever().await {} }),
        tokio::spawn(async move { match keys.write_last_used_forever().await {} }),
        tokio::spawn(async move { match compiling.compile_missing_forever().await {} }),
        tokio::spawn(async move { match control.collect_garbage_forever().await {} }),
    ]
}
