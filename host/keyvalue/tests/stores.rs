//! Stores as those who ask see them: over closing and opening, from many at once, at their bounds.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use modelet_keyvalue::{
    ENTRY_BYTES, Error, KeyValueConfig, KeyValueStores, MAX_VALUE_BYTES, Owner, Page, Sum, Swapped, Usage,
};
use tempfile::TempDir;

const LIMIT: u64 = 1 << 20;
const ONE: Sum = Sum { delta: 1, lowest: i64::MIN };

struct Fixture {
    stores: Arc<KeyValueStores>,
    folder: TempDir,
}

fn open_with(config: KeyValueConfig) -> Fixture {
    let folder = TempDir::new().unwrap();
    Fixture { stores: KeyValueStores::open(folder.path().join("kv"), config).unwrap(), folder }
}

fn open() -> Fixture {
    open_with(KeyValueConfig::default())
}

impl Fixture {
    fn path(&self) -> PathBuf {
        self.folder.path().join("kv")
    }

    async fn reopen(&mut self) {
        self.stores.close().await;
        self.stores = KeyValueStores::open(self.path(), KeyValueConfig::default()).unwrap();
    }

    async fn set(&self, owner: &Owner, key: &str, value: &[u8]) -> Result<(), Error> {
        self.stores.set(owner, vec![(key.into(), value.into())], LIMIT).await
    }

    async fn get(&self, owner: &Owner, key: &str) -> Option<Vec<u8>> {
        self.stores.get(owner, vec![key.into()]).await.unwrap().pop().unwrap()
    }
}

fn owner(tenant: &str, function: &str, id: u64) -> Owner {
    Owner { tenant: tenant.parse().unwrap(), function: function.parse().unwrap(), id }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Waits until no file is open: SQLite removes what stands beside the database with the last connection.
async fn closed(folder: &Path) {
    let all_closed =
        || files(folder).iter().all(|file| file.extension().is_some_and(|kind| kind == "sqlite3"));
    let closing = async {
        while !all_closed() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), closing).await.expect("files are closed when idle");
}

#[tokio::test]
async fn what_was_written_is_read_and_survives_a_restart() {
    let mut fixture = open();
    let f = owner("a", "f", 1);
    assert_eq!(fixture.get(&f, "key").await, None);
    assert!(files(&fixture.path()).is_empty(), "reading makes no file");
    fixture.set(&f, "key", b"first").await.unwrap();
    fixture.set(&f, "key", b"second").await.unwrap();
    fixture.set(&f, "", b"the empty key is one").await.unwrap();
    fixture.reopen().await;
    assert_eq!(fixture.get(&f, "key").await.as_deref(), Some(&b"second"[..]));
    assert_eq!(fixture.get(&f, "").await.as_deref(), Some(&b"the empty key is one"[..]));
    assert!(fixture.stores.exists(&f, "key".into()).await.unwrap());
    fixture.stores.delete(&f, vec!["key".into(), "nothing".into()]).await.unwrap();
    assert!(!fixture.stores.exists(&f, "key".into()).await.unwrap());
    for file in files(&fixture.path()) {
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o077, 0, "{}", file.display());
    }
    fixture.stores.close().await;
    assert_eq!(fixture.stores.usage(&f).await, Err(Error::ShuttingDown));
}

#[tokio::test]
async fn tenants_functions_and_namesakes_do_not_meet() {
    let fixture = open();
    let owners = [owner("a", "f", 1), owner("a", "f", 2), owner("a", "g", 3), owner("b", "f", 1)];
    for (index, owner) in owners.iter().enumerate() {
        fixture.set(owner, "key", &[index as u8]).await.unwrap();
    }
    for (index, owner) in owners.iter().enumerate() {
        assert_eq!(fixture.get(owner, "key").await, Some(vec![index as u8]));
    }
    let stored = fixture.stores.owners().await.unwrap();
    assert!(stored.len() == 4 && owners.iter().all(|owner| stored.contains(owner)), "{stored:?}");
}

#[tokio::test]
async fn sums_and_swaps_of_many_at_once_lose_nothing() {
    let fixture = open();
    let f = owner("a", "f", 1);
    let sums = join_all((0..200).map(|_| fixture.stores.increment(&f, "sum".into(), ONE, LIMIT))).await;
    let mut sums: Vec<i64> = sums.into_iter().map(Result::unwrap).collect();
    sums.sort_unstable();
    assert_eq!(sums, (1..=200).collect::<Vec<_>>(), "each saw what the one before had left");

    let appending = (0..50_u8).map(async |byte| {
        loop {
            let version = fixture.stores.version(&f, "list".into()).await.unwrap();
            let mut list = fixture.get(&f, "list").await.unwrap_or_default();
            list.push(byte);
            let swap = fixture.stores.swap(&f, ("list".into(), list), version, LIMIT).await.unwrap();
            if swap == Swapped::Done {
                break;
            }
        }
    });
    join_all(appending).await;
    let mut list = fixture.get(&f, "list").await.unwrap();
    list.sort_unstable();
    assert_eq!(list, (0..50).collect::<Vec<u8>>());
}

