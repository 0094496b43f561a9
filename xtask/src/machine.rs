//! What tasks need on the machine, and the command that installs what is missing.

use std::path::Path;

use anyhow::bail;

use crate::shell;
use crate::workspace::GUEST_TARGET;

/// Something that a machine may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A C compiler: SQLite is compiled from its source.
    CCompiler,
    /// A C++ compiler: libFuzzer is compiled from its source.
    CxxCompiler,
    /// cargo-fuzz: it builds and runs the fuzz targets.
    CargoFuzz,
    /// Python with `venv` and pip: it fetches the models of others.
    Python,
    /// The same, as new as `bench/peers/fastapi/requirements.txt` asks for: it runs FastAPI.
    PythonForFastApi,
    /// PostgreSQL's programs: the tests start a server of their own.
    PostgreSql,
    /// Node.js with npm: it builds and tests handlers in JavaScript.
    Node,
    /// `wrk`: it makes the load of the benchmarks.
    Wrk,
}

impl Need {
    fn is_there(self) -> bool {
        match self {
            Self::CCompiler => shell::output(&mut shell::command("cc", ["--version"])).is_some(),
            Self::CxxCompiler => shell::output(&mut shell::command("c++", ["--version"])).is_some(),
            Self::CargoFuzz => shell::output(&mut shell::command("cargo", ["fuzz", "--version"])).is_some(),
            // It has no option that only asks: without arguments it prints its usage and fails.
            Self::Wrk => std::process::Command::new("wrk").output().is_ok(),
            Self::PostgreSql => is_postgresql_there(),
            Self::Node => is_node_there(),
            Self::Python => is_python_there(9),
            Self::PythonForFastApi => is_python_there(11),
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::CCompiler => "a C compiler (`cc`), which compiles SQLite",
            Self::CxxCompiler => "a C++ compiler (`c++`), which compiles libFuzzer",
            Self::CargoFuzz => "cargo-fuzz, which builds and runs the fuzz targets",
            Self::PostgreSql => {
                "PostgreSQL's programs (`initdb`), of which the tests start a server of their own"
            }
            Self::Node => "Node.js 20.19 or newer with npm, which builds handlers in JavaScript",
            Self::Python => {
                "Python 3.9 or newer with venv and pip, which fetches the examples' models and builds handlers"
            }
            Self::PythonForFastApi => {
                "Python 3.11 or newer with venv and pip, which fetches the examples' models and runs FastAPI"
            }
            Self::Wrk => "`wrk`, which makes the load of the benchmarks",
        }
    }

    fn install(self) -> &'static str {
        match (self, cfg!(target_os = "macos")) {
            (Self::CCompiler, false) => "sudo apt-get install gcc libc6-dev",
            (Self::CxxCompiler, false) => "sudo apt-get install g++",
            (Self::CCompiler | Self::CxxCompiler, true) => "xcode-select --install",
            (Self::CargoFuzz, _) => "cargo install cargo-fuzz --locked",
            (Self::Python | Self::PythonForFastApi, false) => {
                "sudo apt-get install python3 python3-venv python3-pip"
            }
            (Self::Python | Self::PythonForFastApi, true) => "brew install python",
            // The server's programs are all that is used: nothing has to run.
            (Self::PostgreSql, false) => "sudo apt-get install postgresql",
            (Self::PostgreSql, true) => "brew install postgresql",
            (Self::Node, false) => {
                "sudo apt-get install nodejs npm, or https://nodejs.org where that is older"
            }
            (Self::Node, true) => "brew install node",
            (Self::Wrk, false) => "sudo apt-get install wrk",
            (Self::Wrk, true) => "brew install wrk",
        }
    }
}

/// Debian has the programs of each version in a folder that is not in `PATH`.
fn is_postgresql_there() -> bool {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let is_debians = |version: std::fs::DirEntry| version.path().join("bin/initdb").exists();
    versions.into_iter().any(is_debians)
        || shell::output(&mut shell::command("initdb", ["--version"])).is_some()
}

fn is_node_there() -> bool {
    let check = "const [major, minor] = process.versions.node.split('.'); \
                 process.exit(major > 20 || (major == 20 && minor >= 19) ? 0 : 1)";
    shell::output(&mut shell::command("node", ["-e", check])).is_some()
        && shell::output(&mut shell::command("npm", ["--version"])).is_some()
}

fn is_python_there(minor: u32) -> bool {
    let check = format!("import sys, venv, ensurepip; sys.exit(sys.version_info < (3, {minor}))");
    shell::output(&mut shell::command("python3", ["-c", check.as_str()])).is_some()
        && shell::output(&mut shell::command("python3", ["-m", "pip", "--version"])).is_some()
}

/// Checks that the machine has all of `needs`.
///
/// # Errors
/// Naming everything that is missing, with the commands that install it.
pub fn check(needs: &[Need]) -> anyhow::Result<()> {
    let missing: Vec<Need> = needs.iter().copied().filter(|need| !need.is_there()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> =
        missing.iter().map(|need| format!("  {}: {}", need.what(), need.install())).collect();
    bail!("this machine lacks\n{}", lines.join("\n"))
}

/// Makes sure that guests can be compiled, and installs the target through rustup if they cannot.
///
/// # Errors
/// If the target is missing and rustup cannot install it.
pub fn ensure_guest_target() -> anyhow::Result<()> {
    let query = ["--print", "target-libdir", "--target", GUEST_TARGET];
    let folder = shell::output(&mut shell::command("rustc", query));
    if folder.is_some_and(|folder| Path::new(&folder).is_dir()) {
        return Ok(());
    }
    if shell::output(&mut shell::command("rustup", ["--version"])).is_none() {
        bail!(
            "the compiler cannot build for {GUEST_TARGET}, and there is no rustup to install it: \
             see https://rustup.rs, or install your distribution's package of the target"
        );
    }
    shell::run(&mut shell::command("rustup", ["target", "add", GUEST_TARGET]))
}

/// Makes a virtual environment of Python with `requirements` in it, unless it is there.
///
/// # Errors
/// If pip cannot install them.
pub fn make_environment(requirements: &Path, folder: &Path) -> anyhow::Result<()> {
    shell::run(shell::command("sh", ["xtask/venv.sh"]).arg(requirements).arg(folder))
}
