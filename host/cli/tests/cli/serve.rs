//! `modelet serve` as a service manager sees it: its exit codes and its streams.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::run::modelet;

const DEADLINE: Duration = Duration::from_secs(60);

/// A host that runs, and is killed if the test ends first.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Serving {
    fn start(folder: &Path, listen: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_modelet"));
        command.args(["serve", "--json", "--listen", listen, "--data-dir"]).arg(folder.join("data"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MODELET_")) {
            command.env_remove(name);
        }
        Self(command.spawn().expect("the program can be started"))
    }

    /// Asks it to stop, and gives its exit code.
    fn stop(mut self) -> Option<i32> {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let began = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(began.elapsed() < DEADLINE, "the host does not stop");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn is_healthy(address: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let request = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

#[test]
fn a_setting_that_makes_no_sense_is_refused_with_its_file() {
    let folder = tempfile::tempdir().unwrap();
    for (text, key) in [
        ("workers = 18446744073709551615\n", "workers"),
        ("workers = 9000\n", "workers"),
        ("max_instances = 0\n", "max_instances"),
        ("allowed_hosts = [\"https://a.example\"]\n", "allowed_hosts"),
    ] {
        std::fs::write(folder.path().join("host.toml"), text).unwrap();
        let ended = modelet(folder.path(), ["serve", "--config", "host.toml"]);
        assert_eq!(ended.code, 5, "{ended:?}");
        assert!(ended.stderr.contains(key) && ended.stderr.contains("host.toml:1:"), "{ended:?}");
    }
    let ended = modelet(folder.path(), ["serve", "--json", "--allowed-host", "a.example:80"]);
    assert_eq!((ended.code, &ended.error()["exit"]), (5, &5.into()), "{ended:?}");
}

#[test]
fn a_host_goes_on_when_nobody_reads_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut host = Serving::start(folder.path(), "127.0.0.1:0");
    drop(host.0.stderr.take());
    let mut ready = String::new();
    BufReader::new(host.0.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    assert!(ready.contains("\"ready\""), "{ready}");
    // That it stops is a line of the log.
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn a_host_goes_on_when_nobody_reads_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut host = Serving::start(folder.path(), &address);
    drop(host.0.stdout.take());
    let log = host.0.stderr.take().unwrap();
    let mut lines = BufReader::new(log).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("cannot say where the host is")), "the host has ended");
    assert!(is_healthy(&address));
    assert_eq!(host.stop(), Some(0));
}
