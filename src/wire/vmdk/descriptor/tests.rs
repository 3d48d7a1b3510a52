//! Descriptors as known writers make them, every kind of mistake in one, and our own against the reader.

use proptest::prelude::*;

use super::super::{StreamOptions, StreamWriter};
use super::*;

/// ESXi's export of a disk: CRLF and spaces at the ends of lines.
const ESXI: &str = "# Disk DescriptorFile\r\nversion=1 \r\nCID=a454774a \r\nparentCID=ffffffff \r\n\
    createType=\"streamOptimized\" \r\n\r\n# Extent description\r\nRDONLY 33554432 SPARSE \"generated-stream.vmdk\"\r\n\r\n\
    # The Disk Data Base \r\n#DDB\r\n\r\nddb.adapterType = \"lsilogic\" \r\nddb.geometry.cylinders = \"2088\" \r\n\
    ddb.geometry.heads = \"255\" \r\nddb.geometry.sectors = \"63\" \r\n\
    ddb.longContentID = \"9c3a0a2ee8a4bc4ce1b5d76aa454774a\" \r\nddb.virtualHWVersion = \"8\" \r\n";

/// qemu-img, monolithicSparse.
const QEMU: &str = "# Disk DescriptorFile\nversion=1\nCID=7b2cf6b1\nparentCID=ffffffff\ncreateType=\"monolithicSparse\"\n\n\
    # Extent description\nRW 2048 SPARSE \"disk.vmdk\"\n\n\n# The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\n\
    ddb.geometry.cylinders = \"2\"\nddb.geometry.heads = \"16\"\nddb.geometry.sectors = \"63\"\nddb.adapterType = \"ide\"\n\
    ddb.toolsVersion = \"2147483647\"\n";

/// VirtualBox, after it has put its identifiers in.
const VIRTUALBOX: &str = "# Disk DescriptorFile\nversion=1\nCID=5de9b9b8\nparentCID=ffffffff\n\
    createType=\"streamOptimized\"\n\n# Extent description\nRDONLY 20971520 SPARSE \"box-disk1.vmdk\"\n\n\
    # The disk Data Base \n#DDB\n\nddb.virtualHWVersion = \"4\"\nddb.adapterType=\"ide\"\nddb.geometry.cylinders=\"16383\"\n\
    ddb.geometry.heads=\"16\"\nddb.geometry.sectors=\"63\"\nddb.geometry.biosCylinders=\"1024\"\n\
    ddb.uuid.image=\"0ecd4cd0-0c3e-4a5f-8d8e-5a7f3b1f2d11\"\nddb.uuid.parent=\"00000000-0000-0000-0000-000000000000\"\n\
    ddb.comment=\"\"\n";

/// A thick disk on a datastore, which grew by a second file.
const VMFS: &str = "# Disk DescriptorFile\nversion=4\nencoding=\"UTF-8\"\nCID=fffffffe\nparentCID=ffffffff\n\
    isNativeSnapshot=\"no\"\ncreateType=\"vmfs\"\n\n# Extent description\nRW 16777216 VMFS \"web 01-flat.vmdk\"\n\
    RW 4096 VMFS \"web 01-2-flat.vmdk\" 0\n\n# Change Tracking File\nchangeTrackPath=\"web 01-ctk.vmdk\"\n\n\
    # The Disk Data Base \n#DDB\n\nddb.adapterType = \"lsilogic\"\nddb.thinProvisioned = \"1\"\nddb.toolsVersion = \"11333\"\n\
    ddb.uuid = \"60 00 C2 9b 11 5a 2b 41-6c 7d 52 4e 5a b5 13 10\"\n";

/// Workstation, split in files of 2 GiB, on Windows.
const SPLIT: &str = "# Disk DescriptorFile\nversion=1\nencoding=\"windows-1252\"\nCID=1f2e3d4c\nparentCID=ffffffff\n\
    isNativeSnapshot=\"no\"\ncreateType=\"twoGbMaxExtentFlat\"\n\n# Extent description\n\
    RW 4192256 FLAT \"Windows XP-f001.vmdk\" 0\nRW 4192256 FLAT \"Windows XP-f002.vmdk\" 0\nRW 4096 FLAT \"Windows XP-f003.vmdk\" 63\n\n\
    # The Disk Data Base \n#DDB\n\nddb.adapterType = \"buslogic\"\n";

