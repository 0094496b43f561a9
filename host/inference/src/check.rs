//! What happens to a model when it is deployed: a backend is chosen, the model is loaded, and its
//! golden outputs are run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use modelet_types::manifest::{BackendChoice, Batching, DEFAULT_TOLERANCE, Golden, ModelSpec};
use modelet_types::tensor::element_count;
use modelet_types::{Code, Problem, Signature, Tensor, TensorInfo};
use serde::{Deserialize, Serialize};

use crate::backend::{Backend, BackendId, BackendSession, LoadRequest};
use crate::batch::{self, Rule, Share};
use crate::memory::Footprint;
use crate::session::plan::{Names, Plan};
use crate::{Control, InferenceError, ModelFile, golden, onnx};

/// What was found out about a model. Stored with the revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckedModel {
    /// What is going to run it.
    pub backend: BackendId,
    /// Why that backend.
    pub reason: String,
    /// The declared inputs and outputs.
    pub signature: Signature,
    /// Time to load it, in microseconds.
    pub load_time_us: u64,
    /// The fastest run over the golden inputs, in microseconds.
    pub run_time_us: Option<u64>,
    /// Memory that it takes once it is loaded and has run its golden inputs, as measured: rather too much,
    /// since what the host did meanwhile is in it, and never less than the file. `None` for one that was
    /// deployed before that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Whether the model was prepared: kept in a form that loads faster, in which it ran its golden outputs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prepared: bool,
}

/// What a model may be found to take however small its file is.
const SMALL_MODEL_BYTES: u64 = 64 << 20;

/// The most elements of an input that is made up.
const MADE_UP_ELEMENTS: usize = 1 << 20;

/// A golden output, ready to run.
struct Trial<'a> {
    plan: Plan,
    golden: &'a Golden,
    /// Its path in the manifest.
    field: String,
}

/// Checks `file` in the backends that `get` gives. `field` is the model's path in the manifest.
pub(crate) fn check<'a>(
    get: impl Fn(BackendId) -> &'a dyn Backend,
    file: &Arc<ModelFile>,
    spec: &ModelSpec,
    field: &str,
    control: &Control,
) -> Result<CheckedModel, Problem> {
    let at = |error: InferenceError| Problem::from(error).at(field);
    let facts = onnx::read(file).map_err(at)?;
    let trials = trials(&facts.signature, &spec.golden, field)?;
    let batching = match &spec.batching {
        Some(batching) => Together::new(batching, &facts.signature, &trials, field)?,
        None => None,
    };
    let mut failures: Vec<(BackendId, Problem)> = Vec::new();
    for &backend in BackendId::candidates(spec.backend) {
        if !get(backend).devices().contains(&spec.device) {
            let detail = format!("it does not run models on `{}`", spec.device.as_str());
            failures.push((backend, Problem::new(Code::InvalidModel, detail).at(field)));
            continue;
        }
        let request = LoadRequest {
            file,
            facts: &facts,
            device: spec.device,
            threads: usize::try_from(spec.threads).unwrap_or(1),
            may_narrow: spec.backend != BackendChoice::Auto,
            digest: Some(&spec.artifact),
        };
        match prepared_attempt(get(backend), &request, &trials, batching.as_ref(), field, control) {
            Ok(Attempt { load_time, run_time, memory_bytes, prepared }) => {
                return Ok(CheckedModel {
                    backend,
                    reason: reason(backend, spec, failures),
                    signature: facts.signature,
                    load_time_us: micros(load_time),
                    run_time_us: run_time.map(micros),
                    memory_bytes: Some(memory_bytes),
                    prepared,
                });
            }
            Err(problem) => failures.push((backend, problem)),
        }
        // Out of time for one is out of time for all.
        control.check().map_err(at)?;
    }
    Err(explain(failures).unwrap_or_else(|| Problem::new(Code::Internal, "no backend to try").at(field)))
}

/// What a backend made of a model.
struct Attempt {
    load_time: Duration,
    /// Of the fastest run.
    run_time: Option<Duration>,
    memory_bytes: u64,
    /// Whether it was loaded in the form that loads fastest.
    prepared: bool,
}

