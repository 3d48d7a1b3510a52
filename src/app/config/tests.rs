//! Tests of what needs a made-up environment or a look inside; files with mistakes are in `tests/config.rs`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

const HASH: &str = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$RdescudvJCsgt3ub+b27pAVWs1Pf9Y6qCjXC3cUNRlA";

fn environment(pairs: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<OsString> {
    move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
}

fn check_in(dir: &Path, text: &str) -> Result<Resolved, Vec<Mistake>> {
    check(&dir.join("x.toml"), text, &environment(&[("HOME", "/home/me")]))
}

#[test]
fn without_configuration_everything_is_on_loopback_and_in_the_state_directory() {
    let resolved = check_in(Path::new(""), "").unwrap();
    let addresses = [resolved.listen.control, resolved.listen.data, resolved.listen.data_tls];
    assert_eq!(addresses.map(|address| address.port()), [8989, 8990, 8991]);
    assert!(addresses.iter().all(|address| address.ip().is_loopback()));
    assert_eq!(resolved.state.dir, Path::new("/home/me/.local/state/diskferry"));
    let path = PathBuf::from("/home/me/.local/state/diskferry/datastore");
    let built_in = Datastore { name: "default".to_owned(), backing: Backing::Directory(path), built_in: true };
    assert_eq!(resolved.datastores, [built_in]);
    assert_eq!((resolved.lease.timeout_s, resolved.lease.stall_timeout_s), (300, 60));
    assert_eq!((resolved.data.threads, resolved.data.memory_mib), (0, 64));
    assert_eq!((resolved.lease.max_rate_bytes_per_s, resolved.data.max_rate_bytes_per_s), (0, 0));
    assert_eq!((resolved.vsphere.enabled, resolved.vsphere.session_idle_s), (true, 1800));
    assert_eq!((resolved.vsphere.api_version.as_str(), resolved.vsphere.network.as_str()), ("8.0.2.0", "VM Network"));
    assert_eq!((resolved.vms, resolved.vapps), (vec![], vec![]));
    assert_eq!((resolved.tls, resolved.users, resolved.warnings), (None, vec![], vec![]));
}

#[test]
fn the_state_directory_follows_the_xdg_specification() {
    let dir = |pairs| state_dir_from(&environment(pairs));
    assert_eq!(dir(&[("XDG_STATE_HOME", "/s"), ("HOME", "/h")]), Some(PathBuf::from("/s/diskferry")));
    assert_eq!(dir(&[("XDG_STATE_HOME", "s"), ("HOME", "/h")]), Some(PathBuf::from("/h/.local/state/diskferry")));
    assert_eq!(dir(&[("XDG_STATE_HOME", "")]), None);

    let mistakes = check(Path::new("x.toml"), "[lease]\ntimeout_s = -1", &environment(&[])).unwrap_err();
    let places: Vec<Option<usize>> = mistakes.iter().map(|mistake| mistake.line).collect();
    assert_eq!(places, [None, Some(2)], "going on after the missing state directory: {mistakes:?}");
    assert_eq!(mistakes[0].remedy, "set `dir` in [state]");
}

#[test]
fn an_import_may_idle_as_long_as_a_lease_lives() {
    let idle_s = |text| check_in(Path::new(""), text).unwrap().lease.idle_timeout_s;
    assert_eq!(idle_s("[lease]\ntimeout_s = 77"), 77);
    assert_eq!(idle_s("[lease]\ntimeout_s = 77\nidle_timeout_s = 5"), 5);
}

#[test]
fn listeners_may_share_a_port_only_on_different_addresses() {
    let check = |text| check_in(Path::new(""), text).map_err(|mistakes| mistakes.len());
    assert!(check("[listen]\ndata = \"127.0.0.2:8989\"").is_ok());
    assert!(check("[listen]\ncontrol = \"127.0.0.1:0\"\ndata = \"127.0.0.1:0\"").is_ok());
    assert_eq!(check("[listen]\ndata = \"[::]:8991\""), Err(1));
}

#[test]
fn dotted_and_inline_forms_are_understood() {
    let forms = ["listen.data = \"[::1]:5\"", "listen = { data = \"[::1]:5\" }", "[listen]\ndata = \"[::1]:5\""];
    for text in forms {
        assert_eq!(check_in(Path::new(""), text).unwrap().listen.data.to_string(), "[::1]:5", "{text}");
    }
}

#[test]
fn a_secret_file_holds_a_hash_or_a_password_and_is_private() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("secret");
    let text = "[user.a]\nrole = \"admin\"\npassword_file = \"secret\"\n";
    let user = |content: &str, mode| {
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        check_in(scratch.path(), text).map(|mut resolved| (resolved.users.remove(0).secret, resolved.warnings.len()))
    };
    assert_eq!(user(&format!("{HASH}\n"), 0o600), Ok((Secret::Hash(HASH.to_owned()), 0)));
    assert_eq!(user("pa ss\nsecond line\n", 0o640), Ok((Secret::Plain("pa ss".to_owned()), 0)));
    assert_eq!(user("open", 0o644), Ok((Secret::Plain("open".to_owned()), 1)));
    let mistakes = user("$argon2id$v=19$half\n", 0o600).unwrap_err();
    assert!(mistakes[0].message.ends_with("secret is not an argon2id hash"), "not taken for a password: {mistakes:?}");
    let mistakes = user(&HASH.replace("m=65536", "m=4000000"), 0o600).unwrap_err();
    assert!(mistakes[0].message.contains("asks for 4000000 KiB"), "{mistakes:?}");
    let mistakes = user("\n", 0o600).unwrap_err();
    assert!(mistakes[0].message.ends_with("secret is empty"), "{mistakes:?}");
}

