//! Archives as writers make them, and as nobody should.

use super::*;

/// A header with a right checksum.
fn header(name: &str, size: &str, kind: u8, posix: bool) -> Vec<u8> {
    let mut block = vec![0; BLOCK_BYTES];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[124..124 + size.len()].copy_from_slice(size.as_bytes());
    block[156] = kind;
    block[257..265].copy_from_slice(if posix { b"ustar\x0000" } else { b"ustar  \0" });
    seal(&mut block);
    block
}

fn seal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn member(name: &str, content: &[u8]) -> Vec<u8> {
    typed(name, content, b'0')
}

fn typed(name: &str, content: &[u8], kind: u8) -> Vec<u8> {
    let mut bytes = header(name, &format!("{:011o}", content.len()), kind, true);
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
    bytes
}

fn record_of(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len() + 1;
    while length != rest.len() + length.to_string().len() {
        length += 1;
    }
    format!("{length}{rest}").into_bytes()
}

fn end() -> Vec<u8> {
    vec![0; 2 * BLOCK_BYTES]
}

/// The members of an archive that comes in pieces, and how it ended.
fn read(bytes: &[u8], piece: usize) -> Result<Vec<(String, Vec<u8>)>, OvaError> {
    let mut archive = Archive::default();
    let mut members: Vec<(String, Vec<u8>)> = Vec::new();
    let mut closed = 0;
    for piece in bytes.chunks(piece) {
        let mut input = Bytes::copy_from_slice(piece);
        while let Some(step) = archive.step(&mut input)? {
            match step {
                Step::Member { name, size_bytes } => {
                    members.push((name, Vec::with_capacity(usize::try_from(size_bytes).unwrap().min(1 << 20))));
                }
                Step::Data(data) => members.last_mut().unwrap().1.extend_from_slice(&data),
                Step::EndOfMember => closed += 1,
                Step::End => {}
            }
        }
        assert!(input.is_empty(), "everything is taken");
    }
    archive.finish()?;
    assert_eq!(closed, members.len());
    Ok(members)
}

fn whole(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), end()].concat()
}

fn names(parts: &[Vec<u8>]) -> Result<Vec<String>, OvaError> {
    Ok(read(&whole(parts), 1000)?.into_iter().map(|(name, _)| name).collect())
}

#[test]
fn members_are_the_same_in_pieces_of_any_size() {
    let content: Vec<u8> = (0..1500u32).map(|n| n as u8).collect();
    let archive = whole(&[member("a.ovf", b"<Envelope/>"), member("disk-0.vmdk", &content), member("empty.mf", b"")]);
    let expected = vec![
        ("a.ovf".to_owned(), b"<Envelope/>".to_vec()),
        ("disk-0.vmdk".to_owned(), content),
        ("empty.mf".to_owned(), vec![]),
    ];
    for piece in [1, 7, 511, 512, 513, 4096, usize::MAX] {
        assert_eq!(read(&archive, piece).as_ref(), Ok(&expected), "{piece}");
    }
    let padded = [archive, vec![0; 20 * BLOCK_BYTES]].concat();
    assert_eq!(read(&padded, 999), Ok(expected), "tar pads to its record size");
}

#[test]
fn long_names_and_sizes_come_in_every_dialect() {
    let long = format!("{}.vmdk", "x".repeat(150));
    let pax = [record_of("mtime", "1.5"), record_of("path", &long), record_of("size", "3")].concat();
    let mut by_pax = typed("PaxHeaders/x", &pax, b'x');
    by_pax.extend(header("short", "00000000000", b'0', true));
    by_pax.extend_from_slice(b"abc");
    by_pax.resize(by_pax.len().next_multiple_of(BLOCK_BYTES), 0);
    assert_eq!(read(&whole(&[by_pax, member("b", b"z")]), 700).unwrap()[0], (long.clone(), b"abc".to_vec()));

    let by_gnu = [typed("././@LongLink", format!("{long}\0").as_bytes(), b'L'), member("short", b"abc")].concat();
    assert_eq!(names(&[by_gnu, member("b", b"")]), Ok(vec![long, "b".to_owned()]));

    let mut binary = header("big", "", b'0', false);
    binary[124] = 0x80;
    binary[135] = 3;
    seal(&mut binary);
    binary.extend_from_slice(b"abc");
    binary.resize(2 * BLOCK_BYTES, 0);
    assert_eq!(names(&[binary]), Ok(vec!["big".to_owned()]));

    let old_type = typed("a", b"", 0);
    let global = typed("pax_global_header", &record_of("comment", "hello"), b'g');
    assert_eq!(names(&[global, old_type]), Ok(vec!["a".to_owned()]));
}

#[test]
fn what_is_no_regular_file_is_refused() {
    for (kind, what) in [
        (b'1', "a hard link"),
        (b'2', "a symbolic link"),
        (b'3', "a device"),
        (b'5', "a directory"),
        (b'6', "a pipe"),
        (b'S', "a sparse file"),
        (b'7', "of an unknown kind"),
    ] {
        let refused = names(&[typed("x", b"", kind)]);
        assert_eq!(refused, Err(OvaError::NotRegular { name: "x".to_owned(), what }));
    }
    for key in ["GNU.sparse.map", "GNU.sparse.major"] {
        let refused = names(&[typed("h", &record_of(key, "1"), b'x'), member("x", b"abc")]);
        assert!(matches!(refused, Err(OvaError::NotRegular { what: "a sparse file", .. })), "{refused:?}");
    }
}

