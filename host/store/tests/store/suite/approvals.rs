//! What a function's owner says of it, and activations that need a second person.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use modelet_store::{
    Actor, ApiKey, Function, FunctionSetting, NewApiKey, PendingActivation, Precondition, Store, StoreError,
};
use modelet_types::{Code, Digest, InvocationQuotas, KeyId, RevisionNumber, Role, TrafficSplit};

use crate::support::{deploy_new, function, split, tenant};

async fn set(store: &Store, setting: FunctionSetting) -> Function {
    let (owner, name) = (tenant("a"), function("f"));
    store.set_function(&Actor::LOCAL, &owner, &name, setting, &Precondition::NONE).await.unwrap()
}

async fn ask(store: &Store, actor: &Actor, wanted: TrafficSplit) -> PendingActivation {
    let (owner, name) = (tenant("a"), function("f"));
    let asked = store.set_traffic(actor, &owner, &name, wanted, &Precondition::NONE).await.unwrap();
    asked.pending.unwrap()
}

async fn approve(store: &Store, actor: &Actor, id: u64) -> Result<Function, StoreError> {
    store.approve_activation(actor, &tenant("a"), &function("f"), id).await
}

fn id(number: u64) -> KeyId {
    format!("{number:012x}").parse().unwrap()
}

/// Makes a key.
async fn key(store: &Store, number: u64, maker: &Actor) -> Actor {
    let new = NewApiKey {
        id: id(number),
        digest: Digest::of(&number.to_be_bytes()),
        role: Role::Deployer,
        functions: None,
        description: String::new(),
        lifetime_s: None,
    };
    store.create_api_key(maker, &tenant("a"), new).await.unwrap();
    Actor::key(id(number))
}

pub async fn settings_stay_until_they_are_set_anew(store: &Arc<Store>) {
    let owner = tenant("a");
    deploy_new(store, &owner, "f", true).await;
    let quotas = InvocationQuotas { concurrency: Some(3), ..InvocationQuotas::default() };
    let before = set(store, FunctionSetting::NeedsApproval(true)).await;
    let after = set(store, FunctionSetting::Quotas(quotas.clone())).await;
    assert!(before.version < after.version && after.approval_since.is_some());
    assert_eq!(store.function(&owner, &function("f")).await.unwrap(), Some(after.clone()));
    assert_eq!(after.quotas, quotas);
    let stale = Precondition::one_of(vec![before.tag()]);
    let setting = FunctionSetting::Quotas(InvocationQuotas::default());
    let error = store.set_function(&Actor::LOCAL, &owner, &function("f"), setting, &stale).await.unwrap_err();
    assert_eq!(error.code(), Code::PreconditionFailed);
}

pub async fn an_activation_waits_for_a_second_person(store: &Arc<Store>) {
    let (owner, name) = (tenant("a"), function("f"));
    let (ann, bob) = (key(store, 1, &Actor::LOCAL).await, key(store, 2, &Actor::LOCAL).await);
    deploy_new(store, &owner, "f", true).await;
    set(store, FunctionSetting::NeedsApproval(true)).await;
    let second = deploy_new(store, &owner, "f", true).await;
    let function_now = async || store.function(&owner, &name).await.unwrap().unwrap();
    let waits = function_now().await;
    assert_eq!(waits.traffic, split(&[(1, 1)]), "it has not changed");
    assert_eq!(waits.pending.unwrap().traffic, TrafficSplit::all_to(second));

    // What is asked for later takes its place.
    let pending = ask(store, &ann, split(&[(1, 9), (2, 1)])).await;
    assert_eq!(pending.requested_by, ann);
    let error = approve(store, &bob, pending.id - 1).await.unwrap_err();
    assert!(matches!(error, StoreError::NotPending(..)), "{error:?}");
    let error = approve(store, &ann, pending.id).await.unwrap_err();
    assert_eq!(
        (error.code(), matches!(error, StoreError::SamePerson { .. })),
        (Code::PermissionDenied, true)
    );
    let changed = approve(store, &bob, pending.id).await.unwrap();
    assert_eq!((changed.traffic, changed.pending), (pending.traffic, None));
    assert_eq!(approve(store, &bob, pending.id).await.unwrap_err().code(), Code::NotFound);

    let pending = ask(store, &ann, split(&[(2, 1)])).await;
    let rejected = store.reject_activation(&ann, &owner, &name, pending.id).await.unwrap();
    assert_eq!((rejected.traffic, rejected.pending), (split(&[(1, 9), (2, 1)]), None));

    let actions: Vec<_> =
        store.changes(&owner, 0, 100).await.unwrap().into_iter().map(|it| it.action).collect();
    let wanted = ["activation.request", "activation.approve", "traffic.set", "activation.request"];
    assert!(actions.windows(4).any(|window| window == wanted), "{actions:?}");
    assert_eq!(actions.last().unwrap(), "activation.reject");
}