#[test]
fn secrets_are_never_shown() {
    let scratch = tempfile::tempdir().unwrap();
    let text = format!(
        "[user.a]\nrole = \"admin\"\npassword = \"canary\"\n[user.b]\nrole = \"reader\"\npassword_hash = \"{HASH}\"\n"
    );
    let resolved = check_in(scratch.path(), &text).unwrap();
    let everything = format!("{resolved} {resolved:?} {}", serde_json::to_string(&resolved).unwrap());
    assert!(everything.contains("admin") && resolved.warnings.len() == 1);
    assert!(!everything.contains("canary") && !everything.contains("argon2id"), "{everything}");
    let refused = check_in(scratch.path(), &text.replace("admin", "king").replace("$argon2id", "$canary")).unwrap_err();
    assert_eq!(refused.len(), 2);
    assert!(!format!("{refused:?}").contains("canary"), "{refused:?}");
}

#[test]
fn what_is_shown_reads_back_as_the_same_settings() {
    let scratch = tempfile::tempdir().unwrap();
    fs::create_dir(scratch.path().join("a \"b\"")).unwrap();
    let text = "[listen]\nadvertise = \"ferry.example\"\nlease_urls = \"http\"\n[state]\ndir = \"state\"\n\
                [lease]\nrenewal = \"bytes\"\nchecksum = \"sha256\"\nidle_timeout_s = 9\n[data]\nengine = \"blocking\"\n\
                [datastore.\"two words\"]\npath = 'a \"b\"'\n\
                [pull]\nallow = [\"files.lan\", \"10.0.0.0/8\"]\nsha1_pins = false\n\
                [vsphere]\nenabled = false\napi_version = \"7.0.3.0\"\nsession_idle_s = 7\nnetwork = \"LAN 1\"\n\
                [vm.\"a b\"]\nguest = \"otherGuest\"\ncpus = 3\nmemory_mib = 512\nfirmware = \"efi\"\nannotation = \"x\\ny \\\"z\\\"\"\n\
                disks = [\"[two words] a b.raw\", { controller = \"nvme\", path = \"[two words] c\" }]\n[vm.c]\n\
                [vapp.\"the app\"]\nvms = [\"c\", \"a b\"]\n";
    let resolved = check_in(scratch.path(), text).unwrap();
    assert_eq!(check_in(Path::new("/elsewhere"), &resolved.to_string()).unwrap(), resolved);
}

#[test]
fn a_private_key_is_not_taken_for_a_certificate() {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("k.pem"), "-----BEGIN RSA PRIVATE KEY-----\n").unwrap();
    let mistakes = check_in(scratch.path(), "[tls]\ncertificate = \"k.pem\"\nkey = \"k.pem\"\n").unwrap_err();
    assert_eq!(mistakes.len(), 1);
    assert_eq!(mistakes[0].remedy, "name the PEM file of the certificate");
}

#[test]
fn a_block_device_named_as_a_path_is_told_from_a_directory() {
    let Some(device) = fs::read_dir("/dev").unwrap().flatten().map(|entry| entry.path()).find(|path| is_block(path))
    else {
        println!("block device: NOT RUN (there is none)");
        return;
    };
    let text = format!("[datastore.d]\ndevice = \"{}\"\n", device.display());
    let resolved = check_in(Path::new(""), &text).unwrap();
    assert_eq!(resolved.datastores[0].backing, Backing::Device(device));
    let mistakes = check_in(Path::new(""), &text.replace("device =", "path =")).unwrap_err();
    assert_eq!(mistakes[0].remedy, "use `device` instead of `path`");

    // A disk on it has no path, and one machine.
    let resolved = check_in(Path::new(""), &format!("{text}[vm.a]\ndisks = [\"[d]\"]\n")).unwrap();
    assert_eq!(resolved.vms[0].disks[0].target().to_string(), "[d]");
    let mistakes =
        check_in(Path::new(""), &format!("{text}[vm.a]\ndisks = [\"[d] x\", \"[d]\", \"[d] \"]\n")).unwrap_err();
    let said: Vec<&str> = mistakes.iter().map(|mistake| mistake.message.as_str()).collect();
    assert_eq!(said, ["datastore d is a block device, one disk", "[d]  is a disk of machine `a` already"]);
}

fn is_block(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_block_device())
}

#[test]
fn a_configured_machine_is_what_the_inventory_is_asked_for() {
    let text = "[vsphere]\nnetwork = \"LAN\"\n[vm.web]\ndisks = [{ path = \"[default] a/b.raw\", controller = \"pvscsi\" }]\n\
                [vapp.shop]\nvms = [\"web\"]\n";
    let resolved = check_in(Path::new(""), text).unwrap();
    let machine = resolved.vms[0].to_machine();
    assert_eq!(
        (machine.name.as_str(), machine.guest_id.as_str(), machine.firmware.as_str()),
        ("web", "otherGuest64", "bios")
    );
    assert_eq!((machine.cpus, machine.memory_mib, machine.nics[0].network.as_str()), (1, 1024, "LAN"));
    assert_eq!(machine.disks[0].target.to_string(), "[default] a/b.raw");
    assert_eq!(machine.disks[0].controller, crate::inventory::ControllerKind::ParaVirtual);
    assert_eq!(resolved.vapps[0].to_vapp().machines, ["web"]);
}
