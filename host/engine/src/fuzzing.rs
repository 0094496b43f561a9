//! What is promised of components and of what the compiler answers, for any bytes; see docs/fuzzing.md.

use std::cell::OnceCell;

use modelet_types::Code;
use wasmtime::Precompiled;

use crate::apart;
use crate::compile::{Compiler, Failed};

/// Bytes of a problem for each byte of a component, whose names it repeats.
const MAX_GROWTH: usize = 8;

thread_local! {
    static COMPILER: OnceCell<Compiler> = const { OnceCell::new() };
}

/// Compiles a component as the process does that the host has for it, and checks whether a host could
/// link it.
///
/// # Panics
/// If a problem is not one of the component, or not fit to be shown; or if what is given is no code.
pub fn component(data: &[u8]) {
    COMPILER.with(|compiler| {
        let compiler = compiler.get_or_init(|| Compiler::unconfined().expect("wasmtime runs here"));
        match compiler.compile(data) {
            Ok(code) => {
                let code = wasmtime::Engine::detect_precompiled(&code);
                assert_eq!(code.map(|kind| matches!(kind, Precompiled::Component)), Some(true));
            }
            Err(Failed::OutOfMemory) => panic!("memory does not suffice"),
            Err(Failed::Problem(problem)) => {
                assert_eq!(problem.code, Code::InvalidComponent, "{problem}");
                assert_eq!(problem.field.as_deref(), Some("component"));
                let most = data.len() * MAX_GROWTH + 4096;
                assert!(problem.detail.len() <= most, "{} bytes", problem.detail.len());
                assert!(!problem.detail.contains(char::is_control), "{:?}", problem.detail);
            }
        }
    });
}

/// Reads bytes as the answer of the process that compiles, which may be in the hands of the component.
///
/// # Panics
/// If something is taken for an answer that the process does not write so.
pub fn compiler_answer(data: &[u8]) {
    apart::check_answer(data);
}

#[cfg(test)]
mod tests {
    use modelet_corpora::replay;

    use super::*;

    #[test]
    fn components_of_the_corpus() {
        replay("component", component);
    }

    #[test]
    fn answers_of_the_corpus() {
        replay("compiler_answer", compiler_answer);
    }
}
