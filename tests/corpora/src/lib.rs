//! The committed inputs of the fuzz targets, `fuzz/corpus/<target>/`, given to what is fuzzed.
//!
//! A crate with a fuzzed decoder replays its corpora among its unit tests, so that every input that was
//! ever found to matter is decoded at each test run, on the stable toolchain. Its own tests hold the
//! targets, the corpora and the replays against each other.

use std::fs;
use std::path::{Path, PathBuf};

/// Gives every file of `target`'s corpus to `check`, which panics at a defect.
///
/// # Panics
/// If there is none, beside where `check` does.
pub fn replay(target: &str, check: impl Fn(&[u8])) {
    let files = files(&corpus().join(target));
    assert!(!files.is_empty(), "fuzz/corpus/{target} is empty");
    for file in files {
        let bytes = fs::read(&file).unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
        let _named = NamedAtPanic(&file);
        check(&bytes);
    }
}

/// Says which file it was, since a check knows bytes alone.
struct NamedAtPanic<'a>(&'a Path);

impl Drop for NamedAtPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input is {}", self.0.display());
        }
    }
}

fn corpus() -> PathBuf {
    repository().join("fuzz/corpus")
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// What is in a folder, by name; nothing if there is no folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest corpora that are worth their place in everybody's clone.
    const MAX_BYTES: u64 = 512 << 10;

    fn stems(folder: &Path) -> Vec<String> {
        let stem = |path: &PathBuf| path.file_stem()?.to_str().map(str::to_owned);
        files(folder).iter().filter_map(stem).collect()
    }

    #[test]
    fn every_target_has_a_corpus_and_every_corpus_a_target() {
        let targets = stems(&repository().join("fuzz/fuzz_targets"));
        assert!(!targets.is_empty());
        assert_eq!(targets, stems(&corpus()), "fuzz/fuzz_targets on the left, fuzz/corpus on the right");
        for target in targets {
            assert!(!files(&corpus().join(&target)).is_empty(), "fuzz/corpus/{target} is empty");
        }
    }

    /// A target calls one function, `modelet_<crate>::fuzzing::<target>`, and that crate's tests give it
    /// the corpus.
    #[test]
    fn every_target_is_replayed_by_the_crate_that_it_fuzzes() {
        for target in stems(&repository().join("fuzz/fuzz_targets")) {
            let path = repository().join(format!("fuzz/fuzz_targets/{target}.rs"));
            let source = fs::read_to_string(path).unwrap();
            let call = source.split_once("modelet_").and_then(|(_, rest)| rest.split_once("::fuzzing::"));
            let (owner, called) = call.unwrap_or_else(|| panic!("{target} calls nothing that is replayed"));
            assert!(called.starts_with(&format!("{target}(data)")), "{target} calls another one's function");
            let checks = repository().join(format!("host/{owner}/src/fuzzing.rs"));
            let replay = format!("replay(\"{target}\", {target})");
            assert!(fs::read_to_string(checks).unwrap().contains(&replay), "{target} is not replayed");
        }
    }

    #[test]
    fn the_corpora_stay_small() {
        let size = |file: &PathBuf| fs::metadata(file).map_or(0, |metadata| metadata.len());
        let bytes: u64 = files(&corpus()).iter().flat_map(|folder| files(folder)).map(|f| size(&f)).sum();
        assert!(bytes <= MAX_BYTES, "{bytes} bytes: minimise them, as docs/fuzzing.md says");
    }
}
