//! The inventory of a whole server over several lives: what is configured, what was imported, and imports that a life was too
//! short for.

#![expect(clippy::unwrap_used, reason = "in the helpers of a test every failed step is a failed test")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use diskferry::app::config;
use diskferry::app::wiring::{Running, StartError};
use diskferry::inventory::{ControllerKind, Inventory, MachineId, NewDisk, NewMachine, Origin};
use diskferry::lease::{DiskSpec, EntityRef, Form, Kind, LeaseId, LeaseSpec, LeaseState, Target};

/// One life of a server; it ends without a farewell.
fn life<T>(dir: &Path, machines: &str, scene: impl AsyncFnOnce(&Running) -> T) -> Result<T, StartError> {
    let text = format!(
        "[listen]\ncontrol = \"127.0.0.1:0\"\ndata = \"127.0.0.1:0\"\ndata_tls = \"127.0.0.1:0\"\n[state]\ndir = \"state\"\n\
         [data]\nthreads = 1\n[datastore.default]\npath = \"disks\"\n[user.lab]\nrole = \"reader\"\npassword = \"lab\"\n{machines}"
    );
    fs::create_dir_all(dir.join("disks")).unwrap();
    fs::write(dir.join("diskferry.toml"), text).unwrap();
    let config = config::load(Some(&dir.join("diskferry.toml"))).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let running = Running::start(&config).await?;
        Ok(scene(&running).await)
    })
}

fn target(path: &str) -> Target {
    Target { datastore: "default".into(), path: path.into(), form: Form::Raw }
}

/// A new machine with one disk.
fn machine(name: &str) -> NewMachine {
    let target = target(&format!("{name}/disk-0.raw"));
    let disk = NewDisk { target, capacity_bytes: 1 << 20, controller: ControllerKind::LsiLogic, slot: None };
    NewMachine { disks: vec![disk], ..NewMachine::named(name) }
}

/// The lease that brings it.
async fn begin(running: &Running, name: &str, id: &MachineId) -> LeaseId {
    let target = target(&format!("{name}/disk-0.raw"));
    let disk = DiskSpec { name: "disk-0.vmdk".into(), capacity_bytes: Some(1 << 20), disk: true, target };
    let spec = LeaseSpec {
        kind: Kind::Import,
        entity: name.into(),
        entity_ref: Some(EntityRef { kind: "VirtualMachine".into(), id: id.to_string() }),
        disks: vec![disk],
        max_rate_bytes_per_s: None,
    };
    running.leases.create(spec, None).await.unwrap().id
}

async fn import(running: &Running, name: &str) -> LeaseId {
    let reserved = running.inventory.reserve(machine(name)).await.unwrap();
    let lease = begin(running, name, &reserved.machine().id).await;
    running.inventory.bind(reserved, &lease).await.unwrap();
    lease
}

fn names(inventory: &Inventory) -> Vec<String> {
    inventory.machines().into_iter().map(|machine| machine.name).collect()
}

async fn eventually(what: impl AsyncFn() -> bool) {
    let started = Instant::now();
    while !what().await {
        assert!(started.elapsed() < Duration::from_secs(10), "it does not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn configured_and_imported_machines_are_the_same_in_every_life() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    fs::create_dir(dir.join("disks")).unwrap();
    fs::write(dir.join("disks/web.raw"), [0; 5000]).unwrap();
    let configured = "[vm.web]\ndisks = [\"[default] web.raw\"]\n[vapp.shop]\nvms = [\"web\"]\n";
    let first = life(dir, configured, async |running| {
        running.inventory.add(machine("own")).await.unwrap();
        (running.inventory.machines(), running.inventory.vapps())
    })
    .unwrap();
    let web = &first.0[0];
    assert_eq!((web.name.as_str(), web.origin, web.disks[0].capacity_bytes), ("web", Origin::Configured, 5120));
    let second =
        life(dir, configured, async |running| (running.inventory.machines(), running.inventory.vapps())).unwrap();
    assert_eq!(second, first);
    let third = life(dir, "", async |running| names(&running.inventory)).unwrap();
    assert_eq!(third, ["own"]);

    let refused = life(dir, "[vm.own]\n[vm.web]\n", async |_| ()).unwrap_err();
    assert!(matches!(refused, StartError::Configuration(_)), "{refused}");
    assert!(refused.to_string().contains("[vm.own] an imported machine has that name"), "{refused}");
    assert_eq!(life(dir, "", async |running| names(&running.inventory)).unwrap(), ["own"], "and nothing has changed");
}

#[test]
fn an_import_that_fails_takes_its_machine_with_it_in_whichever_life() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let (later, bound_too_late) = life(dir, "", async |running| {
        let now = import(running, "now").await;
        let later = import(running, "later").await;
        assert_eq!(names(&running.inventory), ["now", "later"]);
        running.leases.abort(&now, None).await.unwrap();
        eventually(async || names(&running.inventory) == ["later"]).await;
        // The life ends after the lease was journaled and before the machine was.
        let reserved = running.inventory.reserve(machine("lost")).await.unwrap();
        (later, begin(running, "lost", &reserved.machine().id).await)
    })
    .unwrap();
    life(dir, "", async |running| {
        eventually(async || running.leases.get(&bound_too_late).await.unwrap().state == LeaseState::Error).await;
        assert_eq!((names(&running.inventory), running.inventory.importing().len()), (vec!["later".to_owned()], 1));
        running.leases.abort(&later, None).await.unwrap();
        eventually(async || names(&running.inventory).is_empty()).await;
    })
    .unwrap();
    // A name that a dead import had is free before the configured machines come in.
    let later = life(dir, "", async |running| import(running, "later").await).unwrap();
    life(dir, "", async |running| running.leases.abort(&later, None).await.unwrap()).unwrap();
    let configured = life(dir, "[vm.later]\n", async |running| running.inventory.machines()).unwrap();
    assert_eq!((configured.len(), configured[0].origin), (1, Origin::Configured));
}