fn parse(text: &str) -> Result<Descriptor, VmdkError> {
    Descriptor::parse(text.as_bytes())
}

fn ddb<'a>(descriptor: &'a Descriptor, key: &str) -> Option<&'a str> {
    descriptor.database.iter().find(|(found, _)| found == key).map(|(_, value)| value.as_str())
}

fn extent(access: Access, sectors: u64, kind: ExtentKind, file: &str, offset_sectors: u64) -> Extent {
    Extent { access, sectors, kind, file: Some(file.into()), offset_sectors }
}

#[test]
fn descriptors_of_real_writers_are_read() {
    use Access::{ReadOnly, ReadWrite};
    use ExtentKind::{Flat, Sparse, Vmfs};
    let esxi = parse(ESXI).unwrap();
    assert_eq!((esxi.cid, esxi.parent_cid.as_deref()), (Some(0xa454_774a), None));
    assert_eq!(esxi.create_type.as_deref(), Some("streamOptimized"));
    assert_eq!(esxi.long_content_id, Some(0x9c3a_0a2e_e8a4_bc4c_e1b5_d76a_a454_774a_u128.to_be_bytes()));
    assert_eq!(esxi.extents, [extent(ReadOnly, 33_554_432, Sparse, "generated-stream.vmdk", 0)]);
    assert_eq!(esxi.database.len(), 6);
    assert_eq!(esxi.database[0], ("ddb.adapterType".into(), "lsilogic".into()));
    assert_eq!(esxi.text, ESXI);

    let qemu = parse(QEMU).unwrap();
    assert_eq!((qemu.cid, qemu.long_content_id), (Some(0x7b2c_f6b1), None));
    assert_eq!(qemu.extents, [extent(ReadWrite, 2048, Sparse, "disk.vmdk", 0)]);
    assert_eq!(ddb(&qemu, "ddb.toolsVersion"), Some("2147483647"));

    let virtualbox = parse(VIRTUALBOX).unwrap();
    assert_eq!(ddb(&virtualbox, "ddb.adapterType"), Some("ide"));
    assert_eq!(ddb(&virtualbox, "ddb.comment"), Some(""));

    let vmfs = parse(VMFS).unwrap();
    let files = [("web 01-flat.vmdk", 16_777_216), ("web 01-2-flat.vmdk", 4096)];
    assert_eq!(vmfs.extents, files.map(|(file, sectors)| extent(ReadWrite, sectors, Vmfs, file, 0)));
    assert_eq!(vmfs.cid, Some(0xffff_fffe));
    assert_eq!(vmfs.capacity_sectors(), 16_781_312);

    let split = parse(SPLIT).unwrap();
    assert_eq!(split.create_type.as_deref(), Some("twoGbMaxExtentFlat"));
    assert_eq!(split.extents[2], extent(ReadWrite, 4096, Flat, "Windows XP-f003.vmdk", 63));
}

#[test]
fn what_writers_differ_in_does_not_matter() {
    for change in [
        |text: &str| text.replace('\n', "\r\n"),
        |text: &str| text.replace('\n', " \t \n"),
        |text: &str| text.replace('=', " = "),
        |text: &str| format!("{text}\0\0\0\0"),
        |text: &str| text.replacen("# Disk DescriptorFile", "# written by a script", 1),
        |text: &str| text.replacen("# Disk DescriptorFile\n", "", 1),
        |text: &str| text.replace("CID", "cid").replace("createType", "CREATETYPE").replace("RW", "rw"),
        |text: &str| text.replace("FLAT", "flat").replace("VMFS", "vmfs").replace("SPARSE", "Sparse"),
        |text: &str| text.trim_end().to_owned(),
        |text: &str| text.replace("ffffffff", "FFFFFFFF"),
    ] {
        for text in [QEMU, VIRTUALBOX, VMFS, SPLIT] {
            let (before, after) = (parse(text).unwrap(), parse(&change(text)).unwrap());
            assert_eq!(Descriptor { text: String::new(), ..after }, Descriptor { text: String::new(), ..before });
        }
    }
    let commented = Descriptor::parse(b"# caf\xe9\nRW 1 ZERO\n").unwrap();
    assert_eq!(commented.text, "# caf\u{fffd}\nRW 1 ZERO\n");
    let zero = Extent { access: Access::ReadWrite, sectors: 1, kind: ExtentKind::Zero, file: None, offset_sectors: 0 };
    assert_eq!(commented.extents, [zero]);
    assert_eq!(parse("RW=1\nrdonly = 2").unwrap().extents, []);
    assert_eq!(parse("").unwrap().capacity_sectors(), 0);
}

