//! Files of real temporary directories: what is stored, what is refused, and what is left when it goes wrong.

mod bench;

use std::os::unix::fs::symlink;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;

use self::bench::{Bench, at, body, lease_holds};
use super::*;
use crate::lease::{Form, Kind, Target};
use crate::wire::datastore_path::is_within;

type Chunk = Result<Bytes, &'static str>;

#[tokio::test]
async fn a_file_is_stored_listed_read_and_removed() {
    let bench = Bench::new();
    let content: Vec<u8> = (0..1_000_000u32).map(|number| number as u8).collect();
    let written = bench.files.write(&at("[ds] vm/disk.vmdk"), Some(1_000_000), body(&content)).await.unwrap();
    assert!(written.created && written.entry.size_bytes == 1_000_000 && written.entry.modified_ms > 0);
    assert_eq!(bench.read("[ds] vm/disk.vmdk", 0..1_000_000).await.unwrap(), content);
    assert_eq!(bench.read("[ds] vm/disk.vmdk", 999_000..999_001).await.unwrap(), content[999_000..999_001]);
    assert_eq!(bench.read("[ds] vm/disk.vmdk", 5..5).await.unwrap(), b"");
    let entries = bench.files.list(&at("[ds] vm")).await.unwrap();
    assert_eq!(entries, std::slice::from_ref(&written.entry));
    let again = bench.files.write(&at("[ds] vm/disk.vmdk"), None, body(b"new")).await.unwrap();
    assert!(!again.created && again.entry.stamp != written.entry.stamp);
    assert_eq!(bench.read("[ds] vm/disk.vmdk", 0..3).await.unwrap(), b"new");
    bench.files.remove(&at("[ds] vm/disk.vmdk"), Removal::Single).await.unwrap();
    assert!(matches!(bench.files.stat(&at("[ds] vm/disk.vmdk")).await, Err(Fault::FileNotFound { .. })));
    assert_eq!(bench.on_disk(), ["vm/"]);
}

#[tokio::test]
async fn zeros_become_holes() {
    let bench = Bench::new();
    let mut content = vec![0; 8 << 20];
    content[5 << 20] = 1;
    let written = bench.files.write(&at("[ds] sparse"), Some(8 << 20), body(&content)).await.unwrap();
    assert!(written.entry.populated_bytes <= 1 << 20, "{}", written.entry.populated_bytes);
    assert_eq!(bench.read("[ds] sparse", 0..8 << 20).await.unwrap(), content);
    bench.files.copy(&at("[ds] sparse"), &at("[ds] copy"), false).await.unwrap();
    let copy = bench.files.stat(&at("[ds] copy")).await.unwrap();
    assert!(copy.populated_bytes <= 1 << 20 && copy.size_bytes == 8 << 20);
    assert_eq!(bench.read("[ds] copy", 0..8 << 20).await.unwrap(), content);
}

#[tokio::test]
async fn an_upload_that_is_cut_short_or_long_leaves_nothing_and_the_old_file() {
    let bench = Bench::new();
    bench.files.write(&at("[ds] old"), None, body(b"old")).await.unwrap();
    let cut = || {
        let pieces: Vec<Chunk> = vec![Ok(Bytes::from(vec![7; 100_000])), Err("reset")];
        futures_util::stream::iter(pieces)
    };
    for path in ["[ds] old", "[ds] new", "[ds] a/b/c"] {
        match bench.files.write(&at(path), None, cut()).await {
            Err(Unwritten::Cut { received_bytes: 100_000, error: "reset" }) => {}
            other => panic!("{path}: {other:?}"),
        }
        for length in [0, 2, 4, 100] {
            let refused = bench.files.write(&at(path), Some(length), body(b"new")).await;
            assert!(matches!(refused, Err(Unwritten::Refused(Fault::FileFault { .. }))), "{path}: {refused:?}");
        }
    }
    assert_eq!(bench.on_disk(), ["old"]);
    assert_eq!(bench.read("[ds] old", 0..3).await.unwrap(), b"old");
}

