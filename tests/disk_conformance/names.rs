//! Cases about names: parts, publishing, directories, devices.

use diskferry::disk::{DiskError, Engine, Place, Space, Want};

use crate::bench::{Bench, DATASTORE, DEVICE_BYTES};

const BUFFERED: Want = Want { direct: false };

pub async fn a_part_becomes_an_object<E: Engine>(bench: &Bench<E>) {
    let place = bench.place("object");
    let file = bench.target("object", 0, false).await;
    bench.write(&file, b"new", 0).await.unwrap();
    assert!(bench.space.inspect(&place).unwrap_err().is_not_found(), "half-written under its final name");
    assert!(bench.space.open(&place, BUFFERED).err().unwrap().is_not_found());
    bench.engine.sync(&file).await.unwrap();
    bench.space.publish(&place, "t").unwrap();
    let found = bench.space.inspect(&place).unwrap();
    assert_eq!((found.length_bytes, found.device), (3, false));
    let again = bench.engine.adopt(bench.space.open(&place, BUFFERED).unwrap()).unwrap();
    assert_eq!(bench.read(&again, 0, 10).await, b"new");
    assert!(bench.space.publish(&place, "t").unwrap_err().is_not_found(), "there is nothing left to publish");

    let newer = bench.target("object", 0, false).await;
    bench.write(&newer, b"newer", 0).await.unwrap();
    bench.space.publish(&place, "t").unwrap();
    assert_eq!(bench.read(&again, 0, 10).await, b"new", "a reader keeps what it opened");
    assert_eq!(bench.space.inspect(&place).unwrap().length_bytes, 5);
}

pub async fn an_interrupted_part_is_continued<E: Engine>(bench: &Bench<E>) {
    let place = bench.place("resumed");
    assert!(bench.space.open_part(&place, "r", BUFFERED).err().unwrap().is_not_found());
    let file = bench.engine.adopt(bench.space.create_part(&place, "r", BUFFERED).unwrap()).unwrap();
    bench.write(&file, b"first ", 0).await.unwrap();
    bench.engine.sync(&file).await.unwrap();
    drop(file);
    let file = bench.engine.adopt(bench.space.open_part(&place, "r", BUFFERED).unwrap()).unwrap();
    bench.write(&file, b"second", 6).await.unwrap();
    bench.space.publish(&place, "r").unwrap();
    assert_eq!(bench.read(&file, 0, 100).await, b"first second");
}

pub async fn a_new_part_replaces_the_old_one<E: Engine>(bench: &Bench<E>) {
    let place = bench.place("replaced");
    let old = bench.engine.adopt(bench.space.create_part(&place, "p", BUFFERED).unwrap()).unwrap();
    bench.write(&old, b"old", 0).await.unwrap();
    let new = bench.engine.adopt(bench.space.create_part(&place, "p", BUFFERED).unwrap()).unwrap();
    bench.write(&old, b"a late writer", 0).await.unwrap();
    assert!(bench.read(&new, 0, 100).await.is_empty());
    let other = bench.engine.adopt(bench.space.create_part(&place, "q", BUFFERED).unwrap()).unwrap();
    bench.write(&other, b"other", 0).await.unwrap();
    bench.space.remove_part(&place, "p").unwrap();
    bench.space.publish(&place, "q").unwrap();
    assert_eq!(bench.space.inspect(&place).unwrap().length_bytes, 5);
}

pub async fn parents_are_made_and_removed<E: Engine>(bench: &Bench<E>) {
    let place = bench.place("vm1/disks/root/disk-0.raw");
    assert!(bench.space.create_part(&place, "t", BUFFERED).err().unwrap().is_not_found());
    let made = bench.space.make_parents(&place).unwrap();
    assert_eq!(made, ["vm1", "vm1/disks", "vm1/disks/root"]);
    assert_eq!(bench.space.make_parents(&place).unwrap(), [""; 0]);
    let sibling = bench.place("vm1/notes/text");
    assert_eq!(bench.space.make_parents(&sibling).unwrap(), ["vm1/notes"]);
    drop(bench.space.create_part(&place, "t", BUFFERED).unwrap());

    bench.space.remove_parents(&place, &made).unwrap();
    bench.space.open_part(&place, "t", BUFFERED).map(drop).unwrap();
    bench.space.remove_part(&place, "t").unwrap();
    bench.space.remove_parents(&place, &made).unwrap();
    assert!(bench.space.create_part(&place, "t", BUFFERED).err().unwrap().is_not_found());
    drop(bench.space.create_part(&sibling, "t", BUFFERED).unwrap());
    bench.space.remove_part(&sibling, "t").unwrap();
    bench.space.remove_parents(&sibling, &["vm1".into(), "vm1/notes".into()]).unwrap();
    bench.space.remove_parents(&sibling, &["vm1".into(), "vm1/notes".into()]).unwrap();
    assert_eq!(bench.space.make_parents(&bench.place("vm1/x")).unwrap(), ["vm1"]);
}

