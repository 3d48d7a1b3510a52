//! Cases about bytes in targets.

use std::time::Duration;

use diskferry::disk::{DiskError, Engine, Space, Want};
use diskferry::limits::{ALIGN_BYTES, BUFFER_BYTES};
use futures_util::future::{FutureExt, join_all};

use crate::bench::{Bench, DEVICE_BYTES, Random};

const SIZE: u64 = 1 << 20;

/// An offset and a length below SIZE: aligned, unaligned or whole, as chance has it.
fn some_range(random: &mut Random) -> (u64, usize) {
    let unit = [1, 512, ALIGN_BYTES as u64][random.below(3) as usize];
    let offset_bytes = random.below(SIZE / unit) * unit;
    let most = (SIZE - offset_bytes).min(BUFFER_BYTES as u64);
    let length = (1 + random.below(most)).next_multiple_of(unit).min(most);
    (offset_bytes, length as usize)
}

pub async fn random_ranges_read_back<E: Engine>(bench: &Bench<E>, seed: u64, direct: bool) {
    let file = bench.target("random", SIZE, direct).await;
    let mut model = vec![0; SIZE as usize];
    let mut random = Random::new(seed);
    for step in 0..60 {
        let (offset_bytes, length) = some_range(&mut random);
        let at = offset_bytes as usize;
        match random.below(4) {
            0 => {
                let found = bench.read(&file, offset_bytes, length).await;
                assert!(found == model[at..at + length], "seed {seed}, step {step}: {length} bytes at {at} differ");
            }
            1 => {
                bench.engine.zero(&file, offset_bytes, length as u64).await.unwrap();
                model[at..at + length].fill(0);
            }
            _ => {
                let bytes = random.bytes(length);
                bench.write(&file, &bytes, offset_bytes).await.unwrap();
                model[at..at + length].copy_from_slice(&bytes);
            }
        }
    }
    bench.engine.sync(&file).await.unwrap();
    drop(file);
    let opened = bench.space.open_part(&bench.place("random"), "t", Want { direct: !direct }).unwrap();
    let file = bench.engine.adopt(opened).unwrap();
    assert!(bench.read(&file, 0, SIZE as usize).await == model, "seed {seed}: what was stored differs");
}

pub async fn many_operations_in_flight<E: Engine>(bench: &Bench<E>, direct: bool) {
    let piece = 40_960;
    let file = bench.target("flight", 20 * piece, direct).await;
    let writes = (0..20u8).rev().map(|n| {
        let file = &file;
        async move { bench.write(file, &vec![n + 1; piece as usize], u64::from(n) * piece).await }
    });
    for written in join_all(writes).await {
        written.unwrap();
    }
    let reads = (0..20u8).map(|n| {
        let file = &file;
        async move { bench.read(file, u64::from(n) * piece, piece as usize).await }
    });
    for (n, found) in join_all(reads).await.into_iter().enumerate() {
        assert!(found == vec![n as u8 + 1; piece as usize], "piece {n}");
    }
}

/// A download whose client always keeps up is such a task. What it could hold up is what goes through a ring.
pub async fn a_task_that_never_waits_does_not_hold_up_others<E: Engine>(bench: &Bench<E>, direct: bool) {
    let file = bench.target("beside", 8 * 40_960, direct).await;
    let never_waits = async {
        loop {
            bench.engine.turn().await;
        }
    };
    let other = async {
        for n in 0..8 {
            bench.write(&file, &vec![n as u8 + 1; 40_960], n * 40_960).await.unwrap();
            assert!(bench.read(&file, n * 40_960, 40_960).await == vec![n as u8 + 1; 40_960], "piece {n}");
        }
    };
    let done = tokio::select! {
        () = never_waits => false,
        () = other => true,
        () = tokio::time::sleep(Duration::from_secs(20)) => false,
    };
    assert!(done, "nothing that others asked for has begun");
}

