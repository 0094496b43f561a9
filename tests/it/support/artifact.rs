//! Components and models that were built or fetched before the suite runs.

use std::path::{Path, PathBuf};

/// The repository's root.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in the repository").to_owned()
}

/// Cargo's folder for what it builds: this binary is in `<target>/<profile>/deps`.
pub fn target_dir() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    test.ancestors().nth(3).expect("cargo puts tests three folders deep").to_owned()
}

/// Reads a file that `command` makes.
///
/// # Panics
/// With the command if it is missing.
fn made_by(path: &Path, command: &str) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}; make it by `{command}`", path.display()))
}

/// The component of a workspace package.
pub fn guest(package: &str) -> Vec<u8> {
    let file = format!("wasm32-wasip2/release/{package}.wasm");
    let command = format!("cargo build --release --target wasm32-wasip2 -p {package}");
    made_by(&target_dir().join(file), &command)
}

/// What `cargo xtask test` makes before it runs the tests, without cargo.
const LANGUAGES: &str = "cargo xtask test --only languages";

/// The component of an example in another language than Rust.
pub fn example_component(name: &str, file: &str) -> Vec<u8> {
    made_by(&repository().join("examples").join(name).join("build").join(file), LANGUAGES)
}

/// A component that was made with other tools than ours.
pub fn foreign_guest(name: &str) -> Vec<u8> {
    made_by(&target_dir().join("languages").join(format!("{name}.wasm")), LANGUAGES)
}

/// A file of an example.
pub fn example(name: &str, file: &str) -> Vec<u8> {
    let path = repository().join("examples").join(name).join(file);
    made_by(&path, &format!("python3 examples/fetch.py {name}"))
}

/// The library of ONNX Runtime, on machines that there is one for.
pub fn onnxruntime() -> Option<PathBuf> {
    Some(repository().join(".cache/onnxruntime/libonnxruntime.so")).filter(|library| library.exists())
}

pub fn digits_handler() -> Vec<u8> {
    guest("digits")
}

pub fn digits_model() -> Vec<u8> {
    example("digits", "model/digits.onnx")
}
