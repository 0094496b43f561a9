//! The data folder: who may open it, what is refused, and what a start cleans up.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use modelet_store::{Actor, Page, Store, StoreConfig, StoreError, UploadState};
use modelet_types::{Code, Digest, Problem, SecretValue};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;

use crate::support::{append, chain, deploy, deploy_new, files, function, open, range, tenant, upload};

async fn refusal(folder: &TempDir) -> StoreError {
    Store::open(&StoreConfig::embedded(folder.path())).await.map(drop).unwrap_err()
}

#[tokio::test]
async fn a_second_host_is_refused() {
    let folder = TempDir::new().unwrap();
    let first = open(folder.path()).await;
    let error = refusal(&folder).await;
    assert!(matches!(error, StoreError::InUse(_)), "{error:?}");
    assert!(error.to_string().contains(folder.path().to_str().unwrap()), "{error}");
    first.close().await;
    drop(first);
    open(folder.path()).await;
}

#[tokio::test]
async fn what_was_stored_is_there_after_a_restart() {
    let folder = TempDir::new().unwrap();
    let owner = tenant("a");
    let store = open(folder.path()).await;
    deploy_new(&store, &owner, "f", true).await;
    let before = store.function(&owner, &function("f")).await.unwrap().unwrap();
    append(&store, &owner, Digest::of(b"abcdef"), range(0, 6), b"abc").await.unwrap();
    store.close().await;
    drop(store);
    let store = open(folder.path()).await;
    assert_eq!(store.function(&owner, &function("f")).await.unwrap().unwrap(), before);
    append(&store, &owner, Digest::of(b"abcdef"), range(3, 6), b"def").await.unwrap();
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let folder = TempDir::new().unwrap();
    drop(open(folder.path()).await);
    fs::write(folder.path().join("VERSION"), "2\n").unwrap();
    let error = refusal(&folder).await;
    assert!(matches!(error, StoreError::Version { found: 2, known: 1, .. }), "{error:?}");
    assert!(error.to_string().contains("newer host"), "{error}");
    fs::write(folder.path().join("VERSION"), "nonsense").unwrap();
    assert!(chain(&refusal(&folder).await).contains("VERSION is damaged: invalid digit"));
}

#[tokio::test]
async fn others_cannot_read_the_folder() {
    let parent = TempDir::new().unwrap();
    let data = parent.path().join("new/data");
    let _store = open(&data).await;
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn others_cannot_read_what_is_in_a_folder_that_they_can_enter() {
    let folder = TempDir::new().unwrap();
    let open_to_all = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    // Also not if somebody, or an earlier host, had made it all readable.
    open_to_all(folder.path(), 0o755);
    fs::create_dir(folder.path().join("uploads")).unwrap();
    open_to_all(&folder.path().join("uploads"), 0o755);
    fs::write(folder.path().join("metastore.sqlite3"), "").unwrap();
    open_to_all(&folder.path().join("metastore.sqlite3"), 0o644);

    let store = open(folder.path()).await;
    upload(&store, &tenant("a"), b"secret").await;
    let modes: BTreeMap<_, _> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name(), entry.metadata().unwrap().permissions().mode() & 0o777))
        .collect();
    assert_eq!(modes[OsStr::new("uploads")], 0o700);
    assert_eq!(modes[OsStr::new("metastore.sqlite3-wal")], 0o600);
    assert!(modes.values().all(|mode| mode & 0o077 == 0), "{modes:?}");
}

#[tokio::test]
async fn a_start_removes_what_a_killed_host_left() {
    let folder = TempDir::new().unwrap();
    let owner = tenant("a");
    let store = open(folder.path()).await;
    let kept = upload(&store, &owner, b"kept").await;
    let (old, recent) = (Digest::of(b"old upload"), Digest::of(b"recent upload"));
    for digest in [old, recent] {
        append(&store, &owner, digest, range(0, 10), b"part").await.unwrap();
    }
    store.close().await;
    drop(store);
    let old_part = folder.path().join(format!("uploads/a/{}.part", old.to_hex()));
    let two_days_ago = SystemTime::now() - Duration::from_secs(48 * 3600);
    File::options().write(true).open(&old_part).unwrap().set_modified(two_days_ago).unwrap();
    let orphan = Digest::of(b"orphan").to_hex();
    let shelf = folder.path().join("artifacts/sha256").join(&orphan[..2]);
    fs::create_dir_all(&shelf).unwrap();
    fs::write(shelf.join(&orphan), b"orphan").unwrap();
    fs::write(shelf.join("notes.txt"), b"not ours").unwrap();

    let store = open(folder.path()).await;
    assert!(!old_part.exists());
    assert_eq!(store.upload_offset(&owner, recent).await.unwrap(), UploadState::Partial { offset: 4 });
    let left: Vec<_> = files(&folder.path().join("artifacts"));
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(store.artifact(&owner, kept).await.unwrap().unwrap().path.exists());
    assert!(shelf.join("notes.txt").exists());
}

