//! The shared library of ONNX Runtime: one per process, found once, never unloaded.
#![expect(unsafe_code, reason = "asking a shared library for its version, and the loader for its file")]

use std::error::Error;
use std::ffi::{CStr, OsStr, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::{Environment, EnvironmentBuilder};
use ort::logging::LogLevel;
use ort::sys::OrtApiBase;

/// Why there is none, if the operator named none, and what helps.
pub const NOT_FOUND: &str = "no ONNX Runtime library is on this host; its operator can fetch one with `modelet backend install onnxruntime`";

/// What helps when there is no library.
const HOW_TO_GET: &str = "`modelet backend install onnxruntime` fetches one that works; or name the path of \
     libonnxruntime.so, such as `onnxruntime/capi/libonnxruntime.so.1.32.0` in the wheel of onnxruntime 1.32.0";

/// Looked for beside the executable, then where the system's loader looks.
const SYSTEM_NAME: &str = "libonnxruntime.so";

/// The library, ready to make sessions.
#[derive(Clone)]
pub struct Library {
    /// Its own version.
    pub version: String,
    /// The one environment of the process.
    pub environment: Environment,
    /// The file that it was loaded from, for another process to load the same; none if the system does not
    /// say.
    pub file: Option<PathBuf>,
    path: PathBuf,
}

/// A library stays loaded once it is, whoever asked for it, so a failure can be retried with
/// another path and a success cannot.
static LOADED: Mutex<Option<Library>> = Mutex::new(None);

/// Loads the library at `path`, or the system's. Says why not, and what helps.
pub fn find(path: Option<&Path>) -> Result<Library, String> {
    let path = match path {
        // Absolute, since `ort` takes a relative path as relative to the executable.
        Some(path) => std::path::absolute(path).map_err(|e| format!("`{}`: {e}", path.display()))?,
        None => std::env::current_exe()
            .map(|executable| executable.with_file_name(SYSTEM_NAME))
            .ok()
            .filter(|beside| beside.exists())
            .unwrap_or_else(|| SYSTEM_NAME.into()),
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

/// Loads a library, if it is one that this program can use, and says its version. It stays loaded, so this is not
/// for a host.
///
/// # Errors
/// Why it cannot be used.
pub fn onnxruntime_version(path: &Path) -> Result<String, String> {
    catch_unwind(AssertUnwindSafe(|| Loaded::load(path).map(|loaded| loaded.version)))
        .unwrap_or_else(|_| Err("it does not answer as ONNX Runtime does".into()))
}

fn open(path: &Path) -> Result<Library, String> {
    Loaded::load(path)?.start()
}

/// The library, before it has done anything: from here on it needs no file.
pub struct Loaded {
    version: String,
    file: Option<PathBuf>,
    builder: EnvironmentBuilder,
    path: PathBuf,
}

impl Loaded {
    /// Loads the library at `path`. Says why not.
    pub fn load(path: &Path) -> Result<Self, String> {
        let builder = ort::init_from(path).map_err(|error| match error {
            ort::LoadDynamicError::Dlopen { error, .. } => cause(&error),
            ort::LoadDynamicError::BadVersion { version_str, .. } => {
                format!("it is version {version_str}, and 1.{} or later is needed", ort::MINOR_VERSION)
            }
            other => other.to_string(),
        })?;
        let (version, file) = version_and_file(path)?;
        Ok(Self { version, file, builder, path: path.to_owned() })
    }

    /// Makes its environment, which starts a thread of the library's own: Microsoft's builds have one for
    /// telemetry, whether that is on or, as here, off.
    pub fn start(self) -> Result<Library, String> {
        let Self { version, file, builder, path } = self;
        let builder = builder.with_name("modelet").with_telemetry(false).with_logger(Arc::new(log));
        let environment = builder.build().map_err(|e| e.to_string())?;
        Ok(Library { version, environment, file, path })
    }
}

/// The version that the library gives of itself, which `ort` does not pass on; and where the system's loader
/// has found it.
fn version_and_file(path: &Path) -> Result<(String, Option<PathBuf>), String> {
    // SAFETY: the library is loaded already, so its initialisers do not run again.
    let library = unsafe { libloading::Library::new(path) }.map_err(|error| cause(&error))?;
    // SAFETY: `OrtGetApiBase` has this signature in every version of the C API.
    let base = unsafe { library.get::<unsafe extern "C" fn() -> *const OrtApiBase>(b"OrtGetApiBase") }
        .map_err(|error| cause(&error))?;
    // SAFETY: it gives a structure, and that a text, which both live as long as the library does.
    let text = unsafe { CStr::from_ptr(((*base()).GetVersionString)()) };
    Ok((text.to_string_lossy().into_owned(), file_of(*base as *const c_void)))
}

/// The file with the code at `address`.
fn file_of(address: *const c_void) -> Option<PathBuf> {
    let mut info = libc::Dl_info {
        dli_fname: ptr::null(),
        dli_fbase: ptr::null_mut(),
        dli_sname: ptr::null(),
        dli_saddr: ptr::null_mut(),
    };
    // SAFETY: any address may be asked for, and there is a place for what is written.
    if unsafe { libc::dladdr(address, &raw mut info) } == 0 || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the loader gives a text, which lives as long as the library is loaded: for ever.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    std::path::absolute(OsStr::from_bytes(name.to_bytes())).ok()
}

/// The innermost message: the loader's own words.
fn cause(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
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
}
