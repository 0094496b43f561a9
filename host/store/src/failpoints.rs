//! The named steps at which a test can kill the process, to see what a restart finds.
//!
//! Without the cargo feature `failpoints` they are not in the program. With it, `arm` takes
//! `name=kill`, several divided by `;`. `kill` ends the process by SIGKILL within the step, so that
//! nothing after it runs: no destructor, no flush, no rollback. Other actions are those of the
//! `fail` crate, such as `sleep(100)`.

/// Every step, in the order in which a first deploy and then a collection pass them.
pub const FAILPOINTS: &[&str] = &[
    // An upload: bytes are written to the part, which is not synced.
    "store::upload::written",
    // The part is synced; whole or not, the request is not answered.
    "store::upload::synced",
    // The whole part has the right digest; it is still a part.
    "store::upload::verified",
    // The part has become the blob; the folder is not synced, no row names it.
    "store::upload::renamed",
    // The blob is durable, no row names it.
    "store::upload::published",
    // The row is written and not committed.
    "store::upload::recorded",
    // The row is committed, the request is not answered.
    "store::upload::committed",
    // A deploy: the number is taken, in an open transaction.
    "store::revision::numbered",
    // All rows of the revision are written and not committed.
    "store::revision::recorded",
    // The revision has all the traffic, still in the open transaction.
    "store::revision::activated",
    // The deploy is committed and not answered.
    "store::revision::committed",
    // A change of the traffic split is written and not committed.
    "store::traffic::recorded",
    // A change of the traffic split is committed and not answered.
    "store::traffic::committed",
    // A secret is written and not committed.
    "store::secret::recorded",
    // A secret is committed and not answered.
    "store::secret::committed",
    // A key is written and not committed.
    "store::api_key::recorded",
    // Usage and how far the ledger is read are written and not committed.
    "store::usage::added",
    // Usage is committed, which nobody is told.
    "store::usage::committed",
    // A collector has taken usage records; how far it has them is written and not committed.
    "store::usage::exported",
    // A deletion of a function is written and not committed.
    "store::function::deleted",
    // A deletion of a function is committed and not answered.
    "store::function::committed",
    // A collection: the rows are removed in an open transaction.
    "store::garbage::recorded",
    // The removal of the rows is committed, the blobs are there.
    "store::garbage::committed",
    // The first blob is removed, others may follow.
    "store::garbage::removed",
];

/// The steps that are there beside these where artifacts are in a bucket.
pub const BUCKET_FAILPOINTS: &[&str] = &[
    // One part of several of a blob is in the bucket, where nothing is to be seen of it yet.
    "store::bucket::part",
    // The whole part is also an object in the bucket.
    "store::bucket::put",
    // The object is removed, the file in the cache is there.
    "store::bucket::removed",
];

/// Arms the steps that `spec` names, such as `store::upload::renamed=kill`.
///
/// # Errors
/// If a name or an action is unknown, in words for a person.
#[cfg(feature = "failpoints")]
pub fn arm(spec: &str) -> Result<(), String> {
    for entry in spec.split(';').map(str::trim).filter(|entry| !entry.is_empty()) {
        let (name, action) =
            entry.split_once('=').ok_or_else(|| format!("`{entry}` is not `failpoint=action`"))?;
        if !FAILPOINTS.contains(&name) && !BUCKET_FAILPOINTS.contains(&name) {
            let names = [FAILPOINTS, BUCKET_FAILPOINTS].concat();
            return Err(format!("there is no failpoint `{name}`; there are: {}", names.join(", ")));
        }
        match action {
            "kill" => fail::cfg_callback(name, kill_self)?,
            _ => fail::cfg(name, action)?,
        }
    }
    Ok(())
}

/// Ends this process as `kill -9` does.
#[cfg(feature = "failpoints")]
fn kill_self() {
    use rustix::process::{Signal, getpid, kill_process};

    kill_process(getpid(), Signal::KILL).expect("a process may kill itself");
    // The signal ends this thread before the call returns; parking says so to whoever reads this.
    loop {
        std::thread::park();
    }
}
