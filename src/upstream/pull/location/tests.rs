//! The rules as tables.

use super::*;

fn parsed(url: &str) -> Location {
    Location::parse(url).unwrap_or_else(|reason| panic!("{url}: {reason}"))
}

#[test]
fn good_urls_are_taken_apart() {
    #[rustfmt::skip]
    let table = [
        // url                                      secure host              port  path             host field
        ("http://files.example/a.vmdk",             false, "files.example",  80,   "/a.vmdk",       "files.example"),
        ("HTTPS://Files.Example",                   true,  "files.example",  443,  "/",             "files.example"),
        ("https://files.example:443/a?b=c#d",       true,  "files.example",  443,  "/a?b=c",        "files.example"),
        ("https://files.example:8443/a%20b",        true,  "files.example",  8443, "/a%20b",        "files.example:8443"),
        ("http://files.example:443/",               false, "files.example",  443,  "/",             "files.example:443"),
        ("http://192.0.2.7:8080/x",                 false, "192.0.2.7",      8080, "/x",            "192.0.2.7:8080"),
        ("https://[2001:db8::1]/x",                 true,  "2001:db8::1",    443,  "/x",            "[2001:db8::1]"),
        ("http://[2001:db8::1]:81?q",               false, "2001:db8::1",    81,   "/?q",           "[2001:db8::1]:81"),
        ("https://user:pa%3Ass@files.example/",     true,  "files.example",  443,  "/",             "files.example"),
    ];
    for (url, secure, host, port, path, host_field) in table {
        let found = parsed(url);
        let parts = (found.secure(), found.host(), found.port(), found.path());
        assert_eq!(parts, (secure, host, port, path), "{url}");
        assert_eq!(found.host_field(), host_field, "{url}");
    }
}

#[test]
fn bad_urls_say_what_is_wrong() {
    let long = format!("http://files.example/{}", "x".repeat(PULL_URL_BYTES));
    for (url, reason) in [
        ("", "no scheme"),
        ("files.example/a.vmdk", "no scheme"),
        ("ds:///vmfs/volumes/x/a.vmdk", "ds: is not fetched"),
        ("file:///etc/shadow", "file: is not fetched"),
        ("FILE:///etc/shadow", "FILE: is not fetched"),
        ("ftp://files.example/a", "this scheme"),
        ("gopher://127.0.0.1:25/x", "this scheme"),
        ("http:///a.vmdk", "not a URL"),
        ("http:a.vmdk", "not a URL"),
        ("https://user@/a", "not a URL"),
        ("http://files.example:0/a", "port 0"),
        ("http://files.example:99999/a", "no such port"),
        ("http://files.example/a b", "not a URL"),
        ("http://files.example/a\r\nHost: x", "not a URL"),
        ("http://files.exämple/", "not a URL"),
        (long.as_str(), "longer than"),
    ] {
        let found = Location::parse(url).unwrap_err();
        assert!(found.contains(reason), "{url}: {found}");
    }
}

#[test]
fn credentials_become_a_field_and_are_never_shown() {
    let location = parsed("https://canary:open%20sesame@files.example/canary?canary");
    // printf 'canary:open sesame' | base64
    assert_eq!(location.authorization(), Some("Basic Y2FuYXJ5Om9wZW4gc2VzYW1l"));
    assert_eq!(parsed("https://u@files.example/").authorization(), Some("Basic dTo="));
    assert_eq!(parsed("https://u:p%zz@files.example/").authorization(), Some("Basic dTpwJXp6"));
    assert_eq!(parsed("https://files.example/a@b").authorization(), None);
    assert_eq!(format!("{location} {location:?}"), "https://files.example https://files.example");
}

#[test]
fn redirects_stay_on_their_server() {
    let from = parsed("http://user:word@files.example/images/a.ova?x=1");
    for (to, path, secure) in [
        ("http://files.example/b.ova", "/b.ova", false),
        ("https://FILES.example/b.ova", "/b.ova", true),
        ("//files.example/b.ova", "/b.ova", false),
        ("/b.ova?y#z", "/b.ova?y", false),
        ("b.ova", "/images/b.ova", false),
        ("../b:1.ova", "/images/../b:1.ova", false),
        ("?x=2", "/images/a.ova?x=2", false),
        ("", "/images/a.ova", false),
    ] {
        let found = from.redirected(to).unwrap_or_else(|reason| panic!("{to}: {reason}"));
        assert_eq!((found.path(), found.secure(), found.host()), (path, secure, "files.example"), "{to}");
        assert_eq!(found.authorization(), from.authorization(), "{to}");
    }
    for (from, to) in [
        ("http://files.example/", "http://other.example/"),
        ("http://files.example/", "http://files.example.evil.example/"),
        ("http://files.example/", "http://169.254.169.254/latest/meta-data"),
        ("http://files.example/", "//other.example/"),
        ("http://files.example/", "http://files.example:8080/"),
        ("http://files.example/", "http://files.example@other.example/"),
        ("https://files.example/", "http://files.example/"),
        ("https://files.example:443/", "http://files.example:443/"),
        ("http://files.example/", "file:///etc/shadow"),
        ("http://files.example/", "/a b"),
    ] {
        assert!(parsed(from).redirected(to).is_err(), "{from} to {to}");
    }
}

#[test]
fn base64_is_the_usual_one() {
    for (plain, coded) in
        [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("\u{7f}?>", "fz8+")]
    {
        assert_eq!(base64(plain.as_bytes()), coded);
    }
}
