//! Cases about directories: what is listed, moved and removed without a lease.

use diskferry::disk::{DiskError, Engine, EntryKind, Folders, Space, Want};

use crate::bench::Bench;

const BUFFERED: Want = Want { direct: false };

/// A published file of these bytes.
async fn file<E: Engine<Space: Folders>>(bench: &Bench<E>, path: &str, bytes: &[u8]) {
    let place = bench.place(path);
    bench.space.make_parents(&place).unwrap();
    let file = bench.engine.adopt(bench.space.create_part(&place, "t", BUFFERED).unwrap()).unwrap();
    bench.write(&file, bytes, 0).await.unwrap();
    bench.space.publish(&place, "t").unwrap();
}

async fn content<E: Engine<Space: Folders>>(bench: &Bench<E>, path: &str) -> Vec<u8> {
    let file = bench.space.open(&bench.place(path), BUFFERED).unwrap();
    bench.read(&bench.engine.adopt(file).unwrap(), 0, 1000).await
}

fn names<E: Engine<Space: Folders>>(bench: &Bench<E>, path: &str) -> Vec<String> {
    let listing = bench.space.list(&bench.place(path), 100).unwrap();
    assert!(!listing.cut);
    listing.entries.into_iter().map(|entry| entry.name).collect()
}

pub async fn a_directory_is_listed<E: Engine<Space: Folders>>(bench: &Bench<E>) {
    file(bench, "listed/b", b"four").await;
    file(bench, "listed/a", b"").await;
    file(bench, "listed/sub/deep", b"x").await;
    drop(bench.space.create_part(&bench.place("listed/c"), "t", BUFFERED).unwrap());
    assert_eq!(names(bench, "listed"), ["a", "b", "sub"], "in order, and no part file");
    let entries = bench.space.list(&bench.place("listed"), 100).unwrap().entries;
    assert_eq!((entries[1].kind, entries[1].length_bytes), (EntryKind::File, 4));
    assert_eq!((entries[2].kind, entries[2].length_bytes), (EntryKind::Directory, 0));
    assert_eq!(bench.space.look(&bench.place("listed/b")).unwrap(), entries[1]);
    assert_eq!(entries[1].stamp, bench.space.inspect(&bench.place("listed/b")).unwrap().stamp);
    assert_eq!(bench.space.look(&bench.place("")).unwrap().kind, EntryKind::Directory);
    assert!(names(bench, "").contains(&"listed".to_owned()));
    let some = bench.space.list(&bench.place("listed"), 2).unwrap();
    assert!(some.cut && some.entries.len() == 2);
    let (opened, seen) = bench.space.open_seen(&bench.place("listed/b")).unwrap();
    assert_eq!(seen, entries[1]);
    assert_eq!(bench.read(&bench.engine.adopt(opened).unwrap(), 0, 10).await, b"four");
    assert!(matches!(bench.space.list(&bench.place("listed/b"), 9), Err(DiskError::WrongKind { .. })));
    assert!(matches!(bench.space.open_seen(&bench.place("listed")).map(drop), Err(DiskError::WrongKind { .. })));
    assert!(bench.space.list(&bench.place("no such"), 9).unwrap_err().is_not_found());
    bench.space.remove_tree(&bench.place("listed")).unwrap();
}

pub async fn directories_are_made_and_removed<E: Engine<Space: Folders>>(bench: &Bench<E>) {
    let (top, below) = (bench.place("made"), bench.place("made/below"));
    assert!(bench.space.make_directory(&below).unwrap_err().is_not_found());
    bench.space.make_directory(&top).unwrap();
    bench.space.make_directory(&below).unwrap();
    assert!(matches!(bench.space.make_directory(&top), Err(DiskError::Exists { .. })));
    assert!(matches!(bench.space.remove_directory(&top), Err(DiskError::NotEmpty { .. })));
    bench.space.remove_directory(&below).unwrap();
    bench.space.remove_directory(&top).unwrap();
    assert!(bench.space.remove_directory(&top).unwrap_err().is_not_found());

    file(bench, "made/a/b/c", b"x").await;
    file(bench, "made/a/d", b"x").await;
    file(bench, "madeira", b"stays").await;
    drop(bench.space.create_part(&bench.place("made/a/part"), "t", BUFFERED).unwrap());
    assert!(matches!(bench.space.make_directory(&bench.place("madeira")), Err(DiskError::Exists { .. })));
    assert!(matches!(bench.space.remove_directory(&bench.place("madeira")), Err(DiskError::WrongKind { .. })));
    assert!(matches!(bench.space.remove_tree(&bench.place("madeira")), Err(DiskError::WrongKind { .. })));
    bench.space.remove_tree(&top).unwrap();
    assert!(bench.space.look(&top).unwrap_err().is_not_found());
    assert!(bench.space.remove_tree(&top).unwrap_err().is_not_found());
    assert_eq!(content(bench, "madeira").await, b"stays");
    bench.space.remove_final(&bench.place("madeira")).unwrap();
}

