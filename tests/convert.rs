//! Conversions through the library: whatever the disk, the format, the number of threads, the bytes stay the same.
//!
//! What other programs make of the results is tested by `tests/e2e/convert_*.sh`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use diskferry::convert::{self, ConvertError, Endpoint, Format, Outcome, Request, Sparse, Watch, convert};
use diskferry::wire::vmdk::Level;
use proptest::prelude::*;

const GRAIN: usize = 65_536;

/// What a stretch of a disk holds.
#[derive(Debug, Clone, Copy)]
enum Fill {
    Hole,
    Zeros,
    Text,
    Noise,
    /// One byte somewhere.
    Speck,
}

/// A disk in pieces of arbitrary length.
fn disk() -> impl Strategy<Value = Vec<(Fill, usize)>> {
    let fill = prop_oneof![Just(Fill::Hole), Just(Fill::Zeros), Just(Fill::Text), Just(Fill::Noise), Just(Fill::Speck)];
    let length = prop_oneof![Just(GRAIN), Just(4096), Just(512), 1..300_000usize, Just(5 * GRAIN)];
    prop::collection::vec((fill, length), 1..12)
}

fn bytes_of(disk: &[(Fill, usize)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    for &(fill, length) in disk {
        let start = bytes.len();
        bytes.resize(start + length, 0);
        let piece = &mut bytes[start..];
        match fill {
            Fill::Hole | Fill::Zeros => {}
            Fill::Text => piece.iter_mut().enumerate().for_each(|(at, byte)| *byte = b"a line of some log\n"[at % 19]),
            Fill::Noise => piece.iter_mut().for_each(|byte| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                *byte = state as u8;
            }),
            Fill::Speck => piece[length / 2] = 1,
        }
    }
    bytes
}

/// Writes a disk as a file with its holes.
fn write_disk(path: &Path, disk: &[(Fill, usize)]) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let bytes = bytes_of(disk);
    let file = fs::File::create(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    let mut at = 0;
    for &(fill, length) in disk {
        if !matches!(fill, Fill::Hole) {
            file.write_all_at(&bytes[at..at + length], at as u64).unwrap();
        }
        at += length;
    }
    bytes
}

fn request(source: &Path, target: &Path, to: Format) -> Request {
    Request {
        source: Endpoint::Path(source.to_owned()),
        target: Endpoint::Path(target.to_owned()),
        from: None,
        to: Some(to),
        level: Some(Level::Fast),
        threads: 2,
        sparse: None,
        durable: false,
        replace: false,
        salvage: false,
        capacity_bytes: None,
        database: None,
    }
}

fn run(request: &Request) -> Result<Outcome, ConvertError> {
    convert(request, &Watch::default())
}

fn only_file_in(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_format_gives_the_disk_back(pieces in disk(), threads in 1..4usize, sparse in 0..3usize) {
        let dir = tempfile::tempdir().unwrap();
        let raw = dir.path().join("disk.raw");
        let mut expected = write_disk(&raw, &pieces);
        // A VMDK has whole sectors.
        expected.resize(expected.len().next_multiple_of(512), 0);
        let sparse = Some([Sparse::Scan, Sparse::Holes, Sparse::Off][sparse]);
        for first in [Format::StreamOptimized, Format::MonolithicSparse, Format::MonolithicFlat] {
            let vmdk = dir.path().join(format!("{}.vmdk", first.name()));
            run(&Request { threads, sparse, ..request(&raw, &vmdk, first) }).unwrap();
            for second in [Format::StreamOptimized, Format::MonolithicSparse, Format::MonolithicFlat] {
                let again = dir.path().join(format!("{}-{}.vmdk", first.name(), second.name()));
                run(&Request { threads, ..request(&vmdk, &again, second) }).unwrap();
                let back = again.with_extension("raw");
                run(&Request { threads, sparse, ..request(&again, &back, Format::Raw) }).unwrap();
                prop_assert!(fs::read(&back).unwrap() == expected, "{} {}", first.name(), second.name());
                let verdict = convert::check(&Endpoint::Path(again), None, threads, &Watch::default()).unwrap();
                prop_assert!(verdict.ok, "{:?}", verdict.errors);
            }
        }
        let copy = dir.path().join("copy.raw");
        run(&Request { threads, sparse, ..request(&raw, &copy, Format::Raw) }).unwrap();
        prop_assert!(fs::read(&copy).unwrap() == fs::read(&raw).unwrap());
    }

    #[test]
    fn the_same_disk_gives_the_same_stream(pieces in disk(), threads in 2..6usize) {
        let dir = tempfile::tempdir().unwrap();
        let raw = dir.path().join("disk.raw");
        write_disk(&raw, &pieces);
        let streams = [1, threads].map(|threads| {
            let stream = dir.path().join(format!("{threads}.vmdk"));
            run(&Request { threads, level: Some(Level::Default), ..request(&raw, &stream, Format::StreamOptimized) }).unwrap();
            fs::read(&stream).unwrap()
        });
        prop_assert!(streams[0] == streams[1]);
    }

    #[test]
    fn a_damaged_byte_is_an_error_or_changes_nothing(at in 0..100_000usize, bit in 0..8u32, through in 0..2usize) {
        let dir = tempfile::tempdir().unwrap();
        let raw = dir.path().join("disk.raw");
        let expected = write_disk(&raw, &[(Fill::Text, 3 * GRAIN), (Fill::Hole, GRAIN), (Fill::Noise, 20_000), (Fill::Speck, GRAIN)]);
        let vmdk = dir.path().join("disk.vmdk");
        run(&request(&raw, &vmdk, Format::StreamOptimized)).unwrap();
        let mut stream = fs::read(&vmdk).unwrap();
        let at = at % stream.len();
        stream[at] ^= 1 << bit;
        fs::write(&vmdk, &stream).unwrap();
        fs::remove_file(&raw).unwrap();
        let (target, to) = [("out.raw", Format::Raw), ("out.vmdk", Format::MonolithicSparse)][through];
        let target = dir.path().join(target);
        match run(&Request { from: Some(Format::StreamOptimized), ..request(&vmdk, &target, to) }) {
            Err(_) => prop_assert_eq!(only_file_in(dir.path()), [vmdk]),
            Ok(_) => {
                let back = dir.path().join("back.raw");
                run(&request(&target, &back, Format::Raw)).unwrap();
                let mut back = fs::read(&back).unwrap();
                back.truncate(expected.len());
                prop_assert!(back == expected, "bit {bit} of byte {at}");
            }
        }
    }
}

