//! Traffic splits and the way back.

use std::sync::Arc;

use modelet_store::{Actor, Precondition, Store, StoreError};
use modelet_types::{Code, RevisionNumber, TrafficSplit};

use crate::support::{deploy_new, function, split, tenant};

pub async fn a_split_needs_existing_revisions(store: &Arc<Store>) {
    let owner = tenant("a");
    let name = function("f");
    deploy_new(store, &owner, "f", true).await;
    let set =
        async |shares| store.set_traffic(&Actor::LOCAL, &owner, &name, shares, &Precondition::NONE).await;
    let error = set(split(&[(1, 1), (2, 1)])).await.unwrap_err();
    assert!(matches!(error, StoreError::NoRevision(_, RevisionNumber(2))), "{error:?}");
    let present = store.function(&owner, &name).await.unwrap().unwrap();
    assert_eq!(present.traffic, TrafficSplit::all_to(RevisionNumber(1)));
    // No traffic at all is a split, too.
    assert_eq!(set(TrafficSplit::default()).await.unwrap().traffic, TrafficSplit::default());
}

pub async fn rolling_back_twice_goes_back_twice(store: &Arc<Store>) {
    let owner = tenant("a");
    let name = function("f");
    for _ in 0..3 {
        deploy_new(store, &owner, "f", true).await;
    }
    let back = async || store.rollback(&Actor::LOCAL, &owner, &name, &Precondition::NONE).await;
    assert_eq!(back().await.unwrap().traffic, split(&[(2, 1)]));
    assert_eq!(back().await.unwrap().traffic, split(&[(1, 1)]));
    let error = back().await.unwrap_err();
    assert!(matches!(error, StoreError::NothingToRollBack(_)), "{error:?}");
    assert_eq!(error.code(), Code::Conflict);
    // From here a new split leads back to here, not to what was rolled back.
    deploy_new(store, &owner, "f", true).await;
    assert_eq!(back().await.unwrap().traffic, split(&[(1, 1)]));
}

pub async fn rolling_back_passes_over_deleted_revisions(store: &Arc<Store>) {
    let owner = tenant("a");
    let name = function("f");
    for _ in 0..3 {
        deploy_new(store, &owner, "f", true).await;
    }
    store.delete_revision(&Actor::LOCAL, &owner, &name, RevisionNumber(2)).await.unwrap();
    let back = store.rollback(&Actor::LOCAL, &owner, &name, &Precondition::NONE).await.unwrap();
    assert_eq!(back.traffic, split(&[(1, 1)]));
}

pub async fn the_same_split_changes_nothing(store: &Arc<Store>) {
    let owner = tenant("a");
    let name = function("f");
    deploy_new(store, &owner, "f", true).await;
    deploy_new(store, &owner, "f", true).await;
    let before = store.function(&owner, &name).await.unwrap().unwrap();
    let again =
        store.set_traffic(&Actor::LOCAL, &owner, &name, split(&[(2, 1)]), &Precondition::NONE).await.unwrap();
    assert_eq!(again, before);
    let back = store.rollback(&Actor::LOCAL, &owner, &name, &Precondition::NONE).await.unwrap();
    assert_eq!(back.traffic, split(&[(1, 1)]));
}

pub async fn versions_only_grow(store: &Arc<Store>) {
    let owner = tenant("a");
    let name = function("f");
    let version = async || store.function(&owner, &name).await.unwrap().unwrap().version;
    deploy_new(store, &owner, "f", true).await;
    let mut versions = vec![version().await];
    deploy_new(store, &owner, "f", false).await;
    versions.push(version().await);
    store.set_traffic(&Actor::LOCAL, &owner, &name, split(&[(2, 1)]), &Precondition::NONE).await.unwrap();
    versions.push(version().await);
    store.rollback(&Actor::LOCAL, &owner, &name, &Precondition::NONE).await.unwrap();
    versions.push(version().await);
    store.delete_revision(&Actor::LOCAL, &owner, &name, RevisionNumber(2)).await.unwrap();
    versions.push(version().await);
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
}
