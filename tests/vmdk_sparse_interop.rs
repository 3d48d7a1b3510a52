//! Our monolithicSparse layout, our reader of tables and our descriptors against qemu-img.
//!
//! Without qemu-img the tests say that they did not run; `tests/run` installs it.

#![expect(clippy::unwrap_used, reason = "in the helpers of a test every failed step is a failed test")]

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use diskferry::wire::vmdk::{
    Adapter, CreateType, Database, Descriptor, DescriptorText, Entry, Header, Identified, Occupancy, SparseLayout,
    StreamOptions, StreamWriter, identify, is_zero,
};

const GRAIN: usize = SparseLayout::GRAIN_BYTES;

/// Disks worth trying: name and content.
fn disks() -> Vec<(&'static str, Vec<u8>)> {
    let far_apart = {
        let mut disk = vec![0; 200 << 20];
        for (at, byte) in [(5, 1), ((33 << 20) + 5, 2), ((160 << 20) + 5, 3), ((200 << 20) - 1, 4)] {
            disk[at] = byte;
        }
        disk
    };
    vec![
        ("several tables", far_apart),
        ("full", noise(3 << 20)),
        ("empty", vec![0; 3 << 20]),
        ("one sector", noise(512)),
        ("odd, data at the end", [vec![0; 5 * GRAIN], noise(GRAIN + 512)].concat()),
        ("odd, zeros at the end", [noise(5 * GRAIN), vec![0; 512]].concat()),
    ]
}

#[test]
fn what_we_lay_out_is_read_by_qemu() {
    let Some(scratch) = scratch() else { return };
    for (name, disk) in disks() {
        for order in [Order::Ascending, Order::Descending] {
            let (raw, vmdk) = (scratch.path().join("disk.raw"), scratch.path().join("disk.vmdk"));
            std::fs::write(&raw, &disk).unwrap();
            write_sparse(&vmdk, &disk, order);
            let checked = qemu_img(&["check", "-f", "vmdk"], &[&vmdk]);
            assert!(checked.contains("No errors were found"), "{name}: {checked}");
            let compared = qemu_img(&["compare", "-f", "raw", "-F", "vmdk"], &[&raw, &vmdk]);
            assert!(compared.trim() == "Images are identical.", "{name}: {compared}");
            let info = qemu_img(&["info", "-f", "vmdk"], &[&vmdk]);
            assert!(info.contains("create type: monolithicSparse"), "{name}: {info}");
            assert!(info.contains(&format!("({} bytes)", disk.len())), "{name}: {info}");
            assert!(read_sparse(&vmdk) == disk, "{name}: our own reading differs");
        }
    }
}

#[test]
fn what_qemu_lays_out_is_read_by_us() {
    let Some(scratch) = scratch() else { return };
    for (name, disk) in disks() {
        let (raw, vmdk) = (scratch.path().join("disk.raw"), scratch.path().join("qemu.vmdk"));
        std::fs::write(&raw, &disk).unwrap();
        qemu_img(&["convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=monolithicSparse"], &[&raw, &vmdk]);
        assert!(read_sparse(&vmdk) == disk, "{name}: contents differ");
        let file = std::fs::read(&vmdk).unwrap();
        let layout = SparseLayout::new(disk.len() as u64).unwrap();
        assert_eq!(Header::parse_sparse(file.first_chunk().unwrap()).as_ref(), Ok(layout.header()), "{name}");
        for (offset_bytes, directory) in layout.directories() {
            assert_eq!(file[offset_bytes as usize..][..directory.len()], directory, "{name}: the same layout");
        }
        let descriptor = Descriptor::parse(&file[512..21 * 512]).unwrap();
        assert_eq!(descriptor.create_type.as_deref(), Some("monolithicSparse"), "{name}");
        assert_eq!(descriptor.capacity_sectors() * 512, disk.len() as u64, "{name}");
    }
}

#[test]
fn zero_entries_of_qemu_are_read() {
    let Some(scratch) = scratch() else { return };
    let vmdk = scratch.path().join("zeroed.vmdk");
    let options = ["create", "-f", "vmdk", "-o", "subformat=monolithicSparse,zeroed_grain=on"];
    assert!(command("qemu-img", &[&options[..], &[vmdk.to_str().unwrap(), "1M"]].concat()).0);
    let writes = ["-f", "vmdk", "-c", "write -P 7 0 1M", "-c", "write -z 128k 64k", vmdk.to_str().unwrap()];
    let (succeeded, said) = command("qemu-io", &writes);
    assert!(succeeded, "{said}");
    let mut expected = vec![7; 1 << 20];
    expected[2 * GRAIN..3 * GRAIN].fill(0);
    assert!(read_sparse(&vmdk) == expected);
    let file = std::fs::read(&vmdk).unwrap();
    let header = Header::parse_sparse(file.first_chunk().unwrap()).unwrap();
    assert!(header.has_zero_grain_entries());
    assert_eq!(entries(&header, &File::open(&vmdk).unwrap())[2], Entry::Zero);
}

