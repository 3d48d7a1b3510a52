//! Guests: CIM's numbers for operating systems, and vSphere's words.
//!
//! A VMware tool writes both; others write the number only, which is coarser: 80 is any 64-bit Red Hat.

/// The word for a number; `None` for those that no guest of vSphere is.
pub(super) fn guest_of_cim(id: u16) -> Option<&'static str> {
    TABLE.iter().find(|(number, ..)| *number == id).map(|(_, guest, _)| *guest)
}

/// The number and CIM's description of it, for a word.
pub(super) fn cim_of_guest(guest: &str) -> (u16, &'static str) {
    let exact = TABLE.iter().find(|(_, word, _)| *word == guest);
    let is_64_bit = guest.contains("64");
    let begins = |(start, _, _): &&(&str, u16, u16)| guest.starts_with(start);
    let number = match (exact, FAMILIES.iter().find(begins)) {
        (Some((number, ..)), _) => *number,
        (None, Some((_, _, wide))) if is_64_bit => *wide,
        (None, Some((_, narrow, _))) => *narrow,
        (None, None) if is_64_bit => 102,
        (None, None) => 1,
    };
    let description = TABLE.iter().find(|(found, ..)| *found == number).map_or("Other", |(_, _, text)| text);
    (number, description)
}

/// vSphere's word as a document gives it, if it can be one. Tools of older versions put a star before it.
pub(super) fn guest_word(word: &str) -> Option<&str> {
    let word = word.trim().trim_start_matches('*');
    let is_word = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (is_word && (1..=GUEST_BYTES).contains(&word.len())).then_some(word)
}

/// Longest word for a guest; the longest real one has 27 letters.
const GUEST_BYTES: usize = 64;

/// CIM's number, vSphere's word, CIM's description. Words that stand here twice are written with the first number.
const TABLE: &[(u16, &str, &str)] = &[
    (1, "otherGuest", "Other"),
    (2, "darwinGuest", "MACOS"),
    (14, "dosGuest", "MSDOS"),
    (15, "win31Guest", "WIN3x"),
    (16, "win95Guest", "WIN95"),
    (17, "win98Guest", "WIN98"),
    (18, "winNTGuest", "WINNT"),
    (21, "netware6Guest", "NetWare"),
    (25, "unixWare7Guest", "SCO UnixWare"),
    (26, "openServer6Guest", "SCO OpenServer"),
    (29, "solaris10Guest", "Solaris"),
    (36, "otherLinuxGuest", "LINUX"),
    (42, "freebsdGuest", "FreeBSD"),
    (58, "win2000ServGuest", "Windows 2000"),
    (63, "winMeGuest", "Windows (R) Me"),
    (67, "winXPProGuest", "Windows XP"),
    (69, "winNetStandardGuest", "Microsoft Windows Server 2003"),
    (70, "winNetStandard64Guest", "Microsoft Windows Server 2003 64-Bit"),
    (71, "winXPPro64Guest", "Windows XP 64-Bit"),
    (73, "winVistaGuest", "Windows Vista"),
    (74, "winVista64Guest", "Windows Vista 64-Bit"),
    (76, "winLonghornGuest", "Microsoft Windows Server 2008"),
    (77, "winLonghorn64Guest", "Microsoft Windows Server 2008 64-Bit"),
    (78, "freebsd64Guest", "FreeBSD 64-Bit"),
    (79, "rhel6Guest", "RedHat Enterprise Linux"),
    (80, "rhel7_64Guest", "RedHat Enterprise Linux 64-Bit"),
    (81, "solaris10_64Guest", "Solaris 64-Bit"),
    (82, "suseGuest", "SUSE"),
    (83, "suse64Guest", "SUSE 64-Bit"),
    (84, "sles12Guest", "SLES"),
    (85, "sles12_64Guest", "SLES 64-Bit"),
    (86, "oesGuest", "Novell OES"),
    (87, "nld9Guest", "Novell Linux Desktop"),
    (88, "sjdsGuest", "Sun Java Desktop System"),
    (89, "mandrivaGuest", "Mandriva"),
    (90, "mandriva64Guest", "Mandriva 64-Bit"),
    (91, "turboLinuxGuest", "TurboLinux"),
    (92, "turboLinux64Guest", "TurboLinux 64-Bit"),
    (93, "ubuntuGuest", "Ubuntu"),
    (94, "ubuntu64Guest", "Ubuntu 64-Bit"),
    (95, "debian10Guest", "Debian"),
    (96, "debian10_64Guest", "Debian 64-Bit"),
    (97, "other24xLinuxGuest", "Linux 2.4.x"),
    (98, "other24xLinux64Guest", "Linux 2.4.x 64-Bit"),
    (99, "other26xLinuxGuest", "Linux 2.6.x"),
    (100, "other26xLinux64Guest", "Linux 2.6.x 64-Bit"),
    (101, "otherLinux64Guest", "Linux 64-Bit"),
    (102, "otherGuest64", "Other 64-Bit"),
    (103, "windows7Server64Guest", "Microsoft Windows Server 2008 R2"),
    (104, "vmkernel65Guest", "VMware ESXi"),
    (105, "windows7_64Guest", "Microsoft Windows 7"),
    (106, "centosGuest", "CentOS 32-bit"),
    (107, "centos64Guest", "CentOS 64-bit"),
    (108, "oracleLinuxGuest", "Oracle Enterprise Linux 32-bit"),
    (109, "oracleLinux64Guest", "Oracle Enterprise Linux 64-bit"),
    (110, "eComStation2Guest", "eComStation 32-bitx"),
    (111, "windows7Server64Guest", "Microsoft Windows Server 2011"),
    (113, "windows8Server64Guest", "Microsoft Windows Server 2012"),
    (114, "windows8Guest", "Microsoft Windows 8"),
    (115, "windows8_64Guest", "Microsoft Windows 8 64-bit"),
    (116, "windows8Server64Guest", "Microsoft Windows Server 2012 R2"),
    (117, "windows9Server64Guest", "Microsoft Windows Server 2016"),
    (118, "windows8Guest", "Microsoft Windows 8.1"),
    (119, "windows8_64Guest", "Microsoft Windows 8.1 64-bit"),
    (120, "windows9Guest", "Microsoft Windows 10"),
    (121, "windows9_64Guest", "Microsoft Windows 10 64-bit"),
];

