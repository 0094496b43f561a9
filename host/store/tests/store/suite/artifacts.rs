//! Uploads and artifacts.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use modelet_store::{Actor, Store, StoreError, UploadRange, UploadState};
use modelet_types::{Code, Digest, Problem};

use crate::support::{append, body, range, tenant, upload};

/// Longer than one write.
fn large() -> Vec<u8> {
    (0..3_000_017_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

pub async fn an_upload_becomes_an_artifact(store: &Arc<Store>) {
    let owner = tenant("a");
    let bytes = large();
    let digest = upload(store, &owner, &bytes).await;
    let artifact = store.artifact(&owner, digest).await.unwrap().unwrap();
    assert_eq!(artifact.size_bytes, bytes.len() as u64);
    assert_eq!(std::fs::read(&artifact.path).unwrap(), bytes);
    assert_eq!(store.artifacts(&owner).await.unwrap(), [artifact]);
    let complete = UploadState::Complete { size_bytes: bytes.len() as u64 };
    assert_eq!(store.upload_offset(&owner, digest).await.unwrap(), complete);
    // Again, with a body that would fail if anyone read it.
    let unread = stream::once(async { Err(io::Error::other("read")) });
    let range = range(0, bytes.len());
    assert_eq!(store.append_upload(&Actor::LOCAL, &owner, digest, range, unread).await.unwrap(), complete);
}

pub async fn an_upload_resumes_where_it_stopped(store: &Arc<Store>) {
    let owner = tenant("a");
    let bytes = large();
    let digest = Digest::of(&bytes);
    assert_eq!(store.upload_offset(&owner, digest).await.unwrap(), UploadState::Partial { offset: 0 });
    let mut offset = 0;
    for end in [1, 1_500_000, 2_999_999] {
        let state = append(store, &owner, digest, range(offset, bytes.len()), &bytes[offset as usize..end]);
        offset = end as u64;
        assert_eq!(state.await.unwrap(), UploadState::Partial { offset });
        assert_eq!(store.upload_offset(&owner, digest).await.unwrap(), UploadState::Partial { offset });
        assert_eq!(store.artifact(&owner, digest).await.unwrap(), None);
    }
    let rest = &bytes[offset as usize..];
    append(store, &owner, digest, range(offset, bytes.len()), rest).await.unwrap();
    let path = store.artifact(&owner, digest).await.unwrap().unwrap().path;
    assert_eq!(std::fs::read(path).unwrap(), bytes);
}

pub async fn an_upload_survives_a_broken_stream(store: &Arc<Store>) {
    let owner = tenant("a");
    let bytes = b"all of it";
    let digest = Digest::of(bytes);
    let broken = body(b"all").chain(stream::once(async { Err(io::Error::other("gone")) }));
    let error = store.append_upload(&Actor::LOCAL, &owner, digest, range(0, 9), broken).await.unwrap_err();
    assert!(matches!(error, StoreError::Interrupted(_)), "{error:?}");
    assert_eq!(store.upload_offset(&owner, digest).await.unwrap(), UploadState::Partial { offset: 3 });
    append(store, &owner, digest, range(3, 9), b" of it").await.unwrap();
    assert!(store.artifact(&owner, digest).await.unwrap().is_some());
}

pub async fn a_stalled_upload_is_not_one_that_was_left(store: &Arc<Store>) {
    let digest = Digest::of(b"all of it");
    let codes = [(io::ErrorKind::TimedOut, Code::RequestTimeout), (io::ErrorKind::Other, Code::Cancelled)];
    for (kind, code) in codes {
        let ended = stream::once(async move { Err(io::Error::from(kind)) });
        let error = store.append_upload(&Actor::LOCAL, &tenant("a"), digest, range(0, 9), ended).await;
        assert_eq!(error.unwrap_err().code(), code);
    }
}

pub async fn a_wrong_digest_is_refused_and_discarded(store: &Arc<Store>) {
    let owner = tenant("a");
    let digest = Digest::of(b"right");
    let error = append(store, &owner, digest, range(0, 5), b"wrong").await.unwrap_err();
    assert_eq!(error.code(), Code::DigestMismatch);
    let problem = Problem::from(error);
    assert!(problem.detail.contains(&Digest::of(b"wrong").to_string()), "{problem}");
    assert_eq!(store.artifact(&owner, digest).await.unwrap(), None);
    assert_eq!(store.artifact(&owner, Digest::of(b"wrong")).await.unwrap(), None);
    assert_eq!(store.upload_offset(&owner, digest).await.unwrap(), UploadState::Partial { offset: 0 });
    append(store, &owner, digest, range(0, 5), b"right").await.unwrap();
}

pub async fn a_wrong_offset_is_answered_with_the_right_one(store: &Arc<Store>) {
    let owner = tenant("a");
    let digest = Digest::of(b"abcdef");
    append(store, &owner, digest, range(0, 6), b"abc").await.unwrap();
    for given in [0, 2, 4] {
        let error = append(store, &owner, digest, range(given, 6), b"def").await.unwrap_err();
        assert!(
            matches!(error, StoreError::WrongOffset { expected: 3, given: g } if g == given),
            "{error:?}"
        );
        assert_eq!(error.code(), Code::Conflict);
        assert_eq!(Problem::from(error).field.as_deref(), Some("upload-offset"));
    }
    append(store, &owner, digest, range(3, 6), b"def").await.unwrap();
}

pub async fn an_upload_over_the_limit_is_refused_unread(store: &Arc<Store>) {
    let owner = tenant("a");
    let digest = Digest::of(b"abcdef");
    let range = UploadRange { offset: 0, total_bytes: 6, max_bytes: 5 };
    let unread = stream::once(async { Err(io::Error::other("read")) });
    let error = store.append_upload(&Actor::LOCAL, &owner, digest, range, unread).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { total: 6, max: 5 }), "{error:?}");
    assert_eq!(error.code(), Code::RequestTooLarge);
    assert_eq!(Problem::from(error).field.as_deref(), Some("upload-length"));
}

