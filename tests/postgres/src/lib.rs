//! A real PostgreSQL for tests: a server of its own on a temporary folder, reached by a socket in it.
//!
//! The server ends with the process that started it, however that ends: a shell beside it waits for the end of
//! a pipe whose other end only that process has, and then stops the server and removes the folder.
//!
//! Knows nothing of Modelet.

mod programs;

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, bail};

use programs::Programs;

/// The role that owns every database of the tests, and is no superuser.
pub const OWNER: &str = "modelet";
/// A role that may connect and do nothing else.
pub const GUEST: &str = "guest";
/// A role that has to give [`PASSWORD`].
pub const GUARDED: &str = "guarded";
/// The password of [`GUARDED`].
pub const PASSWORD: &str = "hunter2";

/// What the shell beside a server does once the process that started it has gone. The server is stopped as if
/// it had crashed, because nobody needs what it has.
const WATCH: &str = r#"read -r _; "$1" -D "$2/data" -m immediate stop >/dev/null 2>&1; rm -rf "$2""#;

/// Which lets no database of a test order text as SQLite does by chance, and no commit be durable by chance.
const SETTINGS: &str = "
listen_addresses = ''
max_connections = 200
fsync = off
synchronous_commit = off
logging_collector = off
";

/// Who may connect: everybody on the socket, one role with its password.
const ACCESS: &str = "local all guarded scram-sha-256\nlocal all all trust\n";

/// A running server.
pub struct Server {
    programs: Programs,
    folder: PathBuf,
    databases: AtomicU32,
    /// Waits for the end of this process.
    _watcher: Child,
}

impl Server {
    /// The one server that the tests of a binary share. It takes a second or two to start.
    ///
    /// # Panics
    /// If it cannot be started, with what is to be done.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| match Self::start() {
            Ok(server) => server,
            Err(error) => panic!("{error:#}"),
        })
    }

    /// A server of one's own, to be stopped and started.
    ///
    /// # Errors
    /// If PostgreSQL's programs are missing, with the command that installs them, or fail.
    pub fn start() -> anyhow::Result<Self> {
        let programs = Programs::find()?;
        let folder = tempfile::Builder::new().prefix("modelet-postgres-").tempdir()?.keep();
        if let Some((user, group)) = programs.runs_as {
            chown(&folder, Some(user), Some(group)).context("cannot give the server its folder")?;
        }
        let watcher = programs
            .command("/bin/sh")
            .args(["-c", WATCH, "watch"])
            .arg(programs.path("pg_ctl"))
            .arg(&folder)
            .stdin(Stdio::piped())
            // What ends the tests from a terminal must not end it.
            .process_group(0)
            .spawn()
            .context("cannot start a shell")?;
        let server = Self { programs, folder, databases: AtomicU32::new(0), _watcher: watcher };
        let options = ["--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"];
        run(server
            .programs
            .command(server.programs.path("initdb"))
            .args(options)
            .arg("-D")
            .arg(server.data()))?;
        server.append("postgresql.conf", SETTINGS)?;
        server.write("pg_hba.conf", ACCESS)?;
        server.resume()?;
        server.sql("postgres", &format!("CREATE ROLE {OWNER} LOGIN; CREATE ROLE {GUEST} LOGIN"))?;
        server.sql("postgres", &format!("CREATE ROLE {GUARDED} LOGIN PASSWORD '{PASSWORD}'"))?;
        Ok(server)
    }

    /// Makes an empty database, and gives its URL.
    ///
    /// It orders text by the rules of a language, as those of operators usually do.
    ///
    /// # Errors
    /// If the server does not answer.
    pub fn database(&self) -> anyhow::Result<String> {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let statement = format!(
            "CREATE DATABASE {name} OWNER {OWNER} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en'"
        );
        self.sql("postgres", &statement)?;
        Ok(self.url(OWNER, &name))
    }

    /// The URL of a database for a role.
    pub fn url(&self, role: &str, database: &str) -> String {
        let socket = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://{role}@{socket}/{database}")
    }

    /// Runs statements as the superuser, and gives what they answer, a line for each row.
    ///
    /// # Errors
    /// If the server refuses them.
    pub fn sql(&self, database: &str, statements: &str) -> anyhow::Result<String> {
        let mut psql = self.programs.command(self.programs.path("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database]);
        run(psql.arg("-h").arg(&self.folder).args(["-c", statements]))
    }

    /// Ends the server at once, without writing down what it has in memory.
    ///
    /// # Errors
    /// If it does not run.
    pub fn crash(&self) -> anyhow::Result<()> {
        run(self.control().args(["-m", "immediate", "stop"])).map(drop)
    }

    /// Starts the server again, and waits until it takes connections.
    ///
    /// # Errors
    /// If it does not start.
    pub fn resume(&self) -> anyhow::Result<()> {
        let options = format!("-k {}", self.folder.display());
        let log = self.folder.join("log");
        let started = run(self.control().args(["-t", "60", "-o", &options, "-l"]).arg(&log).arg("start"));
        started.map(drop).with_context(|| std::fs::read_to_string(&log).unwrap_or_default())
    }

    fn control(&self) -> Command {
        let mut command = self.programs.command(self.programs.path("pg_ctl"));
        command.arg("-w").arg("-D").arg(self.data());
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn append(&self, file: &str, text: &str) -> anyhow::Result<()> {
        let path = self.data().join(file);
        let before = std::fs::read_to_string(&path)?;
        Ok(std::fs::write(path, before + text)?)
    }

    fn write(&self, file: &str, text: &str) -> anyhow::Result<()> {
        Ok(std::fs::write(self.data().join(file), text)?)
    }

    /// Where the server's files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Runs a program to its end, and gives what it says.
fn run(command: &mut Command) -> anyhow::Result<String> {
    // The server that `pg_ctl` starts has what this has, and would hold pipes open for as long as it runs.
    let is_start = command.get_args().any(|argument| argument == "start");
    let name = command.get_program().to_owned();
    let output = if is_start {
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        let status = status.with_context(|| format!("cannot run {}", name.display()))?;
        std::process::Output { status, stdout: Vec::new(), stderr: Vec::new() }
    } else {
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {}", name.display()))?
    };
    if !output.status.success() {
        bail!("{} failed: {}", name.display(), String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}