#[tokio::test]
async fn an_artifact_is_held_where_it_is_and_not_if_it_is_lost() {
    let folder = TempDir::new().unwrap();
    let owner = tenant("a");
    let store = open(folder.path()).await;
    let digest = upload(&store, &owner, b"model").await;
    let artifact = store.artifact(&owner, digest).await.unwrap().unwrap();
    assert_eq!(store.hold(&artifact).await.unwrap().path(), artifact.path);
    assert_eq!(store.hold_present(digest).unwrap().path(), artifact.path);
    fs::remove_file(&artifact.path).unwrap();
    assert!(store.hold_present(digest).is_none());
    let error = store.hold(&artifact).await.unwrap_err();
    assert!(matches!(error, StoreError::BlobLost(d) if d == digest), "{error:?}");
    assert_eq!(
        Problem::from(error).detail,
        format!("the bytes of artifact {digest} are lost: upload it again")
    );
}

#[tokio::test]
async fn a_full_disk_is_an_error_that_names_no_path_to_the_client() {
    let folder = TempDir::new().unwrap();
    let owner = tenant("a");
    let store = open(folder.path()).await;
    let digest = Digest::of(b"abc");
    fs::create_dir_all(folder.path().join("uploads/a")).unwrap();
    let part = folder.path().join(format!("uploads/a/{}.part", digest.to_hex()));
    symlink("/dev/full", &part).unwrap();
    let error = append(&store, &owner, digest, range(0, 3), b"abc").await.unwrap_err();
    assert!(chain(&error).contains("No space left on device"), "{}", chain(&error));
    assert_eq!(error.code(), Code::Internal);
    assert!(!Problem::from(error).detail.contains('/'));
    assert_eq!(store.artifact(&owner, digest).await.unwrap(), None);
    // With room again, the upload goes through.
    fs::remove_file(&part).unwrap();
    append(&store, &owner, digest, range(0, 3), b"abc").await.unwrap();
}

#[tokio::test]
async fn a_metastore_of_before_the_ids_of_functions_is_brought_up() {
    let folder = TempDir::new().unwrap();
    let owner = tenant("a");
    let store = open(folder.path()).await;
    let component = upload(&store, &owner, b"component").await;
    for name in ["f", "g", "f"] {
        deploy(&store, &owner, name, component, true).await.unwrap();
    }
    let before = store.functions(&owner, &Page::whole()).await.unwrap();
    store.close().await;
    drop(store);

    // As the first version left it.
    fs::remove_file(folder.path().join("METASTORE")).unwrap();
    let database = folder.path().join("metastore.sqlite3");
    let statements = "DROP TABLE secrets; ALTER TABLE functions DROP COLUMN id;
                      ALTER TABLE functions DROP COLUMN quotas; ALTER TABLE functions DROP COLUMN pending;
                      ALTER TABLE functions DROP COLUMN approval_since; DROP INDEX changes_of_new_keys;
                      DROP TABLE api_keys; DROP TABLE tenants; DROP TABLE usage_hours; DROP TABLE usage_cursors;
                      DROP TABLE requests; DROP TABLE audit_checkpoints;
                      DROP TABLE usage_export_cursors;
                      DROP INDEX changes_without_hash; ALTER TABLE changes DROP COLUMN hash;
                      ALTER TABLE changes DROP COLUMN origin;
                      DELETE FROM _sqlx_migrations WHERE version >= 2;";
    let mut connection = SqliteConnectOptions::new().filename(&database).connect().await.unwrap();
    sqlx::raw_sql(statements).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();

    let store = open(folder.path()).await;
    assert_eq!(store.functions(&owner, &Page::whole()).await.unwrap(), before);
}

#[tokio::test]
async fn a_folder_that_lost_its_key_opens_and_takes_new_secrets() {
    let folder = TempDir::new().unwrap();
    let (owner, f, name) = (tenant("a"), function("f"), "key".parse().unwrap());
    let value = |text: &str| SecretValue::new(text.to_owned().into()).unwrap();
    let store = open(folder.path()).await;
    store.set_secret(&Actor::LOCAL, &owner, &f, &name, &value("old")).await.unwrap();
    store.close().await;
    drop(store);
    fs::remove_file(folder.path().join("secret.key")).unwrap();

    let store = open(folder.path()).await;
    let found = store.function(&owner, &f).await.unwrap().unwrap();
    let names = std::slice::from_ref(&name);
    let error = store.secret_values(&owner, &found, names).await.unwrap_err();
    assert!(matches!(error, StoreError::SecretUnreadable(..)), "{error}");
    store.set_secret(&Actor::LOCAL, &owner, &f, &name, &value("new")).await.unwrap();
    assert_eq!(store.secret_values(&owner, &found, names).await.unwrap().get("key"), Some(&value("new")));
}