#[tokio::test]
async fn an_upload_nobody_waits_for_any_more_leaves_nothing() {
    let bench = Bench::new();
    let never =
        futures_util::stream::iter([Ok::<_, ()>(Bytes::from_static(b"some"))]).chain(futures_util::stream::pending());
    let place = at("[ds] dir/left");
    let mut upload = Box::pin(bench.files.write(&place, None, never));
    let waited = tokio::time::timeout(std::time::Duration::from_millis(200), upload.as_mut()).await;
    assert!(waited.is_err() && bench.on_disk().len() == 2, "{:?}", bench.on_disk());
    let busy = bench.files.write(&place, None, body(b"x")).await;
    assert!(matches!(busy, Err(Unwritten::Refused(Fault::FileLocked { .. }))), "two at once: {busy:?}");
    drop(upload);
    bench.until(|bench| bench.on_disk().is_empty() && bench.files.inner.claims.are_free()).await;
    bench.files.write(&place, None, body(b"x")).await.unwrap();
}

#[tokio::test]
async fn paths_that_leave_the_datastore_reach_nothing() {
    let bench = Bench::new();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    let root = bench.directory.path();
    symlink(outside.path(), root.join("door")).unwrap();
    symlink(outside.path().join("secret"), root.join("file")).unwrap();
    symlink("/proc/self/fd", root.join("magic")).unwrap();
    std::fs::create_dir(root.join("real")).unwrap();
    symlink("real", root.join("inner")).unwrap();
    assert_eq!(bench.names("[ds]").await, ["real"], "links are not shown");
    for path in ["[ds] door/secret", "[ds] file", "[ds] magic/0", "[ds] inner/x", "[ds] door", "[ds] inner"] {
        let path = at(path);
        let faults = [
            bench.files.stat(&path).await.map(drop),
            bench.files.list(&path).await.map(drop),
            bench.files.open_read(&path).await.map(drop),
            bench.files.remove(&path, Removal::Tree).await,
            bench.files.rename(&path, &at("[ds] stolen"), true).await,
            bench.files.copy(&path, &at("[ds] stolen"), true).await,
            bench.files.share(&path, &at("[ds] stolen"), false).await,
        ];
        for (number, result) in faults.into_iter().enumerate() {
            assert!(matches!(result, Err(Fault::InvalidDatastorePath { .. })), "{path}, call {number}: {result:?}");
        }
        let written = bench.files.write(&path.join("x").unwrap(), None, body(b"x")).await;
        assert!(matches!(written, Err(Unwritten::Refused(_))), "{path}: {written:?}");
    }
    let written = bench.files.write(&at("[ds] file"), None, body(b"x")).await;
    assert!(matches!(written, Err(Unwritten::Refused(Fault::InvalidDatastorePath { .. }))), "{written:?}");
    assert_eq!(std::fs::read(outside.path().join("secret")).unwrap(), b"secret");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    bench.files.make_directory(&at("[ds] trap"), false).await.unwrap();
    symlink(outside.path(), root.join("trap/door")).unwrap();
    bench.files.remove(&at("[ds] trap"), Removal::Tree).await.unwrap();
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1, "a tree ends at its links");
}

#[tokio::test]
async fn what_cannot_be_named_is_refused() {
    let bench = Bench::new();
    let long = format!("[ds] {}", "n".repeat(250));
    for path in ["[ds]", "[ds] .x.folder-1.part", &long] {
        let written = bench.files.write(&at(path), None, body(b"x")).await;
        let refused = matches!(written, Err(Unwritten::Refused(Fault::InvalidDatastorePath { .. })));
        assert!(refused, "{path}: {written:?}");
    }
    for path in ["[ds]", "[ds] .x.folder-1.part"] {
        assert!(matches!(bench.files.remove(&at(path), Removal::Tree).await, Err(Fault::InvalidDatastorePath { .. })));
    }
    let unknown = at("[other] x");
    assert!(matches!(bench.files.stat(&unknown).await, Err(Fault::InvalidDatastore { .. })));
    assert!(matches!(bench.files.list(&at("[ds] absent")).await, Err(Fault::FileNotFound { .. })));
    assert!(matches!(bench.files.open_read(&at("[ds] absent")).await.map(drop), Err(Fault::FileNotFound { .. })));
    assert_eq!(bench.on_disk(), [""; 0]);
}

