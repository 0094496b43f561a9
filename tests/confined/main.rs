//! A process that confines itself as the one that compiles does, then tries what it must not be able to
//! do, and prints a line of each: its name, and `done` or how it was refused.
//!
//! Arguments: the process that started it, and the port of a listener on this machine.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::Command;
use std::thread;

use anyhow::Context as _;
use modelet_confinement::{Limits, confine};
use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit, Signal};

const LIMITS: Limits = Limits { memory_bytes: 1 << 30, cpu_seconds: 60 };

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let parent: u32 = arguments.next().context("the first argument is the parent")?.parse()?;
    let port: u16 = arguments.next().context("the second argument is a port")?.parse()?;
    let mut open = File::open("/proc/self/status")?;

    let layers = confine(parent, &LIMITS)?.layers();
    println!("landlock: {}", layers.landlock);
    println!("seccomp: {}", layers.seccomp);

    let report = |name: &str, tried: io::Result<()>| match tried {
        Ok(()) => println!("{name}: done"),
        Err(error) => println!("{name}: {error}"),
    };
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let parent = i32::try_from(parent).ok().and_then(Pid::from_raw).context("the parent has a number")?;
    let more = |resource| rustix::process::setrlimit(resource, Rlimit { current: None, maximum: None });

    report("use a descriptor from before", open.read(&mut [0]).map(drop));
    report("read a file", fs::read("/etc/passwd").map(drop));
    report("read about itself", fs::read("/proc/self/maps").map(drop));
    report("list a folder", fs::read_dir("/").map(drop));
    report("look at a file", fs::metadata("/etc/passwd").map(drop));
    report("make a file", File::create("/tmp/modelet-confined").map(drop));
    report("write to a device", OpenOptions::new().write(true).open("/dev/null").map(drop));
    report("connect", TcpStream::connect(address).map(drop));
    report("listen", TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map(drop));
    report("send datagrams", UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map(drop));
    let name = SocketAddr::from_abstract_name("modelet-confined")?;
    report("connect on this machine", UnixStream::connect_addr(&name).map(drop));
    report("start a program", Command::new("/bin/true").status().map(drop));
    let signal = rustix::process::kill_process(parent, Signal::USR1);
    report("signal its parent", signal.map_err(Into::into));
    let dumpable = rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable);
    report("let others look at it", dumpable.map_err(Into::into));
    let lives_on = rustix::process::set_parent_process_death_signal(None);
    report("live longer than its parent", lives_on.map_err(Into::into));
    report("have more memory", more(Resource::As).map_err(Into::into));
    report("have more time", more(Resource::Cpu).map_err(Into::into));
    let too_much = usize::try_from(LIMITS.memory_bytes)?;
    report("take too much memory", Vec::<u8>::new().try_reserve_exact(too_much).map_err(io::Error::other));

    // What it must be able to do.
    let computed =
        thread::Builder::new().name("computing".into()).spawn(|| vec![1_u64; 1 << 20].iter().sum());
    let computed: thread::Result<u64> = computed?.join();
    println!("compute: {}", if computed.is_ok_and(|sum| sum == 1 << 20) { "done" } else { "failed" });
    Ok(())
}
