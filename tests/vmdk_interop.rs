//! Our VMDK reader and writer against qemu-img, on disks of every awkward shape.
//!
//! Without qemu-img the tests say that they did not run; `tests/run` installs it.

#![expect(clippy::unwrap_used, reason = "in the helpers of a test every failed step is a failed test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use diskferry::wire::vmdk::{
    DecodeLimits, Decoder, Deflater, EndOfStream, Inflater, Level, Piece, StreamOptions, StreamWriter, Summary,
    VmdkError, check_container, is_zero,
};

const GRAIN: usize = StreamWriter::GRAIN_BYTES;

/// Disks worth trying: name and content.
fn disks() -> Vec<(&'static str, Vec<u8>)> {
    let mixed = || {
        let mut disk = vec![0; 100 * GRAIN];
        disk[..text(GRAIN * 3 / 2).len()].copy_from_slice(&text(GRAIN * 3 / 2));
        disk[10 * GRAIN..20 * GRAIN].copy_from_slice(&noise(10 * GRAIN));
        disk[50 * GRAIN + 17] = 1;
        disk[99 * GRAIN..].copy_from_slice(&text(GRAIN));
        disk
    };
    let far_apart = {
        let mut disk = vec![0; 200 << 20];
        disk[5] = 1;
        disk[(33 << 20) + 5] = 2;
        disk[(160 << 20) + 5] = 3;
        disk
    };
    vec![
        ("mixed", mixed()),
        ("several tables", far_apart),
        ("empty", vec![0; 3 << 20]),
        ("noise to the end", noise(2 << 20)),
        ("one sector", text(512)),
        ("odd, text at the end", [mixed(), text(3 * 512)].concat()),
        ("odd, noise at the end", [mixed(), noise(GRAIN - 512)].concat()),
        ("odd, zeros at the end", [mixed(), vec![0; 512]].concat()),
    ]
}