pub async fn files_and_directories_are_renamed<E: Engine<Space: Folders>>(bench: &Bench<E>) {
    file(bench, "old/one", b"one").await;
    file(bench, "old/two", b"two").await;
    let at = |path: &str| bench.place(path);
    assert!(matches!(bench.space.rename(&at("old/one"), &at("old/two"), false), Err(DiskError::Exists { .. })));
    assert_eq!(content(bench, "old/two").await, b"two");
    assert!(bench.space.rename(&at("old/one"), &at("old/two"), true).unwrap());
    assert_eq!((content(bench, "old/two").await, names(bench, "old")), (b"one".to_vec(), vec!["two".to_owned()]));
    assert!(bench.space.rename(&at("old"), &at("new"), false).unwrap());
    assert_eq!(content(bench, "new/two").await, b"one");
    assert!(bench.space.look(&at("old")).unwrap_err().is_not_found());
    for replace in [false, true] {
        assert!(bench.space.rename(&at("absent"), &at("x"), replace).unwrap_err().is_not_found());
        assert!(bench.space.rename(&at("new/two"), &at("absent/x"), replace).unwrap_err().is_not_found());
        assert!(matches!(bench.space.rename(&at("new"), &at("new/in"), replace), Err(DiskError::BadName { .. })));
        let onto = bench.space.rename(&at("new/two"), &at("new"), replace);
        assert!(matches!(onto, Err(DiskError::Exists { .. } | DiskError::WrongKind { .. })), "{onto:?}");
    }
    file(bench, "other/x", b"x").await;
    assert!(matches!(bench.space.rename(&at("new"), &at("other"), true), Err(DiskError::Exists { .. })));
    bench.space.remove_tree(&at("new")).unwrap();
    bench.space.remove_tree(&at("other")).unwrap();
}

pub async fn a_new_name_is_not_taken_from_anybody<E: Engine<Space: Folders>>(bench: &Bench<E>) {
    let place = bench.place("fresh");
    file(bench, "fresh", b"first").await;
    drop(bench.space.create_part(&place, "u", BUFFERED).unwrap());
    assert!(matches!(bench.space.publish_new(&place, "u"), Err(DiskError::Exists { .. })));
    assert_eq!(content(bench, "fresh").await, b"first");
    bench.space.remove_final(&place).unwrap();
    bench.space.publish_new(&place, "u").unwrap();
    assert_eq!(content(bench, "fresh").await, b"");
    bench.space.remove_final(&place).unwrap();
}

pub async fn directories_do_not_leave_the_datastore<E: Engine<Space: Folders>>(bench: &Bench<E>) {
    let inside = bench.place("inside");
    for path in ["..", "../outside", "/etc", "a/../../outside"] {
        let place = bench.place(path);
        let refusals = [
            bench.space.look(&place).map(drop),
            bench.space.list(&place, 9).map(drop),
            bench.space.open_seen(&place).map(drop),
            bench.space.make_directory(&place),
            bench.space.remove_directory(&place),
            bench.space.remove_tree(&place),
            bench.space.publish_new(&place, "t"),
            bench.space.rename(&place, &inside, true).map(drop),
        ];
        for (number, refused) in refusals.into_iter().enumerate() {
            assert!(matches!(refused, Err(DiskError::Escapes { .. })), "{path}, call {number}: {refused:?}");
        }
    }
    for path in ["", "a//b", ".", ".x.t.part"] {
        let place = bench.place(path);
        let refusals = [
            bench.space.make_directory(&place),
            bench.space.remove_directory(&place),
            bench.space.remove_tree(&place),
            bench.space.rename(&place, &inside, true).map(drop),
        ];
        for (number, refused) in refusals.into_iter().enumerate() {
            assert!(matches!(refused, Err(DiskError::BadName { .. })), "{path:?}, call {number}: {refused:?}");
        }
    }
}

pub async fn a_device_has_no_files<E: Engine<Space: Folders>>(bench: &Bench<E>) {
    let volume = bench.space.volumes().into_iter().find(|volume| volume.device).unwrap();
    assert!(volume.capacity_bytes > 0 && volume.free_bytes == 0);
    let place = bench.place("x");
    let refusals = [
        bench.space.look(&place).map(drop),
        bench.space.list(&bench.place(""), 9).map(drop),
        bench.space.open_seen(&place).map(drop),
        bench.space.make_directory(&place),
        bench.space.remove_tree(&place),
        bench.space.rename(&place, &bench.place("y"), true).map(drop),
    ];
    for refused in refusals {
        assert!(matches!(refused, Err(DiskError::WrongKind { .. })), "{refused:?}");
    }
}