#[test]
fn file_names_inside_a_vmdk_do_not_matter() {
    for text in [ESXI, QEMU, VIRTUALBOX, VMFS, SPLIT] {
        assert_eq!(Descriptor::parse_embedded(text.as_bytes()), parse(text));
    }
    let long = format!("\"{}\"", "x".repeat(256));
    for name in [
        b"\"/etc/passwd\"".as_slice(),
        b"\"../disk.vmdk\"",
        b"\"[store] web\\disk.vmdk\"",
        b"\"\"",
        b"\".\"",
        b"\"a\"b.vmdk\"",
        b"\"a\" \"b\"",
        b"\"\xb4\xc5\xc5\xcc.vmdk\"",
        b"\"disk.vmdk",
        b"my disk.vmdk",
        b"0",
        b"",
        long.as_bytes(),
    ] {
        let text = [b"CID=5\nRW 2048 SPARSE ", name, b"\nparentCID=7\n"].concat();
        let read = Descriptor::parse_embedded(&text).unwrap_or_else(|error| panic!("{name:?}: {error}"));
        let (access, kind) = (Access::ReadWrite, ExtentKind::Sparse);
        assert_eq!(read.extents, [Extent { access, sectors: 2048, kind, file: None, offset_sectors: 0 }], "{name:?}");
        assert_eq!((read.cid, read.parent_cid.as_deref()), (Some(5), Some("7")));
        assert!(Descriptor::parse(&text).is_err(), "{name:?}");
    }
    let named = Descriptor::parse_embedded(b"RW 1 FLAT \"a.vmdk\" 63").unwrap();
    assert_eq!(named.extents, [extent(Access::ReadWrite, 1, ExtentKind::Flat, "a.vmdk", 63)]);
    let elsewhere = Descriptor::parse_embedded(b"RW 1 FLAT \"/a.vmdk\" 63").unwrap();
    assert_eq!((elsewhere.extents[0].offset_sectors, elsewhere.extents[0].file.as_deref()), (63, None));
}

#[test]
fn everything_else_matters_inside_a_vmdk_too() {
    for text in [
        b"RW x SPARSE \"/a\"".as_slice(),
        b"RW 1 PAPER \"/a\"",
        b"RW 9007199254740993 SPARSE \"/a\"",
        b"RW 1 FLAT \"/a\" x",
        b"RW 1 FLAT \"/a\" 0 0",
        b"RW 1 ZERO \"/a\"",
        b"CID=x",
        b"CID=1\nCID=1",
        b"createType=\"\xb4\"",
        b"nothing",
    ] {
        let error = Descriptor::parse(text).unwrap_err();
        let embedded = Descriptor::parse_embedded(text).unwrap_err();
        assert!(embedded == error || matches!(error, VmdkError::ExtentFile { .. }), "{embedded}, not {error}");
    }
}

#[test]
fn a_delta_disk_names_its_parent() {
    let delta = parse("CID=1\nparentCID=0A454774\nparentFileNameHint=\"../base/disk.vmdk\"\n").unwrap();
    assert_eq!((delta.cid, delta.parent_cid.as_deref()), (Some(1), Some("0A454774")));
}

