//! Turns the alphabet of the recognition model into a Rust table, which the handler reads in place.
//!
//! Owns the format of `alphabet.txt`: one character a line, in the order of the model's classes.

use std::env;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// The characters that the model knows by name; the blank and the space are not among them.
const CHARACTERS: usize = 6_623;

fn main() -> ExitCode {
    match write_table() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            println!("cargo::error={problem}");
            ExitCode::FAILURE
        }
    }
}

fn write_table() -> Result<(), String> {
    let path = "model/.fetched/alphabet.txt";
    println!("cargo::rerun-if-changed={path}");
    let text = fs::read_to_string(path)
        .map_err(|error| format!("examples/ocr/{path}: {error}; run `python3 examples/fetch.py ocr`"))?;
    let alphabet = text.lines().map(|line| {
        let mut characters = line.chars();
        match (characters.next(), characters.next()) {
            (Some(character), None) => Ok(character),
            _ => Err(format!("examples/ocr/{path}: `{line}` is not one character")),
        }
    });
    let alphabet = alphabet.collect::<Result<Vec<char>, String>>()?;
    if alphabet.len() != CHARACTERS {
        return Err(format!("examples/ocr/{path} has {} characters, not {CHARACTERS}", alphabet.len()));
    }
    let folder = env::var("OUT_DIR").map_err(|error| format!("OUT_DIR: {error}"))?;
    let table = Path::new(&folder).join("alphabet.rs");
    fs::write(&table, format!("{alphabet:?}")).map_err(|error| format!("{}: {error}", table.display()))
}
