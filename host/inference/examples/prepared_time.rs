//! Measures what preparing a model is worth: its load in ONNX Runtime as it is and as it was prepared, in turn,
//! with the first run and a later one, and the memory that each takes.
//!
//! `cargo run --release -p modelet-inference --example prepared_time -- LIBRARY MODEL [SIZE] [SAMPLES]`. Inputs are
//! zeros; dimensions that a call chooses are SIZE, or 1. Prints one JSON object of medians; `ratio` is that of the
//! pairs of loads, and `prepared_first_ms` the first load after a start, which also checks the files.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use modelet_inference::{
    BackendId, Inference, InferenceConfig, ModelSource, Session, SessionKey, SessionState,
};
use modelet_types::manifest::{BackendChoice, Device, ModelSpec};
use modelet_types::{Digest, TenantName, Trust};
use serde_json::{Map, Value};

#[path = "measure/runs.rs"]
#[expect(dead_code, reason = "two runs are enough here")]
mod runs;

type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: prepared_time LIBRARY MODEL [SIZE] [SAMPLES]";
    let (library, model) = (arguments.next().ok_or(usage)?, PathBuf::from(arguments.next().ok_or(usage)?));
    let size = arguments.next().map_or(Ok(1), |size| size.parse())?;
    let samples = arguments.next().map_or(Ok(15), |samples| samples.parse())?;
    let dir = tempfile::tempdir()?;
    let config = InferenceConfig {
        onnxruntime: Some(library.into()),
        inline_threshold: Duration::ZERO,
        prepare_from_bytes: 0,
        ..InferenceConfig::default()
    };
    let preparing = InferenceConfig { prepared_dir: Some(dir.path().into()), ..config.clone() };
    let plain = Bench::new(config, &model)?;
    let prepared = Bench::new(preparing.clone(), &model)?;
    let mut report = Map::new();
    for (name, bench) in [("plain", &plain), ("prepared", &prepared)] {
        let (deploy_ms, reckoned_mb) = bench.deploy().await?;
        report.insert(format!("{name}_deploy_ms"), deploy_ms.into());
        report.insert(format!("{name}_reckoned_mb"), reckoned_mb.into());
        // What the process does once, it has done then.
        bench.sample(size).await?;
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..samples {
        theirs.push(plain.sample(size).await?);
        ours.push(prepared.sample(size).await?);
    }
    for (name, all) in [("plain", &theirs), ("prepared", &ours)] {
        for (what, of) in WHAT {
            report.insert(format!("{name}_{what}"), median(all.iter().map(of)).into());
        }
    }
    let ratios = ours.iter().zip(&theirs).map(|(ours, theirs)| ours.load_ms / theirs.load_ms);
    report.insert("ratio".into(), median(ratios).into());
    // A host that has just started checks what it finds.
    drop(prepared);
    let first = Bench::new(preparing, &model)?.sample(size).await?;
    report.insert("prepared_first_ms".into(), rounded(first.load_ms).into());
    println!("{}", Value::Object(report));
    Ok(())
}

/// One load and its first runs.
struct Sample {
    load_ms: f64,
    first_run_ms: f64,
    later_run_ms: f64,
    anonymous_mb: f64,
    mapped_mb: f64,
}

type Of = fn(&Sample) -> f64;

const WHAT: [(&str, Of); 5] = [
    ("ms", |sample| sample.load_ms),
    ("first_run_ms", |sample| sample.first_run_ms),
    ("later_run_ms", |sample| sample.later_run_ms),
    ("anonymous_mb", |sample| sample.anonymous_mb),
    ("mapped_mb", |sample| sample.mapped_mb),
];

/// A service with one model.
struct Bench {
    inference: Arc<Inference>,
    key: SessionKey,
    source: ModelSource,
    is_preparing: bool,
}

impl Bench {
    fn new(config: InferenceConfig, model: &PathBuf) -> Result<Self, Failure> {
        let is_preparing = config.prepared_dir.is_some();
        let inference = Inference::start(config)?;
        let tenant = TenantName::default_tenant();
        inference.set_trust(&tenant, Trust::Trusted);
        let key = SessionKey {
            tenant,
            model: Digest::of(&std::fs::read(model)?),
            backend: BackendId::Onnxruntime,
            device: Device::Cpu,
            threads: 1,
            batching: None,
            response_cache: None,
        };
        let source = ModelSource {
            path: model.clone(),
            idle_timeout: Duration::MAX,
            memory_bytes: 1,
            warm_up: Arc::default(),
        };
        Ok(Self { inference, key, source, is_preparing })
    }

    /// Deploys the model. Gives the milliseconds that it took, and the memory that is reckoned for it.
    async fn deploy(&self) -> Result<(f64, f64), Failure> {
        let spec = ModelSpec {
            artifact: self.key.model,
            backend: BackendChoice::Onnxruntime,
            device: Device::Cpu,
            threads: 1,
            batching: None,
            response_cache: None,
            golden: Vec::new(),
            warm_up: false,
        };
        let begin = Instant::now();
        let checked = self.inference.check(&self.key.tenant, &self.source.path, &spec, "models.m").await?;
        if checked.prepared != self.is_preparing {
            return Err("the model is not in the form that was wanted".into());
        }
        let bytes = checked.memory_bytes.unwrap_or_default();
        Ok((rounded(millis(begin)), bytes as f64 / 1e6))
    }

    async fn sample(&self, size: usize) -> Result<Sample, Failure> {
        let before = memory_mb()?;
        let begin = Instant::now();
        let session = self.inference.session(&self.key, &self.source).await?;
        let load_ms = millis(begin);
        let SessionState::Ready { prepared, .. } = self.inference.state(&self.key) else {
            return Err("the session is not there".into());
        };
        if prepared != self.is_preparing {
            return Err("the model was loaded in the other form".into());
        }
        let first_run_ms = run_ms(&session, size).await?;
        let later_run_ms = run_ms(&session, size).await?;
        let after = memory_mb()?;
        drop(session);
        self.inference.unload(&self.key);
        // Whoever has run it may still hold it.
        while self.inference.stats().memory_bytes > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let [anonymous_mb, mapped_mb] = [0, 1].map(|kind| after[kind] - before[kind]);
        Ok(Sample { load_ms, first_run_ms, later_run_ms, anonymous_mb, mapped_mb })
    }
}

async fn run_ms(session: &Arc<Session>, size: usize) -> Result<f64, Failure> {
    let begin = Instant::now();
    session.run(runs::request(session, size)?).await?;
    Ok(millis(begin))
}

/// Resident memory of the process: pages that are no file's, and those of files (proc_pid_status(5)).
fn memory_mb() -> Result<[f64; 2], Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let value = |key| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).ok_or("no memory in /proc")
    };
    Ok([value("RssAnon:")? / 1e3, value("RssFile:")? / 1e3])
}

fn millis(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e3
}

fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).map_or(f64::NAN, |value| rounded(*value))
}