#[test]
fn the_largest_layout_is_accepted() {
    let Some(scratch) = scratch() else { return };
    let vmdk = scratch.path().join("large.vmdk");
    let layout = SparseLayout::new(2 << 40).unwrap();
    let file = File::create(&vmdk).unwrap();
    write_preamble(&file, &layout, "large.vmdk");
    let last = layout.header().grain_count() - 1;
    let grain = noise(GRAIN);
    put_grain(&file, &layout, 0, last, &grain);
    let compared = command(
        "qemu-io",
        &["-r", "-f", "vmdk", "-c", &format!("read -v {} 16", (2u64 << 40) - 65_536), vmdk.to_str().unwrap()],
    );
    let first: Vec<String> = grain[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(compared.0 && compared.1.contains(&first.join(" ")), "{}", compared.1);
}

#[test]
fn every_descriptor_is_accepted() {
    let Some(scratch) = scratch() else { return };
    let disk = noise(2 << 20);
    let (raw, flat) = (scratch.path().join("disk.raw"), scratch.path().join("disk-flat.vmdk"));
    std::fs::write(&raw, &disk).unwrap();
    std::fs::write(&flat, &disk).unwrap();
    for adapter in Adapter::ALL {
        let database = Database { adapter, hardware_version: 21, tools_version: Some(12_389) };
        let text = |create_type, extent_file| {
            let (capacity_sectors, content_id) = (4096, [0xA5; 16]);
            DescriptorText { create_type, capacity_sectors, extent_file, content_id, database }.render()
        };
        let descriptor = scratch.path().join("disk.vmdk");
        std::fs::write(&descriptor, text(CreateType::MonolithicFlat, "disk-flat.vmdk")).unwrap();
        assert_eq!(identify(&std::fs::read(&descriptor).unwrap()), Identified::Descriptor);
        let compared = qemu_img(&["compare", "-f", "raw", "-F", "vmdk"], &[&raw, &descriptor]);
        assert!(compared.trim() == "Images are identical.", "{}: {compared}", adapter.name());
        let info = qemu_img(&["info", "-f", "vmdk"], &[&descriptor]);
        assert!(info.contains("create type: monolithicFlat"), "{info}");
        assert!(info.contains(&format!("cid: {}", 0xA5A5_A5A5_u32)), "{info}");

        let stream = scratch.path().join("stream.vmdk");
        let options = StreamOptions { capacity_bytes: 2 << 20, content_id: [0; 16] };
        let writer = StreamWriter::with_descriptor(options, &text(CreateType::StreamOptimized, "disk.vmdk")).unwrap();
        let mut out = Vec::new();
        writer.finish(&mut out);
        std::fs::write(&stream, out).unwrap();
        let info = qemu_img(&["info", "-f", "vmdk"], &[&stream]);
        assert!(info.contains("create type: streamOptimized") && info.contains("cid: 2779096485"), "{info}");
    }
}

#[test]
fn images_of_other_programs_are_called_by_name() {
    let Some(scratch) = scratch() else { return };
    for (format, name) in
        [("qcow2", "qcow2"), ("qcow", "qcow"), ("vdi", "VDI"), ("vhdx", "VHDX"), ("vpc", "VHD"), ("qed", "QED")]
    {
        let image = scratch.path().join(format);
        assert!(command("qemu-img", &["create", "-f", format, image.to_str().unwrap(), "8M"]).0, "{format}");
        assert_eq!(identify(&std::fs::read(&image).unwrap()), Identified::Foreign(name));
    }
    for (subformat, kind) in [
        ("monolithicSparse", Identified::MonolithicSparse),
        ("streamOptimized", Identified::StreamOptimized),
        ("monolithicFlat", Identified::Descriptor),
        ("twoGbMaxExtentSparse", Identified::Descriptor),
    ] {
        let image = scratch.path().join(subformat);
        let option = format!("subformat={subformat}");
        let create = ["create", "-f", "vmdk", "-o", &option, image.to_str().unwrap(), "5G"];
        assert!(command("qemu-img", &create).0, "{subformat}");
        let start = std::fs::read(&image).unwrap();
        assert_eq!(identify(&start), kind);
        if kind == Identified::Descriptor {
            let descriptor = Descriptor::parse(&start).unwrap();
            assert_eq!(descriptor.create_type.as_deref(), Some(subformat));
            assert_eq!(descriptor.capacity_sectors() * 512, 5 << 30);
        }
    }
}

#[derive(Clone, Copy)]
enum Order {
    Ascending,
    Descending,
}

/// Writes a disk as a monolithicSparse file, its grains in some order.
fn write_sparse(path: &Path, disk: &[u8], order: Order) {
    let layout = SparseLayout::new(disk.len() as u64).unwrap();
    let file = File::create(path).unwrap();
    write_preamble(&file, &layout, "disk.vmdk");
    let mut grains: Vec<(usize, &[u8])> = disk.chunks(GRAIN).enumerate().filter(|(_, grain)| !is_zero(grain)).collect();
    if let Order::Descending = order {
        grains.reverse();
    }
    for (written, (index, grain)) in (0..).zip(grains) {
        let mut grain = grain.to_vec();
        grain.resize(GRAIN, 0);
        put_grain(&file, &layout, written, index as u64, &grain);
    }
}

fn write_preamble(mut file: &File, layout: &SparseLayout, name: &str) {
    let descriptor = DescriptorText {
        create_type: CreateType::MonolithicSparse,
        capacity_sectors: layout.header().capacity_sectors,
        extent_file: name,
        content_id: *b"interoperability",
        database: Database::default(),
    };
    file.write_all(&layout.preamble(&descriptor.render()).unwrap()).unwrap();
    for (offset_bytes, directory) in layout.directories() {
        file.seek(SeekFrom::Start(offset_bytes)).unwrap();
        file.write_all(&directory).unwrap();
    }
    file.set_len(layout.first_grain_sector() * 512).unwrap();
}

/// Writes grain number `index` of the disk as number `written` of the file, with its entry in both tables.
fn put_grain(file: &File, layout: &SparseLayout, written: u64, index: u64, grain: &[u8]) {
    let sector = layout.grain_sector(written).unwrap();
    file.write_all_at(grain, u64::from(sector) * 512).unwrap();
    for table in layout.table_offsets_bytes(index / 512) {
        file.write_all_at(&sector.to_le_bytes(), table + index % 512 * 4).unwrap();
    }
}

/// Reads a whole monolithicSparse file through its tables.
fn read_sparse(path: &Path) -> Vec<u8> {
    let file = File::open(path).unwrap();
    let header = Header::parse_sparse(&bytes_at(&file, 0, 1).try_into().unwrap()).unwrap();
    let mut disk = vec![0; header.capacity_bytes() as usize];
    let mut occupancy = Occupancy::new(header.grain_sectors, header.first_grain_sector());
    for (grain, entry) in entries(&header, &file).into_iter().enumerate() {
        if let Entry::At(sector) = entry {
            assert!(occupancy.claim(sector), "grain {grain} at sector {sector}");
            let end = disk.len().min((grain + 1) * GRAIN);
            file.read_exact_at(&mut disk[grain * GRAIN..end], u64::from(sector) * 512).unwrap();
        }
    }
    disk
}

fn entries(header: &Header, file: &File) -> Vec<Entry> {
    let file_bytes = file.metadata().unwrap().len();
    let directory = bytes_at(file, header.directory_sector, header.directory_sectors());
    let directory = header.read_directory(&directory, file_bytes).unwrap();
    let mut entries = Vec::new();
    for (table, sector) in (0..).zip(directory) {
        assert_ne!(sector, 0, "every table exists");
        let bytes = bytes_at(file, sector.into(), header.table_sectors());
        entries.extend(header.read_table(table, sector.into(), &bytes, file_bytes).unwrap());
    }
    assert_eq!(entries.len() as u64, header.grain_count());
    entries
}

fn bytes_at(file: &File, sector: u64, sectors: u64) -> Vec<u8> {
    let mut bytes = vec![0; sectors as usize * 512];
    file.read_exact_at(&mut bytes, sector * 512).unwrap();
    bytes
}

/// Runs qemu-img, which must succeed, and returns what it says.
fn qemu_img(arguments: &[&str], files: &[&PathBuf]) -> String {
    let files = files.iter().map(|file| file.to_str().unwrap());
    let (succeeded, said) = command("qemu-img", &arguments.iter().copied().chain(files).collect::<Vec<_>>());
    assert!(succeeded, "qemu-img {arguments:?}: {said}");
    said
}

fn command(program: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

/// A scratch directory, or `None` without qemu-img.
fn scratch() -> Option<tempfile::TempDir> {
    if Command::new("qemu-img").arg("--version").output().is_err() {
        println!("NOT RUN: qemu-img is not installed");
        return None;
    }
    Some(tempfile::tempdir().unwrap())
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
