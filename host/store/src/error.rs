//! What can go wrong in the store. One enum, and long because each case has a text that says what to do.

mod problem;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use modelet_types::{Digest, FunctionName, KeyId, RevisionNumber, SecretName, TenantName};

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, such as `write`.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The metastore refused.
    #[error("the metastore failed")]
    Database(#[source] sqlx::Error),
    /// The metastore does not answer, for a reason that may pass.
    #[error("the metastore does not answer")]
    NoAnswer(#[source] sqlx::Error),
    /// The metastore could not be reached at the start.
    #[error(
        "cannot reach the metastore at {metastore}: start the database, or correct `metastore_url` (what it leaves \
         out is taken from `PGHOST` and the like)"
    )]
    Unreachable {
        /// Its address.
        metastore: String,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// The database lets this host not in.
    #[error(
        "the database at {metastore} refuses this host: give the right user and password in `metastore_url`, \
         `PGUSER` and `PGPASSWORD`, or the file that `PGPASSFILE` names, and look at its pg_hba.conf"
    )]
    MetastoreRefuses {
        /// Its address.
        metastore: String,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// The server has no such database.
    #[error("there is no database for the metastore at {metastore}: make it with `createdb`")]
    NoMetastore {
        /// Its address.
        metastore: String,
        /// What the server said.
        #[source]
        source: sqlx::Error,
    },
    /// The role of the host lacks a right.
    #[error(
        "the host's role may not make tables in the database at {metastore}: make the role the database's owner, or \
         `GRANT CREATE ON SCHEMA public` to it"
    )]
    MayNotCreateTables {
        /// Its address.
        metastore: String,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// The database cannot be a metastore.
    #[error("the database at {metastore} cannot be used: {reason}")]
    UnfitMetastore {
        /// Its address.
        metastore: String,
        /// Why, and what to do.
        reason: &'static str,
    },
    /// The metastore's address cannot be used.
    #[error(
        "`metastore_url` cannot be used, {reason}: it is like postgres://user:password@host:5432/database"
    )]
    InvalidMetastoreUrl {
        /// Why.
        reason: String,
    },
    /// Another host has the metastore, or had it while this one had no connection.
    #[error(
        "another host has the metastore at {metastore}, or had it while this one could not reach it: a metastore \
         serves one host, so stop the other one, and start this one again"
    )]
    MetastoreTaken {
        /// Its address.
        metastore: String,
    },
    /// The data folder belongs to another metastore, or to a later state of this one.
    #[error(
        "the data folder {} does not go with the metastore {metastore}, since {reason}: artifacts would be lost. \
         Copy its metastore there first (`modelet store copy`), or name the right one; if this is what you want, \
         move the folder's file `METASTORE` away (and `metastore.sqlite3`, if the metastore is elsewhere)",
        data_dir.display()
    )]
    OtherMetastore {
        /// The data folder.
        data_dir: PathBuf,
        /// The metastore.
        metastore: String,
        /// How that showed.
        reason: &'static str,
    },
    /// The metastore is of an older format, and may not be changed.
    #[error(
        "the metastore {metastore} has the format of an older host: start this version of the host on it once"
    )]
    OlderMetastore {
        /// Where it is.
        metastore: String,
    },
    /// There is no metastore to copy.
    #[error("there is no metastore {metastore}: name the data folder or the database of a host that has run")]
    NothingToCopy {
        /// Where it was looked for.
        metastore: String,
    },
    /// A copy goes to an empty metastore only.
    #[error(
        "the metastore {metastore} is not empty: a copy needs a new database, or a data folder without `metastore.sqlite3`"
    )]
    TargetNotEmpty {
        /// Where it is.
        metastore: String,
    },
    /// The folder that a copy goes to has another key, of secrets or of the record of changes.
    #[error("{} is another key than that of the store that is copied: use a new data folder", .0.display())]
    OtherSealingKey(PathBuf),
    /// The metastore was brought to the format of a newer version of the host.
    #[error(
        "the metastore {metastore} has format {found}, and this host reads up to {known}: use a newer host"
    )]
    NewerMetastore {
        /// Where it is.
        metastore: String,
        /// Its format, by the newest migration.
        found: i64,
        /// The highest that this host reads.
        known: i64,
    },
    /// The metastore could not be brought to this host's format.
    #[error("cannot migrate the metastore {metastore}")]
    Migrate {
        /// Where it is.
        metastore: String,
        /// Why it failed.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// Another process has the data folder open.
    #[error("the data folder {} is in use by another host: stop it, or give this one a folder of its own", .0.display())]
    InUse(PathBuf),
    /// The data folder was written by a newer version of the host.
    #[error("the data folder {} has format {found}, and this host reads up to {known}: use a newer host", path.display())]
    Version {
        /// The data folder.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The highest that this host reads.
        known: u32,
    },
    /// The setting that names a bucket makes no sense.
    #[error("artifacts_url: {0}")]
    BucketUrl(String),
    /// The bucket cannot be used, as was found out at the start.
    #[error("cannot use {url} (artifacts_url): {hint}")]
    BucketRefused {
        /// The bucket and the prefix.
        url: String,
        /// What helps.
        hint: &'static str,
        /// What the bucket said.
        #[source]
        source: Box<object_store::Error>,
    },
    /// The prefix belongs to another store.
    #[error(
        "{url} (artifacts_url) has the artifacts of another store, or of another data folder with a copy of this one: give this one a prefix of its own, or, \
         if no host uses that store any more, remove the object OWNER under the prefix"
    )]
    BucketInUse {
        /// The bucket and the prefix.
        url: String,
    },
    /// The artifacts are in a bucket that the configuration does not name.
    #[error(
        "the artifacts of this data folder are in {url}: set `artifacts_url` to it; if they have been copied \
         back into the folder, remove {}", file.display()
    )]
    ArtifactsElsewhere {
        /// The bucket and the prefix.
        url: String,
        /// The file that says so.
        file: PathBuf,
    },
    /// A bucket that is new to this data folder has not what the metastore names.
    #[error(
        "{lost} artifacts are neither in {url} (artifacts_url) nor in the data folder: copy them there first, or \
         name the bucket that has them; to go on without them, write that URL into {}", file.display()
    )]
    ArtifactsMissing {
        /// The bucket and the prefix.
        url: String,
        /// How many.
        lost: usize,
        /// The file that names the bucket.
        file: PathBuf,
    },
    /// The bucket failed.
    #[error("the bucket failed to {action} {object}")]
    Bucket {
        /// What was tried, such as `read`.
        action: &'static str,
        /// On what.
        object: String,
        /// What the bucket said.
        #[source]
        source: Box<object_store::Error>,
    },
    /// A blob is stored again while its removal, of which the bucket's answer was lost, may yet come.
    #[error("artifact {0} is still being removed from the bucket: upload it in a minute")]
    RemovalUnderWay(Digest),
    /// The bytes of an artifact are nowhere.
    #[error("the bytes of artifact {0} are lost: upload it again")]
    BlobLost(Digest),
    /// The bytes of an artifact were changed by somebody else.
    #[error("artifact {digest} is damaged where it is stored, which has {found}: upload it again")]
    BlobDamaged {
        /// The artifact.
        digest: Digest,
        /// What is there in its place.
        found: String,
    },
    /// What a fetch failed with, told to all who waited for it.
    #[error(transparent)]
    Fetch(Arc<StoreError>),
    /// Something stored cannot be read back.
    #[error("{what} is damaged")]
    Damaged {
        /// Which file or column.
        what: String,
        /// How that showed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The host is shutting down and finished the work no more.
    #[error("the host is shutting down")]
    ShuttingDown,
    /// A store that is copied within its folder was to have its artifacts elsewhere.
    #[error(
        "the artifacts stay where they are if a store is copied within its own folder: copy the metastore alone, \
         and start the host with the new `artifacts_url`, which then sends them; or copy to another folder"
    )]
    ArtifactsStay,
    /// A folder that a copy was to fill has something that is not this copy's.
    #[error("{} is there already: move away what the folder has, or choose another", .0.display())]
    FolderNotEmpty(PathBuf),
    /// The tenant has as much as its quota allows.
    #[error("{}", quota_detail(.quota, .limit))]
    QuotaExceeded {
        /// The field of the tenant's quotas.
        quota: &'static str,
        /// How much it is.
        limit: u64,
    },
    /// There is no such tenant.
    #[error("there is no tenant `{0}`: `modelet tenants` lists those there are")]
    NoTenant(TenantName),
    /// There is, or was, a tenant of this name.
    #[error(
        "there {} a tenant `{name}`: names are not given twice, choose another one",
        if *was_deleted { "was" } else { "is" }
    )]
    TenantNameTaken {
        /// The name.
        name: TenantName,
        /// Whether it belonged to one that is gone.
        was_deleted: bool,
    },
    /// A tenant that was to be deleted has functions.
    #[error("tenant `{name}` has {functions} functions: delete them first")]
    TenantHasFunctions {
        /// The tenant.
        name: TenantName,
        /// How many.
        functions: i64,
    },
    /// The tenant has no such key.
    #[error("there is no key `{0}`: `modelet keys` lists those there are")]
    NoKey(KeyId),
    /// A key that was to be rotated has ended.
    #[error("key `{0}` has ended: make another one instead")]
    KeyEnded(KeyId),
    /// A text has a character that not every metastore can keep.
    #[error("U+0000 cannot be part of a text that is stored: leave it out")]
    InvalidText {
        /// The input.
        field: &'static str,
    },
    /// The tenant has as many keys as it may have.
    #[error("the tenant has {max} keys, which is the most: revoke one first")]
    TooManyKeys {
        /// How many it may have.
        max: i64,
    },
    /// The tenant has no such function.
    #[error("there is no function `{0}`")]
    NoFunction(FunctionName),
    /// The function has no such revision.
    #[error("function `{0}` has no revision {1}")]
    NoRevision(FunctionName, RevisionNumber),
    /// The tenant has not uploaded an artifact that the manifest names.
    #[error("artifact {digest} is not there: upload it first")]
    NoArtifact {
        /// The entry of the manifest.
        field: String,
        /// What it names.
        digest: Digest,
    },
    /// The revision takes part in the traffic split.
    #[error("revision {1} of function `{0}` is active: take it out of the traffic split first")]
    RevisionActive(FunctionName, RevisionNumber),
    /// A function that was to be deleted needs a second person for its traffic.
    #[error(
        "function `{0}` needs a second person for its traffic, and so cannot be deleted: its owner says first that it \
         needs none (`modelet function approval {0} none`)"
    )]
    NeedsApproval(FunctionName),
    /// No such activation waits.
    #[error(
        "no activation {1} of function `{0}` waits: it was approved, rejected or replaced, and `modelet functions` \
         shows what waits"
    )]
    NotPending(FunctionName, u64),
    /// An activation was to be approved by whoever asked for it.
    #[error(
        "`{asked}` asked for this activation, and so another person has to approve it: one with a key that `{asked}` \
         has not made"
    )]
    SamePerson {
        /// Who asked for it.
        asked: String,
    },
    /// Nobody knows whose a key is.
    #[error(
        "nobody can tell any more who made `{actor}`, and so whether whoever approves is another person: approve with \
         a key that the host's operator has made"
    )]
    UnknownPerson {
        /// The key.
        actor: String,
    },
    /// There is no earlier traffic split.
    #[error("function `{0}` has no earlier traffic split to roll back to")]
    NothingToRollBack(FunctionName),
    /// The function has no such secret.
    #[error("function `{0}` has no secret `{1}`: `modelet secrets {0}` lists those there are")]
    NoSecret(FunctionName, SecretName),
    /// A secret was encrypted with another key, or its row was tampered with.
    #[error(
        "secret `{1}` of function `{0}` cannot be decrypted with this host's key: set it again, or put the \
         key's file back"
    )]
    SecretUnreadable(FunctionName, SecretName),
    /// A manifest names a secret that is not set.
    #[error(
        "secret `{name}` of function `{function}` is not set: `modelet secret set {function} {name}` sets it"
    )]
    SecretNotSet {
        /// The function.
        function: FunctionName,
        /// The secret.
        name: SecretName,
        /// The entry of the manifest.
        field: String,
    },
    /// A revision that was to take calls needs a secret that is not set any more.
    #[error(
        "revision {revision} of function `{function}` needs secret `{name}`, which is not set: \
         `modelet secret set {function} {name}` sets it"
    )]
    RevisionLacksSecret {
        /// The function.
        function: FunctionName,
        /// The revision.
        revision: RevisionNumber,
        /// The secret.
        name: SecretName,
    },
    /// A revision that takes calls needs the secret.
    #[error(
        "revision {revision} of function `{function}` is active and needs secret `{name}`: set another value, \
         or activate a revision without it first"
    )]
    SecretInUse {
        /// The function.
        function: FunctionName,
        /// The secret.
        name: SecretName,
        /// The revision.
        revision: RevisionNumber,
    },
    /// The function has as many secrets as it may have.
    #[error("function `{function}` has {max} secrets, which is the most: delete one first")]
    TooManySecrets {
        /// The function.
        function: FunctionName,
        /// How many it may have.
        max: usize,
    },
    /// What was to be changed is not any more what the caller had seen.
    #[error("it was changed meanwhile, and its tag is \"{tag}\" now: read it again, and decide anew")]
    Changed {
        /// Its tag now.
        tag: String,
    },
    /// What a request asks for was done when it came before.
    #[error("this request was done before: it made or changed `{subject}`")]
    Repeated {
        /// What was made or changed, as the record of changes names it.
        subject: String,
    },
    /// A request has the key of another one.
    #[error(
        "the idempotency key is that of another request, which asked for something else: give each request \
         a key of its own"
    )]
    KeyOfAnotherRequest,
    /// The uploaded bytes are not those that the digest names. They are discarded.
    #[error("the uploaded bytes have digest {actual}, not {expected}: start the upload again")]
    DigestMismatch {
        /// The digest that was announced.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
    /// Another request is uploading the same artifact.
    #[error("another request is uploading {0}: wait for it, or end it")]
    UploadBusy(Digest),
    /// The bytes do not continue where the upload stands.
    #[error("the upload continues at offset {expected}, not at {given}")]
    WrongOffset {
        /// Where the upload stands.
        expected: u64,
        /// Where the request begins.
        given: u64,
    },
    /// The artifact is larger than allowed.
    #[error("{total} bytes are more than the {max} that an artifact may have")]
    TooLarge {
        /// The announced size.
        total: u64,
        /// The allowed size.
        max: u64,
    },
    /// More bytes came than were announced.
    #[error("more bytes came than the {0} that were announced")]
    TooManyBytes(u64),
    /// The client's bytes stopped coming. What came is kept, so that the upload can go on.
    #[error("the upload was interrupted: ask for its offset and go on from there")]
    Interrupted(#[source] io::Error),
}

fn quota_detail(quota: &str, limit: &u64) -> String {
    format!(
        "the tenant's quota of {limit} is reached (`{quota}`): delete functions that are not needed \
         (artifacts go a day after they were last used), or ask the host's operator for more"
    )
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn damaged<E>(what: impl Into<String>) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        move |source| Self::Damaged { what: what.into(), source: source.into() }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if may_pass(&error) { Self::NoAnswer(error) } else { Self::Database(error) }
    }
}

/// Whether the same statement may succeed later, although nobody mends anything: a connection is lost, or the
/// database takes none at the moment, or took too long.
fn may_pass(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed => {
            true
        }
        // Codes of PostgreSQL's manual, appendix A; those of SQLite are numbers that are none of these.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            let code = code.as_ref();
            // Of the connection, and of an operator who stops the server.
            let of_the_server = code.starts_with("08") || code.starts_with("57P");
            // Cancelled, a lock not had in time, idle for too long, too many connections, and a primary that
            // has become a standby.
            of_the_server || ["57014", "55P03", "25P03", "53300", "25006"].contains(&code)
        }),
        _ => false,
    }
}
