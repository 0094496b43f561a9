//! Secrets: set, listed, needed by revisions, gone with their function.

use std::sync::Arc;

use modelet_store::{Actor, NewRevision, Precondition, Revision, Store, StoreError};
use modelet_types::{Code, Digest, Problem, SecretName, SecretValue, TenantName, TrafficSplit};
use serde_json::json;

use crate::support::{MADE, function, tenant, upload};

fn name(text: &str) -> SecretName {
    text.parse().unwrap()
}

async fn set(
    store: &Arc<Store>,
    owner: &TenantName,
    of: &str,
    secret: &str,
    value: &str,
) -> Result<(), StoreError> {
    let value = SecretValue::new(value.to_owned().into()).unwrap();
    store.set_secret(&Actor::LOCAL, owner, &function(of), &name(secret), &value).await.map(drop)
}

/// The value that a handler would get.
async fn get(store: &Arc<Store>, owner: &TenantName, of: &str, secret: &str) -> Option<String> {
    let found = store.function(owner, &function(of)).await.unwrap().unwrap();
    let values = store.secret_values(owner, &found, &[name(secret)]).await.unwrap();
    values.get(secret).map(|value| value.expose().to_owned())
}

/// Deploys a revision that needs `secrets`.
async fn needing(
    store: &Arc<Store>,
    owner: &TenantName,
    of: &str,
    secrets: &[&str],
    activate: bool,
) -> Result<Revision, StoreError> {
    let component: Digest = upload(store, owner, b"component").await;
    let spec = serde_json::from_value(json!({ "component": component, "secrets": secrets })).unwrap();
    let new = NewRevision { spec, details: json!({}), activate, precondition: Precondition::NONE };
    store.create_revision(&Actor::LOCAL, owner, &function(of), new).await
}

pub async fn the_last_value_is_what_a_handler_gets(store: &Arc<Store>) {
    let owner = tenant("a");
    set(store, &owner, "f", "api-key", "first").await.unwrap();
    set(store, &owner, "f", "other", "x").await.unwrap();
    set(store, &owner, "f", "api-key", "second").await.unwrap();
    assert_eq!(get(store, &owner, "f", "api-key").await.as_deref(), Some("second"));
    assert_eq!(get(store, &owner, "f", "nothing").await, None);
    let listed = store.secrets(&owner, &function("f")).await.unwrap();
    let names: Vec<_> = listed.iter().map(|secret| secret.name.as_str()).collect();
    assert_eq!(names, ["api-key", "other"]);
    assert!(listed[0].set_at >= listed[1].set_at && listed[0].set_by == Actor::LOCAL);
    // The function was made for it, and takes no calls.
    let made = store.function(&owner, &function("f")).await.unwrap().unwrap();
    assert_eq!((made.latest, made.traffic), (None, TrafficSplit::default()));
}

pub async fn secrets_belong_to_one_function_of_one_tenant(store: &Arc<Store>) {
    let (a, b) = (tenant("a"), tenant("b"));
    set(store, &a, "f", "key", "a's").await.unwrap();
    set(store, &b, "f", "key", "b's").await.unwrap();
    set(store, &a, "g", "other", "g's").await.unwrap();
    assert_eq!(get(store, &a, "f", "key").await.as_deref(), Some("a's"));
    assert_eq!(get(store, &b, "f", "key").await.as_deref(), Some("b's"));
    assert_eq!(get(store, &a, "g", "key").await, None);
    let error = store.secrets(&b, &function("g")).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
}

