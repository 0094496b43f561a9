//! The tests of single operators that ONNX has, on each backend: through the deploy, the load and the run
//! that a tenant's model goes through. docs/backends.md has the results.
//!
//! What fails is listed in `expected/`, one file for each backend, with the way in which it fails. A test
//! that fails in another way, fails anew, or passes though it is listed, fails the suite.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail where they stand")]

use std::fmt::Write as _;
use std::path::Path;

use modelet_inference::{BackendId, InferenceConfig};

use case::Case;
use outcome::Outcome;
use service::TestService;

mod case;
mod compare;
mod outcome;
mod proto;
#[path = "../it/service.rs"]
#[expect(dead_code, reason = "only starting a service and loading a model is of use here")]
mod service;

#[tokio::test]
async fn rten_passes_what_it_did() {
    conforms(&TestService::start(), BackendId::Rten, "rten").await;
}

#[tokio::test]
async fn onnx_runtime_passes_what_it_did() {
    conforms(&TestService::start(), BackendId::Onnxruntime, "onnxruntime").await;
}

// Alone it takes seconds. In one process with the other runs, whose heap it leaves in many pieces, reading how
// much memory each model takes does not: the C library walks over all of them.
#[tokio::test]
#[ignore = "run it alone: `cargo test -p modelet-inference --test conformance -- --ignored`"]
async fn onnx_runtime_passes_the_same_with_models_that_were_prepared() {
    // In memory, since to have each of them on a disk can take minutes.
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let dir = tempfile::tempdir_in(parent).unwrap();
    let prepared_dir = Some(dir.path().to_owned());
    let config = InferenceConfig { prepared_dir, prepare_from_bytes: 0, ..service::config() };
    let service = TestService::with(config);
    conforms(&service, BackendId::Onnxruntime, "onnxruntime-prepared").await;
    let stats = service.inference.stats();
    println!("{} of {} models were loaded as they were prepared", stats.prepared_loads, stats.loads);
    assert_eq!(stats.prepared_loads, stats.loads);
}

/// What fails on a backend, and how many pass however that list changes.
fn known(backend: BackendId) -> (&'static str, usize) {
    match backend {
        BackendId::Rten => (include_str!("expected/rten.txt"), 716),
        BackendId::Onnxruntime => (include_str!("expected/onnxruntime.txt"), 1063),
    }
}

/// Runs every test on one backend, and compares what fails with the list. What it writes has the name of the
/// run.
async fn conforms(service: &TestService, backend: BackendId, run: &str) {
    let (expected, at_least) = known(backend);
    let mut failures = Vec::new();
    let cases = case::all();
    for case in &cases {
        let outcome = outcome::of(service, backend, case).await;
        if let Outcome::Failed { way, reason } = outcome {
            failures.push(Failure { case, way, reason });
        }
    }
    println!("{}", table(run, cases.len(), &failures));
    let found = lines(&failures);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let list = folder.join(format!("{run}.txt"));
    std::fs::write(&list, &found).unwrap();
    let reasons = folder.join(format!("{run}.reasons.txt"));
    std::fs::write(&reasons, explained(&failures)).unwrap();

    let differences = differences(expected, &found);
    assert!(
        differences.is_empty(),
        "{run} does otherwise than tests/conformance/expected/{backend}.txt says:\n{differences}\
         {} has the reasons, and {} what the list would be",
        reasons.display(),
        list.display(),
    );
    let passed = cases.len() - failures.len();
    assert!(passed >= at_least, "{run} passes {passed}, fewer than {at_least}");
}

struct Failure<'c> {
    case: &'c Case,
    way: outcome::Way,
    reason: String,
}

/// The failures as `expected/` has them.
fn lines(failures: &[Failure<'_>]) -> String {
    failures.iter().fold(String::new(), |mut lines, failure| {
        writeln!(lines, "{} {}", failure.case.name, failure.way).unwrap();
        lines
    })
}

fn explained(failures: &[Failure<'_>]) -> String {
    failures.iter().fold(String::new(), |mut lines, failure| {
        writeln!(lines, "{} {}: {}", failure.case.name, failure.way, failure.reason).unwrap();
        lines
    })
}

/// The lines of either text that are not in the other.
fn differences(expected: &str, found: &str) -> String {
    let missing = |of: &str, from: &str, sign: &str| {
        let known: std::collections::HashSet<&str> = from.lines().collect();
        of.lines().filter(|line| !known.contains(line)).fold(String::new(), |mut all, line| {
            writeln!(all, "{sign} {line}").unwrap();
            all
        })
    };
    missing(expected, found, "-") + &missing(found, expected, "+")
}

/// How many passed, and how many failed in which way.
fn table(run: &str, all: usize, failures: &[Failure<'_>]) -> String {
    let mut table = format!("{run}: {} of {all} pass\n", all - failures.len());
    for way in outcome::WAYS {
        let count = failures.iter().filter(|failure| failure.way == way).count();
        writeln!(table, "  {count:>4}  {:<10} {}", way.as_str(), way.meaning()).unwrap();
    }
    table
}

#[test]
fn a_test_that_does_better_than_its_list_is_told_like_one_that_does_worse() {
    assert_eq!(differences("a load\nb run\n", "a load\nb run\n"), "");
    assert_eq!(differences("a load\nb run\n", "a load\n"), "- b run\n");
    assert_eq!(differences("a load\n", "a values\nb run\n"), "- a load\n+ a values\n+ b run\n");
}