pub async fn more_bytes_than_announced_are_refused(store: &Arc<Store>) {
    let owner = tenant("a");
    let digest = Digest::of(b"abc");
    let error = append(store, &owner, digest, range(0, 3), b"abcd").await.unwrap_err();
    assert!(matches!(error, StoreError::TooManyBytes(3)), "{error:?}");
    assert_eq!(store.artifact(&owner, digest).await.unwrap(), None);
    append(store, &owner, digest, range(0, 3), b"abc").await.unwrap();
}

pub async fn one_request_at_a_time_uploads(store: &Arc<Store>) {
    let (owner, other) = (tenant("a"), tenant("b"));
    let digest = Digest::of(b"abcdef");
    let (sender, receiver) = tokio::sync::mpsc::channel::<io::Result<Bytes>>(1);
    let slow = stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|bytes| (bytes, receiver))
    });
    let first = tokio::spawn({
        let (store, owner) = (Arc::clone(store), owner.clone());
        async move { store.append_upload(&Actor::LOCAL, &owner, digest, range(0, 6), slow).await }
    });
    // The second send is accepted only when the first request has taken the first piece.
    sender.send(Ok(Bytes::from_static(b"abc"))).await.unwrap();
    sender.send(Ok(Bytes::from_static(b"d"))).await.unwrap();
    let error = append(store, &owner, digest, range(0, 6), b"abcdef").await.unwrap_err();
    assert!(matches!(error, StoreError::UploadBusy(d) if d == digest), "{error:?}");
    assert_eq!(error.code(), Code::Conflict);
    // Another tenant's upload of the same bytes is an upload of its own.
    append(store, &other, digest, range(0, 6), b"abcdef").await.unwrap();
    sender.send(Ok(Bytes::from_static(b"ef"))).await.unwrap();
    drop(sender);
    assert_eq!(first.await.unwrap().unwrap(), UploadState::Complete { size_bytes: 6 });
}

pub async fn a_caller_that_leaves_frees_the_upload(store: &Arc<Store>) {
    let owner = tenant("a");
    let digest = Digest::of(b"abcdef");
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let endless = stream::once(async move {
        sender.send(()).unwrap();
        std::future::pending::<io::Result<Bytes>>().await
    });
    let request = tokio::spawn({
        let (store, owner) = (Arc::clone(store), owner.clone());
        async move { store.append_upload(&Actor::LOCAL, &owner, digest, range(0, 6), endless).await }
    });
    receiver.await.unwrap();
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    append(store, &owner, digest, range(0, 6), b"abcdef").await.unwrap();
}

pub async fn an_empty_artifact_is_an_artifact(store: &Arc<Store>) {
    let owner = tenant("a");
    let digest = upload(store, &owner, b"").await;
    assert_eq!(store.artifact(&owner, digest).await.unwrap().unwrap().size_bytes, 0);
}

pub async fn an_artifact_whose_bytes_are_lost_is_received_again(store: &Arc<Store>) {
    let (owner, other) = (tenant("a"), tenant("b"));
    for bytes in [b"model".as_slice(), b""] {
        let digest = upload(store, &owner, bytes).await;
        let artifact = store.artifact(&owner, digest).await.unwrap().unwrap();
        upload(store, &other, bytes).await;
        let of_another_size = [bytes, b"?"].concat();
        for damaged in [None, Some(of_another_size)] {
            match damaged {
                None => std::fs::remove_file(&artifact.path).unwrap(),
                Some(damaged) => std::fs::write(&artifact.path, damaged).unwrap(),
            }
            let nothing = UploadState::Partial { offset: 0 };
            assert_eq!(store.upload_offset(&owner, digest).await.unwrap(), nothing);
            upload(store, &owner, bytes).await;
            assert_eq!(std::fs::read(&artifact.path).unwrap(), bytes);
            // It is the same artifact, for everyone who has it.
            assert_eq!(store.artifact(&owner, digest).await.unwrap().as_ref(), Some(&artifact));
            let complete = UploadState::Complete { size_bytes: bytes.len() as u64 };
            assert_eq!(store.upload_offset(&other, digest).await.unwrap(), complete);
        }
    }
}

pub async fn tenants_do_not_see_each_others_artifacts(store: &Arc<Store>) {
    let (a, b) = (tenant("a"), tenant("b"));
    let digest = upload(store, &a, b"shared bytes").await;
    assert_eq!(store.artifact(&b, digest).await.unwrap(), None);
    assert_eq!(store.artifacts(&b).await.unwrap(), []);
    assert_eq!(store.upload_offset(&b, digest).await.unwrap(), UploadState::Partial { offset: 0 });
    // It has to send every byte, as if nobody had; and the right ones.
    assert!(append(store, &b, digest, range(12, 12), b"").await.is_err());
    assert!(append(store, &b, digest, range(0, 12), b"guessed byte").await.is_err());
    assert_eq!(store.artifact(&b, digest).await.unwrap(), None);
    assert_eq!(upload(store, &b, b"shared bytes").await, digest);
    let path_of = async |owner| store.artifact(owner, digest).await.unwrap().unwrap().path;
    assert_eq!(path_of(&a).await, path_of(&b).await, "the bytes are stored once");
}
