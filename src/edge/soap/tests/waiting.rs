//! Waiting for updates.

use std::time::Instant;

use super::*;

pub(super) fn filter(kind: &str, id: &str, paths: &[&str]) -> String {
    let paths: String = paths.iter().map(|path| format!("<pathSet>{path}</pathSet>")).collect();
    format!(
        "<spec><propSet><type>{kind}</type>{paths}</propSet><objectSet><obj type='{kind}'>{id}</obj></objectSet></spec>\
         <partialUpdates>false</partialUpdates>"
    )
}

/// Names and values of the changes in an update, and its version.
pub(super) fn changes(update: &Element) -> (Vec<(String, String)>, String) {
    let set = update.child("returnval").unwrap();
    let objects = set.children_named("filterSet").flat_map(|filter| filter.children_named("objectSet"));
    let changes = objects.flat_map(|object| object.children_named("changeSet"));
    let pair = |change: &Element| {
        (change.text_of("name").unwrap().to_owned(), change.text_of("val").unwrap_or_default().to_owned())
    };
    (changes.map(pair).collect(), set.text_of("version").unwrap().to_owned())
}

pub(super) async fn collector(client: &Client<'_>, filter: &str) -> String {
    let made = client.ask("CreatePropertyCollector", "PropertyCollector", "propertyCollector", "").await;
    let id = made.text_of("returnval").unwrap().to_owned();
    client.ask("CreateFilter", "PropertyCollector", &id, filter).await;
    id
}

#[tokio::test]
async fn a_wait_ends_when_the_lease_changes_and_not_before() {
    let stage = Stage::new().await;
    let lease = stage.lease("operator").await;
    let client = stage.client("operator").await;
    let id = collector(&client, &filter("HttpNfcLease", lease.id.as_str(), &["state", "error"])).await;
    let first = client.ask("WaitForUpdatesEx", "PropertyCollector", &id, "").await;
    let (seen, version) = changes(&first);
    assert_eq!(seen, [("state".to_owned(), "ready".to_owned())]);
    let version = format!("<version>{version}</version>");
    let asked = Instant::now();
    let (update, aborted) = tokio::join!(client.ask("WaitForUpdatesEx", "PropertyCollector", &id, &version), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        stage.desk.leases.abort(&lease.id, None).await.unwrap();
        Instant::now()
    });
    assert!(asked.elapsed() >= Duration::from_millis(200));
    assert!(aborted.elapsed() < Duration::from_millis(100), "told after {:?}", aborted.elapsed());
    let (seen, _) = changes(&update);
    assert_eq!((seen[0].0.as_str(), seen[1].0.as_str(), seen[1].1.as_str()), ("error", "state", "error"));
}

#[tokio::test]
async fn the_time_a_client_gives_is_kept() {
    let stage = Stage::new().await;
    let client = stage.client("reader").await;
    let id = collector(&client, &filter("VirtualMachine", "vm-1", &["name"])).await;
    let first = client.ask("WaitForUpdatesEx", "PropertyCollector", &id, "<version></version>").await;
    let version = changes(&first).1;
    let asked = Instant::now();
    let wait = format!("<version>{version}</version><options><maxWaitSeconds>1</maxWaitSeconds></options>");
    let nothing = client.ask("WaitForUpdatesEx", "PropertyCollector", &id, &wait).await;
    assert_eq!(nothing.children, []);
    assert!((900..2000).contains(&asked.elapsed().as_millis()));
    let now = client.ask("CheckForUpdates", "PropertyCollector", &id, &format!("<version>{version}</version>")).await;
    assert_eq!(now.children, []);
    let refused = client.refused("CheckForUpdates", "PropertyCollector", &id, "<version>99</version>").await;
    assert_eq!(refused, "InvalidCollectorVersion");
}

#[tokio::test]
async fn a_wait_can_be_cancelled_and_ends_with_its_collector_or_session() {
    let stage = Stage::new().await;
    let client = stage.client("reader").await;
    for end in ["CancelWaitForUpdates", "DestroyPropertyCollector", "Logout"] {
        let id = collector(&client, &filter("VirtualMachine", "vm-1", &["name"])).await;
        let version = changes(&client.ask("WaitForUpdates", "PropertyCollector", &id, "").await).1;
        let wait = format!("<version>{version}</version>");
        let (refused, ()) = tokio::join!(client.refused("WaitForUpdates", "PropertyCollector", &id, &wait), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            match end {
                "Logout" => client.ask(end, "SessionManager", "SessionManager", "").await,
                end => client.ask(end, "PropertyCollector", &id, "").await,
            };
        });
        assert_eq!(refused, "RequestCanceled", "{end}");
    }
}

#[tokio::test]
async fn waits_on_one_collector_do_not_disturb_each_other() {
    let stage = Stage::new().await;
    let (one, two) = (stage.lease("operator").await, stage.lease("two").await);
    let client = stage.client("admin").await;
    let id = "propertyCollector";
    client.ask("CreateFilter", "PropertyCollector", id, &filter("HttpNfcLease", one.id.as_str(), &["state"])).await;
    client.ask("CreateFilter", "PropertyCollector", id, &filter("HttpNfcLease", two.id.as_str(), &["state"])).await;
    let version = changes(&client.ask("WaitForUpdates", "PropertyCollector", id, "").await).1;
    let wait = format!("<version>{version}</version>");
    let (first, second, ()) = tokio::join!(
        client.ask("WaitForUpdates", "PropertyCollector", id, &wait),
        client.ask("WaitForUpdates", "PropertyCollector", id, &wait),
        async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            stage.desk.leases.abort(&two.id, None).await.unwrap();
        }
    );
    assert_eq!(changes(&first).0, changes(&second).0);
}

#[tokio::test]
async fn too_many_waits_are_refused() {
    let stage = Stage::new().await;
    let client = stage.client("reader").await;
    let _seats: Vec<_> = std::iter::from_fn(|| stage.desk.waits.clone().try_acquire_owned().ok()).collect();
    let refused = client.refused("WaitForUpdates", "PropertyCollector", "propertyCollector", "").await;
    assert_eq!(refused, "InsufficientResourcesFault");
}

#[tokio::test]
async fn a_filter_on_nothing_is_refused_where_it_is_made() {
    let stage = Stage::new().await;
    let client = stage.client("reader").await;
    let wrong = filter("HttpNfcLease", "lease-0", &["state"]);
    assert_eq!(
        client.refused("CreateFilter", "PropertyCollector", "propertyCollector", &wrong).await,
        "ManagedObjectNotFound"
    );
    let spec = "<spec><objectSet><obj type='VirtualMachine'>vm-1</obj><selectSet><name>nowhere</name></selectSet></objectSet></spec>";
    assert_eq!(client.refused("CreateFilter", "PropertyCollector", "propertyCollector", spec).await, "InvalidArgument");
}
