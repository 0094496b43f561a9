//! One test on one backend.

use std::fmt;
use std::time::{Duration, Instant};

use modelet_inference::{BackendId, InferenceError, RunRequest, onnx};
use modelet_types::TenantName;
use modelet_types::manifest::{BackendChoice, Priority};

use crate::case::Case;
use crate::compare;
use crate::service::{TestService, spec};

/// What became of a test.
pub enum Outcome {
    Passed,
    Failed { way: Way, reason: String },
}

/// In which way a test fails.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Kind,
    Element,
    Load,
    Input,
    Run,
    Type,
    Shape,
    Values,
    Varies,
}

pub const WAYS: [Way; 9] = [
    Way::Kind,
    Way::Element,
    Way::Load,
    Way::Input,
    Way::Run,
    Way::Type,
    Way::Shape,
    Way::Values,
    Way::Varies,
];

impl Way {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::Element => "element",
            Self::Load => "load",
            Self::Input => "input",
            Self::Run => "run",
            Self::Type => "type",
            Self::Shape => "shape",
            Self::Values => "values",
            Self::Varies => "varies",
        }
    }

    pub fn meaning(self) -> &'static str {
        match self {
            Self::Kind => "an input or output is no tensor, or of an element type that the host lacks",
            Self::Element => "an input or output is of an element type that the backend lacks",
            Self::Load => "the backend cannot load the model",
            Self::Input => "the backend refuses the input, such as 64 bits where it has 32",
            Self::Run => "the backend fails while running",
            Self::Type => "an output is of another element type",
            Self::Shape => "an output is of another shape",
            Self::Values => "an output has other values",
            Self::Varies => "it depends on random numbers, or on the locales of the system",
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Deploys the model of a test, loads it, runs it, and compares all its outputs.
pub async fn of(service: &TestService, backend: BackendId, case: &Case) -> Outcome {
    match attempt(service, backend, case).await {
        Ok(()) if varies(&case.name) => {
            Outcome::Failed { way: Way::Varies, reason: "passes, on this machine or this time".into() }
        }
        Ok(()) => Outcome::Passed,
        Err((way, reason)) => {
            let is_chance = varies(&case.name) && (way == Way::Values || reason.contains("locale"));
            let reason = reason.lines().next().unwrap_or_default().to_owned();
            Outcome::Failed { way: if is_chance { Way::Varies } else { way }, reason }
        }
    }
}

/// Whether a test gives something else on another machine or at another time: it draws random numbers
/// without a seed, or changes the case of letters in a locale that the system may lack. Such a test never
/// counts as passed.
fn varies(name: &str) -> bool {
    const IN_A_LOCALE: [&str; 4] = [
        "test_strnormalizer_export_monday_casesensintive_lower",
        "test_strnormalizer_export_monday_casesensintive_upper",
        "test_strnormalizer_export_monday_empty_output",
        "test_strnormalizer_export_monday_insensintive_upper_twodim",
    ];
    name.starts_with("test_bernoulli") || IN_A_LOCALE.contains(&name)
}

async fn attempt(service: &TestService, backend: BackendId, case: &Case) -> Result<(), (Way, String)> {
    // What the host itself refuses is not a matter of the backend.
    onnx::read(&case.model).map_err(|error| (Way::Kind, error.to_string()))?;
    let expected = case.outputs().map_err(|why| (Way::Kind, why))?;
    let inputs = case.inputs().map_err(|why| (Way::Kind, why))?;

    let choice = match backend {
        BackendId::Rten => BackendChoice::Rten,
        BackendId::Onnxruntime => BackendChoice::Onnxruntime,
    };
    let file = service.file(&case.model);
    let spec = spec(&case.model, choice);
    let checked = service.inference.check(&TenantName::default_tenant(), &file, &spec, "models.m").await;
    checked.map_err(|problem| {
        let way = if problem.detail.contains("has elements of type") { Way::Element } else { Way::Load };
        (way, problem.to_string())
    })?;
    let session = service.load(backend, &case.model).await.map_err(|e| (Way::Load, e.to_string()))?;

    let request = RunRequest {
        inputs,
        outputs: Vec::new(),
        deadline: Instant::now() + Duration::from_secs(60),
        max_output_bytes: u64::MAX,
        priority: Priority::Normal,
        unanswered: None,
    };
    let run = session.run(request).await.map_err(|error| {
        let way = if matches!(error, InferenceError::InvalidInput(_)) { Way::Input } else { Way::Run };
        (way, error.to_string())
    })?;
    for (name, expected) in &expected {
        let Some((_, got)) = run.outputs.iter().find(|(output, _)| output == name) else {
            return Err((Way::Kind, format!("output `{name}` is not in the signature")));
        };
        if let Some((way, why)) = compare::mistake(expected, got) {
            return Err((way, format!("output `{name}`: {why}")));
        }
    }
    Ok(())
}
