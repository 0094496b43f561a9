//! Copies from one store to another: nothing is lost or altered, whatever database is at either end.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use modelet_store::{
    Actor, Copied, CopyProgress, FunctionSetting, MetastoreUrl, NewApiKey, Page, Precondition, Source, Store,
    StoreConfig, StoreError, TenantSetting, UsageCursor, UsageHour, copy,
};
use modelet_test_postgres::Server;
use modelet_types::{
    Digest, InvocationQuotas, Quotas, RevisionNumber, Role, SecretName, SecretValue, Trust, Usage,
};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use tempfile::TempDir;

use crate::support::{
    append, audit_key, chain, config, database, deploy, deploy_new, files, function, open_at, range, split,
    tenant, upload,
};

/// Fills a store with rows of every kind, and its folder with what other parts of a host keep there.
async fn fill(store: &Arc<Store>) {
    let owner = tenant("a");
    let shared = upload(store, &owner, b"shared").await;
    for bytes in [&b"shared"[..], b"shared too"] {
        upload(store, &tenant("b"), bytes).await;
    }
    for _ in 0..3 {
        deploy(store, &owner, "f", shared, false).await.unwrap();
    }
    store
        .set_traffic(&Actor::LOCAL, &owner, &function("f"), split(&[(3, 1), (1, 9)]), &Precondition::NONE)
        .await
        .unwrap();
    store
        .set_traffic(&Actor::LOCAL, &owner, &function("f"), split(&[(2, 1)]), &Precondition::NONE)
        .await
        .unwrap();
    deploy_new(store, &owner, "gone", true).await;
    store.delete_function(&Actor::LOCAL, &owner, &function("gone"), &Precondition::NONE).await.unwrap();
    let value = SecretValue::new("grüße".to_owned().into()).unwrap();
    store.set_secret(&Actor::LOCAL, &owner, &function("f"), &secret(), &value).await.unwrap();
    let key = NewApiKey {
        id: "0000000000ab".parse().unwrap(),
        digest: Digest::of(b"key"),
        role: Role::Invoker,
        functions: Some(vec![function("f")]),
        description: "\u{1f980} 'quoted' \\ \"\n".to_owned(),
        lifetime_s: Some(3600),
    };
    store.create_api_key(&Actor::LOCAL.from(Some([10, 0, 0, 1].into())), &owner, key).await.unwrap();
    let quotas = TenantSetting::Quotas(Quotas { functions: Some(9), ..Quotas::default() });
    store.set_tenant(&Actor::LOCAL, &owner, quotas, &Precondition::NONE).await.unwrap();
    for setting in [
        FunctionSetting::Quotas(InvocationQuotas { queue: Some(7), ..InvocationQuotas::default() }),
        FunctionSetting::NeedsApproval(true),
    ] {
        store
            .set_function(&Actor::LOCAL, &owner, &function("f"), setting, &Precondition::NONE)
            .await
            .unwrap();
    }
    let asked = store
        .set_traffic(&Actor::LOCAL, &owner, &function("f"), split(&[(1, 1)]), &Precondition::NONE)
        .await
        .unwrap();
    assert!(asked.pending.is_some());
    store.create_tenant(&Actor::LOCAL, &tenant("late"), Trust::Trusted).await.unwrap();
    store.delete_tenant(&Actor::LOCAL, &tenant("late"), &Precondition::NONE).await.unwrap();
    let (key, now) = (audit_key(store), Timestamp::now());
    let forgotten = store.forget_changes(&key, &tenant("b"), now, &[], &[]).await.unwrap().unwrap();
    assert_eq!(forgotten.unwrap().removed, 1);
    // More than are written in one statement.
    let hours: Vec<_> = (0..250)
        .map(|hour| UsageHour {
            tenant: owner.clone(),
            hour,
            function: function("f"),
            revision: RevisionNumber(1),
            usage: Usage { invocations: 1, cpu_us: u64::try_from(i64::MAX).unwrap(), ..Usage::default() },
        })
        .collect();
    let cursor = UsageCursor { segment: 1, offset: 7 };
    store.add_usage("ledger", cursor, &hours).await.unwrap();
    store.set_usage_export_cursor("ledger", cursor).await.unwrap();
    append(store, &owner, Digest::of(b"abcdef"), range(0, 6), b"abc").await.unwrap();

    let folder = store.data_dir();
    fs::create_dir_all(folder.join("ledger")).unwrap();
    fs::write(folder.join("ledger/00000000000000000001.ledger"), b"records").unwrap();
    fs::write(folder.join("ledger/id"), b"of the ledger").unwrap();
    fs::write(folder.join("ledger/lock"), b"").unwrap();
    fs::write(folder.join("audit-heads.jsonl"), b"{}\n").unwrap();
    fs::create_dir_all(folder.join("key-value/a")).unwrap();
    let kept = folder.join("key-value/a/f.1.sqlite3");
    let options = SqliteConnectOptions::new().filename(kept).create_if_missing(true);
    let mut kept = options.connect().await.unwrap();
    let statements = "PRAGMA journal_mode = WAL; PRAGMA user_version = 1; CREATE TABLE kept (key TEXT);
                      INSERT INTO kept VALUES ('of f')";
    sqlx::raw_sql(statements).execute(&mut kept).await.unwrap();
    // Its last write is in the log beside it, as with a host that runs.
    std::mem::forget(kept);
}