pub async fn a_key_that_one_has_made_is_oneself(store: &Arc<Store>) {
    let owner = tenant("a");
    let boss = key(store, 1, &Actor::LOCAL).await;
    let (made, other) = (key(store, 2, &boss).await, key(store, 3, &Actor::LOCAL).await);
    let made_by_made = key(store, 4, &made).await;
    for _ in 0..2 {
        deploy_new(store, &owner, "f", true).await;
    }
    set(store, FunctionSetting::NeedsApproval(true)).await;
    let pending = ask(store, &boss, split(&[(1, 1)])).await;
    for same in [&boss, &made, &made_by_made] {
        let error = approve(store, same, pending.id).await.unwrap_err();
        assert!(matches!(error, StoreError::SamePerson { .. }), "{error:?}");
    }
    approve(store, &other, pending.id).await.unwrap();
    // Also if the key between them is gone.
    let pending = ask(store, &boss, split(&[(2, 1)])).await;
    store.revoke_api_key(&Actor::LOCAL, &owner, id(2)).await.unwrap();
    let error = approve(store, &made_by_made, pending.id).await.unwrap_err();
    assert!(matches!(error, StoreError::SamePerson { .. }), "{error:?}");
    // Who made the key of somebody else is a second person to them.
    let pending = ask(store, &made_by_made, split(&[(1, 1), (2, 1)])).await;
    approve(store, &boss, pending.id).await.unwrap();
}

pub async fn a_key_and_its_successor_are_one_person(store: &Arc<Store>) {
    let owner = tenant("a");
    for _ in 0..2 {
        deploy_new(store, &owner, "f", true).await;
    }
    set(store, FunctionSetting::NeedsApproval(true)).await;
    let ann = key(store, 1, &Actor::LOCAL).await;
    let ends_at = Timestamp::now() + SignedDuration::from_hours(1);
    let rotate = async |from: u64, to: u64| {
        let successor = |old: ApiKey| NewApiKey {
            id: id(to),
            digest: Digest::of(&to.to_be_bytes()),
            role: old.role,
            functions: None,
            description: String::new(),
            lifetime_s: None,
        };
        store.rotate_api_key(&Actor::LOCAL, &owner, id(from), ends_at, successor).await.unwrap();
        Actor::key(id(to))
    };
    let (second, third) = (rotate(1, 2).await, rotate(2, 3).await);
    for (asks, approves) in [(&ann, &third), (&third, &ann), (&second, &third)] {
        let pending = ask(store, asks, split(&[(1, 1)])).await;
        let error = approve(store, approves, pending.id).await.unwrap_err();
        assert!(matches!(error, StoreError::SamePerson { .. }), "{error:?}");
    }
    // Also if the key that asked is gone.
    let pending = ask(store, &second, split(&[(1, 1)])).await;
    store.revoke_api_key(&Actor::LOCAL, &owner, id(2)).await.unwrap();
    let error = approve(store, &third, pending.id).await.unwrap_err();
    assert!(matches!(error, StoreError::SamePerson { .. }), "{error:?}");
    let error = approve(store, &Actor::key(id(9)), pending.id).await.unwrap_err();
    assert!(matches!(error, StoreError::UnknownPerson { .. }), "{error:?}");
    let bob = key(store, 4, &Actor::LOCAL).await;
    approve(store, &bob, pending.id).await.unwrap();

    // A key that somebody else has rotated is still that of who made the first of its line.
    let made = key(store, 5, &bob).await;
    let rotated = rotate(5, 6).await;
    let pending = ask(store, &bob, split(&[(2, 1)])).await;
    for same in [&made, &rotated] {
        let error = approve(store, same, pending.id).await.unwrap_err();
        assert!(matches!(error, StoreError::SamePerson { .. }), "{error:?}");
    }
}

pub async fn there_is_no_way_around_a_second_person(store: &Arc<Store>) {
    let (owner, name) = (tenant("a"), function("f"));
    for _ in 0..2 {
        deploy_new(store, &owner, "f", true).await;
    }
    set(store, FunctionSetting::NeedsApproval(true)).await;
    let delete = async || store.delete_function(&Actor::LOCAL, &owner, &name, &Precondition::NONE).await;
    let error = delete().await.unwrap_err();
    assert!(matches!(error, StoreError::NeedsApproval(_)), "{error:?}");
    // Back to what was there when it began is a way that is free, and further back is not.
    let back = async || store.rollback(&Actor::LOCAL, &owner, &name, &Precondition::NONE).await.unwrap();
    let asked = back().await;
    assert_eq!((asked.traffic, asked.pending.unwrap().traffic), (split(&[(2, 1)]), split(&[(1, 1)])));
    let pending = ask(store, &Actor::LOCAL, split(&[(1, 1), (2, 1)])).await;
    approve(store, &Actor::host("test"), pending.id).await.unwrap();
    let free = back().await;
    assert_eq!((free.traffic, free.pending), (split(&[(2, 1)]), None));
    let asked = back().await;
    assert_eq!((asked.traffic, asked.pending.unwrap().traffic), (split(&[(2, 1)]), split(&[(1, 1)])));

    // Asking again for what waits changes nothing.
    let pending = ask(store, &Actor::LOCAL, split(&[(1, 1)])).await;
    assert_eq!(ask(store, &Actor::host("other"), split(&[(1, 1)])).await, pending);
    // What waits has to be possible still when it is approved.
    store.delete_revision(&Actor::LOCAL, &owner, &name, RevisionNumber(1)).await.unwrap();
    let error = approve(store, &Actor::host("test"), pending.id).await.unwrap_err();
    assert!(matches!(error, StoreError::NoRevision(..)), "{error:?}");
    assert_eq!(set(store, FunctionSetting::NeedsApproval(false)).await.pending, None);
    delete().await.unwrap();
}
