//! How long each stage of one invocation took, for a caller who asks.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use modelet_types::ModelName;

/// A stage of an invocation.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// `receive`, `queue`, `wake`, `handler`, or `model-` and the model's name.
    pub name: String,
    /// How long it took. Those of models are part of the handler's, and of one another where they ran side
    /// by side.
    pub took: Duration,
    /// What else there is to say.
    pub note: Option<String>,
}

/// What a model did in the invocation.
#[derive(Default)]
struct Runs {
    count: u32,
    cached: u32,
    took: Duration,
    waited: Duration,
}

/// Takes the times of one invocation.
#[derive(Default)]
pub(crate) struct Timing {
    stages: Mutex<Vec<Stage>>,
    models: Mutex<BTreeMap<ModelName, Runs>>,
}

impl Timing {
    pub(crate) fn stage(&self, name: &str, took: Duration) {
        let stage = Stage { name: name.to_owned(), took, note: None };
        self.stages.lock().unwrap_or_else(PoisonError::into_inner).push(stage);
    }

    /// Adds the run of a model, of which it waited for a worker for a part.
    pub(crate) fn run(&self, model: &ModelName, took: Duration, waited: Duration, cached: bool) {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        let runs = models.entry(model.clone()).or_default();
        runs.count += 1;
        runs.cached += u32::from(cached);
        runs.took += took;
        runs.waited += waited;
    }

    /// The stages in their order, then the models by name.
    pub(crate) fn stages(&self) -> Vec<Stage> {
        let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        stages.extend(models.iter().map(|(name, runs)| Stage {
            name: format!("model-{name}"),
            took: runs.took,
            note: Some(runs.note()),
        }));
        stages
    }
}

impl Runs {
    fn note(&self) -> String {
        let Self { count, cached, waited, .. } = self;
        let waited_ms = waited.as_secs_f64() * 1e3;
        match (count, cached) {
            (1, 0) => format!("1 run, waited {waited_ms:.3} ms"),
            (1, _) => "answered from the cache".into(),
            (_, 0) => format!("{count} runs, waited {waited_ms:.3} ms"),
            _ => format!("{count} runs, {cached} from the cache, waited {waited_ms:.3} ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_one_model_are_added_up() {
        let timing = Timing::default();
        let ms = Duration::from_millis;
        let [rec, det] = ["rec", "det"].map(|name| name.parse::<ModelName>().unwrap());
        timing.stage("queue", ms(1));
        timing.run(&rec, ms(2), ms(1), false);
        timing.run(&rec, ms(3), ms(0), true);
        timing.run(&det, ms(4), ms(0), false);
        let stages = timing.stages();
        let seen: Vec<_> =
            stages.iter().map(|stage| (&*stage.name, stage.took, stage.note.as_deref())).collect();
        let expected = [
            ("queue", ms(1), None),
            ("model-det", ms(4), Some("1 run, waited 0.000 ms")),
            ("model-rec", ms(5), Some("2 runs, 1 from the cache, waited 1.000 ms")),
        ];
        assert_eq!(seen, expected);
    }
}
