//! Requests that are done once, and changes that are made on a condition.

use std::sync::Arc;

use futures::future::join_all;
use modelet_store::{
    Actor, NewRevision, Page, Precondition, Request, Revision, Store, StoreError, TenantSetting,
};
use modelet_types::{Digest, FunctionName, Quotas, TenantName};
use serde_json::json;

use crate::support::{deploy_new, function, spec, split, tenant, upload};

/// Somebody with a request of this key, which asks for `what`.
fn asking(key: &str, what: &str) -> Actor {
    let request = Request { key: Digest::of(key.as_bytes()), fingerprint: Digest::of(what.as_bytes()) };
    Actor::LOCAL.with_request(Some(request))
}

async fn deploy_as(
    store: &Store,
    actor: &Actor,
    owner: &TenantName,
    name: &str,
    component: Digest,
) -> Result<Revision, StoreError> {
    let new = NewRevision {
        spec: spec(component),
        details: json!({}),
        activate: true,
        precondition: Precondition::NONE,
    };
    store.create_revision(actor, owner, &function(name), new).await
}

pub async fn a_request_is_done_once(store: &Arc<Store>) {
    let (a, b) = (tenant("a"), tenant("b"));
    let component = upload(store, &a, b"x").await;
    upload(store, &b, b"x").await;
    let actor = asking("key", "what");
    let tries = (0..8).map(|_| deploy_as(store, &actor, &a, "f", component));
    let made: Vec<_> = join_all(tries).await;
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1);
    for error in made.into_iter().filter_map(Result::err) {
        assert!(
            matches!(&error, StoreError::Repeated { subject } if subject == "functions/f/revisions/1"),
            "{error}"
        );
    }
    let error = store.check_request(&a, &actor).await.unwrap_err();
    assert!(matches!(error, StoreError::Repeated { .. }), "{error}");
    let error = deploy_as(store, &asking("key", "other"), &a, "f", component).await.unwrap_err();
    assert!(matches!(error, StoreError::KeyOfAnotherRequest), "{error}");

    // Other keys, other people and other tenants have requests of their own.
    deploy_as(store, &asking("other key", "what"), &a, "f", component).await.unwrap();
    let somebody = Actor::host("test")
        .with_request(Some(Request { key: Digest::of(b"key"), fingerprint: Digest::of(b"what") }));
    deploy_as(store, &somebody, &a, "f", component).await.unwrap();
    deploy_as(store, &actor, &b, "f", component).await.unwrap();
    assert_eq!(store.revisions(&a, &function("f"), &Page::whole()).await.unwrap().len(), 3);
}

pub async fn a_request_that_failed_can_be_mended(store: &Arc<Store>) {
    let owner = tenant("a");
    let error =
        deploy_as(store, &asking("key", "first"), &owner, "f", Digest::of(b"nothing")).await.unwrap_err();
    assert!(matches!(error, StoreError::NoArtifact { .. }), "{error}");
    let component = upload(store, &owner, b"x").await;
    deploy_as(store, &asking("key", "second"), &owner, "f", component).await.unwrap();
}

pub async fn a_change_on_a_condition_is_made_if_it_holds(store: &Arc<Store>) {
    let (owner, name) = (tenant("a"), function("f"));
    deploy_new(store, &owner, "f", true).await;
    deploy_new(store, &owner, "f", true).await;
    let tag_of = async |name: &FunctionName| store.function(&owner, name).await.unwrap().unwrap().tag();
    let seen = Precondition::one_of(vec![tag_of(&name).await]);
    let set = async |shares| store.set_traffic(&Actor::LOCAL, &owner, &name, split(shares), &seen).await;
    // Of two who saw the same, one is first.
    let results = [set(&[(1, 1)]).await, set(&[(1, 1), (2, 1)]).await];
    assert!(results[0].is_ok());
    let Err(StoreError::Changed { tag }) = &results[1] else { panic!("{results:?}") };
    assert_eq!(*tag, tag_of(&name).await);
    let error = store.rollback(&Actor::LOCAL, &owner, &name, &seen).await.unwrap_err();
    assert!(matches!(error, StoreError::Changed { .. }), "{error}");
    let error = store.delete_function(&Actor::LOCAL, &owner, &name, &seen).await.unwrap_err();
    assert!(matches!(error, StoreError::Changed { .. }), "{error}");

    let seen = Precondition::one_of(vec![store.tenant(&owner).await.unwrap().tag()]);
    let quotas = TenantSetting::Quotas(Quotas { concurrency: Some(3), ..Quotas::default() });
    store.set_tenant(&Actor::LOCAL, &owner, quotas.clone(), &seen).await.unwrap();
    let error = store.set_tenant(&Actor::LOCAL, &owner, quotas, &seen).await.unwrap_err();
    assert!(matches!(error, StoreError::Changed { .. }), "{error}");
}

pub async fn long_lists_come_in_pages(store: &Arc<Store>) {
    let owner = tenant("a");
    for name in ["c", "a", "b-2", "b"] {
        deploy_new(store, &owner, name, false).await;
    }
    deploy_new(store, &owner, "a", false).await;
    let page = async |after: Option<&str>, limit| {
        let page = Page { after: after.map(function), limit };
        let functions = store.functions(&owner, &page).await.unwrap();
        functions.into_iter().map(|function| function.name.to_string()).collect::<Vec<_>>()
    };
    let all = page(None, 10).await;
    assert_eq!(all.len(), 4);
    assert_eq!(page(None, 2).await, all[..2]);
    assert_eq!(page(Some(&all[1]), 2).await, all[2..]);
    assert_eq!(page(Some(&all[3]), 2).await, Vec::<String>::new());
    let revisions = async |after: Option<u64>| {
        let page = Page { after: after.map(modelet_types::RevisionNumber), limit: 1 };
        store
            .revisions(&owner, &function("a"), &page)
            .await
            .unwrap()
            .first()
            .map(|revision| revision.number.0)
    };
    assert_eq!(
        [revisions(None).await, revisions(Some(2)).await, revisions(Some(1)).await],
        [Some(2), Some(1), None]
    );
}