#[test]
fn names_with_a_path_in_them_are_refused() {
    for name in ["../a", "/etc/passwd", "d/a", "./a", ".", "..", "a\\b", "a\nb", "a/", ""] {
        assert_eq!(names(&[member(name, b"")]), Err(OvaError::BadName { name: name.to_owned() }), "{name:?}");
    }
    let by_pax = [typed("h", &record_of("path", "../../etc/cron.d/x"), b'x'), member("a", b"")].concat();
    assert!(matches!(names(&[by_pax]), Err(OvaError::BadName { .. })));
    let by_gnu = [typed("h", b"../x\0", b'L'), member("a", b"")].concat();
    assert!(matches!(names(&[by_gnu]), Err(OvaError::BadName { .. })));
    let mut by_prefix = header("a", "00000000000", b'0', true);
    by_prefix[345..348].copy_from_slice(b"etc");
    seal(&mut by_prefix);
    assert_eq!(names(&[by_prefix]), Err(OvaError::BadName { name: "etc/a".to_owned() }));
    let mut no_utf8 = header("a", "00000000000", b'0', true);
    no_utf8[1] = 0xff;
    seal(&mut no_utf8);
    assert!(matches!(names(&[no_utf8]), Err(OvaError::BadField { field: "name", .. })));
}

#[test]
fn a_name_that_comes_twice_is_refused() {
    let refused = names(&[member("disk.vmdk", b"one"), member("a", b""), member("disk.vmdk", b"two")]);
    assert_eq!(refused, Err(OvaError::Duplicate { name: "disk.vmdk".to_owned() }));
}

#[test]
fn a_cut_archive_says_where_it_was_cut() {
    let archive = whole(&[member("a.ovf", b"<Envelope/>"), member("disk.vmdk", &[7; 2000])]);
    for (length, inside) in
        [(0, None), (100, None), (512 + 5, Some("a.ovf")), (1024 + 300, None), (1536 + 1999, Some("disk.vmdk"))]
    {
        let expected = OvaError::Truncated { at_bytes: length as u64, inside: inside.map(str::to_owned) };
        assert_eq!(read(&archive[..length], 333), Err(expected), "{length}");
    }
    let whole_members = 1024 + 512 + 2048;
    assert_eq!(read(&archive[..whole_members], 333).unwrap().len(), 2, "without an end marker");
    assert_eq!(read(&archive[..whole_members + 512], 333).unwrap().len(), 2, "with half of one");
    assert_eq!(
        OvaError::Truncated { at_bytes: 9, inside: Some("d".into()) }.to_string(),
        "the archive is cut off at byte 9, inside \"d\""
    );
}

#[test]
fn headers_that_lie_are_refused() {
    assert_eq!(read(&[b'K'; 4096], 512), Err(OvaError::NotTar { at_bytes: 0 }));
    let mut wrong_sum = member("a", b"");
    wrong_sum[0] = b'b';
    assert!(matches!(names(&[wrong_sum]), Err(OvaError::BadField { at_bytes: 0, field: "checksum" })));
    for size in ["", "9", "-1", "0000x", "7777777777 7"] {
        let refused = names(&[header("a", size, b'0', true)]);
        assert!(matches!(refused, Err(OvaError::BadField { field: "size", .. })), "{size}: {refused:?}");
    }
    let mut huge = header("a", "", b'0', true);
    huge[124] = 0x80;
    huge[128..136].fill(0xff);
    seal(&mut huge);
    assert!(matches!(names(&[huge]), Err(OvaError::BadField { field: "size", .. })));
    let mut negative = header("a", "", b'0', true);
    negative[124..136].fill(0xff);
    seal(&mut negative);
    assert!(matches!(names(&[negative]), Err(OvaError::BadField { field: "size", .. })));
    let long_extension = header("h", &format!("{:011o}", OVA_EXTENSION_BYTES + 1), b'x', true);
    assert!(matches!(names(&[long_extension]), Err(OvaError::BadField { field: "size", .. })));
    for record in ["", "x", "5 a=b\n", "99 a=b\n", "6 a=bc", "7 abc\n\n", "+6 a=b\n"] {
        if record.is_empty() {
            continue;
        }
        let refused = names(&[typed("h", record.as_bytes(), b'x'), member("a", b"")]);
        assert!(matches!(refused, Err(OvaError::BadField { field: "extension", .. })), "{record}: {refused:?}");
    }
    let size = typed("h", &record_of("size", "99999999999999999999"), b'x');
    assert!(matches!(names(&[size, member("a", b"")]), Err(OvaError::BadField { field: "size", .. })));
    let global = typed("h", &record_of("path", "b"), b'g');
    assert!(matches!(names(&[global, member("a", b"")]), Err(OvaError::BadField { field: "global extension", .. })));
    let gap = [vec![0; BLOCK_BYTES], member("a", b"")].concat();
    assert!(matches!(names(&[gap]), Err(OvaError::NotTar { at_bytes: 512 })));
    let many: Vec<_> = (0..=OVA_MEMBERS).map(|n| member(&n.to_string(), b"")).collect();
    assert_eq!(names(&many), Err(OvaError::TooMany));
}