#[test]
fn what_qemu_writes_is_read() {
    let Some(scratch) = scratch() else { return };
    for (name, disk) in disks() {
        let stream = qemu_stream(scratch.path(), &disk);
        let (found, summary) = decode(&stream, disk.len()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(found == disk, "{name}: contents differ");
        assert!(summary.tables_verified, "{name}");
        assert_eq!(summary.header.capacity_bytes(), disk.len() as u64, "{name}");
        let tail = &stream[stream.len().saturating_sub(4096)..];
        assert_eq!(check_container(&stream[..512], tail, stream.len() as u64), Ok(summary.header), "{name}");
    }
}

#[test]
fn every_end_of_a_qemu_stream_is_recognized() {
    let Some(scratch) = scratch() else { return };
    let end = |disk: &[u8]| decode(&qemu_stream(scratch.path(), disk), disk.len()).map(|(_, summary)| summary.end);
    assert_eq!(end(&text(4 * GRAIN)), Ok(EndOfStream::ImplicitZeros));
    assert_eq!(end(&noise(4 * GRAIN)), Ok(EndOfStream::FrontTables));
    assert_eq!(end(&vec![0; 4 * GRAIN]), Ok(EndOfStream::FrontTables));
}

#[test]
fn a_truncated_qemu_stream_is_refused() {
    let Some(scratch) = scratch() else { return };
    let disk = text(20 * GRAIN);
    let stream = qemu_stream(scratch.path(), &disk);
    let data_end = stream.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    for length in (0..data_end).step_by(512) {
        assert!(decode(&stream[..length], disk.len()).is_err(), "cut at {length} of {data_end}");
    }
}

#[test]
fn what_we_write_is_read_by_qemu() {
    let Some(scratch) = scratch() else { return };
    for (name, disk) in disks() {
        for level in [Level::Fast, Level::Balanced, Level::Default, Level::Best] {
            let stream = encode(&disk, level);
            assert!(decode(&stream, disk.len()).is_ok_and(|(found, _)| found == disk), "{name}: our own reader");
            let (raw, vmdk) = (scratch.path().join("disk.raw"), scratch.path().join("ours.vmdk"));
            std::fs::write(&raw, &disk).unwrap();
            std::fs::write(&vmdk, &stream).unwrap();
            let checked = qemu_img(&["check", "-f", "vmdk"], &[&vmdk]);
            assert!(checked.contains("No errors were found"), "{name}: {checked}");
            let compared = qemu_img(&["compare", "-f", "raw", "-F", "vmdk"], &[&raw, &vmdk]);
            assert!(compared.contains("Images are identical"), "{name}: {compared}");
            let info = qemu_img(&["info", "-f", "vmdk"], &[&vmdk]);
            assert!(info.contains("create type: streamOptimized"), "{name}: {info}");
        }
    }
}

/// Decodes and inflates a stream into a disk.
fn decode(stream: &[u8], capacity_bytes: usize) -> Result<(Vec<u8>, Summary), VmdkError> {
    let mut decoder = Decoder::new(DecodeLimits { capacity_limit_bytes: capacity_bytes as u64 });
    let mut grains = BTreeMap::new();
    for piece in stream.chunks(77_777) {
        decoder.push(piece, &mut |piece| {
            if let Piece::Grain(grain) = piece {
                grains.insert(grain.lba_sectors, grain);
            }
        })?;
    }
    let summary = decoder.finish()?;
    let (mut disk, mut bytes, mut inflater) = (vec![0; capacity_bytes], vec![0; GRAIN], Inflater::new());
    for (lba_sectors, grain) in grains {
        let length = inflater.inflate(&grain, &mut bytes)?.min(grain.disk_bytes as usize);
        let at = lba_sectors as usize * 512;
        disk[at..at + length].copy_from_slice(&bytes[..length]);
    }
    Ok((disk, summary))
}

/// Writes a disk as a stream.
fn encode(disk: &[u8], level: Level) -> Vec<u8> {
    let options = StreamOptions { capacity_bytes: disk.len() as u64, content_id: *b"interoperability" };
    let (mut writer, mut deflater) = (StreamWriter::new(options).unwrap(), Deflater::new(level));
    let (mut out, mut compressed) = (Vec::new(), Vec::new());
    for (index, grain) in disk.chunks(GRAIN).enumerate().filter(|(_, grain)| !is_zero(grain)) {
        let mut grain = grain.to_vec();
        grain.resize(GRAIN, 0);
        compressed.clear();
        deflater.deflate(&grain, &mut compressed);
        writer.grain((index * GRAIN / 512) as u64, &compressed, &mut out).unwrap();
    }
    writer.finish(&mut out);
    out
}

/// What qemu-img makes of a disk.
fn qemu_stream(scratch: &Path, disk: &[u8]) -> Vec<u8> {
    let (raw, vmdk) = (scratch.join("disk.raw"), scratch.join("qemu.vmdk"));
    std::fs::write(&raw, disk).unwrap();
    let convert = ["convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized"];
    qemu_img(&convert, &[&raw, &vmdk]);
    std::fs::read(&vmdk).unwrap()
}

/// Runs qemu-img, which must succeed, and returns what it says.
fn qemu_img(arguments: &[&str], files: &[&PathBuf]) -> String {
    let output = Command::new("qemu-img").args(arguments).args(files).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "qemu-img {arguments:?} {files:?}: {said}");
    said
}

/// A scratch directory, or `None` without qemu-img.
fn scratch() -> Option<tempfile::TempDir> {
    if Command::new("qemu-img").arg("--version").output().is_err() {
        println!("NOT RUN: qemu-img is not installed");
        return None;
    }
    Some(tempfile::tempdir().unwrap())
}

fn text(length_bytes: usize) -> Vec<u8> {
    let lines =
        (0u64..).flat_map(|line| format!("{line}: {:x}\n", line.wrapping_mul(0x9E37_79B9_7F4A_7C15)).into_bytes());
    lines.take(length_bytes).collect()
}

fn noise(length_bytes: usize) -> Vec<u8> {
    let mut state = 0x0123_4567_89AB_CDEFu64;
    let next = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    });
    next.take(length_bytes).collect()
}