fn secret() -> SecretName {
    "token".parse().unwrap()
}

/// Looks whether a store is the one that was filled, and whether one can go on with it.
async fn check_filled(store: &Arc<Store>) {
    let owner = tenant("a");
    let trusted = [audit_key(store).public()];
    for tenant in ["a", "b", "c", "default", "late"] {
        store.verify_changes(&tenant.parse().unwrap(), &[], &trusted).await.unwrap().unwrap();
    }
    assert_eq!(store.checkpoints(&trusted).await.unwrap().len(), 1);
    let found = store.function(&owner, &function("f")).await.unwrap().unwrap();
    assert_eq!(found.traffic, split(&[(2, 1)]));
    let values = store.secret_values(&owner, &found, &[secret()]).await.unwrap();
    assert_eq!(values.get("token").unwrap().expose(), "grüße");
    for artifact in store.artifacts(&owner).await.unwrap() {
        assert_eq!(Digest::of(&fs::read(&artifact.path).unwrap()), artifact.digest);
    }
    // Numbers go on where they were, also those of what is gone.
    assert_eq!(deploy_new(store, &owner, "f", true).await, RevisionNumber(4));
    assert_eq!(deploy_new(store, &owner, "gone", true).await, RevisionNumber(2));
    store.rollback(&Actor::LOCAL, &owner, &function("f"), &Precondition::NONE).await.unwrap();
    let again = store.create_tenant(&Actor::LOCAL, &tenant("late"), Trust::Trusted).await.unwrap_err();
    assert!(matches!(again, StoreError::TenantNameTaken { was_deleted: true, .. }));
}

async fn filled(config: &StoreConfig) {
    let store = open_at(config).await;
    fill(&store).await;
    store.close().await;
}

async fn run(from: &StoreConfig, to: &StoreConfig, source: Source) -> Result<Copied, StoreError> {
    copy(from, to, source, |_| {}).await
}

/// Every row of every table of an embedded store, as text.
async fn dump_sqlite(config: &StoreConfig) -> BTreeSet<String> {
    let options = SqliteConnectOptions::new().filename(config.data_dir.join("metastore.sqlite3"));
    let mut connection = options.connect().await.unwrap();
    let tables = "SELECT m.name AS name, group_concat(quote_of, ' || '';'' || ') AS columns FROM sqlite_master m,
                  (SELECT m.name AS of, 'quote(' || c.name || ')' AS quote_of
                   FROM sqlite_master m, pragma_table_info(m.name) c ORDER BY c.name) AS c
                  WHERE m.type = 'table' AND c.of = m.name AND m.name NOT LIKE '\\_sqlx%' ESCAPE '\\' GROUP BY m.name";
    let tables = sqlx::query(tables).fetch_all(&mut connection).await.unwrap();
    let mut dump = BTreeSet::new();
    for table in &tables {
        let (name, columns): (String, String) = (table.get("name"), table.get("columns"));
        let rows = format!("SELECT '{name}: ' || {columns} AS row FROM {name}");
        let rows = sqlx::query(AssertSqlSafe(rows)).fetch_all(&mut connection).await.unwrap();
        dump.extend(rows.iter().map(|row: &SqliteRow| row.get::<String, _>("row")));
    }
    connection.close().await.unwrap();
    assert!(dump.len() >= 300, "{dump:#?}");
    dump
}

