//! seccomp: the system calls that computing needs, and no others.
//!
//! What is not listed fails with `EPERM` rather than ending the process: allocators and C libraries
//! ask for what is new and do without it when it is refused, and a later version of one of them must
//! not make every compilation fail.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Compare, SeccompCondition,
    SeccompFilter, SeccompRule,
};

use crate::Work;

/// Allowed whatever the arguments are: none of them reaches anything outside of the process but the
/// descriptors that it has.
const ALLOWED: &[libc::c_long] = &[
    // Its descriptors.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_lseek,
    // Memory.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    // Threads. How many there are is bounded by the address space.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_gettid,
    libc::SYS_getpid,
    // Refused with another error, by the filter below.
    libc::SYS_clone3,
    // Signals to itself: the guard of a stack, an abort.
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    // Time and chance.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
    // The end.
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Beside those, for a process that answers messages: on its sockets, of which it can make none, and into
/// files that came over them.
const ALLOWED_WITH_MESSAGES: &[libc::c_long] = &[libc::SYS_recvmsg, libc::SYS_sendmsg, libc::SYS_pwrite64];

/// Refuses every call that is not needed for `work`, and says whether it does.
pub(crate) fn refuse_most(work: Work) -> bool {
    let install = || -> Option<()> {
        // The second is asked first, and of two refusals the harsher one counts: what it allows can
        // still be refused by the first.
        for filter in [without_clone3()?, allow_list(work)?] {
            let program = BpfProgram::try_from(filter).ok()?;
            seccompiler::apply_filter(&program).ok()?;
        }
        Some(())
    };
    install().is_some()
}

/// What `clone3` is asked for is in memory, where a filter cannot see it. A C library that is told
/// that there is no such call takes `clone`.
fn without_clone3() -> Option<SeccompFilter> {
    filter(BTreeMap::from([(libc::SYS_clone3, vec![])]), SeccompAction::Allow, errno(libc::ENOSYS))
}

fn allow_list(work: Work) -> Option<SeccompFilter> {
    let more = match work {
        Work::Pipes { .. } => &[],
        Work::Messages { .. } => ALLOWED_WITH_MESSAGES,
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().chain(more).map(|&call| (call, vec![])).collect();
    let thread = u64::try_from(libc::CLONE_THREAD).ok()?;
    let this = u64::from(std::process::id());
    let uncounted = u64::try_from(libc::MAP_SHARED | libc::MAP_GROWSDOWN).ok()?;
    for (call, argument, compare, value) in [
        // Memory that the limit of it counts (`limits.rs`).
        (libc::SYS_mmap, 3, Compare::MaskedEq(uncounted), 0),
        // A thread, not a process.
        (libc::SYS_clone, 0, Compare::MaskedEq(thread), thread),
        // To itself.
        (libc::SYS_tgkill, 0, Compare::Eq, this),
        // The names of threads, for whoever looks at the machine.
        (libc::SYS_prctl, 0, Compare::Eq, u64::try_from(libc::PR_SET_NAME).ok()?),
    ] {
        let condition = SeccompCondition::new(argument, Length::Dword, compare, value).ok()?;
        rules.insert(call, vec![SeccompRule::new(vec![condition]).ok()?]);
    }
    filter(rules, errno(libc::EPERM), SeccompAction::Allow)
}

fn errno(number: libc::c_int) -> SeccompAction {
    SeccompAction::Errno(number.unsigned_abs())
}

/// `matched` for the calls that `rules` name, `other` for all others. A call of another architecture
/// than this program's ends the process.
fn filter(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    other: SeccompAction,
    matched: SeccompAction,
) -> Option<SeccompFilter> {
    SeccompFilter::new(rules, other, matched, std::env::consts::ARCH.try_into().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind::PermissionDenied;
    use std::io::{IoSlice, IoSliceMut};
    use std::net::{Ipv4Addr, TcpListener};
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;
    use std::{fs, thread};

    use rustix::net::{RecvFlags, SendFlags, recvmsg, sendmsg};

    use super::*;

    #[test]
    fn alone_it_refuses_files_sockets_and_programs() {
        // It holds for the thread that asks for it, and those that it starts.
        let confined = thread::spawn(|| {
            assert!(refuse_most(Work::Pipes { cpu_seconds: 60 }), "this kernel has no seccomp");
            assert_eq!(fs::read("/etc/passwd").unwrap_err().kind(), PermissionDenied);
            assert_eq!(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap_err().kind(), PermissionDenied);
            assert_eq!(Command::new("/bin/true").status().unwrap_err().kind(), PermissionDenied);
            thread::spawn(|| ()).join().unwrap();
        });
        confined.join().unwrap();
        assert!(Command::new("/bin/true").status().unwrap().success());
    }

    #[test]
    fn messages_are_for_those_whose_work_they_are() {
        let works = |work| {
            let confined = thread::spawn(move || {
                let (one, other) = UnixDatagram::pair().unwrap();
                assert!(refuse_most(work), "this kernel has no seccomp");
                let sent = sendmsg(&one, &[IoSlice::new(b"x")], &mut <_>::default(), SendFlags::empty());
                let mut byte = [0];
                let received = sent.and_then(|_| {
                    recvmsg(
                        &other,
                        &mut [IoSliceMut::new(&mut byte)],
                        &mut <_>::default(),
                        RecvFlags::empty(),
                    )
                });
                assert!(UnixDatagram::pair().is_err(), "a new socket");
                received.is_ok_and(|_| byte == *b"x")
            });
            confined.join().unwrap()
        };
        assert!(works(Work::Messages { descriptors: 8, file_bytes: 0 }));
        assert!(!works(Work::Pipes { cpu_seconds: 60 }));
    }
}
