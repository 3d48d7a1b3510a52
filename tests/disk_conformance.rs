//! What every disk engine promises, asked of each of them: the same cases over io_uring, plain system calls and the simulation,
//! on a directory of the disk, on tmpfs and, as root, on a loop device.
//!
//! `disk_conformance/bench.rs` sets the places up, `targets.rs`, `names.rs`, `folders.rs` and `sockets.rs` hold the
//! cases.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should say where and stop")]

#[path = "disk_conformance/bench.rs"]
mod bench;
#[path = "disk_conformance/folders.rs"]
mod folders;
#[path = "disk_conformance/names.rs"]
mod names;
#[path = "disk_conformance/sockets.rs"]
mod sockets;
#[path = "disk_conformance/targets.rs"]
mod targets;

use bench::{Bench, LoopDevice, SmallTmpfs, on_blocking, on_sim, on_uring, scratch_on_disk, scratch_on_tmpfs};
use diskferry::disk::{Backing, Blocking, DiskError, Engine, Folders, Place, Space, Uring, run_uring};

/// Every case that makes sense on a file.
async fn on_files<E: Engine<Space: Folders>>(bench: Bench<E>) {
    on_any_target(&bench).await;
    targets::a_short_file_ends_where_it_ends(&bench).await;
    targets::lengths_are_set(&bench).await;
    targets::holes_are_found_and_made(&bench).await;
    targets::allocation_reserves_and_reads_as_zeros(&bench).await;
    names::a_part_becomes_an_object(&bench).await;
    names::an_interrupted_part_is_continued(&bench).await;
    names::a_new_part_replaces_the_old_one(&bench).await;
    names::parents_are_made_and_removed(&bench).await;
    names::removal_is_idempotent(&bench).await;
    names::paths_do_not_leave_the_datastore(&bench).await;
    names::parts_are_found(&bench).await;
    names::the_stamp_changes_with_the_content(&bench).await;
    folders::a_directory_is_listed(&bench).await;
    folders::directories_are_made_and_removed(&bench).await;
    folders::files_and_directories_are_renamed(&bench).await;
    folders::a_new_name_is_not_taken_from_anybody(&bench).await;
    folders::directories_do_not_leave_the_datastore(&bench).await;
    sockets::peeking_waits_and_leaves_the_bytes(&bench).await;
    sockets::readiness_waits_and_takes_nothing(&bench).await;
    sockets::a_half_closed_socket_still_receives(&bench).await;
    sockets::receiving_into_a_part_keeps_the_rest(&bench).await;
    sockets::much_goes_through_a_socket(&bench).await;
    sockets::a_closed_peer_is_an_error_of_the_peer(&bench).await;
    sockets::the_end_of_the_stream_is_zero(&bench).await;
    sockets::shutting_wakes_a_pending_receive(&bench).await;
    sockets::a_dropped_receive_gives_its_buffer_back(&bench).await;
    sockets::a_timeout_ends_a_wait(&bench).await;
    sockets::a_half_read_pipe_is_not_reused(&bench).await;
}

/// Every case that also makes sense on a device.
async fn on_any_target<E: Engine>(bench: &Bench<E>) {
    for direct in [false, true] {
        for seed in 0..4 {
            targets::random_ranges_read_back(bench, seed, direct).await;
        }
        targets::many_operations_in_flight(bench, direct).await;
        targets::a_task_that_never_waits_does_not_hold_up_others(bench, direct).await;
        targets::zeroed_ranges_read_as_zeros(bench, direct).await;
        targets::data_is_never_missed(bench, direct).await;
        targets::an_abandoned_write_harms_nobody(bench, direct).await;
        sockets::bytes_are_spliced_both_ways(bench, direct).await;
        sockets::a_refused_splice_loses_nothing(bench, direct).await;
    }
    assert_eq!(bench.engine.pool().available(), bench.engine.pool().capacity(), "a buffer did not come home");
}

#[test]
fn uring_on_a_disk() {
    let scratch = scratch_on_disk();
    on_uring(Backing::Directory(scratch.path().into()), on_files);
}

/// As where the limit of locked memory is low: a ring registers one pool, so a second engine on it works without.
#[test]
fn uring_without_registered_buffers() {
    let scratch = scratch_on_disk();
    on_uring(Backing::Directory(scratch.path().into()), async |bench| {
        let engine = Uring::new(bench.engine.pool().capacity()).unwrap();
        assert!(!engine.is_registered());
        on_files(Bench { engine, ..bench }).await;
    });
}