#[tokio::test]
async fn directories_are_made_and_removed() {
    let bench = Bench::new();
    let deep = at("[ds] a/b/c");
    assert!(matches!(bench.files.make_directory(&deep, false).await, Err(Fault::FileNotFound { .. })));
    bench.files.make_directory(&deep, true).await.unwrap();
    for parents in [false, true] {
        assert!(matches!(bench.files.make_directory(&deep, parents).await, Err(Fault::FileAlreadyExists { .. })));
    }
    bench.files.write(&at("[ds] a/b/file"), None, body(b"x")).await.unwrap();
    assert!(matches!(
        bench.files.make_directory(&at("[ds] a/b/file"), true).await,
        Err(Fault::FileAlreadyExists { .. })
    ));
    assert!(matches!(bench.files.open_read(&deep).await.map(drop), Err(Fault::FileFault { .. })));
    let over = bench.files.write(&deep, None, body(b"x")).await;
    assert!(matches!(over, Err(Unwritten::Refused(Fault::FileFault { .. }))), "{over:?}");
    let walked: Vec<String> =
        bench.files.walk(&at("[ds]")).await.unwrap().iter().map(|entry| entry.path.to_string()).collect();
    assert_eq!(walked, ["[ds] a", "[ds] a/b", "[ds] a/b/c", "[ds] a/b/file"]);
    let refused = bench.files.remove(&at("[ds] a"), Removal::Single).await;
    assert!(matches!(refused, Err(Fault::CannotDeleteFile { .. })), "{refused:?}");
    bench.files.remove(&deep, Removal::Single).await.unwrap();
    bench.files.remove(&at("[ds] a"), Removal::Tree).await.unwrap();
    assert!(matches!(bench.files.remove(&at("[ds] a"), Removal::Tree).await, Err(Fault::FileNotFound { .. })));
    assert_eq!(bench.on_disk(), [""; 0]);
}

#[tokio::test]
async fn files_and_trees_are_moved_and_copied_within_and_between_datastores() {
    let bench = Bench::new();
    for path in ["[ds] vm/one", "[ds] vm/sub/two", "[ds] other"] {
        bench.files.write(&at(path), None, body(path.as_bytes())).await.unwrap();
    }
    for to in ["[ds] copy", "[second] copy"] {
        bench.files.copy(&at("[ds] vm"), &at(to), false).await.unwrap();
        let inside = format!("{to}/sub/two");
        assert_eq!(bench.read(&inside, 0..15).await.unwrap(), b"[ds] vm/sub/two");
        let taken = bench.files.copy(&at("[ds] vm"), &at(to), true).await;
        assert!(matches!(taken, Err(Fault::FileAlreadyExists { .. })), "{taken:?}");
    }
    for to in ["[ds] other", "[ds] vm/sub/two"] {
        let taken = bench.files.rename(&at("[ds] vm/one"), &at(to), false).await;
        assert!(matches!(taken, Err(Fault::FileAlreadyExists { .. })), "{taken:?}");
        let taken = bench.files.copy(&at("[ds] vm/one"), &at(to), false).await;
        assert!(matches!(taken, Err(Fault::FileAlreadyExists { .. })), "{taken:?}");
    }
    bench.files.copy(&at("[ds] vm/one"), &at("[ds] other"), true).await.unwrap();
    assert_eq!(bench.read("[ds] other", 0..11).await.unwrap(), b"[ds] vm/one");
    for (from, to) in [("[ds] vm", "[ds] vm/in"), ("[ds] vm", "[ds] vm")] {
        let inside = bench.files.copy(&at(from), &at(to), true).await;
        assert!(matches!(inside, Err(Fault::InvalidDatastorePath { .. })), "{inside:?}");
    }
    let inside = bench.files.rename(&at("[ds] vm"), &at("[ds] vm/in"), false).await;
    assert!(matches!(inside, Err(Fault::InvalidDatastorePath { .. })), "{inside:?}");
    bench.files.rename(&at("[ds] vm"), &at("[second] vm"), false).await.unwrap();
    bench.files.rename(&at("[second] vm/one"), &at("[ds] other"), true).await.unwrap();
    assert_eq!(bench.names("[second] vm").await, ["sub"]);
    assert_eq!(bench.on_disk(), ["copy/", "copy/one", "copy/sub/", "copy/sub/two", "other"]);
    let nowhere = bench.files.copy(&at("[ds] other"), &at("[ds] absent/x"), false).await;
    assert!(matches!(nowhere, Err(Fault::FileNotFound { .. })), "{nowhere:?}");
}

