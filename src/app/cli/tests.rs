//! Tests of the command line.

use clap::CommandFactory;

use super::*;

fn read(line: &str) -> Result<Command, clap::Error> {
    try_parse(line.split_whitespace().map(OsString::from))
}

fn help(line: &str) -> String {
    let error = read(line).unwrap_err();
    assert!(!error.use_stderr(), "{line} is not an error: {error}");
    error.to_string()
}

#[test]
fn clap_finds_no_fault_in_the_definition() {
    Arguments::command().debug_assert();
}

#[test]
fn every_command_is_understood() {
    let config = Some(PathBuf::from("a.toml"));
    assert_eq!(read("diskferry serve").unwrap(), Command::Serve { config: None, explain: false });
    assert_eq!(read("diskferry serve --config a.toml --explain").unwrap(), Command::Serve { config, explain: true });
    assert_eq!(
        read("diskferry check-config a.toml --json").unwrap(),
        Command::CheckConfig { file: PathBuf::from("a.toml"), json: true }
    );
    assert_eq!(read("diskferry hash-password").unwrap(), Command::HashPassword);
    assert_eq!(
        read("diskferry demo").unwrap(),
        Command::Demo(Demo { disk: DemoDisk::Made { size_bytes: 2 << 30 }, tls: false, json: false, keep: false })
    );
    assert_eq!(
        read("diskferry demo --disk d.raw --tls --json --keep").unwrap(),
        Command::Demo(Demo { disk: DemoDisk::File(PathBuf::from("d.raw")), tls: true, json: true, keep: true })
    );
}

#[test]
fn lease_options_are_accepted_after_the_action() {
    let Command::Lease(lease) =
        read("diskferry lease abort 17 --server http://[::1]:80 --token-file t --json").unwrap()
    else {
        panic!("not a lease command");
    };
    assert_eq!(lease.action, LeaseAction::Abort { id: "17".to_owned() });
    assert_eq!(lease.server.to_string(), "http://[::1]:80");
    assert_eq!(lease.token_file, PathBuf::from("t"));
    assert!(lease.json);
}

#[test]
fn a_lease_is_asked_for_with_places_and_a_rate() {
    use crate::lease::{Form, Kind, Target};
    let words =
        ["diskferry", "lease", "create", "import", "vm1", "a/b.raw", "[nvme1]", "[other] c d.raw", "--form", "raw"];
    let more = ["--capacity", "1GiB", "--max-rate", "50MB/s"];
    let read = try_parse(words.into_iter().chain(more).map(OsString::from)).unwrap();
    let Command::Lease(Lease { action: LeaseAction::Create { spec }, .. }) = read else { panic!("not a creation") };
    assert_eq!((spec.kind, spec.entity.as_str(), spec.max_rate_bytes_per_s), (Kind::Import, "vm1", Some(50_000_000)));
    let target =
        |datastore: &str, path: &str| Target { datastore: datastore.into(), path: path.into(), form: Form::Raw };
    let targets: Vec<_> = spec.disks.iter().map(|disk| disk.target.clone()).collect();
    assert_eq!(targets, [target("default", "a/b.raw"), target("nvme1", ""), target("other", "c d.raw")]);
    assert!(spec.disks.iter().all(|disk| disk.capacity_bytes == Some(1 << 30) && disk.disk));
    assert_eq!(spec.disks[2].name, "disk-2.vmdk");
}

#[test]
fn wrong_usage_is_answered_with_exit_code_2_and_a_reason() {
    let wrong = [
        ("diskferry ferry", "unrecognized subcommand"),
        ("diskferry serve --confg a", "--config"),
        ("diskferry check-config", "<FILE>"),
        ("diskferry demo --size 1.5G", "such as 2GiB"),
        ("diskferry demo --size 1G --disk x", "cannot be used with"),
        ("diskferry hash-password secret", "unexpected argument"),
        ("diskferry lease show", "<ID>"),
        ("diskferry lease create import vm1", "<PLACE>"),
        ("diskferry lease create fetch vm1 a", "import, export"),
        ("diskferry lease create import vm1 a --max-rate 1", "at least 64 KiB"),
        ("diskferry lease list --server ferry:8989", "must begin with https://"),
    ];
    for (line, reason) in wrong {
        let error = read(line).unwrap_err();
        assert!(error.to_string().contains(reason), "{line}: {error}");
        assert_eq!(error.exit_code(), Exit::Usage as i32, "{line}");
    }
}

#[test]
fn help_shows_examples_and_every_exit_code() {
    let commands = ["", "serve", "demo", "lease", "hash-password"];
    for line in commands.map(|command| format!("diskferry {command} --help")) {
        let line = line.as_str();
        let text = help(line);
        assert!(text.contains("Examples:"), "{line}: {text}");
        for code in [0, 1, 2, 69, 74, 78, 130] {
            assert!(text.lines().any(|row| row.trim_start().starts_with(&format!("{code}  "))), "{line}: {code}");
        }
    }
    assert!(help("diskferry --version").starts_with("diskferry "));
}

#[test]
fn a_conversion_is_resolved_to_what_is_to_be_done() {
    use crate::convert::{Endpoint, Format, Sparse};
    use crate::wire::vmdk::{Adapter, Database, Level};
    let Command::Convert(Convert { action: ConvertAction::Convert(request), json: false, quiet: false }) =
        read("diskferry convert a.raw b.vmdk").unwrap()
    else {
        panic!("a conversion");
    };
    assert_eq!((&request.source, &request.target), (&Endpoint::Path("a.raw".into()), &Endpoint::Path("b.vmdk".into())));
    assert_eq!((request.from, request.to, request.level, request.sparse), (None, None, None, None));
    assert!(request.durable && !request.replace && !request.salvage && request.threads >= 1);
    assert!(request.database.is_none());

    let words = "diskferry convert - - --from RAW --to Stream --capacity 1GiB --level fast --threads 3 --sparse off \
                 --adapter ide --hw-version 13 --tools-version 11 --no-sync --force --salvage";
    let Command::Convert(Convert { action: ConvertAction::Convert(request), .. }) = read(words).unwrap() else {
        panic!("a conversion");
    };
    assert_eq!((&request.source, &request.target), (&Endpoint::Standard, &Endpoint::Standard));
    assert_eq!((request.from, request.to), (Some(Format::Raw), Some(Format::StreamOptimized)));
    assert_eq!((request.capacity_bytes, request.level, request.threads), (Some(1 << 30), Some(Level::Fast), 3));
    let database = Database { adapter: Adapter::Ide, hardware_version: 13, tools_version: Some(11) };
    assert_eq!((request.sparse, request.database), (Some(Sparse::Off), Some(database)));
    assert!(!request.durable && request.replace && request.salvage);

    for wrong in [
        "convert",
        "convert a.raw",
        "convert a.raw b.vmdk c.vmdk",
        "convert --check a.vmdk b.vmdk",
        "convert --check --info a.vmdk",
        "convert a.raw b.vmdk --to vmdk",
        "convert a.raw b.vmdk --to qcow2",
        "convert a.raw b.vmdk --threads 0",
        "convert a.raw b.vmdk --level 6",
        "convert a.raw b.vmdk --adapter nvme",
        "convert a.raw - --to raw --json",
        "convert - b.vmdk --capacity 0",
    ] {
        assert!(read(&format!("diskferry {wrong}")).unwrap_err().use_stderr(), "{wrong}");
    }
    assert!(help("diskferry convert --help").contains("monolithicSparse"));
}
