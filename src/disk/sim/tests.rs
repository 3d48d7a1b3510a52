//! The simulation's promises that a real engine cannot be asked for: crashes and faults.

use super::*;
use crate::disk::space::{Place, Space, Want};

fn place() -> Place {
    Place { datastore: "default".into(), path: "vm/disk.raw".into() }
}

fn filled(sim: &Sim, byte: u8, len: usize) -> Buffer {
    let mut buffer = sim.pool().try_take().unwrap();
    buffer.set_len(len);
    buffer.fill(byte);
    buffer
}

async fn begin(sim: &Sim) -> SimFile {
    sim.space().make_parents(&place()).unwrap();
    let opened = sim.space().create_part(&place(), "t", Want::default()).unwrap();
    sim.adopt(opened).unwrap()
}

async fn content(sim: &Sim) -> Vec<u8> {
    let file = sim.space().open(&place(), Want::default()).unwrap();
    let buffer = sim.pool().try_take().unwrap();
    sim.read_at(&file, buffer, 0).await.0.to_vec()
}

#[tokio::test]
async fn published_after_sync_survives_a_crash() {
    let sim = Sim::new(4);
    let file = begin(&sim).await;
    sim.write_at(&file, filled(&sim, 1, 10_000), 0).await.1.unwrap();
    sim.sync(&file).await.unwrap();
    sim.space().publish(&place(), "t").unwrap();
    sim.crash();
    assert_eq!(content(&sim).await, [1; 10_000]);
    assert_eq!(sim.space().parts().unwrap(), []);
}

#[tokio::test]
async fn published_without_sync_is_empty_after_a_crash() {
    let sim = Sim::new(4);
    let file = begin(&sim).await;
    sim.write_at(&file, filled(&sim, 1, 10_000), 0).await.1.unwrap();
    sim.space().publish(&place(), "t").unwrap();
    sim.crash();
    assert!(content(&sim).await.is_empty());
}

#[tokio::test]
async fn a_failed_directory_flush_leaves_the_old_name_after_a_crash() {
    let sim = Sim::new(4);
    let file = begin(&sim).await;
    sim.sync(&file).await.unwrap();
    sim.set_faults(Faults { fail_syncs: 1, ..Faults::default() });
    assert!(matches!(sim.space().publish(&place(), "t"), Err(DiskError::SyncFailed { .. })));
    sim.space().inspect(&place()).unwrap();
    sim.crash();
    assert!(sim.space().inspect(&place()).unwrap_err().is_not_found());
    assert_eq!(sim.space().parts().unwrap(), [(place(), "t".to_owned())]);
}

#[tokio::test]
async fn a_failed_sync_loses_data_that_a_second_sync_does_not_save() {
    let sim = Sim::new(4);
    let file = begin(&sim).await;
    sim.write_at(&file, filled(&sim, 1, 100), 0).await.1.unwrap();
    sim.set_faults(Faults { fail_syncs: 1, ..Faults::default() });
    assert!(matches!(sim.sync(&file).await, Err(DiskError::SyncFailed { .. })));
    let _ = sim.sync(&file).await;
    sim.space().publish(&place(), "t").unwrap();
    sim.crash();
    assert!(!content(&sim).await.contains(&1));
}

#[tokio::test]
async fn what_was_open_before_a_crash_is_dead() {
    let sim = Sim::new(4);
    let file = begin(&sim).await;
    sim.crash();
    let (_, written) = sim.write_at(&file, filled(&sim, 1, 10), 0).await;
    assert!(written.unwrap_err().is_failed_storage());
    assert!(sim.sync(&file).await.is_err());
}

#[tokio::test]
async fn the_same_seed_makes_the_same_accidents() {
    let run = |seed| async move {
        let sim = Sim::new(4);
        let file = begin(&sim).await;
        sim.set_faults(Faults { seed, write_error_one_in: 5, ..Faults::default() });
        let mut accidents = Vec::new();
        for number in 0..64 {
            accidents.push(sim.write_at(&file, filled(&sim, 1, 10), number * 10).await.1.is_err());
        }
        accidents
    };
    let first = run(7).await;
    assert_eq!(first, run(7).await);
    assert_ne!(first, run(8).await);
    assert!(first.contains(&true) && first.contains(&false));
}

#[tokio::test]
async fn space_runs_out_where_ordered() {
    let sim = Sim::new(4);
    let file = begin(&sim).await;
    sim.set_faults(Faults { full_at_bytes: Some(64 * 1024), ..Faults::default() });
    assert_eq!(sim.space().free_bytes(&place()).unwrap(), 64 * 1024);
    assert!(sim.allocate(&file, 65 * 1024).await.unwrap_err().is_no_space());
    sim.write_at(&file, filled(&sim, 1, 64 * 1024), 0).await.1.unwrap();
    let (_, written) = sim.write_at(&file, filled(&sim, 1, 1), 64 * 1024).await;
    assert!(written.unwrap_err().is_no_space());
    sim.write_at(&file, filled(&sim, 2, 64 * 1024), 0).await.1.unwrap();
}

#[tokio::test(start_paused = true)]
async fn delays_pass_on_the_runtimes_clock() {
    let sim = Sim::new(4);
    let file = begin(&sim).await;
    sim.set_faults(Faults { delay_up_to_ms: 1000, ..Faults::default() });
    let start = tokio::time::Instant::now();
    for _ in 0..20 {
        sim.write_at(&file, filled(&sim, 1, 10), 0).await.1.unwrap();
    }
    assert!(start.elapsed() > Duration::from_secs(2));
}

#[test]
fn a_device_in_use_is_refused() {
    let sim = Sim::new(1);
    sim.add_device("nvme", 1 << 20);
    let place = Place { datastore: "nvme".into(), path: "disk".into() };
    sim.occupy_device("nvme", Some("mounted at /srv"));
    let refused = sim.space().create_part(&place, "t", Want::default()).err().unwrap();
    assert!(refused.to_string().contains("mounted at /srv"), "{refused}");
    assert!(sim.space().check_device(&place).is_err());
    sim.occupy_device("nvme", None);
    sim.space().check_device(&place).unwrap();
}