/// tmpfs and the build's disk are two file systems, between which nothing can be renamed.
#[tokio::test]
async fn a_move_between_file_systems_copies_and_removes() {
    let bench = Bench::new();
    for path in ["[ds] vm/one", "[ds] vm/sub/two"] {
        bench.files.write(&at(path), None, body(path.as_bytes())).await.unwrap();
    }
    bench.files.rename(&at("[ds] vm"), &at("[memory] vm"), false).await.unwrap();
    assert_eq!(bench.read("[memory] vm/sub/two", 0..15).await.unwrap(), b"[ds] vm/sub/two");
    assert_eq!(bench.on_disk(), [""; 0]);
    bench.files.rename(&at("[memory] vm/one"), &at("[ds] one"), false).await.unwrap();
    assert_eq!(bench.read("[ds] one", 0..11).await.unwrap(), b"[ds] vm/one");
    assert_eq!(bench.names("[memory] vm").await, ["sub"]);
    std::fs::create_dir(bench.directory.path().join("odd")).unwrap();
    std::fs::write(bench.directory.path().join("odd/file"), "x").unwrap();
    symlink("nowhere", bench.directory.path().join("odd/link")).unwrap();
    let moved = bench.files.rename(&at("[ds] odd"), &at("[memory] odd"), false).await;
    assert!(matches!(moved, Err(Fault::CannotDeleteFile { .. })), "{moved:?}");
    assert_eq!(bench.on_disk(), ["odd/", "odd/link", "one"], "what was not copied is not lost");
    let shared = bench.files.share(&at("[memory] vm/sub/two"), &at("[memory] clone"), false).await;
    assert!(matches!(shared, Err(Fault::NotSupported { .. })), "{shared:?}");
    assert_eq!(bench.names("[memory]").await, ["odd", "vm"]);
}

