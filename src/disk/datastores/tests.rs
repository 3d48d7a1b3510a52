//! What the conformance suite cannot plant: hostile things lying in a datastore.

use std::os::unix::fs::symlink;

use super::*;

fn datastore() -> (tempfile::TempDir, Datastores) {
    let directory = tempfile::tempdir().unwrap();
    let store = Datastores::new(vec![("ds".into(), Backing::Directory(directory.path().into()))]).unwrap();
    (directory, store)
}

fn place(path: &str) -> Place {
    Place { datastore: "ds".into(), path: path.into() }
}

#[test]
fn links_are_not_followed() {
    let (directory, store) = datastore();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    symlink(outside.path(), directory.path().join("door")).unwrap();
    symlink(outside.path().join("secret"), directory.path().join("disk")).unwrap();
    symlink("/proc/self/fd", directory.path().join("magic")).unwrap();
    // Even a link that stays inside is not ours: whoever planted it may turn it at any moment.
    std::fs::create_dir(directory.path().join("folder")).unwrap();
    std::fs::write(directory.path().join("folder/file"), "inside").unwrap();
    symlink("folder", directory.path().join("inner")).unwrap();
    for path in ["door/secret", "disk", "magic/0", "inner/file"] {
        let want = Want::default();
        assert!(matches!(store.open(&place(path), want), Err(DiskError::Escapes { .. })), "open {path}");
        assert!(matches!(store.inspect(&place(path)), Err(DiskError::Escapes { .. })), "inspect {path}");
    }
    assert!(store.create_part(&place("door/new"), "t", Want::default()).is_err());
    assert!(store.make_parents(&place("door/a/b")).is_err());
    assert!(store.remove_final(&place("door/secret")).is_err());
    store.remove_final(&place("disk")).unwrap();
    assert_eq!(std::fs::read(outside.path().join("secret")).unwrap(), b"secret", "only the link may go");
}

#[test]
fn a_planted_link_does_not_receive_the_part() {
    let (directory, store) = datastore();
    let victim = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(victim.path(), "keep").unwrap();
    symlink(victim.path(), directory.path().join(".disk.t.part")).unwrap();
    drop(store.create_part(&place("disk"), "t", Want::default()).unwrap());
    assert_eq!(std::fs::read(victim.path()).unwrap(), b"keep");
    let kind = std::fs::symlink_metadata(directory.path().join(".disk.t.part")).unwrap();
    assert!(kind.is_file());
}

#[test]
fn a_planted_pipe_does_not_hang_us() {
    let (directory, store) = datastore();
    let path = directory.path().join("disk");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)
        .unwrap();
    let refused = store.open(&place("disk"), Want::default()).err().unwrap();
    assert!(matches!(refused, DiskError::WrongKind { .. }), "{refused}");
}

#[test]
fn wrong_kinds_are_named() {
    let (directory, store) = datastore();
    std::fs::create_dir(directory.path().join("folder")).unwrap();
    std::fs::write(directory.path().join("file"), "x").unwrap();
    let kind = |path: &str| store.open(&place(path), Want::default()).err().unwrap();
    assert!(matches!(kind("folder"), DiskError::WrongKind { found: "a directory", .. }));
    assert!(matches!(kind("file/disk"), DiskError::WrongKind { found: "below a file", .. }));
    assert!(matches!(kind("missing/disk"), DiskError::NotFound { .. }));
    let unknown = Place { datastore: "other".into(), path: "x".into() };
    assert!(matches!(store.inspect(&unknown), Err(DiskError::UnknownDatastore { .. })));
}

#[test]
fn bad_datastores_are_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let new = |backings: Vec<Backing>| {
        let named = backings.into_iter().map(|backing| ("ds".to_owned(), backing)).collect();
        Datastores::new(named).err().map(|error| error.to_string())
    };
    let wrong = new(vec![Backing::Directory(file.path().into())]).unwrap();
    assert!(wrong.contains("not a directory"), "{wrong}");
    let wrong = new(vec![Backing::Device(file.path().into())]).unwrap();
    assert!(wrong.contains("not a block device"), "{wrong}");
    let twice = Backing::Directory(directory.path().into());
    let wrong = new(vec![twice.clone(), twice]).unwrap();
    assert!(wrong.contains("another datastore has this name"), "{wrong}");
}

#[test]
fn an_opened_file_waits_for_nothing_and_yet_is_blocking() {
    let (directory, store) = datastore();
    std::fs::write(directory.path().join("disk"), "x").unwrap();
    let file = store.open(&place("disk"), Want::default()).unwrap();
    let flags = rustix::fs::fcntl_getfl(file.buffered()).unwrap();
    // Left on, a ring would answer EAGAIN for whatever is not in the page cache.
    assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
}

#[test]
fn the_stamp_follows_the_content() {
    let (directory, store) = datastore();
    std::fs::write(directory.path().join("disk"), "one").unwrap();
    let before = store.inspect(&place("disk")).unwrap();
    assert_eq!(before, store.inspect(&place("disk")).unwrap());
    std::thread::sleep(std::time::Duration::from_millis(20));
    std::fs::write(directory.path().join("disk"), "two").unwrap();
    assert_ne!(before.stamp, store.inspect(&place("disk")).unwrap().stamp);
}