/// The same of one on PostgreSQL.
fn dump_postgres(url: &str) -> String {
    let name = url.rsplit_once('/').unwrap().1;
    let tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'
                  AND table_name NOT LIKE '\\_sqlx%' ORDER BY table_name";
    let tables = Server::shared().sql(name, tables).unwrap();
    assert_eq!(tables.lines().count(), 15);
    let rows = |table: &str| {
        Server::shared()
            .sql(name, &format!("SELECT to_jsonb(t) FROM {table} t ORDER BY to_jsonb(t)::text"))
            .unwrap()
    };
    tables.lines().map(|table| format!("{table}\n{}\n", rows(table))).collect()
}

/// What a folder has beside the metastore, by the names below it.
fn dump_files(config: &StoreConfig) -> BTreeSet<(String, Vec<u8>)> {
    let below = |part: &str| files(&config.data_dir.join(part));
    let mut found: Vec<_> = [below("artifacts"), below("ledger")].concat();
    found.retain(|path| !path.ends_with("ledger/lock"));
    found.extend(["secret.key", "audit.key", "audit-heads.jsonl"].map(|name| config.data_dir.join(name)));
    let name = |path: &Path| path.strip_prefix(&config.data_dir).unwrap().display().to_string();
    found.iter().map(|path| (name(path), fs::read(path).unwrap())).collect()
}

#[tokio::test]
async fn a_store_moves_to_postgres_and_back_without_a_difference() {
    let folders: [TempDir; 3] = std::array::from_fn(|_| TempDir::new().unwrap());
    let first = config(folders[0].path(), None);
    let url = database();
    let second = config(folders[1].path(), Some(url.clone()));
    let third = config(folders[2].path(), None);
    filled(&first).await;
    let mut told = Vec::new();
    let there = copy(&first, &second, Source::Stopped, |progress| told.push(progress)).await.unwrap();
    let back = run(&second, &third, Source::Stopped).await.unwrap();
    assert_eq!(there, back);
    assert_eq!(there.missing, 0);
    assert!(there.rows >= 300 && there.artifacts == 3, "{there:?}");
    assert!(told.contains(&CopyProgress::Rows { rows: there.rows, total: there.rows }), "{told:?}");
    let bytes = there.artifact_bytes;
    assert!(told.contains(&CopyProgress::Artifacts { bytes, total_bytes: bytes }), "{told:?}");

    assert_eq!(dump_sqlite(&first).await, dump_sqlite(&third).await);
    for copied in [&second, &third] {
        assert_eq!(dump_files(&first), dump_files(copied));
        let kept = SqliteConnectOptions::new().filename(copied.data_dir.join("key-value/a/f.1.sqlite3"));
        let mut kept = kept.connect().await.unwrap();
        let row = sqlx::query("SELECT key, user_version AS format FROM kept, pragma_user_version");
        let row = row.fetch_one(&mut kept).await.unwrap();
        assert_eq!((row.get::<String, _>("key"), row.get::<i64, _>("format")), ("of f".to_owned(), 1));
        check_filled(&open_at(copied).await).await;
    }
}

