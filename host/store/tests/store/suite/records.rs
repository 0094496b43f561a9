//! What is recorded of tenants: who they are, their keys, their changes and what they used.

use std::sync::Arc;

use modelet_store::{
    Actor, NewApiKey, Page, Precondition, Store, StoreError, TenantSetting, UsageCursor, UsageHour,
    UsageQuery, hour_of,
};
use modelet_types::{Digest, Problem, Quotas, RevisionNumber, Role, Trust, Usage};

use crate::support::{deploy_new, function, tenant};

pub async fn changes_are_chained(store: &Arc<Store>) {
    let owner = tenant("a");
    for name in ["f", "g", "f"] {
        deploy_new(store, &owner, name, true).await;
    }
    let changes = store.changes(&owner, 0, 100).await.unwrap();
    let head = store.verify_changes(&owner, &[], &[]).await.unwrap().unwrap().last;
    assert_eq!((head.id, head.hash), (changes.len() as u64, changes.last().unwrap().hash));
    let heads = store.chain_heads().await.unwrap();
    assert!(heads.contains(&(owner, head)), "{heads:?}");
    assert_eq!(heads.len(), 4, "of each tenant one");
}

pub async fn keys_are_listed_in_the_order_of_their_making(store: &Arc<Store>) {
    let owner = tenant("a");
    let key = |number: u64, lifetime_s| NewApiKey {
        id: format!("{number:012x}").parse().unwrap(),
        digest: Digest::of(&number.to_be_bytes()),
        role: Role::Deployer,
        functions: (number == 2).then(|| vec![function("f")]),
        description: format!("key „{number}“"),
        lifetime_s,
    };
    let mut made = Vec::new();
    for (number, lifetime_s) in [(3, None), (2, Some(60)), (1, Some(u64::try_from(i64::MAX).unwrap()))] {
        made.push(store.create_api_key(&Actor::LOCAL, &owner, key(number, lifetime_s)).await.unwrap());
    }
    assert_eq!(store.api_keys(&owner).await.unwrap(), made);
    let used = made[0].created_at;
    store.set_last_used(&[(owner.clone(), made[1].id, used)]).await.unwrap();
    let stored = store.stored_key(&owner, made[1].id).await.unwrap().unwrap();
    assert_eq!((stored.key.last_used_at, stored.digest), (Some(used), Digest::of(&2u64.to_be_bytes())));
    let successor =
        store.rotate_api_key(&Actor::LOCAL, &owner, made[0].id, used, |_| key(4, None)).await.unwrap();
    store.revoke_api_key(&Actor::LOCAL, &owner, made[1].id).await.unwrap();
    let ids: Vec<_> = store.api_keys(&owner).await.unwrap().iter().map(|key| key.id).collect();
    assert_eq!(ids, [made[0].id, made[2].id, successor.id]);
    assert_eq!(store.stored_keys().await.unwrap().len(), 3);
    let unfit = NewApiKey { description: "a\0b".to_owned(), ..key(5, None) };
    let refused = store.create_api_key(&Actor::LOCAL, &owner, unfit).await.unwrap_err();
    assert_eq!(Problem::from(refused).field.as_deref(), Some("description"));
}

/// Also where the database would order them by the rules of a language, which pass over hyphens.
pub async fn names_are_in_the_order_of_their_bytes(store: &Arc<Store>) {
    let owner = tenant("a");
    for name in ["a-c", "ab", "a", "a1", "b"] {
        deploy_new(store, &owner, name, false).await;
        store.create_tenant(&Actor::LOCAL, &tenant(&format!("t{name}")), Trust::Untrusted).await.unwrap();
    }
    let listed = store.functions(&owner, &Page::whole()).await.unwrap();
    let names: Vec<_> = listed.iter().map(|function| function.name.as_str()).collect();
    assert_eq!(names, ["a", "a-c", "a1", "ab", "b"]);
    let routes = store.all_routes().await.unwrap();
    assert_eq!(routes.iter().map(|route| route.function.name.as_str()).collect::<Vec<_>>(), names);
    let tenants = store.tenants(&Page::whole()).await.unwrap();
    let tenants: Vec<_> = tenants.iter().map(|tenant| tenant.name.as_str()).collect();
    assert_eq!(tenants, ["a", "b", "c", "default", "ta", "ta-c", "ta1", "tab", "tb"]);
}

pub async fn tenants_come_and_go(store: &Arc<Store>) {
    let name = tenant("new");
    let made = store.create_tenant(&Actor::LOCAL, &name, Trust::Untrusted).await.unwrap();
    assert_eq!(store.tenant(&name).await.unwrap(), made);
    let quotas = Quotas { functions: Some(1), ..Quotas::default() };
    for setting in [
        TenantSetting::Trust(Trust::Trusted),
        TenantSetting::Plan("gold".to_owned()),
        TenantSetting::Quotas(quotas.clone()),
    ] {
        store.set_tenant(&Actor::LOCAL, &name, setting, &Precondition::NONE).await.unwrap();
    }
    let set = store.tenant(&name).await.unwrap();
    assert_eq!((set.trust, set.plan.as_deref(), &set.quotas), (Trust::Trusted, Some("gold"), &quotas));
    deploy_new(store, &name, "f", true).await;
    let refused = store.delete_tenant(&Actor::LOCAL, &name, &Precondition::NONE).await.unwrap_err();
    assert!(matches!(refused, StoreError::TenantHasFunctions { functions: 1, .. }), "{refused}");
    store.delete_function(&Actor::LOCAL, &name, &function("f"), &Precondition::NONE).await.unwrap();
    store.delete_tenant(&Actor::LOCAL, &name, &Precondition::NONE).await.unwrap();
    assert!(matches!(store.tenant(&name).await.unwrap_err(), StoreError::NoTenant(_)));
    let again = store.create_tenant(&Actor::LOCAL, &name, Trust::Trusted).await.unwrap_err();
    assert!(matches!(again, StoreError::TenantNameTaken { was_deleted: true, .. }), "{again}");
}