#[tokio::test]
async fn what_a_lease_holds_is_not_changed_and_what_an_import_holds_is_not_read() {
    let bench = Bench::new();
    for path in ["[ds] vm/disk", "[ds] free"] {
        bench.files.write(&at(path), None, body(b"x")).await.unwrap();
    }
    for (kind, readable) in [(Kind::Export, true), (Kind::Import, false)] {
        bench.held.set(Some(lease_holds(kind, "vm/disk")));
        let disk = at("[ds] vm/disk");
        let changes = [
            bench.files.remove(&disk, Removal::Single).await,
            bench.files.remove(&at("[ds] vm"), Removal::Tree).await,
            bench.files.rename(&disk, &at("[ds] elsewhere"), false).await,
            bench.files.rename(&at("[ds] vm"), &at("[ds] elsewhere"), false).await,
            bench.files.rename(&at("[ds] free"), &disk, true).await,
            bench.files.copy(&at("[ds] free"), &disk, true).await,
        ];
        for (number, result) in changes.into_iter().enumerate() {
            assert!(matches!(result, Err(Fault::FileLocked { .. })), "{kind:?}, call {number}: {result:?}");
        }
        let written = bench.files.write(&disk, None, body(b"new")).await;
        assert!(matches!(written, Err(Unwritten::Refused(Fault::FileLocked { .. }))), "{written:?}");
        assert_eq!(bench.files.open_read(&disk).await.is_ok(), readable);
        let copied = bench.files.copy(&at("[ds] vm"), &at(&format!("[ds] {kind:?}")), false).await;
        assert_eq!(copied.is_ok(), readable, "{copied:?}");
        assert_eq!(bench.names("[ds] vm").await, ["disk"], "looking is free");
        bench.files.write(&at("[ds] vm/beside"), None, body(b"x")).await.unwrap();
        bench.files.remove(&at("[ds] vm/beside"), Removal::Single).await.unwrap();
    }
}

#[tokio::test]
async fn a_directory_without_a_parent_names_the_parent() {
    let bench = Bench::new();
    let refused = bench.files.make_directory(&at("[ds] a/b"), false).await;
    let missing = |path: &str| Err(Fault::FileNotFound { file: path.into() });
    assert_eq!(refused, missing("[ds] a"));
    bench.files.write(&at("[ds] file"), None, body(b"x")).await.unwrap();
    assert_eq!(bench.files.rename(&at("[ds] file"), &at("[ds] a/file"), false).await, missing("[ds] a"));
    assert_eq!(bench.files.copy(&at("[ds] file"), &at("[second] a/file"), false).await, missing("[second] a"));
    assert_eq!(bench.files.copy(&at("[ds] none"), &at("[ds] copy"), false).await, missing("[ds] none"));
    bench.files.make_directory(&at("[ds] a/b"), true).await.unwrap();
    let again = bench.files.make_directory(&at("[ds] a/b"), false).await;
    assert_eq!(again, Err(Fault::FileAlreadyExists { file: "[ds] a/b".into() }));
}

#[tokio::test]
async fn what_a_machine_uses_is_read_and_only_its_keeper_changes_it() {
    let bench = Bench::new();
    for path in ["[ds] vm/disk", "[ds] vm/beside", "[ds] other"] {
        bench.files.write(&at(path), None, body(b"x")).await.unwrap();
    }
    let users = |datastore: &str, path: &str| {
        let used = |path: &str| Used {
            machine: "web".into(),
            target: Target { datastore: "ds".into(), path: path.into(), form: Form::Raw },
        };
        let all = ["vm/to come", "vm/disk"].into_iter().filter(|own| datastore == "ds" && is_within(own, path));
        all.map(used).collect::<Vec<_>>()
    };
    let files = bench.files.clone().used_by(Arc::new(users));
    let locked = Err(Fault::FileLocked { file: "[ds] vm/disk".into(), reason: "it belongs to machine web".into() });
    let (disk, directory, other) = (at("[ds] vm/disk"), at("[ds] vm"), at("[ds] other"));
    for (at, removal) in [(&disk, Removal::Single), (&disk, Removal::Tree), (&directory, Removal::Tree)] {
        assert_eq!(files.remove(at, removal).await, locked, "{at}");
        assert_eq!(files.may_change(at).await, locked, "{at}");
    }
    assert_eq!(files.rename(&disk, &at("[ds] moved"), false).await, locked);
    assert_eq!(files.rename(&directory, &at("[second] moved"), false).await, locked);
    assert_eq!(files.rename(&other, &disk, true).await, locked);
    assert_eq!(files.copy(&other, &disk, true).await, locked);
    let written = files.write(&disk, None, body(b"y")).await;
    assert!(matches!(written, Err(Unwritten::Refused(Fault::FileLocked { .. }))), "{written:?}");

    assert_eq!(bench.read("[ds] vm/disk", 0..1).await.unwrap(), b"x");
    files.copy(&directory, &at("[ds] copy"), false).await.unwrap();
    files.remove(&at("[ds] vm/beside"), Removal::Single).await.unwrap();
    // Nobody is kept from bringing what a machine waits for.
    files.write(&at("[ds] vm/to come"), None, body(b"y")).await.unwrap();
    assert!(files.remove(&at("[ds] vm/to come"), Removal::Single).await.is_err());

    files.of_machines().remove(&disk, Removal::Single).await.unwrap();
    let gone = files.remove(&disk, Removal::Single).await;
    assert!(matches!(gone, Err(Fault::FileNotFound { .. })), "{gone:?}");
}

