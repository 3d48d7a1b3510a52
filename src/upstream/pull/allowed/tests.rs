//! What is public, what is not, and what an exception opens.

use super::*;

fn allowed(entries: &[&str]) -> Allowed {
    let mut allowed = Allowed::default();
    for entry in entries {
        allowed.add(entry).unwrap_or_else(|reason| panic!("{entry}: {reason}"));
    }
    allowed
}

fn admits(allowed: &Allowed, host: &str, address: &str) -> bool {
    allowed.admit(host, address.parse().unwrap()).is_ok()
}

#[test]
fn without_exceptions_only_public_addresses_are_reached() {
    let nobody = Allowed::default();
    for address in
        ["8.8.8.8", "172.15.255.255", "172.32.0.0", "100.63.0.1", "100.128.0.1", "169.253.0.1", "223.255.255.255"]
    {
        assert!(admits(&nobody, "h", address), "{address}");
    }
    for address in ["2606:4700::1111", "2a00:1450::1", "64:ff9b::808:808", "2002:808:808::1", "::ffff:8.8.8.8"] {
        assert!(admits(&nobody, "h", address), "{address}");
    }
    #[rustfmt::skip]
    let refused = [
        ("0.0.0.0", "unspecified"), ("0.1.2.3", "unspecified"), ("127.0.0.1", "loopback"), ("127.255.0.9", "loopback"),
        ("10.0.0.1", "private"), ("172.16.0.1", "private"), ("172.31.255.255", "private"), ("192.168.1.1", "private"),
        ("169.254.169.254", "link-local"), ("100.64.0.1", "shared"), ("100.100.100.200", "shared"),
        ("192.0.0.8", "reserved"), ("192.0.2.1", "reserved"), ("198.18.0.1", "reserved"), ("203.0.113.9", "reserved"),
        ("224.0.0.1", "multicast"), ("239.255.255.255", "multicast"), ("240.0.0.1", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("::", "unspecified"), ("::1", "loopback"), ("::7f00:1", "reserved"), ("fe80::1", "link-local"),
        ("fd00:ec2::254", "private"), ("fc00::1", "private"), ("fec0::1", "private"), ("ff02::1", "multicast"),
        ("2001:db8::1", "reserved"), ("2001::1", "reserved"), ("100::1", "reserved"), ("4000::1", "reserved"),
        ("::ffff:127.0.0.1", "loopback"), ("::ffff:10.0.0.1", "private"), ("::ffff:169.254.169.254", "link-local"),
        ("64:ff9b::7f00:1", "loopback"), ("64:ff9b::a9fe:a9fe", "link-local"), ("64:ff9b:1::1", "reserved"),
        ("2002:a00:1::1", "private"), ("2002:7f00:1::1", "loopback"),
    ];
    for (address, kind) in refused {
        assert_eq!(nobody.admit("h", address.parse().unwrap()), Err(NotPublic(kind)), "{address}");
    }
}

#[test]
fn an_exception_opens_what_it_names_and_nothing_else() {
    let some = allowed(&["10.1.0.0/16", "192.168.7.7", "Files.Lan.", "fd00:1::/32", "::1", "[fd00:2::9]"]);
    for (host, address) in [
        ("h", "10.1.255.255"),
        ("h", "::ffff:10.1.2.3"),
        ("h", "192.168.7.7"),
        ("files.lan", "172.16.0.1"),
        ("FILES.LAN.", "127.0.0.1"),
        ("h", "fd00:1:ffff::1"),
        ("h", "::1"),
        ("h", "fd00:2::9"),
        ("h", "8.8.8.8"),
    ] {
        assert!(admits(&some, host, address), "{host} {address}");
    }
    for (host, address) in [
        ("h", "10.2.0.0"),
        ("h", "192.168.7.8"),
        ("evil.files.lan", "172.16.0.1"),
        ("h", "fd00:2::1"),
        ("h", "127.0.0.1"),
        ("h", "::ffff:10.2.0.0"),
    ] {
        assert!(!admits(&some, host, address), "{host} {address}");
    }
    let everything = allowed(&["0.0.0.0/0", "::/0"]);
    assert!(admits(&everything, "h", "127.0.0.1") && admits(&everything, "h", "fe80::1"));
    assert!(!admits(&allowed(&["::/0"]), "h", "127.0.0.1"), "each family for itself");
}

#[test]
fn entries_that_mean_nothing_are_refused() {
    for entry in [
        "",
        "10.0.0.0/33",
        "10.0.0.1/8",
        "10.0.0.0/",
        "10.0.0.0/+8",
        "10.0.0/8",
        "300.1.1.1",
        "a b",
        "http://x",
        "h:80",
        "*",
    ] {
        assert!(Allowed::default().add(entry).is_err(), "{entry:?}");
    }
}
