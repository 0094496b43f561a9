//! What PostgreSQL alone has: a server that goes and comes back, other hosts on it, and reasons to be refused.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use modelet_store::{Actor, MetastoreUrl, NewApiKey, Page, Precondition, Store, StoreConfig, StoreError};
use modelet_test_postgres::{GUARDED, GUEST, PASSWORD, Server};
use modelet_types::{Code, Digest, Problem, Role};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::watch;

use crate::support::{chain, config, database, deploy_new, files, function, open_at, postgres, tenant};

/// The name of the database in a URL of these tests.
fn name_of(url: &str) -> &str {
    url.rsplit_once('/').unwrap().1
}

async fn refusal(config: &StoreConfig) -> StoreError {
    Store::open(config).await.map(drop).unwrap_err()
}

/// A store on a database at `url`, in a folder of its own.
fn at(folder: &TempDir, url: &str) -> StoreConfig {
    config(folder.path(), Some(url.to_owned()))
}

/// Ends every connection of a database, as a network does that fails.
fn cut_connections(url: &str) {
    let statement = format!(
        "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity
         WHERE datname = '{}' AND usename = 'modelet'",
        name_of(url)
    );
    assert_ne!(Server::shared().sql("postgres", &statement).unwrap(), "0");
}

#[tokio::test]
async fn a_host_outlives_the_end_of_its_database() {
    let server = Server::start().unwrap();
    let folder = TempDir::new().unwrap();
    let store = open_at(&at(&folder, &server.database().unwrap())).await;
    let owner = tenant("a");
    deploy_new(&store, &owner, "f", true).await;
    let before = store.function(&owner, &function("f")).await.unwrap().unwrap();
    // Nothing in its memory is written down: what was acknowledged was on its disk.
    server.crash().unwrap();

    let reading = store.function(&owner, &function("f")).await.unwrap_err();
    let writing =
        store.delete_function(&Actor::LOCAL, &owner, &function("f"), &Precondition::NONE).await.unwrap_err();
    for error in [reading, writing] {
        assert_eq!(error.code(), Code::StorageUnavailable, "{}", chain(&error));
        let problem = Problem::from(error);
        assert!(problem.detail.contains("try again"), "{problem}");
    }
    server.resume().unwrap();
    assert_eq!(store.function(&owner, &function("f")).await.unwrap(), Some(before));
    deploy_new(&store, &owner, "f", true).await;
    store.verify_changes(&owner, &[], &[]).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_that_breaks_is_made_anew() {
    let url = database();
    let folder = TempDir::new().unwrap();
    let store = open_at(&at(&folder, &url)).await;
    let owner = tenant("a");
    deploy_new(&store, &owner, "f", true).await;
    let before = store.changes(&owner, 0, 100).await.unwrap();
    cut_connections(&url);
    store.delete_function(&Actor::LOCAL, &owner, &function("f"), &Precondition::NONE).await.unwrap();
    assert_eq!(store.changes(&owner, 0, 100).await.unwrap().len(), before.len() + 1);
}

/// A network that swallows everything: no connection is ever said to have ended.
#[tokio::test]
async fn an_answer_that_never_comes_ends_the_change_and_not_the_host() {
    let url = database();
    let network = Network::to(&Server::shared().folder().join(".s.PGSQL.5432")).await;
    let folder = TempDir::new().unwrap();
    let by_network = format!("postgres://modelet@{}/{}", network.address, name_of(&url));
    let store = open_at(&at(&folder, &by_network)).await;
    let owner = tenant("a");
    let key = |number: u64| NewApiKey {
        id: format!("{number:012x}").parse().unwrap(),
        digest: Digest::of(&number.to_be_bytes()),
        role: Role::Invoker,
        functions: None,
        description: String::new(),
        lifetime_s: None,
    };
    let made = store.create_api_key(&Actor::LOCAL, &owner, key(1)).await.unwrap();
    let swallow = |_| {
        network.swallows.send_replace(true);
        key(2)
    };
    let error =
        store.rotate_api_key(&Actor::LOCAL, &owner, made.id, made.created_at, swallow).await.unwrap_err();
    assert_eq!(error.code(), Code::StorageUnavailable, "{}", chain(&error));
    let reading = store.api_keys(&owner).await.unwrap_err();
    assert_eq!(reading.code(), Code::StorageUnavailable, "{}", chain(&reading));
    network.swallows.send_replace(false);
    assert_eq!(store.api_keys(&owner).await.unwrap(), [made]);
    store.create_api_key(&Actor::LOCAL, &owner, key(3)).await.unwrap();
    store.verify_changes(&owner, &[], &[]).await.unwrap().unwrap();
}

/// What is between a host and its database.
struct Network {
    address: SocketAddr,
    /// Whether nothing gets through at the moment.
    swallows: watch::Sender<bool>,
}

impl Network {
    async fn to(socket: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (swallows, state) = watch::channel(false);
        let socket = socket.to_owned();
        tokio::spawn(async move {
            while let Ok((host, _)) = listener.accept().await {
                let (from_host, to_host) = host.into_split();
                let (from_server, to_server) = UnixStream::connect(&socket).await.unwrap().into_split();
                tokio::spawn(carry(from_host, to_server, state.clone()));
                tokio::spawn(carry(from_server, to_host, state.clone()));
            }
        });
        Self { address, swallows }
    }
}

/// Carries bytes one way, while they get through.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut swallows: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 1 << 16];
    loop {
        let count = from.read(&mut bytes).await.unwrap_or(0);
        // The end of the test is the end of the network.
        if swallows.wait_for(|swallows| !swallows).await.is_err() || count == 0 {
            return;
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_second_host_is_refused() {
    let url = database();
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open_at(&at(&first, &url)).await;
    let error = refusal(&at(&second, &url)).await;
    assert!(matches!(error, StoreError::MetastoreTaken { .. }), "{error:?}");
    assert!(error.to_string().contains("stop the other one"), "{error}");
    deploy_new(&store, &tenant("a"), "f", true).await;
    store.close().await;
    open_at(&at(&second, &url)).await;
}

/// The lock goes with the connection. Who takes it meanwhile has it for good.
#[tokio::test]
async fn a_host_that_lost_the_metastore_to_another_writes_nothing_more() {
    let url = database();
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let lost = open_at(&at(&first, &url)).await;
    let owner = tenant("a");
    cut_connections(&url);
    let other = open_at(&at(&second, &url)).await;
    deploy_new(&other, &owner, "f", true).await;
    let delete = async |store: &Arc<Store>| {
        store.delete_function(&Actor::LOCAL, &owner, &function("f"), &Precondition::NONE).await
    };
    let while_other_has_it = delete(&lost).await.unwrap_err();
    other.close().await;
    let after_other_has_gone = delete(&lost).await.unwrap_err();
    for error in [while_other_has_it, after_other_has_gone] {
        assert!(matches!(error, StoreError::MetastoreTaken { .. }), "{}", chain(&error));
        assert_eq!(error.code(), Code::StorageUnavailable);
    }
    assert_eq!(lost.functions(&owner, &Page::whole()).await.unwrap().len(), 1, "reading is of what is there");
    lost.close().await;
    drop(other);
    delete(&open_at(&at(&second, &url)).await).await.unwrap();
}

#[tokio::test]
async fn each_refusal_says_what_to_do() {
    let server = Server::shared();
    let url = database();
    let of = |role: &str| server.url(role, name_of(&url));
    let sql = |statement: &str| server.sql(name_of(&url), statement).unwrap();
    let folder = TempDir::new().unwrap();
    let refused = async |url: &str, says: &str| {
        let error = refusal(&at(&folder, url)).await;
        let text = chain(&error);
        assert!(text.contains(says) && !text.contains("hunter"), "{text}");
        assert_eq!(error.code(), Code::Internal);
        error
    };
    let nowhere = refused("postgres://modelet@%2Fnowhere/m", "start the database").await;
    assert!(matches!(nowhere, StoreError::Unreachable { .. }), "{nowhere:?}");
    let port = refused("postgres://modelet@127.0.0.1:1/m", "start the database").await;
    assert!(matches!(port, StoreError::Unreachable { .. }), "{port:?}");
    let missing = refused(&server.url("modelet", "missing"), "createdb").await;
    assert!(matches!(missing, StoreError::NoMetastore { .. }), "{missing:?}");
    let guarded = |password: &str| of(GUARDED).replace(GUARDED, &format!("{GUARDED}:{password}"));
    let wrong = refused(&guarded("hunter3"), "PGPASSFILE").await;
    assert!(matches!(wrong, StoreError::MetastoreRefuses { .. }), "{wrong:?}");
    let may_not = refused(&guarded(PASSWORD), "GRANT CREATE ON SCHEMA public").await;
    assert!(matches!(may_not, StoreError::MayNotCreateTables { .. }), "{may_not:?}");
    refused(&of(GUEST), "GRANT CREATE ON SCHEMA public").await;
    refused("mysql://modelet@db/m", "`metastore_url` cannot be used").await;
    server
        .sql(
            "postgres",
            "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0 OWNER modelet",
        )
        .unwrap();
    refused(&server.url("modelet", "latin"), "ENCODING 'UTF8'").await;

    open_at(&at(&folder, &url)).await.close().await;
    sql("INSERT INTO _sqlx_migrations VALUES (9999, 'of tomorrow', now(), true, '\\x00', 0)");
    let newer = refused(&url, "use a newer host").await;
    assert!(matches!(newer, StoreError::NewerMetastore { found: 9999, .. }), "{newer:?}");
}

/// SQLite does, and a copy from one to the other must not put anything in another order.
#[tokio::test]
async fn every_text_is_compared_by_its_bytes() {
    let url = database();
    let folder = TempDir::new().unwrap();
    open_at(&at(&folder, &url)).await.close().await;
    let statement = "SELECT table_name || '.' || column_name FROM information_schema.columns
                     WHERE table_schema = 'public' AND data_type = 'text' AND table_name NOT LIKE '\\_sqlx%'
                     AND collation_name IS DISTINCT FROM 'C'";
    assert_eq!(Server::shared().sql(name_of(&url), statement).unwrap(), "");
}

#[tokio::test]
async fn a_folder_is_not_used_with_a_metastore_that_knows_nothing_of_its_artifacts() {
    let folder = TempDir::new().unwrap();
    let embedded = config(folder.path(), None);
    let store = open_at(&embedded).await;
    deploy_new(&store, &tenant("a"), "f", true).await;
    store.close().await;
    drop(store);
    let blobs = || files(&folder.path().join("data/artifacts"));
    let before = blobs();
    assert_eq!(before.len(), 1);
    let empty = at(&folder, &database());
    let error = refusal(&empty).await;
    assert!(matches!(error, StoreError::OtherMetastore { .. }), "{error:?}");
    assert!(error.to_string().contains("`modelet store copy`"), "{error}");
    // Nor from one database to another.
    std::fs::remove_file(folder.path().join("data/metastore.sqlite3")).unwrap();
    assert!(matches!(refusal(&empty).await, StoreError::OtherMetastore { .. }));
    assert!(matches!(refusal(&embedded).await, StoreError::OtherMetastore { .. }));
    assert_eq!(blobs(), before);
}

#[tokio::test]
async fn no_secret_and_no_key_stands_in_the_database() {
    let fixture = postgres().await;
    crate::suite::secrets::no_value_is_stored_or_recorded_in_clear(&fixture.store).await;
    let url = fixture.config.metastore_url.as_ref().map(MetastoreUrl::to_string).unwrap();
    let dump = Server::shared()
        .sql(name_of(&url), "SELECT sealed FROM secrets; SELECT after_json FROM changes")
        .unwrap();
    assert!(dump.contains("1:") && !dump.contains("a value that stands nowhere else"), "{dump}");
}