#[tokio::test]
async fn a_version_is_never_given_twice() {
    let mut fixture = open();
    let f = owner("a", "f", 1);
    fixture.set(&f, "key", b"x").await.unwrap();
    let first = fixture.stores.version(&f, "key".into()).await.unwrap();
    fixture.stores.delete(&f, vec!["key".into()]).await.unwrap();
    fixture.reopen().await;
    fixture.set(&f, "key", b"x").await.unwrap();
    let swap = fixture.stores.swap(&f, ("key".into(), b"y".to_vec()), first, LIMIT).await.unwrap();
    assert!(matches!(swap, Swapped::Changed(version) if version > first), "{swap:?}");
    assert_eq!(fixture.get(&f, "key").await.as_deref(), Some(&b"x"[..]));
}

#[tokio::test]
async fn pages_have_each_key_once_whatever_is_written_meanwhile() {
    let fixture = open();
    let f = owner("a", "f", 1);
    assert_eq!(fixture.stores.list(&f, 0).await.unwrap(), Page::default());
    for some in 0..3 {
        let entries = (0..700).map(|n| (format!("{some}-{n}"), vec![])).collect();
        fixture.stores.set(&f, entries, LIMIT).await.unwrap();
    }
    let first = fixture.stores.list(&f, 0).await.unwrap();
    assert_eq!(first.keys.len(), 1_000);
    fixture.set(&f, &first.keys[0], b"written again").await.unwrap();
    fixture.stores.delete(&f, vec![first.keys[1].clone()]).await.unwrap();
    let second = fixture.stores.list(&f, first.next.unwrap()).await.unwrap();
    let third = fixture.stores.list(&f, second.next.unwrap()).await.unwrap();
    assert_eq!((second.keys.len(), third.keys.len(), third.next), (1_000, 100, None));
    let mut all = [first.keys, second.keys, third.keys].concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 2_100);
    assert_eq!(fixture.stores.list(&f, u64::MAX).await.unwrap(), Page::default());
}