/// Tries the model as it is, and then, if that does, as it was prepared, which is what will be served. It is
/// the model that decides whether a revision may be deployed: what was prepared may only be faster.
fn prepared_attempt(
    backend: &dyn Backend,
    request: &LoadRequest<'_>,
    trials: &[Trial<'_>],
    batching: Option<&Together>,
    field: &str,
    control: &Control,
) -> Result<Attempt, Problem> {
    let begin = Instant::now();
    let plain = LoadRequest { digest: None, ..*request };
    let as_it_is = attempt(backend, &plain, trials, batching, field, control)?;
    // Where time is short, the first load has it prepared.
    let is_time = control.deadline().saturating_duration_since(Instant::now()) > begin.elapsed() * 8;
    let (Some(digest), true) = (request.digest, is_time && backend.prepare(request)) else {
        return Ok(as_it_is);
    };
    match attempt(backend, request, trials, batching, field, control) {
        Ok(prepared) if prepared.prepared => Ok(prepared),
        Ok(_) => Ok(as_it_is),
        Err(problem) => {
            // Who runs out of time, or has left, says nothing about what was prepared.
            if control.check().is_ok() {
                tracing::warn!(model = %digest, %problem, "a prepared model answers otherwise than the model");
                backend.refuse_prepared(digest);
            }
            Ok(as_it_is)
        }
    }
}

fn attempt(
    backend: &dyn Backend,
    request: &LoadRequest<'_>,
    trials: &[Trial<'_>],
    batching: Option<&Together>,
    field: &str,
    control: &Control,
) -> Result<Attempt, Problem> {
    let before = Footprint::now();
    let begin = Instant::now();
    let session = backend.load(request).map_err(|error| Problem::from(error).at(field))?;
    let load_time = begin.elapsed();
    let mut fastest = None;
    for trial in trials {
        // The first run also pays for what the backend puts off until then.
        let first = try_golden(&*session, &request.facts.signature, trial, control)?;
        let second = try_golden(&*session, &request.facts.signature, trial, control)?;
        fastest = Some(fastest.unwrap_or(first).min(first).min(second));
    }
    if let Some(batching) = batching {
        batching.check(&*session, &request.facts.signature, control)?;
    }
    let file = request.file.len() as u64;
    let prepared = session.prepared_bytes();
    let mapped = prepared.unwrap_or(if session.keeps_file() { file } else { 0 });
    // Never less than the weights: where memory of a model before is used again, nothing grows. And not as
    // much as others may have taken meanwhile.
    let most = file.saturating_mul(8).saturating_add(SMALL_MODEL_BYTES);
    let memory_bytes = Footprint::now().since(before).saturating_add(mapped).clamp(file, most);
    Ok(Attempt { load_time, run_time: fastest, memory_bytes, prepared: prepared.is_some() })
}

/// Requests that are run one by one and together, which must give the same answers.
struct Together {
    rule: Rule,
    requests: Vec<Request>,
    tolerance: f64,
    /// The path of `batching` in the manifest.
    field: String,
}

/// One of the requests that are tried together.
struct Request {
    plan: Plan,
    rows: u32,
    /// Whether it is left out if the model does not run it alone.
    is_optional: bool,
}

impl Together {
    /// `None` if nothing goes together.
    fn new(
        batching: &Batching,
        signature: &Signature,
        trials: &[Trial<'_>],
        field: &str,
    ) -> Result<Option<Self>, Problem> {
        let field = format!("{field}.batching");
        let rule = Rule::new(batching, signature, &field)?;
        if !rule.is_used() {
            return Ok(None);
        }
        let golden = trials.iter().map(|trial| Ok((trial.plan.inputs.clone(), false)));
        let template = trials.first().map(|trial| &trial.plan.inputs[..]);
        // Beside golden ones they need not suit the model.
        let made_up = [0, 1].map(|which| {
            made_up(signature, &rule, which, template, &field).map(|inputs| (inputs, !trials.is_empty()))
        });
        let outputs: Vec<usize> = (0..signature.outputs.len()).collect();
        let mut requests: Vec<Request> = Vec::new();
        let mut size = None;
        for request in golden.chain(made_up) {
            let (inputs, is_optional) = request?;
            let plan = Plan { inputs, outputs: outputs.clone() };
            let Some(rows) = batch::rows(&plan) else { continue };
            let larger = match &size {
                None => Some(rule.size_of(&plan, rows)),
                Some(size) => rule.with(size, &plan, rows),
            };
            let fits = requests.first().is_none_or(|first| rule.fits(&first.plan, &plan));
            if let (true, Some(larger)) = (fits, larger) {
                size = Some(larger);
                requests.push(Request { plan, rows, is_optional });
            }
        }
        let tolerances = trials.iter().map(|trial| trial.golden.tolerance);
        let tolerance = tolerances.reduce(f64::max).unwrap_or(DEFAULT_TOLERANCE);
        Ok(Some(Self { rule, requests, tolerance, field }))
    }

    fn check(
        &self,
        session: &dyn BackendSession,
        signature: &Signature,
        control: &Control,
    ) -> Result<(), Problem> {
        let failed = |error: InferenceError| {
            let detail = format!(
                "trying requests together failed, with golden inputs or, without any, made up ones: {error}"
            );
            Problem::new(error.code(), detail).at(&self.field)
        };
        let mismatch = |detail: String| Problem::new(Code::GoldenMismatch, detail).at(&self.field);
        let mut single = Vec::with_capacity(self.requests.len());
        for request in &self.requests {
            match session.run(&request.plan.inputs, &request.plan.outputs, control) {
                Ok(run) => single.push((request, run)),
                Err(error) if !request.is_optional => return Err(failed(error)),
                Err(_) => control.check().map_err(failed)?,
            }
        }
        let plans: Vec<&Plan> = single.iter().map(|(request, _)| &request.plan).collect();
        let Some(all) = self.rule.concat(&plans) else { return Ok(()) };
        let run = session.run(&all.inputs, &all.outputs, control).map_err(failed)?;
        let total = single.iter().map(|(request, _)| request.rows).sum();
        let mut first = 0;
        for (request, alone) in single {
            let range = first..first + request.rows;
            first = range.end;
            let part = batch::part(&run, range, total, Share { of: 1, in_all: 1 }).map_err(mismatch)?;
            for ((alone, beside), info) in alone.outputs.iter().zip(&part.outputs).zip(&signature.outputs) {
                if let Some(difference) = golden::difference(alone, beside, self.tolerance) {
                    let name = &info.name;
                    return Err(mismatch(format!(
                        "output `{name}` of a request differs when others run with it: {difference}"
                    )));
                }
            }
        }
        Ok(())
    }
}

/// Inputs of one row with small numbers in them, in the shape of golden ones if there are any; two that
/// differ, also in the length of what is filled up.
fn made_up(
    signature: &Signature,
    rule: &Rule,
    which: usize,
    template: Option<&[Tensor]>,
    field: &str,
) -> Result<Vec<Tensor>, Problem> {
    let too_large = || {
        let detail = "the model's inputs are too large to be made up: give golden outputs";
        Problem::new(Code::InvalidManifest, detail).at(field)
    };
    let input = |(index, info): (usize, &TensorInfo)| {
        let like = template.map(|inputs| inputs[index].shape());
        let dim = |(at, dim): (usize, &Option<usize>)| {
            dim.or_else(|| like.filter(|_| at > 0).map(|shape| shape[at])).unwrap_or(1)
        };
        let mut shape: Vec<usize> = info.shape.iter().enumerate().map(dim).collect();
        if rule.is_padded(index) {
            shape[1] += which;
        }
        let count = element_count(&shape).ok().filter(|count| *count <= MADE_UP_ELEMENTS);
        let numbers = (0..count.ok_or_else(too_large)?).map(|index| (which + index) % 2);
        let tensor = match info.element_type.size_bytes() {
            Some(_) => {
                let [zero, one] = [0, 1].map(|n| info.element_type.le_bytes(n).unwrap_or_default());
                let bytes: Vec<u8> =
                    numbers.flat_map(|n| if n == 0 { &zero } else { &one }).copied().collect();
                Tensor::from_le_bytes(&shape, info.element_type, bytes.into())
            }
            None => Tensor::from_texts(&shape, numbers.map(|n| n.to_string().into()).collect()),
        };
        tensor.map_err(|error| Problem::new(Code::Internal, error.to_string()).at(field))
    };
    signature.inputs.iter().enumerate().map(input).collect()
}

fn try_golden(
    session: &dyn BackendSession,
    signature: &Signature,
    trial: &Trial<'_>,
    control: &Control,
) -> Result<Duration, Problem> {
    let begin = Instant::now();
    let run = session
        .run(&trial.plan.inputs, &trial.plan.outputs, control)
        .map_err(|error| Problem::from(error).at(&trial.field))?;
    let took = begin.elapsed();
    for (got, &output) in run.outputs.iter().zip(&trial.plan.outputs) {
        let name = &signature.outputs[output].name;
        let field = format!("{}.outputs.{name}", trial.field);
        let expected = trial.golden.outputs[name]
            .to_tensor()
            .map_err(|e| Problem::new(Code::InvalidManifest, e.to_string()).at(&field))?;
        if let Some(difference) = golden::difference(&expected, got, trial.golden.tolerance) {
            return Err(
                Problem::new(Code::GoldenMismatch, format!("output `{name}`: {difference}")).at(field)
            );
        }
    }
    Ok(took)
}

/// Runs the inputs of `golden`, for what a backend puts off until its first runs.
///
/// # Errors
/// As for a run, or if the inputs do not fit, which a deploy would have found.
pub(crate) fn warm_up(
    session: &dyn BackendSession,
    signature: &Signature,
    golden: &[Golden],
    control: &Control,
) -> Result<(), Problem> {
    for trial in trials(signature, golden, "warm_up")? {
        session.run(&trial.plan.inputs, &trial.plan.outputs, control)?;
    }
    Ok(())
}

/// Matches the golden inputs and outputs with the signature, which is the same for every backend.
fn trials<'a>(signature: &Signature, golden: &'a [Golden], field: &str) -> Result<Vec<Trial<'a>>, Problem> {
    let names = Names::of(signature);
    golden
        .iter()
        .enumerate()
        .map(|(index, golden)| {
            let field = format!("{field}.golden[{index}]");
            let invalid = |field: &str, detail: String| Problem::new(Code::InvalidManifest, detail).at(field);
            let mut inputs = Vec::new();
            for (name, literal) in &golden.inputs {
                let at = format!("{field}.inputs.{name}");
                let tensor = literal.to_tensor().map_err(|e| invalid(&at, e.to_string()))?;
                let info = signature.inputs.iter().find(|info| info.name == *name);
                if let Some(mismatch) = info.and_then(|info| info.mismatch(&tensor)) {
                    return Err(invalid(&at, mismatch));
                }
                inputs.push((name.clone(), tensor));
            }
            let outputs: Vec<String> = golden.outputs.keys().cloned().collect();
            let plan = Plan::new(signature, &names, inputs, &outputs)
                .map_err(|error| invalid(&field, error.to_string()))?;
            Ok(Trial { plan, golden, field })
        })
        .collect()
}

fn reason(backend: BackendId, spec: &ModelSpec, failures: Vec<(BackendId, Problem)>) -> String {
    if spec.backend != BackendChoice::Auto {
        return "the manifest asks for it".into();
    }
    let does = if spec.golden.is_empty() { "loads the model" } else { "gives the golden outputs" };
    let tried: String =
        failures.into_iter().map(|(backend, problem)| format!("{backend}: {problem}; so ")).collect();
    format!("{tried}{backend}, which {does}")
}

/// The problem to report: the last backend's that is on this host, with what became of the others.
fn explain(mut failures: Vec<(BackendId, Problem)>) -> Option<Problem> {
    if failures.len() > 1 {
        let all: Vec<String> =
            failures.iter().map(|(backend, problem)| format!("{backend}: {problem}")).collect();
        let told = failures
            .iter()
            .rposition(|(_, problem)| problem.code != Code::BackendUnavailable)
            .unwrap_or_default();
        let (_, problem) = failures.swap_remove(told);
        return Some(Problem { detail: all.join("; ").into(), ..problem });
    }
    failures.pop().map(|(_, problem)| problem)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
