//! The descriptor: the text inside a VMDK that describes the disk.
//!
//! Written by [`super::StreamWriter`] in the form that every known reader accepts. Of a received descriptor only the parent is
//! looked at, by [`super::Decoder`]; file names in it are never used.

/// Text for a stream of `capacity_sectors`. `content_id` becomes the long content id; its last four bytes are the CID.
pub(super) fn render(capacity_sectors: u64, content_id: [u8; 16]) -> String {
    let content_id = u128::from_be_bytes(content_id);
    // ffffffff means "no parent" and fffffffe "not yet computed".
    let content_id = if content_id as u32 >= 0xFFFF_FFFE { content_id ^ 0x8000_0000 } else { content_id };
    let cid = content_id as u32;
    let cylinders = capacity_sectors / (HEADS * SECTORS_PER_TRACK);
    format!(
        "# Disk DescriptorFile\n\
         version=1\n\
         CID={cid:08x}\n\
         parentCID={NO_PARENT}\n\
         createType=\"streamOptimized\"\n\
         \n\
         # Extent description\n\
         RDONLY {capacity_sectors} SPARSE \"generated-stream.vmdk\"\n\
         \n\
         # The Disk Data Base\n\
         #DDB\n\
         \n\
         ddb.adapterType = \"lsilogic\"\n\
         ddb.geometry.cylinders = \"{cylinders}\"\n\
         ddb.geometry.heads = \"{HEADS}\"\n\
         ddb.geometry.sectors = \"{SECTORS_PER_TRACK}\"\n\
         ddb.longContentID = \"{content_id:032x}\"\n\
         ddb.virtualHWVersion = \"4\"\n"
    )
}

/// The CID of the parent, if `descriptor` is that of a delta disk. Keys are compared without regard to case, lines may end in
/// CRLF and carry spaces, and the text ends at the first NUL.
pub(super) fn parent_of(descriptor: &[u8]) -> Option<String> {
    let text = descriptor.split(|&byte| byte == 0).next()?;
    text.split(|&byte| byte == b'\n').find_map(|line| {
        let line = String::from_utf8_lossy(line);
        let (key, value) = line.split_once('=')?;
        let value = value.trim();
        let is_parent = key.trim().eq_ignore_ascii_case("parentCID") && !value.eq_ignore_ascii_case(NO_PARENT);
        is_parent.then(|| value.chars().filter(char::is_ascii_graphic).take(16).collect())
    })
}

const NO_PARENT: &str = "ffffffff";
const HEADS: u64 = 255;
const SECTORS_PER_TRACK: u64 = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_id_ends_in_the_cid() {
        let text = render(2048, *b"\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef");
        assert!(text.contains("\nCID=89abcdef\n"), "{text}");
        assert!(text.contains("ddb.longContentID = \"0123456789abcdef0123456789abcdef\"\n"), "{text}");
        assert!(text.contains("\nRDONLY 2048 SPARSE \"generated-stream.vmdk\"\n"), "{text}");
    }

    #[test]
    fn reserved_cids_are_avoided() {
        for last in [0xFF, 0xFE] {
            let mut id = [0xFF; 16];
            id[15] = last;
            let text = render(1, id);
            assert!(text.contains(&format!("\nCID=7fffff{last:02x}\n")), "{text}");
            assert!(text.contains(&format!("7fffff{last:02x}\"\n")), "{text}");
        }
    }

    #[test]
    fn longest_descriptor_fits_its_sectors() {
        assert!(render(u64::MAX, [0xFF; 16]).len() < 20 * 512);
    }

    #[test]
    fn parents_are_found() {
        assert_eq!(parent_of(render(1, [1; 16]).as_bytes()), None);
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
}
