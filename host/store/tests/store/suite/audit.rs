//! The record of changes has an end where its operator wants it, and can be verified all the same.

use std::sync::Arc;

use jiff::Timestamp;
use modelet_store::{AuditKey, ChainHead, Store};
use modelet_types::Digest;
use serde_json::json;

use crate::support::{audit_key, deploy_new, tenant};

/// A tenant with some changes, the last of which is given.
async fn changed(store: &Arc<Store>, key: &AuditKey) -> ChainHead {
    for name in ["f", "g", "h"] {
        deploy_new(store, &tenant("a"), name, true).await;
    }
    verified(store, key, &[]).await
}

async fn verified(store: &Arc<Store>, key: &AuditKey, known: &[ChainHead]) -> ChainHead {
    store.verify_changes(&tenant("a"), known, &[key.public()]).await.unwrap().unwrap().last
}

pub async fn forgotten_changes_leave_a_record_that_verifies(store: &Arc<Store>) {
    let (owner, key) = (tenant("a"), audit_key(store));
    let trusted = [key.public()];
    let before = changed(store, &key).await;
    let forget =
        async |until| store.forget_changes(&key, &owner, until, &[], &trusted).await.unwrap().unwrap();
    assert_eq!(forget(Timestamp::UNIX_EPOCH).await, None, "nothing is that old");
    let all = store.changes(&owner, 0, 100).await.unwrap();
    let until = all[6].at;
    let forgotten = forget(until).await.unwrap();
    assert_eq!((forgotten.removed, forgotten.is_more), (5, false));
    let checkpoint = forgotten.checkpoint;
    assert_eq!((checkpoint.id, checkpoint.hash), (6, all[5].hash));
    assert!(checkpoint.is_signed_by(&trusted));
    assert_eq!(store.checkpoints(&trusted).await.unwrap(), std::slice::from_ref(&checkpoint));
    assert_eq!(store.checkpoints(&[]).await.unwrap(), []);

    let left = store.changes(&owner, 0, 100).await.unwrap();
    let ids: Vec<_> = left.iter().map(|change| change.id).collect();
    assert_eq!(ids[..3], [1, 7, 8], "the first stays");
    let told = left.last().unwrap();
    assert_eq!((told.action.as_str(), told.actor.to_string().as_str()), ("changes.forget", "host/upkeep"));
    let after = json!({ "up_to": 6, "hash": all[5].hash, "removed": 5 });
    assert_eq!(told.after.as_ref().unwrap().value(), after);
    // What is remembered of changes that are gone is compared where there is anything to compare it with.
    let gone = ChainHead { id: 3, hash: Digest::of(b"another") };
    assert_eq!(verified(store, &key, &[before, checkpoint.change(), gone]).await.id, told.id);
    let another = ChainHead { id: 6, hash: gone.hash };
    let broken = store.verify_changes(&owner, &[another], &trusted).await.unwrap().unwrap_err();
    assert_eq!(broken.id, 6);
    let broken = store.verify_changes(&owner, &[], &[]).await.unwrap().unwrap_err();
    assert_eq!((broken.id, &*broken.reason), (6, "its checkpoint is signed with a key that is not trusted"));

    // And again, from there on; until nothing is left but what tells of it.
    let before = told.id;
    let forgotten = forget(Timestamp::now()).await.unwrap();
    assert_eq!(forgotten.checkpoint.id, before - 1, "the last stays");
    assert_eq!(forget(Timestamp::now()).await, None);
    let ids: Vec<_> = store.changes(&owner, 0, 100).await.unwrap().iter().map(|change| change.id).collect();
    assert_eq!(ids, [1, before, before + 1]);
    deploy_new(store, &owner, "f", true).await;
    assert!(verified(store, &key, &[]).await.id > before + 1);
    assert_eq!(store.chain_heads().await.unwrap().len(), 4);
}

pub async fn a_record_that_is_not_whole_is_kept(store: &Arc<Store>) {
    let (owner, key) = (tenant("a"), audit_key(store));
    let last = changed(store, &key).await;
    let known = ChainHead { id: 4, hash: last.hash };
    let kept = store.forget_changes(&key, &owner, Timestamp::now(), &[known], &[key.public()]).await.unwrap();
    assert_eq!(kept.unwrap_err().id, 4);
    assert_eq!(verified(store, &key, &[]).await, last);
    assert!(store.has_change(&owner, last).await.unwrap());
    assert!(!store.has_change(&owner, known).await.unwrap());
}
