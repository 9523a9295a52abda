//! Leases of fleet facts.
use std::time::Duration;

use sqlx::Connection;
use tidegate_policy::{
    ports::{FleetStore, LeaseOutcome, LeasedVersion, ObjectStore, VersionState, WorkerLease},
    snapshot::ObjectRef,
};
use tidegate_store::{KEEPER_GAP_MS, PgStore};

use super::{pg, store};

fn lease(node: &str, port: u16) -> WorkerLease {
    WorkerLease {
        node_id: node.to_owned(),
        incarnation: "i1".to_owned(),
        pool: ObjectRef { namespace: "default".to_owned(), name: "chat".to_owned() },
        address: ([127, 0, 0, 1], port).into(),
        ready: true,
        versions: vec![LeasedVersion {
            name: "v1".to_owned(),
            state: VersionState::Serving,
            error: String::new(),
            outdated: false,
        }],
        expires_at: chrono::Utc::now(),
    }
}

async fn nodes(store: &PgStore) -> Vec<String> {
    store.read_all().await.unwrap().fleet.into_iter().map(|l| l.node_id).collect()
}

#[tokio::test]
async fn a_renewal_changes_nothing_and_a_new_fact_does() {
    let store = store().await;
    assert_eq!(store.hold(&lease("w1", 1), 10_000).await.unwrap(), LeaseOutcome::Held { changed: true });
    assert_eq!(store.hold(&lease("w1", 1), 10_000).await.unwrap(), LeaseOutcome::Held { changed: false });
    let loading = WorkerLease { ready: false, ..lease("w1", 1) };
    assert_eq!(store.hold(&loading, 10_000).await.unwrap(), LeaseOutcome::Held { changed: true });
    let read = store.read_all().await.unwrap().fleet.remove(0);
    assert!(!read.ready && read.expires_at > chrono::Utc::now());
    assert_eq!((read.versions, read.pool, read.address), (loading.versions, loading.pool, loading.address));
}

#[tokio::test]
async fn an_address_belongs_to_one_live_node() {
    let store = store().await;
    store.expire().await.unwrap();
    store.hold(&lease("w1", 1), 10_000).await.unwrap();
    let taken = store.hold(&lease("w2", 1), 10_000).await.unwrap();
    assert_eq!(taken, LeaseOutcome::AddressTaken { by: "w1".to_owned() });
    assert_eq!(nodes(&store).await, ["w1"]);
    store.hold(&lease("w1", 1), 1).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let held = store.hold(&lease("w2", 1), 10_000).await.unwrap();
    assert_eq!(held, LeaseOutcome::Held { changed: true }, "the first lease has ended");
    assert_eq!(nodes(&store).await, ["w2"]);
}

#[tokio::test]
async fn nodes_that_race_for_an_address_have_one_winner() {
    let store = store().await;
    let leases: Vec<WorkerLease> = (0..16).map(|n| lease(&format!("w{n}"), 7)).collect();
    let all = futures::future::join_all(leases.iter().map(|l| store.hold(l, 10_000))).await;
    let winners = all.into_iter().filter(|o| matches!(o, Ok(LeaseOutcome::Held { .. }))).count();
    assert_eq!((winners, nodes(&store).await.len()), (1, 1));
}

#[tokio::test]
async fn only_the_same_incarnation_releases() {
    let store = store().await;
    store.hold(&lease("w1", 1), 10_000).await.unwrap();
    let restarted = WorkerLease { incarnation: "i2".to_owned(), ..lease("w1", 1) };
    assert_eq!(store.hold(&restarted, 10_000).await.unwrap(), LeaseOutcome::Held { changed: false });
    store.release("w1", "i1").await.unwrap();
    assert_eq!(nodes(&store).await, ["w1"], "the old incarnation has no say");
    store.release("w1", "i2").await.unwrap();
    assert!(nodes(&store).await.is_empty());
}

#[tokio::test]
async fn a_lease_ends_when_it_is_not_renewed() {
    let store = store().await;
    store.expire().await.unwrap();
    store.hold(&lease("w1", 1), 1_000).await.unwrap();
    store.hold(&lease("w2", 2), 60_000).await.unwrap();
    assert!(!store.expire().await.unwrap());
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert!(store.expire().await.unwrap());
    assert_eq!(nodes(&store).await, ["w2"]);
    assert!(!store.expire().await.unwrap());
}

#[tokio::test]
async fn leases_do_not_run_out_while_nobody_could_renew_them() {
    let url = pg::database();
    let store = PgStore::connect(&url).await.unwrap();
    store.expire().await.unwrap();
    store.hold(&lease("w1", 1), 200).await.unwrap();
    tokio::time::sleep(Duration::from_millis(250)).await;
    // As after an outage: nobody has looked through the leases for longer than the gap.
    let mut by_hand = sqlx::PgConnection::connect(&url).await.unwrap();
    sqlx::query("UPDATE lease_keeper SET seen_at = clock_timestamp() - $1 * interval '1 millisecond'")
        .bind((KEEPER_GAP_MS + 1_000) as f64)
        .execute(&mut by_hand)
        .await
        .unwrap();
    assert!(!store.expire().await.unwrap());
    assert_eq!(nodes(&store).await, ["w1"], "the lease has its term again");
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert!(store.expire().await.unwrap(), "and ends when it is still not renewed");
    assert!(nodes(&store).await.is_empty());
}