pub async fn a_revision_needs_its_secrets(store: &Arc<Store>) {
    let owner = tenant("a");
    set(store, &owner, "f", "key", "x").await.unwrap();
    let refused = needing(store, &owner, "f", &["key", "missing"], false).await.unwrap_err();
    let problem = Problem::from(refused);
    assert_eq!((problem.code, problem.field.as_deref()), (Code::InvalidManifest, Some("secrets[1]")));
    assert!(problem.detail.contains("modelet secret set f missing"), "{problem}");
    let names = [name("key"), name("missing")];
    assert!(store.check_secrets(&owner, &function("f"), &names).await.is_err());
    store.check_secrets(&owner, &function("f"), &names[..1]).await.unwrap();
    assert!(store.check_secrets(&owner, &function("new"), &names[..1]).await.is_err());

    let first = needing(store, &owner, "f", &["key"], true).await.unwrap();
    let second = needing(store, &owner, "f", &[], true).await.unwrap();
    let delete = async || store.delete_secret(&Actor::LOCAL, &owner, &function("f"), &name("key")).await;
    let activate = async |number| {
        store
            .set_traffic(
                &Actor::LOCAL,
                &owner,
                &function("f"),
                TrafficSplit::all_to(number),
                &Precondition::NONE,
            )
            .await
    };
    activate(first.number).await.unwrap();
    assert_eq!(delete().await.unwrap_err().code(), Code::Conflict);
    activate(second.number).await.unwrap();
    delete().await.unwrap();
    assert_eq!(delete().await.unwrap_err().code(), Code::NotFound);

    assert_eq!(activate(first.number).await.unwrap_err().code(), Code::Conflict);
    let back = store.rollback(&Actor::LOCAL, &owner, &function("f"), &Precondition::NONE).await.unwrap_err();
    assert!(matches!(back, StoreError::RevisionLacksSecret { .. }), "{back}");
    set(store, &owner, "f", "key", "anew").await.unwrap();
    store.rollback(&Actor::LOCAL, &owner, &function("f"), &Precondition::NONE).await.unwrap();
}

pub async fn a_deleted_functions_secrets_are_gone(store: &Arc<Store>) {
    let owner = tenant("a");
    set(store, &owner, "f", "key", "x").await.unwrap();
    let before = store.function(&owner, &function("f")).await.unwrap().unwrap();
    needing(store, &owner, "f", &["key"], true).await.unwrap();
    let deleted =
        store.delete_function(&Actor::LOCAL, &owner, &function("f"), &Precondition::NONE).await.unwrap();
    assert_eq!(deleted.id, before.id, "it is the function's for as long as it lives");
    set(store, &owner, "f", "other", "y").await.unwrap();
    assert_eq!(get(store, &owner, "f", "key").await, None);
    let after = store.function(&owner, &function("f")).await.unwrap().unwrap();
    assert_ne!(after.id, before.id);
    assert_eq!(store.function_ids().await.unwrap(), [(owner, after.id)].into());
}

pub async fn no_value_is_stored_or_recorded_in_clear(store: &Arc<Store>) {
    let owner = tenant("a");
    let value = "a value that stands nowhere else";
    set(store, &owner, "f", "key", value).await.unwrap();
    store.delete_secret(&Actor::LOCAL, &owner, &function("f"), &name("key")).await.unwrap();
    set(store, &owner, "f", "key", value).await.unwrap();
    for file in crate::support::files(store.data_dir()) {
        let bytes = std::fs::read(&file).unwrap();
        let is_there = bytes.windows(value.len()).any(|window| window == value.as_bytes());
        assert!(!is_there, "{}", file.display());
    }
    let changes = store.changes(&owner, MADE, 100).await.unwrap();
    let actions: Vec<_> = changes.iter().map(|change| change.action.as_str()).collect();
    assert_eq!(actions, ["function.create", "secret.set", "secret.delete", "secret.set"]);
    assert!(changes.iter().all(|change| !format!("{change:?}").contains(value)));
    assert_eq!(changes[1].subject, "functions/f/secrets/key");
}

pub async fn a_function_has_so_many_secrets_and_no_more(store: &Arc<Store>) {
    let owner = tenant("a");
    for number in 0..64 {
        set(store, &owner, "f", &format!("key-{number}"), "x").await.unwrap();
    }
    let refused = set(store, &owner, "f", "one-more", "x").await.unwrap_err();
    assert_eq!(refused.code(), Code::Conflict);
    set(store, &owner, "f", "key-0", "one that is there").await.unwrap();
}
