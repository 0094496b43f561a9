//! The handles of all functions: giving them out, a bound on their number, showing them.
//!
//! Series live as long as their function: what is still recorded through a handle after
//! [`Functions::remove`] goes nowhere.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use modelet_types::{FunctionName, ModelName, RevisionNumber, TenantName};

use super::expose::{Exposition, Label};
use super::handles::{ModelMetrics, OK, RevisionMetrics, outcome_label};
use super::histogram::{DurationHistogram, seconds};
use crate::sync::lock;

/// The label of all that is over the cap on series. No name of a tenant or function has a `_`.
const OTHER: &str = "_other";

#[derive(Default, Debug)]
struct Function {
    revisions: HashMap<RevisionNumber, Arc<RevisionMetrics>>,
    models: HashMap<(ModelName, &'static str), Arc<ModelMetrics>>,
}

impl Function {
    fn len(&self) -> usize {
        self.revisions.len() + self.models.len()
    }
}

#[derive(Default, Debug)]
struct Known {
    functions: HashMap<(TenantName, FunctionName), Function>,
    /// How many revisions and models are in `functions`.
    count: usize,
}

/// The handles that were given out, for the scrape.
#[derive(Debug)]
pub(super) struct Functions {
    known: Mutex<Known>,
    max: usize,
    other_revision: Arc<RevisionMetrics>,
    other_model: Arc<ModelMetrics>,
}

impl Functions {
    /// Keeps at most `max` revisions and models apart; the rest shares one series.
    pub(super) fn new(max: usize) -> Self {
        Self {
            known: Mutex::default(),
            max,
            other_revision: Arc::new(RevisionMetrics::new(OTHER.into())),
            other_model: Arc::new(ModelMetrics::new(OTHER.into(), OTHER)),
        }
    }

    pub(super) fn revision(
        &self,
        tenant: &TenantName,
        function: &FunctionName,
        revision: RevisionNumber,
    ) -> Arc<RevisionMetrics> {
        let mut known = lock(&self.known);
        let Known { functions, count } = &mut *known;
        let key = (tenant.clone(), function.clone());
        if let Some(metrics) = functions.get(&key).and_then(|known| known.revisions.get(&revision)) {
            return Arc::clone(metrics);
        }
        if *count >= self.max {
            return Arc::clone(&self.other_revision);
        }
        *count += 1;
        let metrics = Arc::new(RevisionMetrics::new(revision.to_string()));
        functions.entry(key).or_default().revisions.insert(revision, Arc::clone(&metrics));
        metrics
    }

    pub(super) fn model(
        &self,
        tenant: &TenantName,
        function: &FunctionName,
        model: &ModelName,
        backend: &'static str,
    ) -> Arc<ModelMetrics> {
        let mut known = lock(&self.known);
        let Known { functions, count } = &mut *known;
        let key = (tenant.clone(), function.clone());
        let model_key = (model.clone(), backend);
        if let Some(metrics) = functions.get(&key).and_then(|known| known.models.get(&model_key)) {
            return Arc::clone(metrics);
        }
        if *count >= self.max {
            return Arc::clone(&self.other_model);
        }
        *count += 1;
        let metrics = Arc::new(ModelMetrics::new(model.to_string(), backend));
        functions.entry(key).or_default().models.insert(model_key, Arc::clone(&metrics));
        metrics
    }

    pub(super) fn remove(&self, tenant: &TenantName, function: &FunctionName) {
        let mut known = lock(&self.known);
        if let Some(removed) = known.functions.remove(&(tenant.clone(), function.clone())) {
            known.count -= removed.len();
        }
    }

    pub(super) fn remove_revision(
        &self,
        tenant: &TenantName,
        function: &FunctionName,
        revision: RevisionNumber,
    ) {
        let mut known = lock(&self.known);
        let Known { functions, count } = &mut *known;
        if let Some(function) = functions.get_mut(&(tenant.clone(), function.clone()))
            && function.revisions.remove(&revision).is_some()
        {
            *count -= 1;
        }
    }

