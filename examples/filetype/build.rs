//! Turns the settings of the model's package into Rust constants and tables.
//!
//! `config.json` says how the model wants its input and what its outputs are called;
//! `content_types.json` describes the types of files. Owns the format of both, and knows nothing of
//! what the handler does with them.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use serde::Deserialize;
use serde::de::DeserializeOwned;

#[derive(Deserialize)]
struct Config {
    beg_size: usize,
    mid_size: usize,
    end_size: usize,
    use_inputs_at_offsets: bool,
    block_size: usize,
    min_file_size_for_dl: usize,
    padding_token: i32,
    medium_confidence_threshold: f64,
    target_labels_space: Vec<String>,
    thresholds: BTreeMap<String, f64>,
    overwrite_map: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct ContentType {
    mime_type: Option<String>,
    group: Option<String>,
    description: Option<String>,
    extensions: Vec<String>,
    is_text: bool,
}

fn main() -> ExitCode {
    match generate() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            println!("cargo::error={problem}");
            ExitCode::FAILURE
        }
    }
}

fn generate() -> Result<(), String> {
    let config: Config = read("model/.fetched/config.json")?;
    let content_types: BTreeMap<String, ContentType> = read("model/.fetched/content_types.json")?;
    if config.mid_size != 0 || config.use_inputs_at_offsets {
        return Err(
            "config.json asks for features from the middle of a file, which no code here makes".into()
        );
    }

    let mut code = String::new();
    let tables = write_constants(&mut code, &config).and_then(|()| write_types(&mut code, &content_types));
    tables.map_err(|error| error.to_string())?;
    write_outputs(&mut code, &config, &content_types)?;

    let folder = env::var("OUT_DIR").map_err(|error| format!("OUT_DIR: {error}"))?;
    let path = Path::new(&folder).join("package.rs");
    fs::write(&path, code).map_err(|error| format!("{}: {error}", path.display()))
}

fn read<T: DeserializeOwned>(path: &str) -> Result<T, String> {
    println!("cargo::rerun-if-changed={path}");
    let bytes = fs::read(path).map_err(|error| {
        format!("examples/filetype/{path}: {error}; run `python3 examples/fetch.py filetype`")
    })?;
    serde_json::from_slice(&bytes).map_err(|error| format!("examples/filetype/{path}: {error}"))
}

fn write_constants(code: &mut String, config: &Config) -> std::fmt::Result {
    writeln!(code, "pub const BEGINNING: usize = {};", config.beg_size)?;
    writeln!(code, "pub const END: usize = {};", config.end_size)?;
    writeln!(code, "pub const BLOCK: usize = {};", config.block_size)?;
    writeln!(code, "pub const ENOUGH_BYTES: usize = {};", config.min_file_size_for_dl)?;
    writeln!(code, "pub const PADDING: i32 = {};", config.padding_token)
}

/// The table of types, sorted by label.
fn write_types(code: &mut String, content_types: &BTreeMap<String, ContentType>) -> std::fmt::Result {
    writeln!(code, "pub static CONTENT_TYPES: [ContentType; {}] = [", content_types.len())?;
    for (label, content_type) in content_types {
        // Where the package leaves a field open, these are what its own library puts there.
        let default_mime = if content_type.is_text { "text/plain" } else { "application/octet-stream" };
        writeln!(
            code,
            "ContentType {{ label: {label:?}, mime_type: {:?}, group: {:?}, description: {:?}, \
             extensions: &{:?}, is_text: {} }},",
            content_type.mime_type.as_deref().unwrap_or(default_mime),
            content_type.group.as_deref().unwrap_or("unknown"),
            content_type.description.as_deref().unwrap_or(label),
            content_type.extensions,
            content_type.is_text,
        )?;
    }
    writeln!(code, "];")
}

/// What each of the model's outputs stands for, in its order.
fn write_outputs(
    code: &mut String,
    config: &Config,
    content_types: &BTreeMap<String, ContentType>,
) -> Result<(), String> {
    let index = |label: &str| {
        let found = content_types.keys().position(|known| known == label);
        found.ok_or_else(|| format!("content_types.json does not describe `{label}`"))
    };
    let mut table = String::new();
    for label in &config.target_labels_space {
        let answer = config.overwrite_map.get(label).unwrap_or(label);
        let threshold = config.thresholds.get(label).unwrap_or(&config.medium_confidence_threshold);
        table += &format!(
            "Output {{ model: &CONTENT_TYPES[{}], answer: &CONTENT_TYPES[{}], threshold: {threshold:?} }},\n",
            index(label)?,
            index(answer)?,
        );
    }
    *code += &format!("pub static OUTPUTS: [Output; {}] = [\n{table}];\n", config.target_labels_space.len());
    for (name, label) in [("EMPTY", "empty"), ("TEXT", "txt"), ("UNKNOWN", "unknown")] {
        *code += &format!("pub static {name}: &ContentType = &CONTENT_TYPES[{}];\n", index(label)?);
    }
    Ok(())
}
