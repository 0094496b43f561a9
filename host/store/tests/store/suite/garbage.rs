//! What a collection takes and what it leaves.

use std::sync::Arc;
use std::time::Duration;

use modelet_store::{Actor, Collected, Precondition, Store, UploadState};
use modelet_types::Digest;

use crate::support::{MADE, append, deploy, function, range, tenant, upload};

const HOUR: Duration = Duration::from_secs(3600);

pub async fn what_a_revision_names_is_kept(store: &Arc<Store>) {
    let owner = tenant("a");
    let component = upload(store, &owner, b"component").await;
    let number = deploy(store, &owner, "f", component, false).await.unwrap().number;
    deploy(store, &owner, "f", component, false).await.unwrap();
    assert_eq!(store.collect_garbage(Duration::ZERO).await.unwrap(), Collected::default());
    store.delete_revision(&Actor::LOCAL, &owner, &function("f"), number).await.unwrap();
    assert_eq!(store.collect_garbage(Duration::ZERO).await.unwrap(), Collected::default());
    store.delete_function(&Actor::LOCAL, &owner, &function("f"), &Precondition::NONE).await.unwrap();
    // Let go just now: what still runs may read it.
    assert_eq!(store.collect_garbage(HOUR).await.unwrap(), Collected::default());
    let collected = store.collect_garbage(Duration::ZERO).await.unwrap();
    assert_eq!(collected, Collected { artifacts: 1, blobs: 1, uploads: 0, bytes: 9 });
    assert_eq!(store.artifact(&owner, component).await.unwrap(), None);
}

pub async fn what_nothing_names_is_collected_after_its_grace(store: &Arc<Store>) {
    let owner = tenant("a");
    let digest = upload(store, &owner, b"unused").await;
    let path = store.artifact(&owner, digest).await.unwrap().unwrap().path;
    assert_eq!(store.collect_garbage(HOUR).await.unwrap(), Collected::default());
    assert!(path.exists());
    store.collect_garbage(Duration::ZERO).await.unwrap();
    assert_eq!(store.artifact(&owner, digest).await.unwrap(), None);
    assert!(!path.exists());
    let changes = store.changes(&owner, MADE, 10).await.unwrap();
    assert_eq!(changes.last().unwrap().action, "artifact.remove");
}

pub async fn a_shared_blob_goes_with_its_last_tenant(store: &Arc<Store>) {
    let (a, b) = (tenant("a"), tenant("b"));
    let digest = upload(store, &a, b"shared").await;
    upload(store, &b, b"shared").await;
    deploy(store, &b, "f", digest, true).await.unwrap();
    let collected = store.collect_garbage(Duration::ZERO).await.unwrap();
    assert_eq!(collected, Collected { artifacts: 1, blobs: 0, uploads: 0, bytes: 0 });
    assert_eq!(store.artifact(&a, digest).await.unwrap(), None, "b's use keeps nothing of a's");
    let path = store.artifact(&b, digest).await.unwrap().unwrap().path;
    assert_eq!(std::fs::read(&path).unwrap(), b"shared");
    store.delete_function(&Actor::LOCAL, &b, &function("f"), &Precondition::NONE).await.unwrap();
    assert_eq!(store.collect_garbage(Duration::ZERO).await.unwrap().blobs, 1);
    assert!(!path.exists());
}

pub async fn an_unfinished_upload_is_collected_after_its_grace(store: &Arc<Store>) {
    let owner = tenant("a");
    let digest = Digest::of(b"abcdef");
    append(store, &owner, digest, range(0, 6), b"abc").await.unwrap();
    assert_eq!(store.collect_garbage(HOUR).await.unwrap(), Collected::default());
    assert_eq!(store.upload_offset(&owner, digest).await.unwrap(), UploadState::Partial { offset: 3 });
    let collected = store.collect_garbage(Duration::ZERO).await.unwrap();
    assert_eq!(collected, Collected { artifacts: 0, blobs: 0, uploads: 1, bytes: 3 });
    assert_eq!(store.upload_offset(&owner, digest).await.unwrap(), UploadState::Partial { offset: 0 });
}

pub async fn a_collected_artifact_can_be_uploaded_again(store: &Arc<Store>) {
    let owner = tenant("a");
    let digest = upload(store, &owner, b"again").await;
    store.collect_garbage(Duration::ZERO).await.unwrap();
    assert_eq!(upload(store, &owner, b"again").await, digest);
    let path = store.artifact(&owner, digest).await.unwrap().unwrap().path;
    assert_eq!(std::fs::read(path).unwrap(), b"again");
}

pub async fn a_collection_leaves_uploads_beside_it_whole(store: &Arc<Store>) {
    // Tenants upload the same bytes while a collection without grace takes what it can: it may
    // take an artifact, but never the bytes of one that it leaves.
    for _ in 0..20 {
        let collection = tokio::spawn({
            let store = Arc::clone(store);
            async move { while store.collect_garbage(Duration::ZERO).await.unwrap().blobs == 0 {} }
        });
        let uploads = ["a", "b", "c"].map(|name| {
            let store = Arc::clone(store);
            tokio::spawn(async move { upload(&store, &tenant(name), b"contended").await })
        });
        for uploaded in uploads {
            uploaded.await.unwrap();
        }
        collection.await.unwrap();
        for name in ["a", "b", "c"] {
            for artifact in store.artifacts(&tenant(name)).await.unwrap() {
                assert_eq!(std::fs::read(&artifact.path).unwrap(), b"contended");
            }
        }
    }
}
