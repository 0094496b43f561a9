//! What is promised of model files, for any bytes; see docs/fuzzing.md.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::{Arc, Once};

use modelet_types::manifest::Device;
use modelet_types::tensor::MAX_RANK;

use crate::backend::rten::Rten;
use crate::backend::{Backend as _, LoadRequest};
use crate::{InferenceError, ModelFile, apart, onnx};

/// Reads what a model file says of itself.
///
/// # Panics
/// If that is not the same when it is read again, or when a field is added that nobody knows; or if it
/// breaks the limits that backends rely on.
pub fn model_facts(data: &[u8]) {
    let read = onnx::read(data);
    // `Message` of protocol buffers: field 2000, the number 1.
    let with_unknown_field = [data, &[0x80, 0x7d, 1]].concat();
    let again = onnx::read(&with_unknown_field);
    let facts = match (read, again) {
        (Ok(facts), Ok(again)) => {
            assert_eq!(facts, again);
            facts
        }
        (Err(InferenceError::InvalidModel(why)), Err(InferenceError::InvalidModel(_))) => {
            assert!(why.len() < 1024 && !why.contains(char::is_control), "{why:?}");
            return;
        }
        // Bytes that end in the middle of a field may go on with what was added.
        (Err(InferenceError::InvalidModel(_)), Ok(_)) => return,
        (read, again) => panic!("{read:?} became {again:?}"),
    };
    assert!(!facts.signature.outputs.is_empty());
    for info in facts.signature.inputs.iter().chain(&facts.signature.outputs) {
        assert!(info.shape.len() <= MAX_RANK);
        assert!(info.shape.iter().flatten().all(|&dim| dim > 0));
        assert!(contains(data, info.name.as_bytes()));
    }
    // Each operator takes two bytes at the least.
    assert!(facts.longest_chain <= data.len() / 2);
    assert!(facts.longest_sum >= 1);
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
}

/// Loads a model in rten, if its facts are such that the host would.
///
/// What rten makes of hostile files is not ours, but it happens in the host's process. There, a panic is
/// caught and refuses the model, and so it is here; what ends the process, or takes time or memory out of
/// all proportion, is a defect.
///
/// # Panics
/// If a refusal is not for the model.
pub fn model_load(data: &[u8]) {
    let Ok(facts) = onnx::read(data) else { return };
    let Ok(file) = ModelFile::of_bytes(data) else { return };
    let file = Arc::new(file);
    let request = LoadRequest {
        file: &file,
        facts: &facts,
        device: Device::Cpu,
        threads: 1,
        may_narrow: true,
        digest: None,
    };
    let loaded = quietly(|| Rten::default().load(&request).map(drop));
    if let Ok(Err(error)) = loaded {
        assert!(matches!(error, InferenceError::InvalidModel(_)), "{error:?}");
    }
}

/// Reads bytes as the answer of a worker process, which may be in the hands of the model.
///
/// # Panics
/// If something is taken for an answer that the process does not write so, or its tensors are not what they
/// are when they are written again.
pub fn worker_answer(data: &[u8]) {
    apart::check_answer(data);
}

thread_local! {
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`, whose panics are caught and not told: a fuzzer ends at every panic that is told.
fn quietly<T>(work: impl FnOnce() -> T) -> std::thread::Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let hook = take_hook();
        set_hook(Box::new(move |info| {
            if !IS_QUIET.get() {
                hook(info);
            }
        }));
    });
    IS_QUIET.set(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    IS_QUIET.set(false);
    done
}

#[cfg(test)]
mod tests {
    use modelet_corpora::replay;

    use super::*;

    #[test]
    fn model_facts_of_the_corpus() {
        replay("model_facts", model_facts);
    }

    #[test]
    fn answers_of_the_corpus() {
        replay("worker_answer", worker_answer);
    }

    #[test]
    fn models_of_the_corpus_load_or_are_refused() {
        replay("model_load", model_load);
    }
}