#[test]
fn a_failed_conversion_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("disk.raw");
    write_disk(&raw, &[(Fill::Text, 40 * GRAIN)]);
    let vmdk = dir.path().join("disk.vmdk");
    run(&request(&raw, &vmdk, Format::StreamOptimized)).unwrap();
    let stream = fs::read(&vmdk).unwrap();
    fs::remove_file(&raw).unwrap();
    for length in [0, 1, 511, 512, 65_535, 65_536, stream.len() / 2, stream.len() - 1536, stream.len() - 512] {
        fs::write(&vmdk, &stream[..length]).unwrap();
        for (name, to) in
            [("o.raw", Format::Raw), ("o.vmdk", Format::MonolithicFlat), ("p.vmdk", Format::MonolithicSparse)]
        {
            let target = dir.path().join(name);
            let error =
                run(&Request { from: Some(Format::StreamOptimized), ..request(&vmdk, &target, to) }).unwrap_err();
            assert!(matches!(error, ConvertError::Source { .. }), "{length}: {error}");
            assert_eq!(only_file_in(dir.path()), std::slice::from_ref(&vmdk), "{length}");
        }
    }
}

#[test]
fn a_salvage_keeps_what_is_good_and_lists_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("disk.raw");
    let mut expected = write_disk(&raw, &[(Fill::Noise, 10 * GRAIN)]);
    let vmdk = dir.path().join("disk.vmdk");
    run(&request(&raw, &vmdk, Format::StreamOptimized)).unwrap();
    let mut stream = fs::read(&vmdk).unwrap();
    // The third grain: noise is stored, 129 sectors each.
    stream[65_536 + 2 * 129 * 512 + 1000] ^= 1;
    fs::write(&vmdk, &stream).unwrap();
    expected[2 * GRAIN..3 * GRAIN].fill(0);
    let back = dir.path().join("back.raw");
    let outcome = run(&Request { salvage: true, ..request(&vmdk, &back, Format::Raw) }).unwrap();
    assert!(fs::read(&back).unwrap() == expected);
    assert!(outcome.lost.iter().any(|loss| loss.offset_bytes == Some(2 * GRAIN as u64)), "{:?}", outcome.lost);
    let verdict = convert::check(&Endpoint::Path(vmdk), None, 2, &Watch::default()).unwrap();
    assert_eq!((verdict.ok, verdict.error_count), (false, 1), "{:?}", verdict.errors);
}

#[test]
fn a_descriptor_leads_only_to_regular_files_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let descriptor = dir.path().join("disk.vmdk");
    let flat = dir.path().join("disk-flat.vmdk");
    fs::write(&flat, vec![7; 4096]).unwrap();
    std::os::unix::fs::symlink("disk-flat.vmdk", dir.path().join("link.vmdk")).unwrap();
    let target = dir.path().join("out.raw");
    let text = |file: &str| {
        format!(
            "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 8 FLAT \"{file}\" 0\n"
        )
    };
    for file in ["../disk-flat.vmdk", "/etc/passwd", "link.vmdk", "absent.vmdk", ".", ""] {
        fs::write(&descriptor, text(file)).unwrap();
        assert!(run(&request(&descriptor, &target, Format::Raw)).is_err(), "{file:?}");
        assert!(!target.exists());
    }
    fs::write(&descriptor, text("disk-flat.vmdk")).unwrap();
    run(&request(&descriptor, &target, Format::Raw)).unwrap();
    assert_eq!(fs::read(&target).unwrap(), vec![7; 4096]);
    // The same text in a file that is not named as a descriptor is a raw disk with text on it.
    let innocent = dir.path().join("innocent.raw");
    fs::copy(&descriptor, &innocent).unwrap();
    let copy = dir.path().join("copy.raw");
    run(&request(&innocent, &copy, Format::Raw)).unwrap();
    assert_eq!(fs::read(&copy).unwrap(), fs::read(&descriptor).unwrap());
}

#[test]
fn a_disk_that_was_not_closed_is_whole_but_spoken_of() {
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("disk.raw");
    write_disk(&raw, &[(Fill::Text, 2 * GRAIN)]);
    for to in [Format::MonolithicSparse, Format::StreamOptimized] {
        let vmdk = dir.path().join(format!("{}.vmdk", to.name()));
        run(&request(&raw, &vmdk, to)).unwrap();
        let check = || convert::check(&Endpoint::Path(vmdk.clone()), None, 1, &Watch::default()).unwrap();
        let speaks = |verdict: &convert::Verdict| {
            assert!(verdict.ok, "{:?}", verdict.errors);
            verdict.warnings.iter().any(|warning| warning.message.contains("uncleanShutdown"))
        };
        assert!(!speaks(&check()), "{}", to.name());
        let mut bytes = fs::read(&vmdk).unwrap();
        bytes[72] = 1;
        fs::write(&vmdk, bytes).unwrap();
        assert!(speaks(&check()), "{}", to.name());
    }
}