#[test]
fn mistakes_are_called_by_their_line() {
    let value = |key, found: &str, expected| VmdkError::DescriptorValue { line: 2, key, found: found.into(), expected };
    let number = "a number is expected";
    for (text, error) in [
        ("version", VmdkError::DescriptorLine { line: 2 }),
        ("=1", VmdkError::DescriptorLine { line: 2 }),
        ("two words=1", VmdkError::DescriptorLine { line: 2 }),
        ("createType=\"vmfs", VmdkError::DescriptorLine { line: 2 }),
        ("createType=vmfs\"", VmdkError::DescriptorLine { line: 2 }),
        ("createType=\"a\"b\"", VmdkError::DescriptorLine { line: 2 }),
        ("createType=\"", VmdkError::DescriptorLine { line: 2 }),
        ("createType=\"a\"\ncreatetype=\"a\"", VmdkError::DescriptorRepeats { line: 3, key: "createType" }),
        ("CID=1\nCID=1", VmdkError::DescriptorRepeats { line: 3, key: "CID" }),
        ("version=1\nVERSION=1", VmdkError::DescriptorRepeats { line: 3, key: "version" }),
        ("parentCID=ffffffff\nparentCID=1", VmdkError::DescriptorRepeats { line: 3, key: "parentCID" }),
        ("version=", value("version", "", number)),
        ("version=-1", value("version", "-1", number)),
        ("version=99999999999", value("version", "99999999999", number)),
        ("CID=", value("CID", "", HEX_8)),
        ("CID=+1", value("CID", "+1", HEX_8)),
        ("CID=123456789", value("CID", "123456789", HEX_8)),
        ("parentCID=none\u{1b}[2J", value("parentCID", "none?[2J", HEX_8)),
        ("ddb.longContentID=\"12\"", value("ddb.longContentID", "12", "32 hexadecimal digits are expected")),
    ] {
        assert_eq!(parse(&format!("\n{text}\n")), Err(error), "{text:?}");
    }
    assert_eq!(Descriptor::parse(b"\n#\xff\nkey=\xff"), Err(VmdkError::DescriptorEncoding { line: 3 }));
    // qemu-img leaves the end of a longer text behind the NUL of a shorter one.
    assert_eq!(parse("CID=1\n\0\"\n").map(|read| read.cid), Ok(Some(1)));
    let long_value = parse(&format!("\nCID={}", "x".repeat(1000)));
    assert_eq!(long_value, Err(value("CID", &"x".repeat(SHOWN_CHARS), HEX_8)));
}

#[test]
fn mistakes_in_extents_are_called_by_their_part() {
    for (text, wrong, shows) in [
        ("RW", "size", ""),
        ("RW x FLAT \"a\" 0", "size", "x"),
        ("RW -1 FLAT \"a\" 0", "size", "-1"),
        ("RW 18446744073709551616 FLAT \"a\" 0", "size", "18446744073709551616"),
        ("RW 9007199254740993 FLAT \"a\" 0", "size", "9007199254740993"),
        ("RW 9007199254740992 ZERO\nRW 1 ZERO", "size", "1"),
        ("RW 1", "type", ""),
        ("RW 1 QCOW \"a\"", "type", "QCOW"),
        ("RW 1 FLAT", "file", ""),
        ("RW 1 FLAT a 0", "file", "a 0"),
        ("RW 1 FLAT \"a 0", "file", "\"a 0"),
        ("RW 1 FLAT \"a\" x", "offset", "x"),
        ("RW 1 FLAT \"a\" 9007199254740992", "offset", "9007199254740992"),
        ("RW 1 FLAT \"a\" 0 uuid", "end", "uuid"),
        ("RW 1 ZERO \"a\"", "end", "\"a\""),
    ] {
        match parse(text) {
            Err(VmdkError::ExtentField { line, field, found, .. }) => {
                assert_eq!((line, field, found.as_str()), (text.lines().count(), wrong, shows), "{text:?}");
            }
            other => panic!("{text:?}: {other:?}"),
        }
    }
    assert!(parse("RW 9007199254740992 FLAT \"a\" 0").is_ok(), "2^53 sectors are the most");
}