pub async fn zeroed_ranges_read_as_zeros<E: Engine>(bench: &Bench<E>, direct: bool) {
    let file = bench.target("zeros", SIZE, direct).await;
    for chunk in 0..SIZE / BUFFER_BYTES as u64 {
        bench.write(&file, &vec![9; BUFFER_BYTES], chunk * BUFFER_BYTES as u64).await.unwrap();
    }
    let mut model = vec![9; SIZE as usize];
    for (offset, length) in [(0, 0), (1, 1), (4095, 2), (8192, 4096), (100_000, 300_001), (SIZE - 700, 700)] {
        bench.engine.zero(&file, offset, length).await.unwrap();
        model[offset as usize..(offset + length) as usize].fill(0);
        assert!(bench.read(&file, 0, SIZE as usize).await == model, "{length} bytes at {offset}");
    }
}

pub async fn data_is_never_missed<E: Engine>(bench: &Bench<E>, direct: bool) {
    let file = bench.target("sparse", SIZE, direct).await;
    let mut model = vec![0u8; SIZE as usize];
    for (offset, length) in [(0usize, 10), (300_000, 5000), (900_000, 70_000)] {
        bench.write(&file, &vec![3; length], offset as u64).await.unwrap();
        model[offset..offset + length].fill(3);
    }
    let mut from = 0;
    while let Some(range) = bench.engine.next_data(&file, from, SIZE).unwrap() {
        assert!(from <= range.start && range.start < range.end && range.end <= SIZE, "{range:?} from {from}");
        assert!(model[from as usize..range.start as usize].iter().all(|byte| *byte == 0), "data before {range:?}");
        from = range.end;
    }
    assert!(model[from as usize..].iter().all(|byte| *byte == 0), "data after {from}");
    assert_eq!(bench.engine.next_data(&file, 5000, 5000).unwrap(), None);
}