#[tokio::test]
async fn a_store_on_postgres_moves_to_sqlite_and_back_without_a_difference() {
    let folders: [TempDir; 3] = std::array::from_fn(|_| TempDir::new().unwrap());
    let urls = [database(), database()];
    let first = config(folders[0].path(), Some(urls[0].clone()));
    let second = config(folders[1].path(), None);
    let third = config(folders[2].path(), Some(urls[1].clone()));
    filled(&first).await;
    run(&first, &second, Source::Stopped).await.unwrap();
    run(&second, &third, Source::Stopped).await.unwrap();
    assert_eq!(dump_postgres(&urls[0]), dump_postgres(&urls[1]));
    assert_eq!(dump_files(&first), dump_files(&third));
    check_filled(&open_at(&third).await).await;
}

#[tokio::test]
async fn a_metastore_moves_in_its_folder_and_the_one_left_behind_is_refused() {
    let folder = TempDir::new().unwrap();
    let embedded = config(folder.path(), None);
    let moved = config(folder.path(), Some(database()));
    filled(&embedded).await;
    run(&embedded, &moved, Source::Stopped).await.unwrap();
    let store = open_at(&moved).await;
    check_filled(&store).await;
    store.close().await;
    drop(store);
    let stale = Store::open(&embedded).await.map(drop).unwrap_err();
    assert!(matches!(stale, StoreError::OtherMetastore { .. }), "{stale:?}");

    let refused = run(&moved, &embedded, Source::Stopped).await.unwrap_err();
    assert!(matches!(refused, StoreError::TargetNotEmpty { .. }), "{refused:?}");
    assert!(refused.to_string().contains("without `metastore.sqlite3`"), "{refused}");
    fs::remove_file(embedded.data_dir.join("metastore.sqlite3")).unwrap();
    run(&moved, &embedded, Source::Stopped).await.unwrap();
    let store = open_at(&embedded).await;
    assert_eq!(deploy_new(&store, &tenant("a"), "f", true).await, RevisionNumber(5));
}

#[tokio::test]
async fn a_backup_is_made_beside_a_host_that_runs() {
    for metastore_url in [None, Some(database())] {
        let (folder, copies) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let live = config(folder.path(), metastore_url);
        let backup = config(copies.path(), None);
        let store = open_at(&live).await;
        fill(&store).await;
        let writing = tokio::spawn({
            let store = Arc::clone(&store);
            async move {
                for _ in 0..20 {
                    deploy_new(&store, &tenant("b"), "meanwhile", true).await;
                }
            }
        });
        run(&live, &backup, Source::Live).await.unwrap();
        writing.await.unwrap();
        let stopped = run(&live, &backup, Source::Stopped).await.unwrap_err();
        assert!(matches!(stopped, StoreError::InUse(_)), "{stopped:?}");

        let restored = open_at(&backup).await;
        check_filled(&restored).await;
        for revision in
            restored.revisions(&tenant("b"), &function("meanwhile"), &Page::whole()).await.unwrap_or_default()
        {
            let artifact = restored.artifact(&tenant("b"), revision.spec.component.unwrap()).await.unwrap();
            assert!(artifact.unwrap().path.exists());
        }
        assert_eq!(deploy_new(&store, &tenant("b"), "meanwhile", true).await, RevisionNumber(21));
    }
}

