//! The shared library of ONNX Runtime: one per process, found once, never unloaded.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;

/// What helps when there is no library.
const HOW_TO_GET: &str = "set `onnxruntime.library` or MODELET_ONNXRUNTIME to the path of libonnxruntime.so, such \
     as `onnxruntime/capi/libonnxruntime.so.1.32.0` in the wheel that `pip download --no-deps \
     onnxruntime==1.32.0` fetches";

/// Where the system's loader looks by itself.
const SYSTEM_NAME: &str = "libonnxruntime.so";

/// The library, ready to make sessions.
#[derive(Clone)]
pub struct Library {
    /// Its own version.
    pub version: String,
    /// The one environment of the process.
    pub environment: Environment,
    path: PathBuf,
}

/// A library stays loaded once it is, whoever asked for it, so a failure can be retried with
/// another path and a success cannot.
static LOADED: Mutex<Option<Library>> = Mutex::new(None);

/// Loads the library at `path`, or the system's. Says why not, and what helps.
pub fn find(path: Option<&Path>) -> Result<Library, String> {
    let path = match path {
        // Made absolute, since a relative path would be looked for beside the executable first.
        Some(path) => std::path::absolute(path).map_err(|e| format!("`{}`: {e}", path.display()))?,
        None => SYSTEM_NAME.into(),
    };
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(library) = &*loaded {
        if library.path != path {
            tracing::warn!(
                loaded = %library.path.display(),
                asked = %path.display(),
                "onnx runtime is loaded already; a process has one"
            );
        }
        return Ok(library.clone());
    }
    // The loading code asserts what a broken library might not keep to.
    let opened = catch_unwind(AssertUnwindSafe(|| open(&path)))
        .unwrap_or_else(|_| Err("it does not answer as ONNX Runtime does".into()));
    match opened {
        Ok(library) => Ok(loaded.insert(library).clone()),
        Err(reason) => Err(format!("`{}`: {reason}; {HOW_TO_GET}", path.display())),
    }
}

fn open(path: &Path) -> Result<Library, String> {
    let environment = ort::init_from(path)
        .map_err(|error| match error {
            ort::LoadDynamicError::Dlopen { error, .. } => error.to_string(),
            ort::LoadDynamicError::BadVersion { version_str, .. } => {
                format!("it is version {version_str}, and 1.{} or later is needed", ort::MINOR_VERSION)
            }
            other => other.to_string(),
        })?
        .with_name("modelet")
        .with_telemetry(false)
        .with_logger(Arc::new(log))
        .build()
        .map_err(|e| e.to_string())?;
    Ok(Library { version: version(ort::info()), environment, path: path.to_owned() })
}

/// The version in a text like `ORT Build Info: git-branch=rel-1.32.0, git-commit-id=…`.
fn version(info: &str) -> String {
    let branch = info.split(['=', ',']).nth(1).unwrap_or(info);
    branch.strip_prefix("rel-").unwrap_or(branch).to_owned()
}

/// What ONNX Runtime logs is about one tenant's model, and a caller gets it as an error.
fn log(level: LogLevel, _category: &str, _id: &str, location: &str, message: &str) {
    tracing::debug!(?level, location, message, "onnx runtime");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_library_is_explained() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"not a library").unwrap();
        let reason = catch_unwind(|| open(file.path()).err()).unwrap().unwrap();
        assert!(reason.contains("file too short") || reason.contains("ELF"), "{reason}");
    }

    #[test]
    fn reads_the_version() {
        assert_eq!(version("ORT Build Info: git-branch=rel-1.32.0, git-commit-id=1a"), "1.32.0");
        assert_eq!(version("something else"), "something else");
    }
}
