//! The configuration as an operator meets it: the sample file, and files with mistakes.
//!
//! Proves that `config/diskferry.toml` can be used as it is, shows the true defaults, and names every key there is and no
//! other; and that a bad file is answered with all its mistakes at once.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use diskferry::app::config::{self, Backing, Controller, Mistake, schema};

const SAMPLE: &str = include_str!("../config/diskferry.toml");

/// The sample with the settings behind `#` switched on.
fn sample_with_everything() -> String {
    let is_setting = |rest: &str| rest.starts_with(|first: char| first.is_ascii_lowercase() || first == '[');
    SAMPLE.lines().map(|line| line.strip_prefix('#').filter(|rest| is_setting(rest)).unwrap_or(line)).fold(
        String::new(),
        |mut text, line| {
            text.push_str(line);
            text.push('\n');
            text
        },
    )
}

#[expect(clippy::unwrap_used, reason = "part of the tests")]
fn load_text(dir: &Path, text: &str) -> Result<config::Resolved, Vec<Mistake>> {
    let path = dir.join("diskferry.toml");
    fs::write(&path, text).unwrap();
    config::load(Some(&path))
}

/// `line:column: message; remedy` of each mistake.
fn shown(dir: &Path, mistakes: &[Mistake]) -> Vec<String> {
    let prefix = format!("{}:", dir.join("diskferry.toml").display());
    let dir = format!("{}/", dir.display());
    mistakes.iter().map(|mistake| mistake.to_string().replace(&prefix, "").replace(&dir, "")).collect()
}

