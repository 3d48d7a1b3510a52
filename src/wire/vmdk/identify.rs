//! What kind of disk image a file is, told from its beginning.
//!
//! For whoever is given a file and must choose a reader, and to refuse the images of other programs by name instead of
//! taking their container for a disk. Pure; looks at no more than 512 bytes.

use super::header::{FLAGS_STREAM_KIND, looks_like_vmdk};

/// What a file seems to be. Nothing is checked beyond what tells the kinds apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identified {
    /// A sparse VMDK whose grains are compressed or carry markers.
    StreamOptimized,
    /// A sparse VMDK with plain grains.
    MonolithicSparse,
    /// The text of a VMDK whose contents are in other files.
    Descriptor,
    /// An image, archive or compressed file that we do not read; its name.
    Foreign(&'static str),
    /// Nothing known: the bytes of a disk.
    Raw,
}

/// Tells what a file is from its first bytes. 512 are enough for everything known; with fewer, kinds whose mark lies behind
/// them are taken for [`Identified::Raw`]. A fixed VHD has its only mark at its end and is not recognized.
pub fn identify(start: &[u8]) -> Identified {
    if looks_like_vmdk(start) {
        return sparse_kind(start);
    }
    let first_line = start.get(..DESCRIPTOR_LINE.len());
    if first_line.is_some_and(|line| line.eq_ignore_ascii_case(DESCRIPTOR_LINE)) {
        return Identified::Descriptor;
    }
    let found = FOREIGN.iter().find(|(at, mark, _)| start.get(*at..).is_some_and(|rest| rest.starts_with(mark)));
    found.map_or(Identified::Raw, |&(_, _, name)| Identified::Foreign(name))
}

/// A header without its flags is that of the commoner kind.
fn sparse_kind(start: &[u8]) -> Identified {
    match start.get(8..).and_then(|rest| rest.first_chunk()) {
        Some(flags) if u32::from_le_bytes(*flags) & FLAGS_STREAM_KIND == 0 => Identified::MonolithicSparse,
        _ => Identified::StreamOptimized,
    }
}

const DESCRIPTOR_LINE: &[u8] = b"# Disk DescriptorFile";

/// Where which bytes are the mark of what. Longer marks come before those they begin with.
const FOREIGN: &[(usize, &[u8], &str)] = &[
    (0, b"QFI\xfb\0\0\0\x01", "qcow"),
    (0, b"QFI\xfb", "qcow2"),
    (0, b"QED\0", "QED"),
    (0, b"vhdxfile", "VHDX"),
    (0, b"conectix", "VHD"),
    (64, b"\x7f\x10\xda\xbe", "VDI"),
    (0, b"COWD", "COWD"),
    (0, b"\xbe\xba\xfe\xca\0\0\0\0", "seSparse"),
    // open-vmdk turns the mark into capitals when everything else is on disk.
    (0, b"kdmv", "a VMDK that its writer did not finish"),
    (0, b"WithoutFreeSpace", "Parallels"),
    (0, b"WithouFreSpacExt", "Parallels"),
    (0, b"Bochs Virtual HD Image", "Bochs"),
    (257, b"ustar", "tar (such as OVA)"),
    (0, b"\x1f\x8b\x08", "gzip"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "Zstandard"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"PK\x03\x04", "ZIP"),
];

#[cfg(test)]
mod tests {
    use super::super::Header;
    use super::super::samples::{AT_END, header};
    use super::*;

    #[test]
    fn marks_are_found_where_they_belong() {
        for &(at, mark, name) in FOREIGN {
            let mut file = vec![0; 512];
            file[at..at + mark.len()].copy_from_slice(mark);
            assert_eq!(identify(&file), Identified::Foreign(name));
            assert_eq!(identify(&file[..at + mark.len()]), Identified::Foreign(name), "{name}: nothing more is needed");
            assert_ne!(identify(&file[..at + mark.len() - 1]), Identified::Foreign(name), "{name}: cut");
            file.insert(0, 0);
            assert_eq!(identify(&file), Identified::Raw, "{name}: elsewhere");
        }
    }

    #[test]
    fn vmdks_are_told_apart() {
        let stream = header(2048, AT_END);
        for (flags, kind) in [
            (0x3_0001, Identified::StreamOptimized),
            (0x1_0003, Identified::StreamOptimized),
            (0x2_0003, Identified::StreamOptimized),
            (3, Identified::MonolithicSparse),
            (7, Identified::MonolithicSparse),
        ] {
            assert_eq!(identify(&Header { flags, ..stream }.to_block()), kind, "{flags:#x}");
        }
        assert_eq!(identify(b"KDMV"), Identified::StreamOptimized);
        assert_eq!(identify(b"# Disk DescriptorFile\nversion=1\n"), Identified::Descriptor);
        assert_eq!(identify(b"# disk descriptorfile \r\n"), Identified::Descriptor);
    }

    #[test]
    fn everything_else_is_raw() {
        for start in [&b""[..], b"K", b"# Disk Descriptor", b"\xeb\x63\x90", &[0; 4096], b"\xca\xfe\xba\xbe\0\0\0\0"] {
            assert_eq!(identify(start), Identified::Raw, "{start:02x?}");
        }
    }
}