/// Beginnings of vSphere's words, and the numbers of their 32-bit and 64-bit guests.
const FAMILIES: &[(&str, u16, u16)] = &[
    ("debian", 95, 96),
    ("ubuntu", 93, 94),
    ("rhel", 79, 80),
    ("centos", 106, 107),
    ("oracleLinux", 108, 109),
    ("sles", 84, 85),
    ("suse", 82, 83),
    ("opensuse", 82, 83),
    ("mandr", 89, 90),
    ("other24x", 97, 98),
    ("other26x", 99, 100),
    ("other", 36, 101),
    ("asianux", 36, 101),
    ("coreos", 36, 101),
    ("fedora", 36, 101),
    ("genericLinux", 36, 101),
    ("rockylinux", 36, 101),
    ("almalinux", 36, 101),
    ("amazonlinux", 36, 101),
    ("vmwarePhoton", 36, 101),
    ("crxPod", 36, 101),
    ("crxSys", 36, 101),
    ("redhat", 79, 80),
    ("freebsd", 42, 78),
    ("solaris", 29, 81),
    ("darwin", 2, 2),
    ("vmkernel", 104, 104),
    ("windows2019srv", 117, 117),
    ("windows2022srv", 117, 117),
    ("windows20", 117, 117),
    ("windows9Server", 117, 117),
    ("windows8Server", 113, 113),
    ("windows7Server", 103, 103),
    ("windows7", 105, 105),
    ("windows8", 114, 115),
    ("windows", 120, 121),
    ("winLonghorn", 76, 77),
    ("winNet", 69, 70),
    ("winXP", 67, 71),
    ("winVista", 73, 74),
    ("win2000", 58, 58),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_words() {
        let table = [
            (1, Some("otherGuest")),
            (36, Some("otherLinuxGuest")),
            (80, Some("rhel7_64Guest")),
            (94, Some("ubuntu64Guest")),
            (96, Some("debian10_64Guest")),
            (101, Some("otherLinux64Guest")),
            (102, Some("otherGuest64")),
            (107, Some("centos64Guest")),
            (117, Some("windows9Server64Guest")),
            (121, Some("windows9_64Guest")),
            (0, None),
            (112, None),
            (60_000, None),
        ];
        for (number, word) in table {
            assert_eq!(guest_of_cim(number), word, "{number}");
        }
    }

    #[test]
    fn words_become_numbers() {
        let table = [
            ("debian11_64Guest", 96),
            ("debian12Guest", 95),
            ("ubuntu64Guest", 94),
            ("rhel9_64Guest", 80),
            ("rockylinux_64Guest", 101),
            ("other5xLinux64Guest", 101),
            ("other6xLinuxGuest", 36),
            ("otherGuest", 1),
            ("otherGuest64", 102),
            ("windows2019srv_64Guest", 117),
            ("windows11_64Guest", 121),
            ("windows7Guest", 105),
            ("freebsd13_64Guest", 78),
            ("beos64Guest", 102),
            ("beosGuest", 1),
            ("", 1),
        ];
        for (word, number) in table {
            assert_eq!(cim_of_guest(word).0, number, "{word}");
        }
        assert_eq!(cim_of_guest("debian11_64Guest").1, "Debian 64-Bit");
    }

    #[test]
    fn the_table_is_in_order_and_every_word_is_one() {
        assert!(TABLE.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(TABLE.iter().all(|(_, word, _)| guest_word(word) == Some(word)));
        assert_eq!(guest_word(" *otherLinux64Guest"), Some("otherLinux64Guest"));
        for wrong in ["", "*", "a b", "../x", "été", &"x".repeat(65)] {
            assert_eq!(guest_word(wrong), None, "{wrong:?}");
        }
    }
}