#[tokio::test]
async fn a_lease_that_comes_during_an_upload_wins() {
    let bench = Bench::new();
    let held = bench.held.clone();
    let pieces = futures_util::stream::iter([Ok::<_, ()>(Bytes::from_static(b"late"))]).inspect(move |_| {
        held.set(Some(lease_holds(Kind::Import, "disk")));
    });
    let written = bench.files.write(&at("[ds] disk"), None, pieces).await;
    assert!(matches!(written, Err(Unwritten::Refused(Fault::FileLocked { .. }))), "{written:?}");
    assert_eq!(bench.on_disk(), [""; 0]);
}

#[tokio::test]
async fn what_a_crash_leaves_goes_at_the_next_start() {
    let bench = Bench::new();
    let place = Place { datastore: "ds".into(), path: "vm/disk".into() };
    bench.space.make_parents(&place).unwrap();
    let tag = bench.files.tag();
    drop(bench.space.create_part(&place, &tag, crate::disk::Want::default()).unwrap());
    assert_eq!(bench.names("[ds] vm").await, [""; 0], "a part is not shown");
    let warehouse = crate::transfer::objects::Warehouse::new(bench.space.clone());
    assert_eq!(warehouse.sweep(&Default::default()).unwrap(), 1);
    assert_eq!(bench.on_disk(), ["vm/"]);
}