#[test]
fn file_names_lead_nowhere_else() {
    let too_long = "x".repeat(256);
    for name in [
        "",
        ".",
        "..",
        "../a",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "C:\\disk.vmdk",
        "\\\\.\\PhysicalDrive0",
        "a..vmdk",
        "a\u{7}",
        &too_long,
    ] {
        let refused = parse(&format!("\nRW 1 FLAT \"{name}\" 0"));
        assert!(matches!(refused, Err(VmdkError::ExtentFile { line: 2, .. })), "{name:?}: {refused:?}");
        assert!(matches!(check_extent_file(name), Err(VmdkError::ExtentName { .. })), "{name:?}");
    }
    for name in ["a", "-", "disk-flat.vmdk", "Windows XP (2).vmdk", "größe.vmdk", &too_long[..255]] {
        assert_eq!(check_extent_file(name), Ok(()));
        let descriptor = parse(&format!("RW 1 FLAT \"{name}\" 0")).unwrap();
        assert_eq!(descriptor.extents[0].file.as_deref(), Some(name), "{name:?}");
    }
    assert!(check_extent_file("a\"b").is_err() && check_extent_file("a\nb").is_err());
}

#[test]
fn length_lines_and_extents_are_bounded() {
    let limit_bytes = 65_536;
    let comment = |length_bytes: usize| vec![b'#'; length_bytes];
    assert!(Descriptor::parse(&comment(limit_bytes)).is_ok());
    let oversized = VmdkError::DescriptorOversized { found_bytes: limit_bytes + 1, limit_bytes };
    assert_eq!(Descriptor::parse(&comment(limit_bytes + 1)), Err(oversized));
    let too_many = |line, what, limit| Err(VmdkError::DescriptorTooMany { line, what, limit });
    assert!(parse(&"\n".repeat(4095)).is_ok());
    assert_eq!(parse(&"\n".repeat(4096)), too_many(4097, "lines", 4096));
    assert_eq!(parse(&"RW 1 ZERO\n".repeat(2048)).map(|found| found.capacity_sectors()), Ok(2048));
    assert_eq!(parse(&"RW 1 ZERO\n".repeat(2049)), too_many(2049, "extents", 2048));
}

/// The descriptor of a stream with nothing special.
fn stream(capacity_sectors: u64, content_id: [u8; 16]) -> DescriptorText<'static> {
    let (create_type, extent_file) = (CreateType::StreamOptimized, STREAM_EXTENT_FILE);
    DescriptorText { create_type, capacity_sectors, extent_file, content_id, database: Database::default() }
}

#[test]
fn the_text_of_a_stream_is_what_it_was_in_the_first_version() {
    let text = stream(33_554_433, *b"\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef").render();
    assert_eq!(
        text,
        "# Disk DescriptorFile\nversion=1\nCID=89abcdef\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\n\n\
         # Extent description\nRDONLY 33554433 SPARSE \"generated-stream.vmdk\"\n\n# The Disk Data Base\n#DDB\n\n\
         ddb.adapterType = \"lsilogic\"\nddb.geometry.cylinders = \"2088\"\nddb.geometry.heads = \"255\"\n\
         ddb.geometry.sectors = \"63\"\nddb.longContentID = \"0123456789abcdef0123456789abcdef\"\n\
         ddb.virtualHWVersion = \"4\"\n"
    );
}

#[test]
fn a_stream_carries_the_text_it_was_given() {
    let options = StreamOptions { capacity_bytes: 65_536, content_id: [7; 16] };
    let written = |text: &str| {
        let mut out = Vec::new();
        StreamWriter::with_descriptor(options, text).map(|mut writer| writer.begin(&mut out))?;
        Ok(out)
    };
    let longest = "x".repeat(20 * 512);
    for text in ["", "# Disk DescriptorFile\n", &longest] {
        let out = written(text).unwrap();
        assert_eq!((out.len(), &out[512..512 + text.len()]), (65_536, text.as_bytes()));
        assert!(out[512 + text.len()..].iter().all(|&byte| byte == 0));
    }
    let too_long = VmdkError::DescriptorTooLong { found_bytes: 10_241, limit_bytes: 10_240 };
    assert_eq!(written(&"x".repeat(10_241)), Err(too_long));
    let mut usual = Vec::new();
    StreamWriter::new(options).unwrap().begin(&mut usual);
    assert_eq!(written(&stream(128, [7; 16]).render()), Ok(usual));
}

