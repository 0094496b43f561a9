//! Landlock (Linux 5.13 and later): no file, and no socket where the kernel's version knows of them.

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetError, RulesetStatus, Scope,
};

/// The newest version that was looked at. An older kernel enforces what it knows of it.
const NEWEST: ABI = ABI::V9;

/// Refuses everything that Landlock can refuse, and says whether it does. Descriptors that are open
/// stay usable.
pub(crate) fn refuse_all() -> bool {
    let refuse = || -> Result<RulesetStatus, RulesetError> {
        let ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(NEWEST))?
            .handle_access(AccessNet::from_all(NEWEST))?
            .scope(Scope::from_all(NEWEST))?;
        Ok(ruleset.create()?.restrict_self()?.ruleset)
    };
    // An error and a kernel without it are the same to whoever asks: it does not hold.
    refuse().is_ok_and(|status| status != RulesetStatus::NotEnforced)
}

#[cfg(test)]
mod tests {
    use std::{fs, io, thread};

    use super::*;

    #[test]
    fn alone_it_refuses_files() {
        // It holds for the thread that asks for it.
        let confined = thread::spawn(|| {
            assert!(refuse_all(), "this kernel has no Landlock");
            let refused =
                |tried: io::Result<()>| tried.unwrap_err().kind() == io::ErrorKind::PermissionDenied;
            assert!(refused(fs::read("/etc/passwd").map(drop)));
            assert!(refused(fs::read_dir("/").map(drop)));
            assert!(refused(fs::write("/tmp/modelet-confined", "")));
        });
        confined.join().unwrap();
        assert!(fs::read("/etc/passwd").is_ok());
    }
}
