//! Functions, revisions, and the record of changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use modelet_store::{Actor, NewRevision, Page, Precondition, Store, StoreError};
use modelet_types::{Code, Digest, Problem, RevisionNumber, TrafficSplit};
use serde_json::json;

use crate::support::{MADE, deploy, deploy_new, function, spec, split, tenant, upload};

pub async fn the_first_revision_makes_the_function(store: &Arc<Store>) {
    let owner = tenant("a");
    let name = function("digits");
    assert_eq!(store.function(&owner, &name).await.unwrap(), None);
    let component = upload(store, &owner, b"component").await;
    deploy(store, &owner, "digits", component, false).await.unwrap();
    let made = store.function(&owner, &name).await.unwrap().unwrap();
    assert_eq!(made.latest, Some(RevisionNumber(1)));
    assert_eq!(made.traffic, TrafficSplit::default());
    deploy(store, &owner, "digits", component, true).await.unwrap();
    let active = store.function(&owner, &name).await.unwrap().unwrap();
    assert_eq!(active.latest, Some(RevisionNumber(2)));
    assert_eq!(active.traffic, TrafficSplit::all_to(RevisionNumber(2)));
    assert_eq!(active.created_at, made.created_at);
    assert!(active.version > made.version);
    assert_eq!(store.functions(&owner, &Page::whole()).await.unwrap(), [active]);
}

pub async fn a_revision_reads_back_as_written(store: &Arc<Store>) {
    let owner = tenant("a");
    let component = upload(store, &owner, b"component").await;
    let model = upload(store, &owner, b"model").await;
    let golden = json!([{"inputs": {}, "outputs": {"p": {"shape": [1], "f32": [0.1]}}}]);
    let spec = serde_json::from_value(json!({
        "component": component,
        "models": {"m": {"artifact": model, "golden": golden}, "same": {"artifact": model}},
        "config": {"colour": "grün"},
    }))
    .unwrap();
    let new = NewRevision {
        spec,
        details: json!({"backends": {"m": "rten"}}),
        activate: true,
        precondition: Precondition::NONE,
    };
    let made = store.create_revision(&Actor::LOCAL, &owner, &function("f"), new.clone()).await.unwrap();
    assert_eq!((made.spec.clone(), made.details.clone()), (new.spec, new.details));
    let read = store.revision(&owner, &function("f"), made.number).await.unwrap().unwrap();
    assert_eq!(read, made);
    let second = deploy(store, &owner, "f", component, false).await.unwrap();
    assert_eq!(store.revisions(&owner, &function("f"), &Page::whole()).await.unwrap(), [second, made]);
    assert_eq!(store.revision(&owner, &function("f"), RevisionNumber(3)).await.unwrap(), None);
    let error = store.revisions(&owner, &function("g"), &Page::whole()).await.unwrap_err();
    let problem = Problem::from(error);
    assert_eq!((&*problem.detail, problem.field.as_deref()), ("there is no function `g`", Some("function")));
}

pub async fn a_revision_needs_artifacts_of_its_tenant(store: &Arc<Store>) {
    let (a, b) = (tenant("a"), tenant("b"));
    let component = upload(store, &a, b"component").await;
    let foreign = deploy(store, &b, "f", component, true).await.unwrap_err();
    let missing = deploy(store, &b, "f", Digest::of(b"nowhere"), true).await.unwrap_err();
    assert_eq!((foreign.code(), missing.code()), (Code::NotFound, Code::NotFound));
    assert_eq!(Problem::from(foreign).field.as_deref(), Some("component"));
    // Nothing of the failed deploys is left.
    assert_eq!(store.functions(&b, &Page::whole()).await.unwrap(), []);
    assert_eq!(store.changes(&b, MADE, 10).await.unwrap(), []);

    let mut spec = spec(component);
    let model = json!({"artifact": Digest::of(b"no model")});
    spec.models.insert("m".parse().unwrap(), serde_json::from_value(model).unwrap());
    let new = NewRevision { spec, details: json!({}), activate: false, precondition: Precondition::NONE };
    let error = store.create_revision(&Actor::LOCAL, &a, &function("f"), new).await.unwrap_err();
    assert_eq!(Problem::from(error).field.as_deref(), Some("models.m.artifact"));
}

