//! What happens to a model when it is deployed: a backend is chosen, the model is loaded, and its
//! golden outputs are run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use modelet_types::manifest::{BackendChoice, Batching, DEFAULT_TOLERANCE, Golden, ModelSpec};
use modelet_types::{Code, Problem, Signature, Tensor, TensorInfo};
use serde::{Deserialize, Serialize};

use crate::backend::{Backend, BackendId, BackendSession, LoadRequest};
use crate::batch::{self, Rule};
use crate::service::Backends;
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
}

/// The most requests that are tried together.
const MOST_TOGETHER: usize = 16;

/// A golden output, ready to run.
struct Trial<'a> {
    plan: Plan,
    golden: &'a Golden,
    /// Its path in the manifest.
    field: String,
}

/// Checks `file`. `field` is the model's path in the manifest.
pub(crate) fn check(
    backends: &Backends,
    file: &Arc<ModelFile>,
    spec: &ModelSpec,
    field: &str,
    control: &Control,
) -> Result<CheckedModel, Problem> {
    let at = |error: InferenceError| Problem::from(error).at(field);
    let facts = onnx::read(file).map_err(at)?;
    let trials = trials(&facts.signature, &spec.golden, field)?;
    let batching = match &spec.batching {
        Some(batching) => Some(Together::new(batching, &facts.signature, &trials, field)?),
        None => None,
    };
    let mut failures: Vec<(BackendId, Problem)> = Vec::new();
    for &backend in BackendId::candidates(spec.backend) {
        let request = LoadRequest {
            file,
            facts: &facts,
            threads: usize::try_from(spec.threads).unwrap_or(1),
            may_narrow: spec.backend != BackendChoice::Auto,
        };
        match attempt(backends.get(backend), &request, &trials, batching.as_ref(), field, control) {
            Ok((load_time, run_time)) => {
                return Ok(CheckedModel {
                    backend,
                    reason: reason(backend, spec, failures),
                    signature: facts.signature,
                    load_time_us: micros(load_time),
                    run_time_us: run_time.map(micros),
                });
            }
            Err(problem) => failures.push((backend, problem)),
        }
        // Out of time for one is out of time for all.
        control.check().map_err(at)?;
    }
    Err(explain(failures).unwrap_or_else(|| Problem::new(Code::Internal, "no backend to try").at(field)))
}

fn attempt(
    backend: &dyn Backend,
    request: &LoadRequest<'_>,
    trials: &[Trial<'_>],
    batching: Option<&Together>,
    field: &str,
    control: &Control,
) -> Result<(Duration, Option<Duration>), Problem> {
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
    Ok((load_time, fastest))
}

/// Requests that are run one by one and together, which must give the same answers.
struct Together {
    rule: Rule,
    plans: Vec<Plan>,
    tolerance: f64,
    /// The path of `batching` in the manifest.
    field: String,
}

impl Together {
    fn new(
        batching: &Batching,
        signature: &Signature,
        trials: &[Trial<'_>],
        field: &str,
    ) -> Result<Self, Problem> {
        let field = format!("{field}.batching");
        let rule = Rule::new(batching, signature).map_err(|(part, detail)| {
            let at = if part.is_empty() { field.clone() } else { format!("{field}.{part}") };
            Problem::new(Code::InvalidManifest, detail).at(at)
        })?;
        let outputs: Vec<usize> = (0..signature.outputs.len()).collect();
        let mut plans: Vec<Plan> = Vec::new();
        for trial in trials {
            let plan = Plan { inputs: trial.plan.inputs.clone(), outputs: outputs.clone() };
            if plans.first().is_none_or(|first| rule.fits(first, &plan)) {
                plans.push(plan);
            }
        }
        if plans.is_empty() {
            plans = [0, 1]
                .map(|start| Plan { inputs: made_up(signature, start), outputs: outputs.clone() })
                .into();
        }
        // One after another, so that rows stand beside others and at every place.
        plans = plans.iter().chain(plans.iter().rev()).cloned().collect();
        plans.truncate(MOST_TOGETHER);
        let tolerance = trials.iter().map(|trial| trial.golden.tolerance).fold(DEFAULT_TOLERANCE, f64::max);
        Ok(Self { rule, plans, tolerance, field })
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
        let mut single = Vec::with_capacity(self.plans.len());
        for plan in &self.plans {
            single.push(session.run(&plan.inputs, &plan.outputs, control).map_err(failed)?);
        }
        let plans: Vec<&Plan> = self.plans.iter().collect();
        let rows = plans.iter().map(|plan| batch::rows(plan)).collect::<Option<Vec<_>>>();
        let (Some(rows), Some(all)) = (rows, self.rule.concat(&plans)) else {
            let detail = "the golden inputs of one entry do not have the same number of rows";
            return Err(Problem::new(Code::InvalidManifest, detail).at(&self.field));
        };
        let run = session.run(&all.inputs, &all.outputs, control).map_err(failed)?;
        let total = rows.iter().sum();
        let mut first = 0;
        for (single, rows) in single.iter().zip(rows) {
            let part = batch::part(&run, first..first + rows, total).map_err(mismatch)?;
            first += rows;
            for ((alone, beside), info) in single.outputs.iter().zip(&part.outputs).zip(&signature.outputs) {
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

/// Inputs of one row with small numbers in them, where nobody gave golden ones.
fn made_up(signature: &Signature, start: i64) -> Vec<Tensor> {
    let input = |info: &TensorInfo| {
        let shape: Vec<usize> = info.shape.iter().map(|dim| dim.unwrap_or(1)).collect();
        let count: usize = shape.iter().product();
        let numbers = (0..count as i64).map(|index| (start + index) % 2);
        match info.element_type.size_bytes() {
            Some(_) => {
                let bytes: Vec<u8> =
                    numbers.flat_map(|n| info.element_type.le_bytes(n).unwrap_or_default()).collect();
                Tensor::from_le_bytes(&shape, info.element_type, bytes.into())
            }
            None => Tensor::from_texts(&shape, numbers.map(|n| n.to_string().into()).collect()),
        }
    };
    // Shapes come from a file that was read within limits, and as many elements were made.
    signature.inputs.iter().map(input).collect::<Result<_, _>>().unwrap_or_default()
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