    pub(super) fn expose(&self, out: &mut Exposition<'_>) -> fmt::Result {
        let (revisions, models) = self.snapshot();
        let counters: [Total; 3] = [
            ("modelet_cold_invocations", "Invocations that had to wake a layer", |r| r.cold.load(Relaxed)),
            ("modelet_request_bytes", "Bytes of request bodies", |r| r.request_bytes.load(Relaxed)),
            ("modelet_response_bytes", "Bytes of response bodies", |r| r.response_bytes.load(Relaxed)),
        ];
        let cpu: [Total; 2] = [
            ("modelet_guest_cpu_seconds", "CPU time of handlers", |r| r.guest_cpu_us.load(Relaxed)),
            ("modelet_inference_cpu_seconds", "CPU time of models", |r| r.inference_cpu_us.load(Relaxed)),
        ];
        let durations: [Histogram; 2] = [
            (
                "modelet_invocation_duration_seconds",
                "From a request's arrival to its answer's last byte",
                |r| &r.duration,
            ),
            ("modelet_queue_duration_seconds", "Waiting for admission", |r| &r.queue),
        ];
        out.counter("modelet_invocations", "Finished invocations by outcome", |out| {
            for (labels, metrics) in &revisions {
                for (index, count) in metrics.outcomes.iter().enumerate() {
                    let count = count.load(Relaxed);
                    // Most revisions never see most codes.
                    if count > 0 || index == OK {
                        let [tenant, function, revision] = labels.all(&metrics.revision);
                        out.put(&[tenant, function, revision, ("code", outcome_label(index))], count)?;
                    }
                }
            }
            Ok(())
        })?;
        for (name, help, get) in counters {
            out.counter(name, help, |out| {
                revisions.iter().try_for_each(|(labels, r)| out.put(&labels.all(&r.revision), get(r)))
            })?;
        }
        for (name, help, get) in cpu {
            out.counter(name, help, |out| {
                let mut put = |(labels, r): &(Labels, Arc<RevisionMetrics>)| {
                    out.put_seconds(&labels.all(&r.revision), seconds(get(r)))
                };
                revisions.iter().try_for_each(&mut put)
            })?;
        }
        for (name, help, get) in durations {
            out.histogram(name, help, |out| {
                revisions.iter().try_for_each(|(labels, r)| out.put(&labels.all(&r.revision), get(r)))
            })?;
        }
        out.histogram(
            "modelet_inference_duration_seconds",
            "From an inference's call to its outputs",
            |out| {
                for (labels, metrics) in &models {
                    let [tenant, function, _] = labels.all("");
                    let model = [("model", metrics.model.as_str()), ("backend", metrics.backend)];
                    out.put(&[tenant, function, model[0], model[1]], &metrics.duration)?;
                }
                Ok(())
            },
        )
    }

    /// All handles with their labels, so that the text is made without the lock.
    fn snapshot(&self) -> (Series<RevisionMetrics>, Series<ModelMetrics>) {
        let (mut revisions, mut models) = (Vec::new(), Vec::new());
        {
            let known = lock(&self.known);
            for ((tenant, name), function) in &known.functions {
                let labels = Labels(Some((tenant.clone(), name.clone())));
                revisions
                    .extend(function.revisions.values().map(|metrics| (labels.clone(), metrics.clone())));
                models.extend(function.models.values().map(|metrics| (labels.clone(), metrics.clone())));
            }
        }
        if self.other_revision.duration.count() > 0 {
            revisions.push((Labels(None), self.other_revision.clone()));
        }
        if self.other_model.duration.count() > 0 {
            models.push((Labels(None), self.other_model.clone()));
        }
        (revisions, models)
    }
}

/// Handles with their labels.
type Series<T> = Vec<(Labels, Arc<T>)>;

/// A counter's name, help and value.
type Total = (&'static str, &'static str, fn(&RevisionMetrics) -> u64);

/// A histogram's name, help and buckets.
type Histogram = (&'static str, &'static str, fn(&RevisionMetrics) -> &DurationHistogram);

/// Whose series; `None` for what is over the cap.
#[derive(Clone)]
struct Labels(Option<(TenantName, FunctionName)>);

impl Labels {
    fn all<'a>(&'a self, revision: &'a str) -> [Label<'a>; 3] {
        let (tenant, function) =
            self.0.as_ref().map_or((OTHER, OTHER), |(tenant, function)| (tenant.as_str(), function.as_str()));
        [("tenant", tenant), ("function", function), ("revision", revision)]
    }
}