pub async fn concurrent_deploys_get_distinct_numbers(store: &Arc<Store>) {
    let owner = tenant("a");
    let component = upload(store, &owner, b"component").await;
    let deploys = (0..20).map(|_| {
        let (store, owner) = (Arc::clone(store), owner.clone());
        tokio::spawn(async move { deploy(&store, &owner, "f", component, true).await.unwrap().number.0 })
    });
    let mut numbers = BTreeSet::new();
    for number in deploys.collect::<Vec<_>>() {
        numbers.insert(number.await.unwrap());
    }
    assert_eq!(numbers, (1..=20).collect());
    let made = store.function(&owner, &function("f")).await.unwrap().unwrap();
    assert_eq!(made.traffic, TrafficSplit::all_to(RevisionNumber(20)));
}

pub async fn numbers_survive_the_function(store: &Arc<Store>) {
    let owner = tenant("a");
    let name = function("f");
    deploy_new(store, &owner, "f", true).await;
    deploy_new(store, &owner, "f", true).await;
    let before = store.function(&owner, &name).await.unwrap().unwrap();
    store.delete_function(&Actor::LOCAL, &owner, &name, &Precondition::NONE).await.unwrap();
    assert_eq!(store.function(&owner, &name).await.unwrap(), None);
    assert_eq!(store.revision(&owner, &name, RevisionNumber(1)).await.unwrap(), None);
    let error = store.delete_function(&Actor::LOCAL, &owner, &name, &Precondition::NONE).await.unwrap_err();
    assert!(matches!(error, StoreError::NoFunction(n) if n == name));

    assert_eq!(deploy_new(store, &owner, "f", false).await, RevisionNumber(3));
    let after = store.function(&owner, &name).await.unwrap().unwrap();
    assert_eq!(after.traffic, TrafficSplit::default(), "the split went with the function");
    assert!(after.version > before.version);
    // The highest number is not given again either.
    store.delete_revision(&Actor::LOCAL, &owner, &name, RevisionNumber(3)).await.unwrap();
    assert_eq!(deploy_new(store, &owner, "f", false).await, RevisionNumber(4));
    assert_eq!(deploy_new(store, &owner, "g", false).await, RevisionNumber(1));
}

pub async fn an_active_revision_cannot_be_deleted(store: &Arc<Store>) {
    let owner = tenant("a");
    let name = function("f");
    for _ in 0..2 {
        deploy_new(store, &owner, "f", false).await;
    }
    store
        .set_traffic(&Actor::LOCAL, &owner, &name, split(&[(1, 9), (2, 1)]), &Precondition::NONE)
        .await
        .unwrap();
    let delete =
        async |number| store.delete_revision(&Actor::LOCAL, &owner, &name, RevisionNumber(number)).await;
    let error = delete(2).await.unwrap_err();
    assert!(matches!(error, StoreError::RevisionActive(..)), "{error:?}");
    store.set_traffic(&Actor::LOCAL, &owner, &name, split(&[(1, 1)]), &Precondition::NONE).await.unwrap();
    delete(2).await.unwrap();
    let error = delete(2).await.unwrap_err();
    assert!(matches!(error, StoreError::NoRevision(..)), "{error:?}");
    assert_eq!(Problem::from(error).field.as_deref(), Some("revision"));
    assert_eq!(store.revisions(&owner, &name, &Page::whole()).await.unwrap().len(), 1);
}