#[tokio::test]
async fn a_full_disk_is_named_and_left_as_it_was() {
    let Some(small) = bench::SmallTmpfs::mount() else { return };
    let space =
        crate::disk::Datastores::new(vec![("small".into(), crate::disk::Backing::Directory(small.path().into()))]);
    let files = Files::new(Arc::new(space.unwrap()), Arc::new(bench::Held::default()));
    files.write(&at("[small] keep"), None, body(&[1; 100_000])).await.unwrap();
    let too_much = vec![1; 3 << 20];
    for length in [None, Some(too_much.len() as u64)] {
        let full = files.write(&at("[small] dir/big"), length, body(&too_much)).await;
        let named = matches!(&full, Err(Unwritten::Refused(Fault::NoDiskSpace { file, datastore }))
            if file == "[small] dir/big" && datastore == "small");
        assert!(named, "{full:?}");
    }
    files.write(&at("[small] half"), None, body(&vec![1; 1_200_000])).await.unwrap();
    let full = files.copy(&at("[small] half"), &at("[small] copy"), false).await;
    assert!(matches!(full, Err(Fault::NoDiskSpace { .. })), "{full:?}");
    let left: Vec<_> = std::fs::read_dir(small.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[tokio::test]
async fn a_reader_keeps_what_it_opened() {
    let bench = Bench::new();
    bench.files.write(&at("[ds] disk"), None, body(&vec![1; 600_000])).await.unwrap();
    let reading = bench.files.open_read(&at("[ds] disk")).await.unwrap();
    bench.files.write(&at("[ds] disk"), None, body(&[2; 10])).await.unwrap();
    let pieces: Vec<_> = reading.stream(0..600_000).collect().await;
    assert!(pieces.iter().flat_map(|piece| piece.as_ref().unwrap().iter()).all(|byte| *byte == 1));

    bench.files.write(&at("[ds] disk"), None, body(&vec![1; 600_000])).await.unwrap();
    let reading = bench.files.open_read(&at("[ds] disk")).await.unwrap();
    std::fs::File::options().write(true).open(bench.directory.path().join("disk")).unwrap().set_len(300_000).unwrap();
    let pieces: Vec<_> = reading.stream(0..600_000).collect().await;
    assert!(pieces.len() == 2 && matches!(pieces[1], Err(Fault::FileFault { .. })), "{:?}", pieces.last());
}

#[tokio::test]
async fn buffers_and_permits_come_home() {
    let bench = Bench::new();
    bench.files.write(&at("[ds] disk"), None, body(&vec![1; 600_000])).await.unwrap();
    for _ in 0..2 * FILE_TRANSFERS {
        let mut stream = Box::pin(bench.files.open_read(&at("[ds] disk")).await.unwrap().stream(0..600_000));
        stream.next().await.unwrap().unwrap();
    }
    let inner = &bench.files.inner;
    bench
        .until(|_| inner.pool.available() == FILE_BUFFERS && inner.transfers.available_permits() == FILE_TRANSFERS)
        .await;
}

#[tokio::test]
async fn a_search_goes_by_pattern_kind_and_order() {
    let bench = Bench::new();
    for path in ["a.vmdk", "b.iso", "vm/c-flat.vmdk", "vm/c.VMX", "vm/vmware.log", "vm/deep/d.nvram", "z/x[1].img"] {
        bench.files.write(&at(&format!("[ds] {path}")), None, body(b"x")).await.unwrap();
    }
    let search = async |path: &str, spec: SearchSpec| {
        let answers = bench.files.search(&at(path), spec).await.unwrap();
        let folder = |answer: &Searched| {
            let names: Vec<&str> = answer.files.iter().map(|found| found.entry.path.name()).collect();
            format!("{}: {}", answer.folder, names.join(" "))
        };
        answers.iter().map(folder).collect::<Vec<_>>()
    };
    let spec = SearchSpec::default;
    assert_eq!(search("[ds]", spec()).await, ["[ds]: a.vmdk b.iso vm z"]);
    assert_eq!(search("[ds]", SearchSpec { folders_first: true, ..spec() }).await, ["[ds]: vm z a.vmdk b.iso"]);
    let everywhere = SearchSpec { recursive: true, kinds: vec![FoundKind::Disk, FoundKind::Nvram], ..spec() };
    assert_eq!(
        search("[ds]", everywhere).await,
        ["[ds]: a.vmdk", "[ds] vm: c-flat.vmdk", "[ds] vm/deep: d.nvram", "[ds] z: "]
    );
    let patterns = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        search("[ds] vm", SearchSpec { patterns: patterns("*.vmx v*"), ..spec() }).await,
        ["[ds] vm: vmware.log"]
    );
    let either = SearchSpec { patterns: patterns("*.vmx v*"), case_insensitive: true, ..spec() };
    assert_eq!(search("[ds] vm", either).await, ["[ds] vm: c.VMX vmware.log"]);
    let exact = SearchSpec { patterns: patterns("x[1].img"), ..spec() };
    assert_eq!(search("[ds] z", exact).await, ["[ds] z: x[1].img"], "a name matches itself");
    for path in ["[ds] a.vmdk", "[ds] absent", "[ds] *.vmdk"] {
        let missing = bench.files.search(&at(path), spec()).await;
        assert!(matches!(missing, Err(Fault::FileNotFound { .. })), "{path}: {missing:?}");
    }
    let many = SearchSpec { patterns: vec!["*".into(); 65], ..spec() };
    assert!(matches!(bench.files.search(&at("[ds]"), many).await, Err(Fault::OutOfBounds { .. })));
}
