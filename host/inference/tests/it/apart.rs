//! The same suites over the models of a tenant that is not trusted: in a worker process. And what only holds
//! for those.

use modelet_inference::InferenceConfig;
use modelet_types::Trust;

use crate::service::{TestService, config};

mod bombs;
#[path = "both.rs"]
mod both;
mod bound;
#[path = "check.rs"]
mod check;
mod ends;
#[path = "hostile.rs"]
mod hostile;
mod leaving;
mod liar;
mod places;

const APART: bool = true;

fn start() -> TestService {
    with(config())
}

fn with(config: InferenceConfig) -> TestService {
    TestService::of(config, Trust::Untrusted)
}