pub async fn tenants_do_not_see_each_others_functions(store: &Arc<Store>) {
    let (a, b) = (tenant("a"), tenant("b"));
    let name = function("f");
    let number = deploy_new(store, &a, "f", true).await;
    assert_eq!(store.function(&b, &name).await.unwrap(), None);
    assert_eq!(store.functions(&b, &Page::whole()).await.unwrap(), []);
    assert_eq!(store.revision(&b, &name, number).await.unwrap(), None);
    assert_eq!(store.changes(&b, MADE, 10).await.unwrap(), []);
    let not_found = |error: StoreError| assert_eq!(error.code(), Code::NotFound);
    not_found(store.revisions(&b, &name, &Page::whole()).await.unwrap_err());
    not_found(store.rollback(&Actor::LOCAL, &b, &name, &Precondition::NONE).await.unwrap_err());
    not_found(
        store.set_traffic(&Actor::LOCAL, &b, &name, split(&[(1, 1)]), &Precondition::NONE).await.unwrap_err(),
    );
    not_found(store.delete_revision(&Actor::LOCAL, &b, &name, number).await.unwrap_err());
    not_found(store.delete_function(&Actor::LOCAL, &b, &name, &Precondition::NONE).await.unwrap_err());
    // The same name is another function, which counts for itself.
    assert_eq!(deploy_new(store, &b, "f", true).await, RevisionNumber(1));
    store.delete_function(&Actor::LOCAL, &b, &name, &Precondition::NONE).await.unwrap();
    assert!(store.function(&a, &name).await.unwrap().is_some());
}

pub async fn routes_name_the_active_revisions(store: &Arc<Store>) {
    let (a, b) = (tenant("a"), tenant("b"));
    for _ in 0..3 {
        deploy_new(store, &a, "f", false).await;
    }
    store
        .set_traffic(&Actor::LOCAL, &a, &function("f"), split(&[(3, 1), (1, 9)]), &Precondition::NONE)
        .await
        .unwrap();
    deploy_new(store, &b, "idle", false).await;
    deploy_new(store, &b, "g", true).await;
    let routes: Vec<_> = store
        .all_routes()
        .await
        .unwrap()
        .into_iter()
        .map(|route| {
            let numbers: Vec<_> = route.revisions.iter().map(|revision| revision.number.0).collect();
            (route.tenant.to_string(), route.function.name.to_string(), numbers)
        })
        .collect();
    let route = |tenant: &str, function: &str, numbers: &[u64]| {
        (tenant.to_owned(), function.to_owned(), numbers.to_vec())
    };
    assert_eq!(routes, [route("a", "f", &[3, 1]), route("b", "g", &[1]), route("b", "idle", &[])]);
}

pub async fn changes_tell_the_whole_story(store: &Arc<Store>) {
    let owner = tenant("a");
    let name = function("f");
    let actor = Actor::host("test");
    let component = upload(store, &owner, b"component").await;
    let new = NewRevision {
        spec: spec(component),
        details: json!({"k": 1}),
        activate: true,
        precondition: Precondition::NONE,
    };
    store.create_revision(&actor, &owner, &name, new).await.unwrap();
    store.set_traffic(&actor, &owner, &name, TrafficSplit::default(), &Precondition::NONE).await.unwrap();
    store.rollback(&actor, &owner, &name, &Precondition::NONE).await.unwrap();
    store.delete_function(&actor, &owner, &name, &Precondition::NONE).await.unwrap();
    let changes = store.changes(&owner, MADE, 100).await.unwrap();
    let told: Vec<_> = changes
        .iter()
        .map(|change| (change.id - MADE, change.action.as_str(), change.subject.as_str()))
        .collect();
    let artifact = format!("artifacts/{component}");
    assert_eq!(
        told,
        [
            (1, "artifact.upload", artifact.as_str()),
            (2, "function.create", "functions/f"),
            (3, "revision.create", "functions/f/revisions/1"),
            (4, "traffic.set", "functions/f/traffic"),
            (5, "traffic.set", "functions/f/traffic"),
            (6, "traffic.roll_back", "functions/f/traffic"),
            (7, "function.delete", "functions/f"),
        ]
    );
    assert_eq!((&changes[0].actor, &changes[2].actor), (&Actor::LOCAL, &actor));
    assert_eq!(changes[2].before, None);
    assert_eq!(changes[2].after.as_ref().unwrap().value()["details"], json!({"k": 1}));
    let all_to_1 = json!([{"revision": 1, "weight": 1}]);
    let states = [&changes[4].before, &changes[4].after].map(|state| state.as_ref().unwrap().value());
    assert_eq!(states, [all_to_1, json!([])]);
    assert_eq!(changes[6].after, None);
    assert_eq!(store.changes(&owner, MADE + 3, 2).await.unwrap(), changes[3..5]);
    assert!(changes.is_sorted_by_key(|change| change.at));
}