pub async fn removal_is_idempotent<E: Engine>(bench: &Bench<E>) {
    let place = bench.place("removed");
    for _ in 0..2 {
        bench.space.remove_part(&place, "t").unwrap();
        bench.space.remove_final(&place).unwrap();
    }
    bench.space.remove_final(&bench.place("no/such/directory")).unwrap();
    drop(bench.target("removed", 10, false).await);
    bench.space.publish(&place, "t").unwrap();
    for _ in 0..2 {
        bench.space.remove_final(&place).unwrap();
    }
    assert!(bench.space.inspect(&place).unwrap_err().is_not_found());
}

pub async fn paths_do_not_leave_the_datastore<E: Engine>(bench: &Bench<E>) {
    for path in ["../outside", "/etc/passwd", "a/../../outside", "..", "vm/.."] {
        let place = bench.place(path);
        let refusals = [
            bench.space.inspect(&place).map(drop),
            bench.space.open(&place, BUFFERED).map(drop),
            bench.space.create_part(&place, "t", BUFFERED).map(drop),
            bench.space.publish(&place, "t"),
            bench.space.make_parents(&place).map(drop),
            bench.space.remove_final(&place),
            bench.space.remove_part(&place, "t"),
            bench.space.remove_parents(&bench.place("x"), &[path.to_owned()]),
        ];
        for (number, refused) in refusals.into_iter().enumerate() {
            assert!(matches!(refused, Err(DiskError::Escapes { .. })), "{path}, call {number}: {refused:?}");
        }
    }
    for tag in ["../t", "", "a.b"] {
        let refused = bench.space.create_part(&bench.place("x"), tag, BUFFERED).map(drop);
        assert!(matches!(refused, Err(DiskError::BadName { .. })), "{tag}");
    }
    let elsewhere = Place { datastore: "elsewhere".into(), path: "x".into() };
    assert!(matches!(bench.space.inspect(&elsewhere), Err(DiskError::UnknownDatastore { .. })));
}

pub async fn parts_are_found<E: Engine>(bench: &Bench<E>) {
    let (shallow, deep) = (bench.place("orphan.raw"), bench.place("a/b/orphan"));
    bench.space.make_parents(&deep).unwrap();
    drop(bench.space.create_part(&shallow, "lease-1", BUFFERED).unwrap());
    drop(bench.space.create_part(&deep, "lease_2", BUFFERED).unwrap());
    let parts = bench.space.parts().unwrap();
    assert!(parts.contains(&(shallow.clone(), "lease-1".into())), "{parts:?}");
    assert!(parts.contains(&(deep.clone(), "lease_2".into())), "{parts:?}");
    for (place, tag) in parts {
        assert_eq!(place.datastore, DATASTORE);
        bench.space.remove_part(&place, &tag).unwrap();
    }
    assert_eq!(bench.space.parts().unwrap(), []);
}

pub async fn the_stamp_changes_with_the_content<E: Engine>(bench: &Bench<E>) {
    let place = bench.place("stamped");
    let file = bench.target("stamped", 10, false).await;
    bench.space.publish(&place, "t").unwrap();
    let before = bench.space.inspect(&place).unwrap();
    assert_eq!(bench.space.inspect(&place).unwrap(), before);
    // The clock that stamps files ticks every few milliseconds.
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    bench.write(&file, b"changed", 0).await.unwrap();
    let after = bench.space.inspect(&place).unwrap();
    assert_ne!(after.stamp, before.stamp);
    assert!(after.stamp.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'), "{}", after.stamp);
}

pub async fn a_device_is_wiped<E: Engine>(bench: &Bench<E>) {
    let place = bench.place("disk");
    let file = bench.target("disk", DEVICE_BYTES, true).await;
    let before = bench.space.inspect(&place).unwrap();
    assert_eq!((before.length_bytes, before.device), (DEVICE_BYTES, true));
    bench.write(&file, &[7; 100_000], 5_000_000).await.unwrap();
    bench.engine.sync(&file).await.unwrap();
    assert_ne!(bench.space.inspect(&place).unwrap().stamp, before.stamp, "written to, yet the stamp is the same");
    drop(file);
    bench.space.publish(&place, "t").unwrap();
    bench.space.remove_final(&place).unwrap();
    let file = bench.engine.adopt(bench.space.open(&place, Want { direct: true }).unwrap()).unwrap();
    assert!(bench.read(&file, 5_000_000, 100_000).await.iter().all(|byte| *byte == 7), "a device is never removed");
    bench.space.wipe(&place).unwrap();
    assert!(bench.read(&file, 0, DEVICE_BYTES as usize).await.iter().all(|byte| *byte == 0));
}

pub async fn a_device_is_written_by_one<E: Engine>(bench: &Bench<E>) {
    let place = bench.place("disk");
    bench.space.check_device(&place).unwrap();
    let first = bench.space.create_part(&place, "t", Want { direct: true }).unwrap();
    for refused in [
        bench.space.create_part(&place, "u", BUFFERED).map(drop),
        bench.space.check_device(&place),
        bench.space.wipe(&place),
    ] {
        assert!(matches!(refused, Err(DiskError::Busy { .. })), "{refused:?}");
    }
    drop(first);
    bench.space.check_device(&place).unwrap();
}