#[test]
fn kinds_have_the_names_they_are_read_by() {
    for kind in ["FLAT", "SPARSE", "VMFS", "VMFSSPARSE", "VMFSRDM", "VMFSRAW", "SESPARSE"] {
        assert_eq!(parse(&format!("RW 1 {kind} \"a\"")).unwrap().extents[0].kind.name(), kind);
    }
    assert_eq!(ExtentKind::Zero.name(), "ZERO");
}

#[test]
fn reserved_cids_are_avoided() {
    for last in [0xFF, 0xFE] {
        let mut id = [0xFF; 16];
        id[15] = last;
        let text = stream(1, id).render();
        assert!(text.contains(&format!("\nCID=7fffff{last:02x}\n")), "{text}");
        assert!(text.contains(&format!("7fffff{last:02x}\"\n")), "{text}");
    }
}

#[test]
fn the_longest_text_fits_its_sectors() {
    let name = "\u{1F4BE}".repeat(63);
    let database = Database { hardware_version: u32::MAX, tools_version: Some(u32::MAX), ..Database::default() };
    let create_type = CreateType::MonolithicSparse;
    let longest = DescriptorText { extent_file: &name, database, create_type, ..stream(u64::MAX, [0xFF; 16]) };
    assert!(longest.render().len() < 2048);
}

#[test]
fn every_kind_of_text_says_what_it_was_told() {
    let capacity_sectors = 2 << 30;
    for (create_type, line) in [
        (CreateType::StreamOptimized, "RDONLY 2147483648 SPARSE \"my disk.vmdk\""),
        (CreateType::MonolithicSparse, "RW 2147483648 SPARSE \"my disk.vmdk\""),
        (CreateType::MonolithicFlat, "RW 2147483648 FLAT \"my disk.vmdk\" 0"),
    ] {
        for (adapter, cylinders, heads) in [
            (Adapter::Ide, "16383", "16"),
            (Adapter::BusLogic, "133674", "255"),
            (Adapter::LsiLogic, "133674", "255"),
            (Adapter::LegacyEsx, "133674", "255"),
        ] {
            let database = Database { adapter, hardware_version: 21, tools_version: Some(2_147_483_647) };
            let (content_id, extent_file) = ([0x5A; 16], "my disk.vmdk");
            let text = DescriptorText { create_type, capacity_sectors, extent_file, content_id, database }.render();
            assert!(text.lines().any(|found| found == line), "{text}");
            let read = parse(&text).unwrap();
            assert_eq!(read.create_type.as_deref(), Some(create_type.name()));
            assert_eq!((read.cid, read.long_content_id), (Some(0x5A5A_5A5A), Some(content_id)));
            assert_eq!(read.capacity_sectors(), capacity_sectors);
            for (key, value) in [
                ("ddb.adapterType", adapter.name()),
                ("ddb.geometry.cylinders", cylinders),
                ("ddb.geometry.heads", heads),
                ("ddb.geometry.sectors", "63"),
                ("ddb.toolsVersion", "2147483647"),
                ("ddb.virtualHWVersion", "21"),
            ] {
                assert_eq!(ddb(&read, key), Some(value), "{key}");
            }
        }
    }
}

#[test]
fn a_bad_name_does_not_break_the_text() {
    let text = DescriptorText { extent_file: "a\"\nRW 1 FLAT \"/etc/passwd", ..stream(8, [1; 16]) };
    let read = parse(&text.render()).unwrap();
    let file = "a__RW 1 FLAT __etc_passwd";
    assert_eq!(read.extents, [extent(Access::ReadOnly, 8, ExtentKind::Sparse, file, 0)]);
}

