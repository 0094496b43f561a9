//! Every attack of the guest in `tests/guests/hostile`, again and again.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use super::server::Server;
use super::{guest, host, keys, peers, verify};

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

/// Starts a host with the digits example and its defaults, as [`peers::start_modelet`] does, and the guest
/// that attacks beside it.
pub fn start_host() -> anyhow::Result<Server> {
    let host = peers::start_modelet()?;
    let model = format!("[models.digits]\nfile = {:?}", super::model());
    let project = guest::project(&guest::build("hostile")?, &model)?;
    // Short enough that each attack comes around in every round.
    let settings = ["limits.cpu_time_ms=1000", "limits.wall_time_ms=2000"];
    host::deploy(&host, project.path(), "hostile", &settings)?;
    verify::all(&host.url())?;
    Ok(host)
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
        "POST /f/default/hostile{path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n{}\
         content-length: 0\r\n\r\n",
        keys::line(host.origin())
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