#[test]
fn uring_on_tmpfs() {
    let scratch = scratch_on_tmpfs();
    on_uring(Backing::Directory(scratch.path().into()), on_files);
}

#[test]
fn uring_on_a_loop_device() {
    let Some(device) = LoopDevice::attach("uring") else {
        return;
    };
    on_uring(Backing::Device(device.path.clone()), async |bench| on_device(bench).await);
}

#[test]
fn blocking_on_a_disk() {
    let scratch = scratch_on_disk();
    on_blocking(Backing::Directory(scratch.path().into()), on_files);
}

#[test]
fn blocking_on_tmpfs() {
    let scratch = scratch_on_tmpfs();
    on_blocking(Backing::Directory(scratch.path().into()), on_files);
}

#[test]
fn blocking_on_a_loop_device() {
    let Some(device) = LoopDevice::attach("blocking") else {
        return;
    };
    on_blocking(Backing::Device(device.path.clone()), async |bench| on_device(bench).await);
}

#[test]
fn sim_on_files() {
    on_sim(false, None, on_files);
}

#[test]
fn sim_on_files_with_short_operations() {
    on_sim(false, Some(3), on_files);
}

#[test]
fn sim_on_a_device() {
    on_sim(true, None, async |bench| {
        on_any_target(&bench).await;
        targets::a_device_ends(&bench).await;
        names::a_device_is_wiped(&bench).await;
        folders::a_device_has_no_files(&bench).await;
    });
}

async fn on_device<E: Engine<Space: Folders>>(bench: Bench<E>) {
    on_any_target(&bench).await;
    targets::a_device_ends(&bench).await;
    names::a_device_is_wiped(&bench).await;
    names::a_device_is_written_by_one(&bench).await;
    folders::a_device_has_no_files(&bench).await;
}

#[test]
fn a_full_disk_says_so() {
    let Some(full) = SmallTmpfs::mount() else { return };
    on_uring(Backing::Directory(full.path.clone()), async |bench| targets::space_runs_out(&bench).await);
    on_blocking(Backing::Directory(full.path.clone()), async |bench| targets::space_runs_out(&bench).await);
}

#[test]
fn a_mounted_device_is_refused_with_its_mount_point() {
    let Some(device) = LoopDevice::attach("mounted") else {
        return;
    };
    let Some(mount) = device.mount() else { return };
    let store = bench::datastores(Backing::Device(device.path.clone()));
    let place = Place { datastore: bench::DATASTORE.into(), path: "disk".into() };
    for refused in [store.check_device(&place), store.create_part(&place, "t", Default::default()).map(drop)] {
        match refused {
            Err(DiskError::Busy { by, .. }) => assert!(by.contains(mount.path().to_str().unwrap()), "{by}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_ring_with_operations_in_flight_ends() {
    if let Err(reason) = Uring::probe() {
        bench::not_run("io_uring", &reason);
        return;
    }
    let pool = run_uring(|| {}, async {
        let engine = Uring::new(4).unwrap();
        let (near, far) = bench::tcp_pair(&engine);
        let waiting = engine.clone();
        // A task that never ends by itself, and a receive abandoned half-way.
        tokio_uring::spawn(async move {
            let buffer = waiting.pool().take().await;
            waiting.recv(&far, buffer, 100, diskferry::disk::Receive::Take).await.1
        });
        let buffer = engine.pool().take().await;
        let receive = engine.recv(&near, buffer, 100, diskferry::disk::Receive::Take);
        assert!(tokio::time::timeout(std::time::Duration::from_millis(20), receive).await.is_err());
        assert_eq!(engine.pool().available(), 2);
        std::mem::forget(near);
        engine.pool().clone()
    })
    .unwrap();
    assert_eq!(pool.available(), 4, "cancelled operations must give their buffers back before the ring goes");
}

#[test]
fn an_engine_without_a_ring_is_refused() {
    assert!(matches!(Uring::new(1), Err(DiskError::Engine { .. })));
    let kinds = [Blocking::new(1).kind().to_string(), diskferry::disk::Sim::new(1).kind().to_string()];
    assert_eq!(kinds, ["blocking", "sim"]);
}