#[test]
fn adapters_are_found_by_name() {
    for adapter in Adapter::ALL {
        assert_eq!(adapter.name().parse(), Ok(adapter));
        assert_eq!(adapter.name().to_uppercase().parse(), Ok(adapter));
    }
    assert_eq!("pvscsi".parse::<Adapter>(), Err(VmdkError::AdapterUnknown { found: "pvscsi".into() }));
}

#[test]
fn parents_are_found() {
    assert_eq!(parent_of(stream(1, [1; 16]).render().as_bytes()), None);
    for (text, parent) in [
        ("", None),
        ("parentCID=ffffffff", None),
        ("version=1\r\nPARENTcid = FFFFFFFF \r\n", None),
        ("version=1\r\nPARENTcid = 12345678 \r\n", Some("12345678")),
        ("parentCID=\n", Some("")),
        ("parentCID=ffffffff\0\nparentCID=1", None),
        ("\u{1}\u{fffd}=\nparentCID=\u{7}ab\n", Some("ab")),
    ] {
        assert_eq!(parent_of(text.as_bytes()).as_deref(), parent, "{text:?}");
    }
    assert_eq!(parent_of(b"\xff\xfe=\xff\nparentCID=1"), Some("1".into()));
}

/// Lines made of the pieces that matter, and of anything else.
fn line() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        prop::sample::select(vec![
            "RW",
            "RDONLY",
            "FLAT",
            "SPARSE",
            "ZERO",
            "version",
            "CID",
            "parentCID",
            "ddb.x",
            "ddb.longContentID",
            "=",
            "\"",
            " ",
            "\t",
            "\r",
            "\0",
            "#",
            "0",
            "1",
            "9007199254740992",
            "18446744073709551615",
            "ffffffff",
            "..",
            "/",
            "\\",
            "a.vmdk",
            "é",
        ])
        .prop_map(String::from),
        ".{0,5}",
    ];
    prop::collection::vec(word, 0..10).prop_map(|words| words.join(" "))
}

/// What everything that was read promises.
fn promises_hold(bytes: &[u8]) {
    let embedded = Descriptor::parse_embedded(bytes);
    if let Ok(read) = &embedded {
        assert!(read.capacity_sectors() <= 1 << 53 && read.extents.len() <= VMDK_EXTENTS);
        let names = read.extents.iter().filter_map(|extent| extent.file.as_ref());
        assert!(names.clone().all(|name| check_extent_file(name).is_ok()));
    }
    let Ok(read) = Descriptor::parse(bytes) else { return };
    assert_eq!(embedded.as_ref(), Ok(&read), "what is right is read alike");
    assert!(read.capacity_sectors() <= 1 << 53 && read.extents.len() <= VMDK_EXTENTS);
    for extent in &read.extents {
        assert!(extent.offset_sectors + extent.sectors <= 1 << 53);
        assert_eq!(extent.file.is_none(), extent.kind == ExtentKind::Zero);
        assert!(extent.file.iter().all(|name| !name.contains(['/', '\\', '\0']) && !name.contains("..")));
    }
}

proptest! {
    #[test]
    fn nothing_panics_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        promises_hold(&bytes);
    }

    #[test]
    fn nothing_panics_on_any_lines(lines in prop::collection::vec(line(), 0..8)) {
        promises_hold(lines.join("\n").as_bytes());
    }

    #[test]
    fn what_is_written_is_read(
        capacity_sectors in 0u64..=1 << 53,
        content_id in any::<[u8; 16]>(),
        name in "[^\\x00-\\x1f/]{1,60}",
    ) {
        let text = DescriptorText { extent_file: &name, ..stream(capacity_sectors, content_id) }.render();
        match parse(&text) {
            Ok(read) => {
                prop_assert_eq!(read.capacity_sectors(), capacity_sectors);
                prop_assert_eq!(read.long_content_id.map(|id| id[..12].to_vec()), Some(content_id[..12].to_vec()));
                prop_assert_eq!(read.text, text);
            }
            // Only because of dots in the name.
            Err(error) => prop_assert!(name == "." || name.contains(".."), "{}", error),
        }
    }
}
