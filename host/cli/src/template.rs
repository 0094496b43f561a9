//! What `modelet new` writes: the template of a project, and the guest SDK that it builds with.
//!
//! Both are part of the program, so that a project can be made without a network or this
//! repository, and fits the host that it was made with.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use include_dir::{Dir, File, include_dir};
use modelet_types::FunctionName;

static TEMPLATE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../guest-sdk/template");
static SDK_SOURCE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../guest-sdk/src");
static SDK_MACROS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../guest-sdk/macros");
static WIT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../wit");
const SDK_MANIFEST: &str = include_str!("../../../guest-sdk/Cargo.toml");

/// Where a project keeps the SDK, until it is published.
const SDK_FOLDER: &str = ".modelet/sdk/guest-sdk";

/// Writes a project for the function `name` into `folder`, and returns what was written in the
/// order of the paths, the SDK left out.
///
/// # Errors
/// If a file cannot be written.
pub fn write(name: &FunctionName, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let crate_name = name.as_str().replace('-', "_");
    let mut written = Vec::new();
    for file in files(&TEMPLATE) {
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
    let sdk = folder.join(SDK_FOLDER);
    write_file(&sdk.join("Cargo.toml"), SDK_MANIFEST.as_bytes())?;
    for (place, source) in [("src", &SDK_SOURCE), ("macros", &SDK_MACROS), ("wit", &WIT)] {
        for file in files(source) {
            write_file(&sdk.join(place).join(file.path()), file.contents())?;
        }
    }
    written.sort();
    Ok(written)
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