/// Without what another one of its name has used before.
pub async fn a_functions_usage_is_its_own(store: &Arc<Store>) {
    let owner = tenant("a");
    deploy_new(store, &owner, "f", true).await;
    let made = hour_of(store.function(&owner, &function("f")).await.unwrap().unwrap().created_at);
    let hour = |hour, name, invocations| UsageHour {
        tenant: owner.clone(),
        hour,
        function: function(name),
        revision: RevisionNumber(1),
        usage: Usage { invocations, ..Usage::default() },
    };
    let hours =
        [hour(made - 1, "f", 1), hour(made, "f", 10), hour(made + 1, "f", 100), hour(made, "gone", 7)];
    store.add_usage("ledger", UsageCursor { segment: 1, offset: 1 }, &hours).await.unwrap();
    let since = async |hour| store.usage_by_function_since(hour).await.unwrap();
    let used = |invocations| vec![(owner.clone(), function("f"), Usage { invocations, ..Usage::default() })];
    assert_eq!(since(made - 5).await, used(110));
    assert_eq!(since(made + 1).await, used(100));
}

pub async fn usage_adds_up(store: &Arc<Store>) {
    let (a, b) = (tenant("a"), tenant("b"));
    let hour = |owner: &_, hour, of: &str, revision, invocations| UsageHour {
        tenant: Clone::clone(owner),
        hour,
        function: function(of),
        revision: RevisionNumber(revision),
        usage: Usage { invocations, cpu_us: 1 << 60, ..Usage::default() },
    };
    let hours = [
        hour(&a, 24, "f", 1, 1),
        hour(&a, 25, "f", 2, 10),
        hour(&a, 25, "g", 1, 100),
        hour(&b, 25, "f", 1, 7),
    ];
    let cursor = UsageCursor { segment: 1, offset: 77 };
    store.add_usage("ledger", cursor, &hours).await.unwrap();
    store.add_usage("ledger", UsageCursor { segment: 2, ..cursor }, &hours[..1]).await.unwrap();
    assert_eq!(store.usage_cursor("ledger").await.unwrap(), UsageCursor { segment: 2, offset: 77 });
    assert_eq!(store.usage_cursor("other").await.unwrap(), UsageCursor::default());
    // What is exported has a place of its own, which also goes back.
    assert_eq!(store.usage_export_cursor("ledger").await.unwrap(), None);
    for segment in [3, 2] {
        let cursor = UsageCursor { segment, offset: 5 };
        store.set_usage_export_cursor("ledger", cursor).await.unwrap();
        assert_eq!(store.usage_export_cursor("ledger").await.unwrap(), Some(cursor));
    }
    assert_eq!(store.usage_cursor("ledger").await.unwrap(), UsageCursor { segment: 2, offset: 77 });

    let all = UsageQuery {
        from_hour: 20,
        to_hour: 30,
        function: None,
        hours_per_row: 0,
        by_function: false,
        by_revision: false,
        limit: 10,
    };
    let sums = async |query: UsageQuery| {
        let rows = store.usage(&a, &query).await.unwrap();
        rows.into_iter()
            .map(|row| {
                (
                    row.hour,
                    row.function.map(|name| name.to_string()),
                    row.revision.map(|it| it.0),
                    row.usage.invocations,
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(sums(all.clone()).await, [(20, None, None, 112)]);
    let (f, g) = (Some("f".to_owned()), Some("g".to_owned()));
    assert_eq!(
        sums(UsageQuery { by_function: true, hours_per_row: 1, ..all.clone() }).await,
        [(24, f.clone(), None, 2), (25, f.clone(), None, 10), (25, g.clone(), None, 100)]
    );
    assert_eq!(
        sums(UsageQuery { by_revision: true, hours_per_row: 24, ..all.clone() }).await,
        [(24, f.clone(), Some(1), 2), (24, f.clone(), Some(2), 10), (24, g, Some(1), 100)]
    );
    assert_eq!(
        sums(UsageQuery { function: Some(function("f")), ..all.clone() }).await,
        [(20, None, None, 12)]
    );
    assert_eq!(sums(UsageQuery { by_revision: true, limit: 1, ..all }).await, [(20, f, Some(1), 2)]);
    let since = store.usage_since(25).await.unwrap();
    let mut since: Vec<_> =
        since.into_iter().map(|(name, usage)| (name.to_string(), usage.invocations)).collect();
    since.sort();
    assert_eq!(since, [("a".to_owned(), 110), ("b".to_owned(), 7)]);
}