/// The bytes of an abandoned operation may arrive or not, but nobody else's buffer or target is touched.
pub async fn an_abandoned_write_harms_nobody<E: Engine>(bench: &Bench<E>, direct: bool) {
    let file = bench.target("abandoned", SIZE, direct).await;
    for _ in 0..8 {
        let buffer = bench.buffer(&vec![1; BUFFER_BYTES]).await;
        // Polled once, then dropped: with a ring the write is on its way by then.
        drop(bench.engine.write_at(&file, buffer, 0).now_or_never());
        bench.write(&file, &vec![2; BUFFER_BYTES], BUFFER_BYTES as u64).await.unwrap();
        let found = bench.read(&file, BUFFER_BYTES as u64, BUFFER_BYTES).await;
        assert!(found.iter().all(|byte| *byte == 2));
    }
    while bench.engine.pool().available() < bench.engine.pool().capacity() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub async fn a_short_file_ends_where_it_ends<E: Engine>(bench: &Bench<E>) {
    for direct in [false, true] {
        let file = bench.target("short", 0, direct).await;
        let bytes = Random::new(5).bytes(12_345);
        bench.write(&file, &bytes, 0).await.unwrap();
        assert_eq!(bench.read(&file, 0, 100_000).await, bytes);
        assert_eq!(bench.read(&file, 12_000, 100_000).await, bytes[12_000..]);
        assert!(bench.read(&file, 12_345, 10).await.is_empty());
        assert!(bench.read(&file, 1 << 40, 10).await.is_empty());
    }
}

pub async fn lengths_are_set<E: Engine>(bench: &Bench<E>) {
    let file = bench.target("length", 0, true).await;
    bench.write(&file, &[8; 10_000], 0).await.unwrap();
    bench.engine.set_length(&file, 6000).await.unwrap();
    bench.engine.set_length(&file, 9000).await.unwrap();
    let mut expected = vec![8; 6000];
    expected.resize(9000, 0);
    assert_eq!(bench.read(&file, 0, 20_000).await, expected);
    bench.engine.zero(&file, 5000, 1 << 30).await.unwrap();
    expected[5000..].fill(0);
    assert_eq!(bench.read(&file, 0, 20_000).await, expected, "zeroing past the end must not lengthen a file");
}

/// On every file system we test on, an import of a sparse disk stays sparse.
pub async fn holes_are_found_and_made<E: Engine>(bench: &Bench<E>) {
    let file = bench.target("holes", SIZE, false).await;
    assert_eq!(bench.engine.next_data(&file, 0, SIZE).unwrap(), None);
    bench.write(&file, &[1; BUFFER_BYTES], 0).await.unwrap();
    bench.write(&file, &[1; BUFFER_BYTES], 2 * BUFFER_BYTES as u64).await.unwrap();
    let quarter = BUFFER_BYTES as u64;
    assert_eq!(bench.engine.next_data(&file, 0, SIZE).unwrap(), Some(0..quarter));
    assert_eq!(bench.engine.next_data(&file, quarter, SIZE).unwrap(), Some(2 * quarter..3 * quarter));
    assert_eq!(bench.engine.next_data(&file, 10, 20).unwrap(), Some(10..20));
    bench.engine.zero(&file, 0, 2 * quarter).await.unwrap();
    assert_eq!(bench.engine.next_data(&file, 0, SIZE).unwrap(), Some(2 * quarter..3 * quarter));
    bench.space.publish(&bench.place("holes"), "t").unwrap();
    let populated_bytes = bench.space.inspect(&bench.place("holes")).unwrap().populated_bytes;
    assert!((quarter..SIZE / 2).contains(&populated_bytes), "{populated_bytes}");
}

pub async fn allocation_reserves_and_reads_as_zeros<E: Engine>(bench: &Bench<E>) {
    let file = bench.target("allocated", 0, true).await;
    bench.engine.allocate(&file, 0).await.unwrap();
    bench.engine.allocate(&file, 100_000).await.unwrap();
    assert_eq!(bench.read(&file, 0, 200_000).await, vec![0; 100_000]);
    bench.write(&file, &[4; 5000], 50_000).await.unwrap();
    bench.engine.allocate(&file, 60_000).await.unwrap();
    let found = bench.read(&file, 0, 200_000).await;
    assert_eq!((found.len(), found[50_000], found[49_999]), (100_000, 4, 0), "allocating must not cut or erase");
}

pub async fn a_device_ends<E: Engine>(bench: &Bench<E>) {
    let file = bench.target("disk", DEVICE_BYTES, true).await;
    bench.engine.allocate(&file, DEVICE_BYTES).await.unwrap();
    assert!(bench.engine.allocate(&file, DEVICE_BYTES + 1).await.unwrap_err().is_no_space());
    assert!(bench.engine.set_length(&file, DEVICE_BYTES + 1).await.unwrap_err().is_no_space());
    bench.write(&file, &[1; 4096], DEVICE_BYTES - 4096).await.unwrap();
    let beyond = bench.write(&file, &[1; 8192], DEVICE_BYTES - 4096).await;
    assert!(beyond.unwrap_err().is_no_space());
    assert_eq!(bench.read(&file, DEVICE_BYTES - 10, 100).await, [1; 10]);
    assert_eq!(bench.engine.next_data(&file, 0, u64::MAX).unwrap(), Some(0..DEVICE_BYTES));
    assert!(bench.engine.is_direct(&file), "a device takes direct I/O, and nothing here should have turned it off");
}

pub async fn space_runs_out<E: Engine>(bench: &Bench<E>) {
    let file = bench.target("full", 0, false).await;
    let refused = bench.engine.allocate(&file, 16 << 20).await;
    assert!(matches!(refused, Err(DiskError::NoSpace { .. })), "{refused:?}");
    bench.engine.set_length(&file, 0).await.unwrap();
    let mut written_bytes = 0;
    let refused = loop {
        match bench.write(&file, &[1; BUFFER_BYTES], written_bytes).await {
            Ok(()) => written_bytes += BUFFER_BYTES as u64,
            Err(error) => break error,
        }
        assert!(written_bytes < 4 << 20, "a tmpfs of two megabytes took {written_bytes} bytes");
    };
    assert!(refused.is_no_space(), "{refused}");
    assert!(bench.space.free_bytes(&bench.place("full")).unwrap() < BUFFER_BYTES as u64);
    drop(file);
    bench.space.remove_part(&bench.place("full"), "t").unwrap();
    // A ring lets go of a file a moment after the completion was seen.
    let freed = async {
        while bench.space.free_bytes(&bench.place("full")).unwrap() <= 1 << 20 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), freed).await.expect("the space did not come back");
}
