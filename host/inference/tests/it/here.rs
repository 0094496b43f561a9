//! The suites over the models of a tenant that is trusted: in this process.

use modelet_inference::InferenceConfig;
use modelet_types::Trust;

use crate::service::{TestService, config};

#[path = "both.rs"]
mod both;
#[path = "check.rs"]
mod check;
#[path = "hostile.rs"]
mod hostile;

const APART: bool = false;

fn start() -> TestService {
    with(config())
}

fn with(config: InferenceConfig) -> TestService {
    TestService::of(config, Trust::Trusted)
}
