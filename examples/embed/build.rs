//! Turns the model's vocabulary into two finite state maps that the handler carries inside it.
//!
//! They are read where they lie, so that a fresh instance has its tokenizer without parsing
//! anything. Owns the format of `vocab.txt`: one token a line, its number is its id.

use std::env;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// What marks a token that continues a word.
const CONTINUATION: &str = "##";
const TOKENS: usize = 30_522;

fn main() -> ExitCode {
    match write_maps() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            println!("cargo::error={problem}");
            ExitCode::FAILURE
        }
    }
}

fn write_maps() -> Result<(), String> {
    let vocabulary = Path::new("model/.fetched/vocab.txt");
    println!("cargo::rerun-if-changed={}", vocabulary.display());
    let text = fs::read_to_string(vocabulary).map_err(|error| {
        format!("examples/embed/{}: {error}; run `python3 examples/fetch.py embed`", vocabulary.display())
    })?;
    let tokens: Vec<&str> = text.lines().collect();
    if tokens.len() != TOKENS {
        return Err(format!("{} has {} tokens, not {TOKENS}", vocabulary.display(), tokens.len()));
    }

    let (mut starts, mut continuations) = (Vec::new(), Vec::new());
    for (id, token) in (0u64..).zip(tokens) {
        match token.strip_prefix(CONTINUATION) {
            Some(rest) if !rest.is_empty() => continuations.push((rest, id)),
            _ => starts.push((token, id)),
        }
    }
    write_map("starts.fst", starts)?;
    write_map("continuations.fst", continuations)
}

fn write_map(name: &str, mut entries: Vec<(&str, u64)>) -> Result<(), String> {
    entries.sort_unstable();
    let map = fst::Map::from_iter(entries).map_err(|error| format!("vocabulary for {name}: {error}"))?;
    let folder = env::var("OUT_DIR").map_err(|error| format!("OUT_DIR: {error}"))?;
    let path = Path::new(&folder).join(name);
    fs::write(&path, map.as_fst().as_bytes()).map_err(|error| format!("{}: {error}", path.display()))
}