#[tokio::test]
async fn what_cannot_be_copied_is_refused_and_can_be_done_again() {
    let (folder, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let from = config(folder.path(), None);
    let to = config(other.path(), None);
    let nothing = run(&from, &to, Source::Live).await.unwrap_err();
    assert!(matches!(nothing, StoreError::NothingToCopy { .. }), "{nothing:?}");
    filled(&from).await;

    let digest = Digest::of(b"shared");
    let hex = digest.to_hex();
    let blob = from.data_dir.join("artifacts/sha256").join(&hex[..2]).join(&hex);
    fs::write(&blob, b"SHARED").unwrap();
    let damaged = run(&from, &to, Source::Stopped).await.unwrap_err();
    assert!(chain(&damaged).contains(&hex), "{}", chain(&damaged));
    fs::remove_file(&blob).unwrap();
    let lost = run(&from, &to, Source::Stopped).await.unwrap_err();
    assert!(chain(&lost).contains("are lost"), "{}", chain(&lost));
    fs::write(&blob, b"shared").unwrap();
    run(&from, &to, Source::Stopped).await.unwrap();
    let twice = run(&from, &to, Source::Stopped).await.unwrap_err();
    assert!(matches!(twice, StoreError::TargetNotEmpty { .. }), "{twice:?}");
    check_filled(&open_at(&to).await).await;

    let third = TempDir::new().unwrap();
    let third = config(third.path(), None);
    fs::create_dir_all(&third.data_dir).unwrap();
    fs::write(third.data_dir.join("secret.key"), "another key\n").unwrap();
    let key = run(&from, &third, Source::Stopped).await.unwrap_err();
    assert!(matches!(key, StoreError::OtherSealingKey(_)), "{key:?}");
}

/// Not the bytes of an artifact that nobody needs: a collection may have taken them meanwhile.
#[tokio::test]
async fn an_artifact_that_no_revision_names_may_be_lost() {
    let (folder, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (from, to) = (config(folder.path(), None), config(other.path(), None));
    let store = open_at(&from).await;
    upload(&store, &tenant("a"), b"unused").await;
    let artifact = store.artifact(&tenant("a"), Digest::of(b"unused")).await.unwrap().unwrap();
    fs::remove_file(artifact.path).unwrap();
    let copied = run(&from, &to, Source::Live).await.unwrap();
    assert_eq!((copied.artifacts, copied.missing), (0, 1));
    // It can be uploaded again.
    upload(&open_at(&to).await, &tenant("a"), b"unused").await;
}

#[tokio::test]
async fn what_a_move_left_behind_is_not_copied() {
    let [folder, target] = [(); 2].map(|()| TempDir::new().unwrap());
    let embedded = StoreConfig::embedded(folder.path());
    open_at(&embedded).await.close().await;
    let moved = StoreConfig { metastore_url: Some(MetastoreUrl::new(database())), ..embedded.clone() };
    copy(&embedded, &moved, Source::Stopped, |_| {}).await.unwrap();
    open_at(&moved).await.close().await;
    let error =
        copy(&embedded, &StoreConfig::embedded(target.path()), Source::Live, |_| {}).await.unwrap_err();
    assert!(matches!(error, StoreError::OtherMetastore { .. }), "{error:?}");
    copy(&moved, &StoreConfig::embedded(target.path()), Source::Live, |_| {}).await.unwrap();
}

#[tokio::test]
async fn a_folder_that_has_something_is_not_filled() {
    let [folder, target] = [(); 2].map(|()| TempDir::new().unwrap());
    let from = StoreConfig::embedded(folder.path());
    open_at(&from).await.close().await;
    let segment = target.path().join("ledger/1.ledger");
    std::fs::create_dir(segment.parent().unwrap()).unwrap();
    std::fs::write(&segment, b"records").unwrap();
    let to = StoreConfig::embedded(target.path());
    let error = copy(&from, &to, Source::Stopped, |_| {}).await.unwrap_err();
    assert!(matches!(&error, StoreError::FolderNotEmpty(path) if path.ends_with("ledger")), "{error:?}");
    assert_eq!(std::fs::read(&segment).unwrap(), b"records");
    std::fs::remove_file(&segment).unwrap();
    copy(&from, &to, Source::Stopped, |_| {}).await.unwrap();
    assert!(!target.path().join("COPYING").exists());
}

#[tokio::test]
async fn a_new_database_is_left_as_it_is_if_the_folder_has_another() {
    let folder = TempDir::new().unwrap();
    let embedded = StoreConfig::embedded(folder.path());
    open_at(&embedded).await.close().await;
    let moved = StoreConfig { metastore_url: Some(MetastoreUrl::new(database())), ..embedded.clone() };
    let error = Store::open(&moved).await.map(drop).unwrap_err();
    assert!(matches!(error, StoreError::OtherMetastore { .. }), "{error:?}");
    // So that it can still be copied there.
    copy(&embedded, &moved, Source::Stopped, |_| {}).await.unwrap();
    open_at(&moved).await;
}
