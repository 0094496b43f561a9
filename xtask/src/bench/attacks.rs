//! Every attack of the guest in `tests/guests/hostile`, again and again.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;

use super::host;
use super::server::Server;
use crate::shell::{command, run as sh};
use crate::workspace::GUEST_TARGET;

/// The attacks, as paths of the guest in `tests/guests/hostile`.
const ATTACKS: [&str; 23] = [
    "/loop",
    "/recurse",
    "/sleep",
    "/await-nothing",
    "/memory",
    "/log",
    "/print",
    "/big",
    "/big-stream",
    "/trap-mid-stream",
    "/loop-mid-stream",
    "/bad-header",
    "/bad-status",
    "/trap-before",
    "/trap-after",
    "/tensors",
    "/handles",
    "/short-tensor",
    "/overflowing-shape",
    "/wild-pointer",
    "/wrong-shape",
    "/wrong-input",
    "/foreign-model",
];
/// How much the attackers' threads stand back (`nice(2)`, which on Linux is of one thread).
const NICENESS: i32 = 19;
/// Ends an attack's connection when nothing more comes on it.
const ATTACK_TIMEOUT: Duration = Duration::from_secs(15);

/// Builds the guest, as a component of the end-to-end tests too, and deploys it with a model.
pub fn deploy(host: &Server) -> anyhow::Result<()> {
    sh(&mut command("cargo", ["build", "--release", "--target", GUEST_TARGET, "-p", "hostile"]))?;
    let component = super::target()?.join(GUEST_TARGET).join("release/hostile.wasm");
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let manifest = format!(
        "name = \"hostile\"\ncomponent = {component:?}\n[models.digits]\nfile = {:?}\n",
        super::model()
    );
    std::fs::write(folder.path().join("modelet.toml"), manifest).context("cannot write a manifest")?;
    let folder = folder.path().to_str().context("the temporary folder's name is not text")?;
    // Short enough that each attack comes around in every round.
    let settings = ["limits.cpu_time_ms=1000", "limits.wall_time_ms=2000"];
    host::deploy(host, folder, "hostile", &settings).map(|_| ())
}

/// What `measure` gives while every attack runs again and again, and how many attacks there were.
pub fn during<T>(host: &Server, measure: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, u64)> {
    let ended = AtomicBool::new(false);
    let count = AtomicU64::new(0);
    let attack = |path: &str| {
        while !ended.load(Relaxed) {
            // Most attacks end with an error, and some with a broken connection: that is their point.
            _ = call(host, path);
            count.fetch_add(1, Relaxed);
        }
    };
    let measured = thread::scope(|scope| {
        for path in ATTACKS {
            scope.spawn(move || {
                // Attackers have machines of their own: here they are not to take this one from the
                // host and from the client that is measured.
                _ = rustix::process::nice(NICENESS);
                attack(path);
            });
        }
        let measured = measure();
        ended.store(true, Relaxed);
        measured
    });
    Ok((measured?, count.load(Relaxed)))
}

/// One attack, on a connection of its own.
fn call(host: &Server, path: &str) -> std::io::Result<()> {
    let authority = host.origin().trim_start_matches("http://");
    let mut connection = TcpStream::connect(authority)?;
    connection.set_read_timeout(Some(ATTACK_TIMEOUT))?;
    let head = format!(
        "POST /f/default/hostile{path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\
         content-length: 0\r\n\r\n"
    );
    connection.write_all(head.as_bytes())?;
    let mut piece = [0; 1 << 16];
    while connection.read(&mut piece)? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn every_attack_of_the_guest_is_made() {
        let guest = workspace::root().join("tests/guests/hostile/src/lib.rs");
        let guest = std::fs::read_to_string(guest).unwrap();
        let offered = guest.lines().filter_map(|line| line.trim().strip_prefix("\"/"));
        let offered: Vec<String> =
            offered.map(|line| format!("/{}", line.split('"').next().unwrap())).collect();
        assert_eq!(offered, ATTACKS);
    }
}
