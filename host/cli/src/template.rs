//! What `modelet new` writes: the template of a project, and the guest SDK or the contract that it builds
//! with.
//!
//! All of it is part of the program, so that a project can be made without a network or this
//! repository, and fits the host that it was made with.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use include_dir::{Dir, File, include_dir};
use modelet_types::FunctionName;

use crate::project::Language;

static RUST: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../guest-sdk/templates/rust");
static PYTHON: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../guest-sdk/templates/python");
static JAVASCRIPT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../guest-sdk/templates/js");
/// The model with its requests, which is the same in every language.
static SHARED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../guest-sdk/templates/shared");
static SDK_SOURCE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../guest-sdk/src");
static SDK_MACROS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../guest-sdk/macros");
static WIT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../wit");
const SDK_MANIFEST: &str = include_str!("../../../guest-sdk/Cargo.toml");

/// Where a project in Rust keeps the SDK, until it is published.
const SDK_FOLDER: &str = ".modelet/sdk/guest-sdk";
/// Where projects in other languages keep the contract.
const WIT_FOLDER: &str = "wit";

/// Writes a project for the function `name` into `folder`, and returns what was written in the
/// order of the paths, SDK and contract left out.
///
/// # Errors
/// If a file cannot be written.
pub fn write(name: &FunctionName, language: Language, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let crate_name = name.as_str().replace('-', "_");
    let own = match language {
        Language::Rust => &RUST,
        Language::Python => &PYTHON,
        Language::JavaScript => &JAVASCRIPT,
    };
    let mut written = Vec::new();
    for file in files(own).into_iter().chain(files(&SHARED)) {
        // Binary files, such as the model, are copied as they are.
        let contents = match file.contents_utf8() {
            Some(text) => {
                text.replace("{{name}}", name.as_str()).replace("{{crate_name}}", &crate_name).into_bytes()
            }
            None => file.contents().to_vec(),
        };
        write_file(&folder.join(file.path()), &contents)?;
        written.push(file.path().to_owned());
    }
    match language {
        Language::Rust => write_sdk(&folder.join(SDK_FOLDER))?,
        Language::Python | Language::JavaScript => write_folder(&folder.join(WIT_FOLDER), &WIT)?,
    }
    written.sort();
    Ok(written)
}

fn write_sdk(sdk: &Path) -> anyhow::Result<()> {
    write_file(&sdk.join("Cargo.toml"), SDK_MANIFEST.as_bytes())?;
    for (place, source) in [("src", &SDK_SOURCE), ("macros", &SDK_MACROS), ("wit", &WIT)] {
        write_folder(&sdk.join(place), source)?;
    }
    Ok(())
}

fn write_folder(folder: &Path, source: &Dir<'_>) -> anyhow::Result<()> {
    files(source).into_iter().try_for_each(|file| write_file(&folder.join(file.path()), file.contents()))
}

fn write_file(path: &Path, contents: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, contents))
        .with_context(|| format!("cannot write `{}`", path.display()))
}

/// All files in a folder and those below, with paths from that folder.
fn files<'a>(folder: &'a Dir<'a>) -> Vec<&'a File<'a>> {
    let mut found: Vec<_> = folder.files().collect();
    for inner in folder.dirs() {
        found.extend(files(inner));
    }
    found
}
