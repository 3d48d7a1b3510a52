//! Tests of the source disk, on small made-up trees and, once, on the machine's own.

use std::os::unix::fs::PermissionsExt;

use super::*;

const MIB: u64 = 1 << 20;

/// Two trees with files of many sizes, an empty one, a symbolic link and a hard link.
fn trees(dir: &Path) -> Vec<PathBuf> {
    let roots = ["one", "two"].map(|name| dir.join(name));
    for (index, root) in roots.iter().enumerate() {
        fs::create_dir_all(root.join("deep/er")).unwrap();
        for number in 1..40_usize {
            let content: Vec<u8> = (0..number * 5000).map(|byte| (byte * 31 + number + index) as u8 | 1).collect();
            let below = if number % 3 == 0 { "deep/er" } else { "" };
            fs::write(root.join(below).join(format!("file-{number:02}")), content).unwrap();
        }
        fs::write(root.join("empty"), "").unwrap();
        fs::hard_link(root.join("file-01"), root.join("file-01-again")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.join("link")).unwrap();
    }
    roots.to_vec()
}

fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A stand-in for mke2fs.
fn script(dir: &Path, body: &str) -> PathBuf {
    let path = dir.join("mke2fs");
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn assert_well_filled(disk: &SourceDisk) {
    assert_eq!(fs::metadata(&disk.path).unwrap().len(), disk.size_bytes);
    let percent = disk.allocated_bytes * 100 / disk.size_bytes;
    assert!((25..=45).contains(&percent), "{percent} % of {disk:?}");
}

#[test]
fn without_mke2fs_the_disk_is_real_files_with_holes_between() {
    let scratch = tempfile::tempdir().unwrap();
    let roots = trees(scratch.path());
    let dir = scratch.path().join("made");
    fs::create_dir(&dir).unwrap();
    let size_bytes = 20 * MIB;
    let disk = make_from(&dir, size_bytes, &roots, None).unwrap();
    assert_well_filled(&disk);
    assert_eq!(names_in(&dir), ["source.raw"]);

    let image = fs::read(&disk.path).unwrap();
    for (number, mib) in image.chunks(MIB as usize).enumerate() {
        let zeros = mib.iter().all(|byte| *byte == 0);
        assert_eq!(zeros, number % 3 != 0, "MiB {number}");
    }
    let mut stream = Vec::new();
    let mut files = RealFiles::new(&roots);
    while stream.len() < 7 * MIB as usize {
        files.next(size_bytes / 16).unwrap().file.read_to_end(&mut stream).unwrap();
    }
    let data: Vec<u8> = image.chunks(MIB as usize).step_by(3).flatten().copied().collect();
    assert!(data == stream[..data.len()], "the stripes hold the files one behind the other");
}

#[test]
fn with_mke2fs_the_disk_is_a_sound_file_system_of_real_files() {
    let Some(mke2fs) = find_mke2fs() else {
        println!("mke2fs: NOT RUN (not installed)");
        return;
    };
    let scratch = tempfile::tempdir().unwrap();
    let roots = trees(scratch.path());
    let dir = scratch.path().join("made");
    fs::create_dir(&dir).unwrap();
    let disk = make_from(&dir, 64 * MIB, &roots, Some(&mke2fs)).unwrap();
    assert_well_filled(&disk);
    assert_eq!(names_in(&dir), ["source.raw"]);

    let check = Command::new(mke2fs.with_file_name("e2fsck")).arg("-fn").arg(&disk.path).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    let original = roots[1].join("deep/er/file-39");
    let inside = Path::new("/").join(original.strip_prefix("/").unwrap());
    let dump = scratch.path().join("dump");
    let request = format!("dump \"{}\" \"{}\"", inside.display(), dump.display());
    let debugfs = mke2fs.with_file_name("debugfs");
    assert!(Command::new(debugfs).args(["-R", &request]).arg(&disk.path).output().unwrap().status.success());
    assert!(fs::read(&dump).unwrap() == fs::read(&original).unwrap(), "a file reads back as it was");
}

#[test]
fn the_machine_itself_fills_a_disk() {
    let scratch = tempfile::tempdir().unwrap();
    let disk = make(scratch.path(), 64 * MIB).unwrap();
    assert_well_filled(&disk);
    assert_eq!(names_in(scratch.path()), ["source.raw"]);
}

#[test]
fn the_same_trees_give_the_same_files_in_the_same_order() {
    let scratch = tempfile::tempdir().unwrap();
    let roots = trees(scratch.path());
    let names = || {
        let mut files = RealFiles::new(&roots);
        (0..100).map(|_| files.next(MIB).unwrap().name).collect::<Vec<_>>()
    };
    let first = names();
    assert_eq!(first, names());
    let distinct: std::collections::HashSet<_> = first.iter().collect();
    assert_eq!(distinct.len(), 100, "a second round has other names");
    // Two trees of 39 files each: links and empty files are not among them.
    assert!(!first[77].starts_with("copy-2") && first[78].starts_with("copy-2"), "{:?}", &first[77..79]);
}

#[test]
fn a_failure_leaves_nothing_behind() {
    let scratch = tempfile::tempdir().unwrap();
    let roots = trees(scratch.path());
    let dir = scratch.path().join("made");
    fs::create_dir(&dir).unwrap();

    let failing = script(scratch.path(), "echo no such feature >&2; exit 3");
    let error = make_from(&dir, 16 * MIB, &roots, Some(&failing)).unwrap_err();
    assert!(matches!(&error, SourceError::Mke2fs { stderr, .. } if stderr == "no such feature"), "{error}");
    assert_eq!(names_in(&dir), [""; 0]);

    let missing = scratch.path().join("absent");
    let error = make_from(&dir, 16 * MIB, &roots, Some(&missing)).unwrap_err();
    assert!(matches!(&error, SourceError::Io { path, .. } if *path == missing), "{error}");
    assert_eq!(names_in(&dir), [""; 0]);

    for mke2fs in [None, Some(failing.as_path())] {
        let error = make_from(&dir, 16 * MIB, &[scratch.path().join("nowhere")], mke2fs).unwrap_err();
        assert!(matches!(error, SourceError::NoFiles { .. }), "{error}");
        assert_eq!(names_in(&dir), [""; 0]);
    }
}

#[test]
fn an_image_that_is_already_there_is_not_touched() {
    let scratch = tempfile::tempdir().unwrap();
    let theirs = scratch.path().join("source.raw");
    fs::write(&theirs, "precious").unwrap();
    assert!(matches!(make(scratch.path(), 16 * MIB), Err(SourceError::Io { .. })));
    assert_eq!(fs::read(&theirs).unwrap(), b"precious");
}

#[test]
fn odd_sizes_and_full_disks_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    for size_bytes in [0, MIB, 16 * MIB + 1, u64::MAX] {
        assert!(matches!(make(scratch.path(), size_bytes), Err(SourceError::Size { .. })), "{size_bytes}");
    }
    assert!(matches!(check_space(scratch.path(), u64::MAX), Err(SourceError::NoSpace { .. })));
    assert_eq!(names_in(scratch.path()), [""; 0]);
}