#[test]
fn the_sample_as_it_is_shows_the_defaults() {
    let sample = config::load(Some(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/config/diskferry.toml")))).unwrap();
    assert_eq!(sample, config::load(None).unwrap());
}

#[test]
fn the_sample_names_every_key_there_is_and_no_other() {
    let document = sample_with_everything().parse::<toml_edit::DocumentMut>().unwrap();
    let mut in_sample = BTreeSet::new();
    for (section, item) in document.iter() {
        let named = schema::section(section).is_some_and(|known| known.named);
        let tables: Vec<_> = match named {
            true => item.as_table().unwrap().iter().map(|(_, item)| item.as_table().unwrap()).collect(),
            false => vec![item.as_table().unwrap()],
        };
        in_sample.extend(tables.iter().flat_map(|table| table.iter()).map(|(key, _)| format!("{section}.{key}")));
    }
    let known: BTreeSet<String> = schema::SECTIONS
        .iter()
        .flat_map(|section| section.keys.iter().map(move |key| format!("{}.{key}", section.name)))
        .collect();
    assert_eq!(in_sample, known);
}

#[test]
fn the_sample_with_everything_switched_on_can_be_used() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    fs::write(dir.join("cert.pem"), "-----BEGIN CERTIFICATE-----\n").unwrap();
    fs::write(dir.join("key.pem"), "-----BEGIN PRIVATE KEY-----\n").unwrap();
    fs::write(dir.join("root.password"), "secret\n").unwrap();
    fs::create_dir(dir.join("disks")).unwrap();
    let text = sample_with_everything()
        .replace("/etc/diskferry/", "")
        .replace("/var/lib/diskferry", "state")
        .replace("/srv/disks", "disks");
    // This machine need not have the device of the example.
    let without_device: String =
        text.lines().take_while(|line| *line != "[datastore.nvme1]").map(|line| format!("{line}\n")).collect();
    let without_device = without_device.replace("\"[nvme1]\"", "\"[default] db.raw\"");
    let resolved = load_text(dir, &without_device).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    assert_eq!(resolved.listen.advertise.as_deref(), Some("ferry.example"));
    assert_eq!(resolved.tls.unwrap().key, dir.join("key.pem"));
    assert_eq!(resolved.state.dir, dir.join("state"));
    assert_eq!(resolved.users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["backup", "lab", "root"]);
    assert_eq!(resolved.datastores[0].backing, Backing::Directory(dir.join("disks")));
    assert_eq!(resolved.vms.iter().map(|vm| vm.name.as_str()).collect::<Vec<_>>(), ["db", "web"]);
    let [first, second] = resolved.vms[1].disks.as_slice() else { panic!("{:?}", resolved.vms) };
    assert_eq!((first.path.as_str(), first.controller), ("web/disk-0.raw", Controller::LsiLogic));
    assert_eq!((second.path.as_str(), second.controller), ("web/disk-1.raw", Controller::ParaVirtual));
    assert_eq!((resolved.vapps[0].name.as_str(), resolved.vapps[0].vms.len()), ("shop", 2));
    let warned: Vec<&str> = resolved.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert!(warned.iter().any(|message| message.contains("[user.lab]")), "{warned:?}");

    if let Err(mistakes) = load_text(dir, &text) {
        assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
        assert!(mistakes[0].message.starts_with("/dev/nvme1n1"), "{mistakes:#?}");
    }
}

/// Files with mistakes, and everything that must be said about each.
const BAD: &[(&str, &[&str])] = &[
    (
        "[listen]\ncontrl = \"127.0.0.1:1\"\ndata = \"localhost:8990\"\ndata_tls = 8991\nlease_urls = \"ftp\"\n",
        &[
            "2:1: unknown key `contrl` in [listen]; did you mean `control`?",
            "3:8: `data = \"localhost:8990\"` is not an address; write an IP address and a port, such as \
             \"127.0.0.1:8990\" or \"[::]:8990\"",
            "4:12: `data_tls` is an integer, not a string in quotes; write a string in quotes",
            "5:14: `lease_urls` cannot be \"ftp\"; choose one of http, https (did you mean `http`?)",
        ],
    ),
    (
        "[listen]\ncontrol = \"0.0.0.0:9000\"\ndata = \"127.0.0.1:9000\"\ncontrol_plain = true\n\
         advertise = \"https://ferry.example\"\n",
        &[
            "3:1: `data` and `control` both listen on port 9000; give each a port of its own",
            "4:17: `control_plain` would send passwords in the clear to 0.0.0.0:9000; set it to false, or let `control` \
             listen on 127.0.0.1 or [::1]",
            "5:13: `advertise = \"https://ferry.example\"` is not a host name; write a host name or an IP address alone, \
             without scheme, port or path",
        ],
    ),
    (
        "timeout_s = 5\nlisten = 3\n[leese]\n[[unrelated]]\n[lease]\ntimeout_s = 0\nstall_timeout_s = \"60\"\n\
         idle_timeout_s = 1.5\nmin_rate_bytes_per_s = -1\nrenewal = \"byte\"\nchecksum = \"md5\"\ncertificate = \"x\"\n",
        &[
            "1:1: unknown key `timeout_s`; it belongs in [lease]",
            "2:1: `listen` is a section; write it as [listen]",
            "3:2: unknown section `leese`; did you mean [lease]?",
            "4:3: unknown section `unrelated`; remove it; known sections: listen, tls, state, lease, data, user, datastore, \
             pull, vsphere, vm, vapp",
            "6:13: `timeout_s = 0` is out of range; choose a number from 1 to 604800",
            "7:19: `stall_timeout_s` is a string, not a whole number; write a whole number",
            "8:18: `idle_timeout_s` is a float, not a whole number; write a whole number",
            "9:24: `min_rate_bytes_per_s = -1` is out of range; choose a number from 0 to 9223372036854775807",
            "10:11: `renewal` cannot be \"byte\"; choose one of client, bytes, either (did you mean `bytes`?)",
            "11:12: `checksum` cannot be \"md5\"; choose one of sha1, sha256, both, none",
            "12:1: unknown key `certificate` in [lease]; it belongs in [tls]",
        ],
    ),
    (
        "[tls]\ncertificate = \"here.pem\"\n[state]\ndir = \"here.pem\"\n[data]\nengine = \"\"\nthreads = 1000\nmemory_mib = 1\n",
        &[
            "2:1: `certificate` without `key`; set `key` too, or neither for a self-signed certificate",
            "2:15: here.pem holds no `-----BEGIN CERTIFICATE-----`; name the PEM file of the certificate",
            "4:7: here.pem is not a directory; name a directory; it is made if it does not exist",
            "6:10: `engine` is empty; give it a value or remove the line",
            "7:11: `threads = 1000` is out of range; choose a number from 0 to 256",
            "8:14: `memory_mib = 1` is out of range; choose a number from 8 to 16384",
        ],
    ),
    (
        "[user.one]\nrole = \"operator\"\n[user.two]\npassword = \"x\"\npassword_file = \"here.pem\"\n\
         [user.three]\nrole = \"king\"\npassword_hash = \"plain\"\n[user.\"a:b\"]\nrole = \"admin\"\npassword_file = \"gone\"\n\
         [user]\nrole = \"admin\"\n",
        &[
            "1:7: [user.one] has no password; set `password_hash` to what `diskferry hash-password` prints, or \
             `password_file` to a file that holds it",
            "3:7: [user.two] has no role; set `role` to admin, operator or reader",
            "4:1: [user.two] has password_file and password; keep one of them",
            "7:8: `role` cannot be \"king\"; choose one of admin, operator, reader",
            "8:17: `password_hash` is not an argon2id hash; make one with `diskferry hash-password`",
            "9:7: `a:b` cannot be the name of a user; use 1 to 64 bytes without colons and control characters",
            "11:17: gone cannot be read: No such file or directory (os error 2); mend the path or its permissions",
            "13:1: `role` stands directly in [user]; give the user a name: [user.NAME]",
        ],
    ),
    (
        "[state]\ndir = \"disks/state\"\n[datastore.a]\npath = \"disks\"\ndevice = \"/dev/null\"\n[datastore.b]\n\
         [datastore.c]\npath = \"disks\"\n[datastore.d]\npath = \"./disks/../disks\"\n[datastore.e]\npath = \"disks/inner\"\n\
         [datastore.f]\ndevice = \"/dev/null\"\n[datastore.g]\ndevice = \"disks\"\n[datastore.h]\npath = \"here.pem\"\n\
         [datastore.\"i/j\"]\npath = \"gone\"\n",
        &[
            "5:1: [datastore.a] has both `path` and `device`; keep one, or make two datastores of them",
            "6:12: [datastore.b] has neither `path` nor `device`; set `path` to a directory or `device` to a block device",
            "8:8: datastore c contains the state directory disks/state; move one of them: clients could overwrite the \
             journal",
            "10:8: datastore d is the same place as datastore c; remove one of them, or give each a place of its own",
            "10:8: datastore d contains the state directory disks/state; move one of them: clients could overwrite the \
             journal",
            "12:8: datastore e is a place that overlaps with datastore c; remove one of them, or give each a place of its \
             own",
            "14:10: /dev/null is not a block device; name one; see `lsblk -p`",
            "16:10: disks is a directory; use `path` instead of `device`",
            "18:8: here.pem is not a directory; name a directory",
            "19:12: `i/j` cannot be the name of a datastore; use 1 to 64 bytes without brackets, slashes and control \
             characters",
            "20:8: gone: No such file or directory (os error 2); make the directory first, or mend the path",
        ],
    ),
    (
        "[lease]\nmin_rate_bytes_per_s = 2000000\nmax_rate_bytes_per_s = 1000000\n[data]\nmax_rate_bytes_per_s = 1\n",
        &[
            "3:1: transfers may not be faster than 1000000 bytes per second but must not be slower than 2000000; raise \
             `max_rate_bytes_per_s` in [lease] or lower `min_rate_bytes_per_s` in [lease]",
            "5:24: `max_rate_bytes_per_s = 1` is too slow to be kept evenly; choose at least 65536, or 0 for no limit",
        ],
    ),
    (
        "[lease]\nmin_rate_bytes_per_s = 2000000\n[data]\nmax_rate_bytes_per_s = 1000000\n",
        &["4:1: transfers may not be faster than 1000000 bytes per second but must not be slower than 2000000; raise \
             `max_rate_bytes_per_s` in [data] or lower `min_rate_bytes_per_s` in [lease]"],
    ),
    (
        "[pull]\nallow = [\n\"files.lan\",\n\"10.0.0.1/8\",\n\"http://files.lan\",\n\"\",\n7,\n]\nalow = []\n",
        &[
            "4:1: `allow` has \"10.0.0.1/8\" in it: 10.0.0.1 is inside the network, not its first address; write \
             \"files.lan\", \"192.168.7.7\" or \"10.0.0.0/8\"",
            "5:1: `allow` has \"http://files.lan\" in it: http: is not an address; write \"files.lan\", \"192.168.7.7\" or \
             \"10.0.0.0/8\"",
            "6:1: `allow` has an empty string in it; remove it",
            "7:1: `allow` has an integer in it; write a list of strings",
            "9:1: unknown key `alow` in [pull]; did you mean `allow`?",
        ],
    ),
    (
        "[datastore.default]\npath = \"disks\"\n[datastore.bad]\npath = \"gone\"\n\
         [vsphere]\nenabled = \"yes\"\napi_version = \"8.1\"\nsession_idle_s = 0\nnetwork = \"a\\nb\"\n\
         [vm.web]\nguest = \"Debian 11\"\ncpus = 0\nmemory_mib = 1022\nfirmware = \"uefi\"\ndisk = []\n\
         [vm.disks]\nmemory_mib = 100000000\ndisks = [\n\"default/x.raw\",\n\"[other] x.raw\",\n\"[default]\",\n\"[default] ../x\",\n\
         \"[bad] x.raw\",\n{ path = \"[default] a.raw\", controler = \"sata\" },\n{ controller = \"scsi\" },\n7,\n\"\",\n\
         \"[default]   a.raw\",\n]\n",
        &[
            "4:8: gone: No such file or directory (os error 2); make the directory first, or mend the path",
            "6:11: `enabled` is a string, not true or false; write true or false",
            "7:15: `api_version` cannot be \"8.1\"; choose one of 6.0, 6.5, 6.7, 6.7.1, 6.7.2, 6.7.3, 6.8.7, 6.9.1, 7.0.0.0, \
             7.0.0.2, 7.0.1.0, 7.0.1.1, 7.0.2.0, 7.0.2.1, 7.0.3.0, 7.0.3.1, 7.0.3.2, 8.0.0.0, 8.0.0.1, 8.0.0.2, 8.0.1.0, \
             8.0.2.0, 8.0.3.0, 8.0.3.1, 9.0.0.0",
            "8:18: `session_idle_s = 0` is out of range; choose a number from 1 to 604800",
            "9:11: `a\\nb` cannot be the name of a network; use 1 to 80 characters without control characters",
            "11:9: `guest = \"Debian 11\"` names no guest system; write it as vSphere does, such as \"debian11_64Guest\"",
            "12:8: `cpus = 0` is out of range; choose a number from 1 to 768",
            "13:14: `memory_mib = 1022` is no multiple of 4; choose 1024",
            "14:12: `firmware` cannot be \"uefi\"; choose one of bios, efi (did you mean `efi`?)",
            "15:1: unknown key `disk` in [vm.web]; did you mean `disks`?",
            "17:14: `memory_mib = 100000000` is out of range; choose a number from 4 to 25165824",
            "19:1: `default/x.raw` is no datastore path; write \"[DATASTORE] PATH\", or \"[DATASTORE]\" for a block device",
            "20:1: there is no datastore `other`; make it with [datastore.other], or use one of default, bad",
            "21:1: datastore default is a directory; name a file in it: \"[default] PATH\"",
            "22:1: `[default] ../x` leads to no file; name a file below the datastore: no \"..\", no empty component, no \
             control characters",
            "24:29: unknown key `controler` in `disks`; known keys: path, controller",
            "25:1: a disk of [vm.disks] has no `path`; write { path = \"[DATASTORE] PATH\", controller = \"pvscsi\" }",
            "25:16: `controller` cannot be \"scsi\"; choose one of lsilogic, lsilogic-sas, buslogic, pvscsi, ide, sata, \
             nvme (did you mean `pvscsi`?)",
            "26:1: `disks` has an integer in it; write a list of strings or tables with path, controller",
            "27:1: `disks` has an empty string in it; remove it",
            "28:1: [default]   a.raw is a disk of machine `disks` already; a disk belongs to one machine, once",
        ],
    ),
    (
        "[vm.\"a/b\"]\n[vm.\"a%2Fb\"]\n[vm.web]\ndisks = [\"[default] a.raw\"]\n[vm.db]\ndisks = [\"[default] a.raw\"]\n\
         annotation = \"\"\n[vm.ide]\ndisks = [\n{ path = \"[default] 1\", controller = \"ide\" },\n\
         { path = \"[default] 2\", controller = \"ide\" },\n{ path = \"[default] 3\", controller = \"ide\" },\n\
         { path = \"[default] 4\", controller = \"ide\" },\n{ path = \"[default] 5\", controller = \"ide\" },\n]\n\
         [vapp.web]\nvms = [\"web\", \"web\", \"gone\"]\n[vapp.empty]\n[vapp.wrong]\nvms = \"db\"\n[vapp.also]\n\
         vms = [\"db\", { path = \"x\" }, \"web\"]\n[vapp.none]\nvms = []\n",
        &[
            "1:5: `a/b` cannot be the name of a machine; write / as %2f in a name",
            "2:5: `a%2Fb` cannot be the name of a machine; write `a%2fb`",
            "6:10: [default] a.raw is a disk of machine `web` already; a disk belongs to one machine, once",
            "8:5: [vm.ide] disks[4]: every place on ide controllers is taken; change what it names; vSphere allows no such machine",
            "16:7: `web` is the name of a machine and of a vApp; rename one of them: clients find both in the same place",
            "17:15: machine `web` is part of [vapp.web] already; a machine is part of one vApp, once",
            "17:22: there is no machine `gone`; make it with [vm.gone], or remove it here",
            "18:7: [vapp.empty] has no machines; list their names: vms = [\"NAME\", ...]",
            "20:7: `vms` is a string, not a list of strings; write a list of strings",
            "22:14: `vms` has an inline table in it; write a list of strings",
            "22:30: machine `web` is part of [vapp.web] already; a machine is part of one vApp, once",
            "24:1: [vapp.none] has no machines; list their names: vms = [\"NAME\", ...]",
        ],
    ),
    ("[listen]\n[listen]\n", &["2:2: not valid TOML: duplicate key; mend the syntax; see https://toml.io"]),
    ("[[listen]]\ndata = \"127.0.0.1:1\"\n", &["1:3: `listen` is a section; write it as [listen]"]),
];

#[test]
fn every_mistake_is_reported_at_once_with_its_place_and_the_way_out() {
    for (text, expected) in BAD {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path();
        fs::create_dir_all(dir.join("disks/inner")).unwrap();
        fs::write(dir.join("here.pem"), "nothing of the kind").unwrap();
        let mistakes = load_text(dir, text).expect_err(text);
        assert_eq!(shown(dir, &mistakes), *expected, "{text}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_a_mistake_too() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let missing: PathBuf = dir.join("missing.toml");
    let mistakes = config::load(Some(&missing)).unwrap_err();
    assert_eq!(mistakes.len(), 1);
    assert!(mistakes[0].to_string().contains("missing.toml: cannot be read: No such file"), "{}", mistakes[0]);

    fs::write(dir.join("diskferry.toml"), b"[listen]\nadvertise = \"\xff\"\n").unwrap();
    let mistakes = config::load(Some(&dir.join("diskferry.toml"))).unwrap_err();
    assert!(mistakes[0].message.contains("not UTF-8"), "{}", mistakes[0]);

    let mistakes = load_text(dir, &"#".repeat(2 << 20)).unwrap_err();
    assert!(mistakes[0].message.contains("larger than"), "{}", mistakes[0]);
}