#[tokio::test]
async fn a_store_holds_its_limit_and_no_more() {
    let fixture = open();
    let f = owner("a", "f", 1);
    let entry = |bytes: usize| vec![("key".to_owned(), vec![b'x'; bytes])];
    let limit = 10_000;
    let room = usize::try_from(limit - ENTRY_BYTES).unwrap() - "key".len();
    fixture.stores.set(&f, entry(room), limit).await.unwrap();
    assert_eq!(fixture.stores.usage(&f).await.unwrap(), Usage { keys: 1, bytes: limit });
    let full = fixture.stores.set(&f, entry(room + 1), limit).await.unwrap_err();
    assert_eq!(full, Error::Full { held: limit, wanted: limit + 1, limit });
    assert!(fixture.stores.increment(&f, "sum".into(), ONE, limit).await.is_err());
    let other = ("other".to_owned(), vec![]);
    assert!(fixture.stores.swap(&f, other.clone(), 0, limit).await.is_err());
    // Several at once are refused whole.
    let both = [entry(10), vec![("large".to_owned(), vec![b'x'; room])]].concat();
    assert!(fixture.stores.set(&f, both, limit).await.is_err());
    assert_eq!(fixture.stores.usage(&f).await.unwrap(), Usage { keys: 1, bytes: limit });
    // Over a limit that was lowered it can still shrink, and not grow.
    fixture.stores.set(&f, entry(room - 1), limit / 2).await.unwrap();
    assert!(fixture.stores.set(&f, vec![other.clone()], limit / 2).await.is_err());
    fixture.stores.delete(&f, vec!["key".into()]).await.unwrap();
    fixture.stores.set(&f, vec![other], limit / 2).await.unwrap();
    assert_eq!(fixture.stores.usage(&f).await.unwrap(), Usage { keys: 1, bytes: 5 + ENTRY_BYTES });
    // Of a key that is named twice the last value counts, once.
    let twice = [entry(100), entry(1)].concat();
    fixture.stores.set(&f, twice, limit).await.unwrap();
    assert_eq!(
        fixture.stores.usage(&f).await.unwrap(),
        Usage { keys: 2, bytes: 5 + 3 + 1 + 2 * ENTRY_BYTES }
    );
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_done() {
    let fixture = open();
    let (f, limit) = (owner("a", "f", 1), 1 << 30);
    let large = || vec![b'x'; MAX_VALUE_BYTES];
    let five: Vec<_> = (0..5).map(|n| (n.to_string(), large())).collect();
    let names: Vec<String> = (0..5).map(|n| n.to_string()).collect();
    for entries in [
        vec![("k".repeat(1_025), vec![])],
        vec![("key".into(), [large(), vec![b'x']].concat())],
        (0..1_001).map(|n| (n.to_string(), vec![])).collect(),
        five.clone(),
    ] {
        assert!(matches!(fixture.stores.set(&f, entries, limit).await, Err(Error::Invalid(_))));
    }
    assert!(files(&fixture.path()).is_empty());
    for entry in five {
        fixture.stores.set(&f, vec![entry], limit).await.unwrap();
    }
    assert!(matches!(fixture.stores.get(&f, names).await, Err(Error::Invalid(_))));
    let sum = |delta, lowest| fixture.stores.increment(&f, "sum".into(), Sum { delta, lowest }, limit);
    assert_eq!(sum(i64::MAX, 0).await, Ok(i64::MAX));
    assert!(matches!(sum(1, 0).await, Err(Error::Invalid(_))));
    assert!(matches!(sum(i64::MIN, 0).await, Err(Error::Invalid(_))));
    assert_eq!(sum(i64::MIN, i64::MIN).await, Ok(-1));
    let not_a_number = fixture.stores.increment(&f, "0".into(), ONE, limit).await;
    assert!(matches!(not_a_number, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn an_idle_file_is_closed_and_gives_its_room_back() {
    let fixture =
        open_with(KeyValueConfig { idle_timeout: Duration::from_millis(20), ..KeyValueConfig::default() });
    let f = owner("a", "f", 1);
    let value = vec![b'x'; 500_000];
    fixture.set(&f, "key", &value).await.unwrap();
    fixture.set(&f, "small", b"y").await.unwrap();
    closed(&fixture.path()).await;
    let file = files(&fixture.path()).pop().unwrap();
    assert!(std::fs::metadata(&file).unwrap().len() > 500_000);
    assert_eq!(fixture.get(&f, "key").await, Some(value));
    fixture.stores.delete(&f, vec!["key".into()]).await.unwrap();
    closed(&fixture.path()).await;
    assert!(std::fs::metadata(&file).unwrap().len() < 100_000);
    assert_eq!(fixture.get(&f, "small").await.as_deref(), Some(&b"y"[..]));
}

#[tokio::test]
async fn more_functions_than_may_be_open_take_turns() {
    let fixture = open_with(KeyValueConfig { max_open: 4, max_turns: 2, ..KeyValueConfig::default() });
    let asking = (0..60).map(async |id| {
        let owner = owner(["a", "b", "c"][id as usize % 3], "f", id);
        for _ in 0..5 {
            fixture.stores.increment(&owner, "sum".into(), ONE, LIMIT).await.unwrap();
        }
        fixture.get(&owner, "sum").await
    });
    let sums = tokio::time::timeout(Duration::from_secs(60), join_all(asking)).await.expect("all have turns");
    assert!(sums.iter().all(|sum| sum.as_deref() == Some(b"5")), "{sums:?}");
}

#[tokio::test]
async fn a_tenant_that_never_stops_does_not_keep_others_waiting() {
    let fixture =
        Arc::new(open_with(KeyValueConfig { max_open: 2, max_turns: 2, ..KeyValueConfig::default() }));
    // Both of these are another's, and busy all the time: each has always something in its queue.
    let greedy: Vec<_> = (0..2)
        .flat_map(|id| (0..8).map(move |_| id))
        .map(|id| {
            let fixture = fixture.clone();
            tokio::spawn(async move {
                let owner = owner(["a", "b"][id as usize], "f", id);
                while fixture.stores.increment(&owner, "sum".into(), ONE, LIMIT).await.is_ok() {}
            })
        })
        .collect();
    let patient = owner("c", "f", 9);
    for _ in 0..3 {
        let set = fixture.set(&patient, "key", b"x");
        tokio::time::timeout(Duration::from_secs(30), set).await.expect("it has its turn").unwrap();
    }
    fixture.stores.close().await;
    for task in greedy {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_removed_store_is_gone_also_while_it_is_open() {
    let fixture = open();
    let (gone, kept) = (owner("a", "f", 1), owner("a", "g", 2));
    fixture.set(&gone, "key", b"x").await.unwrap();
    fixture.set(&kept, "key", b"x").await.unwrap();
    fixture.stores.remove(&gone).await.unwrap();
    fixture.stores.remove(&owner("nobody", "f", 1)).await.unwrap();
    assert_eq!(fixture.stores.owners().await.unwrap(), std::slice::from_ref(&kept));
    assert_eq!(fixture.get(&gone, "key").await, None);
    assert_eq!(fixture.get(&kept, "key").await.as_deref(), Some(&b"x"[..]));
    fixture.stores.close().await;
    assert_eq!(files(&fixture.path()).len(), 1);
}

#[tokio::test]
async fn a_damaged_file_harms_nobody_else() {
    let fixture = open();
    let (broken, sound) = (owner("a", "f", 1), owner("a", "g", 2));
    std::fs::create_dir_all(fixture.path().join("a")).unwrap();
    std::fs::write(fixture.path().join("a/f.1.sqlite3"), vec![b'?'; 10_000]).unwrap();
    assert_eq!(fixture.set(&broken, "key", b"x").await, Err(Error::Failed));
    assert_eq!(fixture.stores.usage(&broken).await, Err(Error::Failed));
    fixture.set(&sound, "key", b"x").await.unwrap();
    fixture.stores.remove(&broken).await.unwrap();
    fixture.set(&broken, "key", b"x").await.unwrap();
}
