//! What a user's choices and odd documents lead to.

use super::*;

/// What is said about a document with these Items instead of the usual ones.
fn errors_of(items: &[String]) -> Vec<String> {
    said(&Parts { items: items.concat(), ..Parts::default() }.plan().errors)
}

fn disk_at(instance: &str, parent: &str, unit: &str) -> String {
    let fields = [("AddressOnParent", unit), ("HostResource", "ovf:/disk/d1"), ("Parent", parent)];
    item(instance, 17, &fields)
}

#[test]
fn an_ordinary_document_says_nothing() {
    let plan = Parts::default().plan();
    assert_eq!((said(&plan.errors), said(&plan.warnings)), (vec![], vec![]));
    assert_eq!((plan.name.as_str(), plan.systems[0].name.as_str()), ("vm", "vm"));
    assert_eq!(plan.systems[0].disks[0].file, Some(0));
}

#[test]
fn the_name_is_the_users_then_the_documents() {
    let named =
        Parts { system: "<Name> Web 01 </Name><OperatingSystemSection ovf:id='96'/>".into(), ..Parts::default() };
    let ovf = named.parse().unwrap();
    assert_eq!(plan(&ovf, &PlanParams::default()).systems[0].name, "Web 01");
    let chosen = plan(&ovf, &PlanParams { entity_name: "mine".into(), ..PlanParams::default() });
    assert_eq!((chosen.name.as_str(), chosen.systems[0].name.as_str()), ("mine", "mine"));
}

#[test]
fn devices_that_cannot_be_placed_are_errors_by_name() {
    let base = [CPU.to_owned(), MEMORY.to_owned(), SCSI.to_owned()];
    let with = |more: &[String]| errors_of(&[&base[..], more].concat());
    let on = "of VirtualSystem \"vm\"";
    assert_eq!(
        with(&[DISK.to_owned(), disk_at("5", "3", "0")]),
        [format!("Item 5 {on}: unit 0 of SCSI controller 0 is taken by Item 4 (\"Hard disk 1\") {on}")]
    );
    for unit in ["7", "16", "-1", "x", "4294967296"] {
        assert_eq!(
            with(&[disk_at("5", "3", unit)]),
            [format!("Item 5 {on}: AddressOnParent is \"{unit}\"; SCSI controller 0 has units 0 to 15 without 7")]
        );
    }
    assert_eq!(
        with(&[disk_at("5", "9", "0")]),
        [format!("Item 5 {on}: Parent is \"9\", which is no controller among the Items of this configuration")]
    );
    assert_eq!(
        with(&[disk_at("5", "1", "0")]),
        [format!("Item 5 {on}: Parent is \"1\", which is no controller among the Items of this configuration")]
    );
    assert_eq!(
        with(&[DISK.to_owned(), item("4", 10, &[])]),
        [format!("Item 4 {on}: its InstanceID is that of another Item already")]
    );
    let many: Vec<String> =
        (0..16).map(|n| item(&format!("d{n}"), 17, &[("HostResource", "ovf:/disk/d1"), ("Parent", "3")])).collect();
    assert_eq!(with(&many), [format!("Item d15 {on}: no unit of SCSI controller 0 is free")]);
    let controllers: Vec<String> = (0..5).map(|n| item(&format!("c{n}"), 6, &[])).collect();
    assert_eq!(
        errors_of(&[&base[..2], &controllers[..], &[disk_at("5", "c4", "0")]].concat()),
        [format!("Item c4 {on}: more than 4 SCSI controllers")]
    );
}

#[test]
fn resources_and_networks_must_be_there() {
    let base = [CPU.to_owned(), MEMORY.to_owned(), SCSI.to_owned(), DISK.to_owned(), item("i", 5, &[])];
    let with = |more: String| errors_of(&[&base[..], &[more]].concat());
    for resource in ["ovf:/disk/d9", "ovf:/file/f1", "/dev/sda", "", "ovf:/disk/", "../d1"] {
        let found = with(item("5", 17, &[("HostResource", resource), ("Parent", "3")]));
        let expected = format!(
            "Item 5 of VirtualSystem \"vm\": HostResource is {resource:?}; ovf:/disk/ and the diskId of a Disk are expected"
        );
        assert_eq!(found, [expected]);
    }
    assert_eq!(
        with(item("5", 15, &[("HostResource", "ovf:/file/f9"), ("Parent", "i")])),
        [
            "Item 5 of VirtualSystem \"vm\": HostResource is \"ovf:/file/f9\"; ovf:/file/ and the id of a File are expected"
        ]
    );
    assert_eq!(with(item("5", 15, &[("HostResource", "/dev/cdrom"), ("Parent", "i")])), [""; 0]);
    assert_eq!(
        with(item("5", 10, &[("Connection", "lan")])),
        ["Item 5 of VirtualSystem \"vm\": Connection is \"lan\", but the NetworkSection has no such Network"]
    );
}

#[test]
fn quantities_are_checked_and_assumed() {
    let cpu = |quantity: &str| item("1", 3, &[("VirtualQuantity", quantity)]);
    let memory = |quantity: &str, unit: &str| item("2", 4, &[("AllocationUnits", unit), ("VirtualQuantity", quantity)]);
    let of = |cpu: String, memory: String| Parts { items: [cpu, memory].concat(), ..Parts::default() }.plan();
    for quantity in ["0", "769", "18446744073709551615"] {
        let plan = of(cpu(quantity), MEMORY.into());
        assert_eq!(
            said(&plan.errors),
            [format!(
                "Item 1 of VirtualSystem \"vm\": VirtualQuantity is {quantity}; 1 to 768 processors are expected"
            )]
        );
    }
    for (quantity, unit) in [("0", "MB"), ("18446744073709551615", "byte"), ("2", "byte * 2^63"), ("5", "furlong")] {
        assert_eq!(of(CPU.into(), memory(quantity, unit)).errors.len(), 1, "{quantity} {unit}");
    }
    assert_eq!(of(CPU.into(), memory("1048577", "byte")).systems[0].memory_mib, 2);
    assert_eq!(of(CPU.into(), item("2", 4, &[("VirtualQuantity", "256")])).systems[0].memory_mib, 256);
    let nothing = of(String::new(), String::new());
    assert_eq!((nothing.systems[0].cpus, nothing.systems[0].memory_mib), (1, 1024));
    assert!(said(&nothing.warnings)[0].ends_with("no number of processors is stated; 1 is assumed"));
}

#[test]
fn what_is_unsupported_is_left_out_unless_it_is_required() {
    let with = |resource_type: u16, required: &str| {
        let item = item("9", resource_type, &[("ElementName", "x")]).replace("<Item>", &format!("<Item{required}>"));
        let plan = Parts { items: [CPU, MEMORY, SCSI, DISK, &item].concat(), ..Parts::default() }.plan();
        (plan.warnings.len(), plan.errors.len())
    };
    let (yes, no) = (" ovf:required='true'", " ovf:required='false'");
    for known in [1, 7, 8, 12, 18, 21, 22, 23, 35] {
        assert_eq!([with(known, ""), with(known, no), with(known, yes)], [(1, 0), (1, 0), (0, 1)], "{known}");
    }
    assert_eq!([with(999, ""), with(999, no), with(999, yes)], [(0, 1), (1, 0), (0, 1)]);
    assert_eq!([with(24, ""), with(24, no)], [(0, 0), (0, 0)], "a screen is nothing to talk about");
    let setting = |key: &str, required: &str| {
        let settings = format!("<vmw:Config{required} vmw:key='{key}' vmw:value='x'/>");
        let plan = Parts { settings, ..Parts::default() }.plan();
        (plan.warnings.len(), plan.errors.len())
    };
    assert_eq!([setting("tools.x", yes), setting("tools.x", no)], [(0, 0), (0, 0)]);
    assert_eq!([setting("warp", ""), setting("warp", no), setting("warp", yes)], [(1, 0), (1, 0), (0, 1)]);
    assert_eq!(setting("firmware", no), (1, 0));
}

#[test]
fn devices_without_a_controller_get_one() {
    let loose = item("5", 17, &[("HostResource", "ovf:/disk/d1")]);
    let cd = item("6", 15, &[]);
    let plan = Parts { items: [CPU, MEMORY, &loose, &cd].concat(), ..Parts::default() }.plan();
    assert_eq!(plan.errors, []);
    assert_eq!(
        said(&plan.warnings),
        [
            "Item 5 of VirtualSystem \"vm\": no controller is named; it is put on SCSI controller 0",
            "Item 6 of VirtualSystem \"vm\": no controller is named; it is put on IDE controller 0",
        ]
    );
    let machine = &plan.systems[0];
    assert_eq!(machine.controllers.len(), 2);
    assert_eq!((machine.disks[0].label.as_str(), machine.cdroms[0].label.as_str()), ("Hard disk 1", "CD/DVD drive 1"));
}

#[test]
fn controllers_get_numbers_of_their_own() {
    let scsi = |instance: &str, address: &str| item(instance, 6, &[("Address", address)]);
    let items =
        [CPU, MEMORY, &item("a", 6, &[]), &scsi("b", "0"), &scsi("c", "0"), &scsi("d", "9"), &item("e", 5, &[])]
            .concat();
    let plan = Parts { items, ..Parts::default() }.plan();
    assert_eq!(plan.errors, []);
    let numbers: Vec<String> = plan.systems[0].controllers.iter().map(ToString::to_string).collect();
    let expected =
        ["SCSI controller 1", "SCSI controller 0", "SCSI controller 2", "SCSI controller 3", "IDE controller 0"];
    assert_eq!(numbers, expected);
    assert_eq!(
        said(&plan.warnings)[..2],
        [
            "Item c of VirtualSystem \"vm\": the address \"0\" cannot be had; it becomes SCSI controller 2",
            "Item d of VirtualSystem \"vm\": the address \"9\" cannot be had; it becomes SCSI controller 3",
        ]
    );
}

#[test]
fn networks_are_mapped_defaulted_or_kept() {
    let networks = "<Network ovf:name='a'/><Network ovf:name='b'/>".to_owned();
    let nic = |instance: &str, network: &str| item(instance, 10, &[("Connection", network)]);
    let items = [CPU, MEMORY, &nic("5", "a"), &nic("6", "b"), &nic("7", "b"), &item("8", 10, &[])].concat();
    let ovf =
        Parts { networks, items, disks: String::new(), files: String::new(), ..Parts::default() }.parse().unwrap();
    let with = |mapping: &[(&str, &str)], default: &str| {
        let network_mapping = mapping.iter().map(|(from, to)| ((*from).into(), (*to).into())).collect();
        let plan =
            plan(&ovf, &PlanParams { network_mapping, default_network: default.into(), ..PlanParams::default() });
        let networks: Vec<String> = plan.systems[0].nics.iter().map(|nic| nic.network.clone()).collect();
        (networks.join(","), said(&plan.warnings))
    };
    assert_eq!(with(&[], ""), ("a,b,b,".into(), vec![]));
    assert_eq!(with(&[("a", "LAN"), ("b", "WAN")], ""), ("LAN,WAN,WAN,".into(), vec![]));
    let (networks, warnings) = with(&[("a", "LAN"), ("c", "x")], "VM Network");
    assert_eq!(networks, "LAN,VM Network,VM Network,VM Network");
    assert_eq!(
        warnings,
        [
            "the network mapping names \"c\", which is no network of the OVF; they are: \"a\", \"b\"",
            "network \"b\" is not mapped; \"VM Network\" is taken",
            "network \"\" is not mapped; \"VM Network\" is taken",
        ]
    );
}

#[test]
fn values_of_properties_are_checked() {
    let ovf = Ovf::parse(CLOUD).unwrap();
    let with = |key: &str, value: &str| {
        let property_mapping = vec![(key.into(), value.into())];
        let plan = plan(&ovf, &PlanParams { property_mapping, ..PlanParams::default() });
        let found = plan.systems[0].properties.iter().find(|it| it.key == key).map(|it| it.value.clone());
        (found.unwrap_or_default(), said(&plan.errors), said(&plan.warnings[..plan.warnings.len() - 1]))
    };
    assert_eq!(with("hostname", "web01"), ("web01".into(), vec![], vec![]));
    assert_eq!(
        with("hostname", "").1,
        ["property \"hostname\": the value \"\" is not valid; at least 1 characters are expected"]
    );
    assert_eq!(with("port", "65536").1.len(), 1);
    assert_eq!(
        with("size", "medium").1,
        ["property \"size\": the value \"medium\" is not valid; one of \"small\", \"large\" is expected"]
    );
    let secret = with("password", "hunter2").1;
    assert_eq!(
        secret,
        ["property \"password\": the value \"(secret)\" is not valid; at least 8 characters are expected"]
    );
    assert_eq!(with("release", "noble").1, [""; 0], "a default is no choice");
    assert_eq!(with("release", "jammy").1, ["property \"release\" is not user configurable"]);
    let unknown =
        plan(&ovf, &PlanParams { property_mapping: vec![("x.y".into(), "1".into())], ..PlanParams::default() });
    assert!(
        said(&unknown.warnings)
            .contains(&"the property mapping names \"x.y\", which is no property of the OVF, and is ignored".into())
    );
}

#[test]
fn provisioning_is_understood_or_said_not_to_be() {
    let ovf = Parts::default().parse().unwrap();
    let table = [
        ("", Provisioning::Unstated, 0),
        ("thin", Provisioning::Thin, 0),
        ("monolithicSparse", Provisioning::Thin, 0),
        ("thick", Provisioning::Thick, 0),
        ("flat", Provisioning::Thick, 0),
        ("eagerZeroedThick", Provisioning::EagerZeroed, 0),
        ("fluffy", Provisioning::Unstated, 1),
    ];
    for (word, expected, warnings) in table {
        let plan = plan(&ovf, &PlanParams { disk_provisioning: word.into(), ..PlanParams::default() });
        assert_eq!((plan.provisioning, plan.warnings.len()), (expected, warnings), "{word}");
    }
}

#[test]
fn formats_and_capacities_of_disks_are_checked() {
    let disk = |attributes: &str| {
        let disks = format!("<Disk ovf:diskId='d1' ovf:fileRef='f1' {attributes}/>");
        let plan = Parts { disks, ..Parts::default() }.plan();
        (said(&plan.warnings), said(&plan.errors))
    };
    let none = Vec::<String>::new;
    let vmdk = "http://www.vmware.com/interfaces/specifications/vmdk.html";
    assert_eq!(disk(&format!("ovf:capacity='512' ovf:format='{vmdk}#streamOptimized'")), (none(), none()));
    for format in ["", "#sparse", "#monolithicSparse"] {
        let (warnings, errors) = disk(&format!("ovf:capacity='512' ovf:format='{vmdk}{format}'"));
        assert_eq!((warnings.len(), errors.len()), (1, 0), "{format}");
    }
    assert_eq!(
        disk("ovf:capacity='512' ovf:format='http://www.gnome.org/~markmc/qcow-image-format.html'").1,
        [
            "Disk \"d1\": the format \"http://www.gnome.org/~markmc/qcow-image-format.html\" is not supported; a streamOptimized VMDK is expected"
        ]
    );
    let most = 62_u64 << 40;
    assert_eq!(disk(&format!("ovf:capacity='{most}'")).1, none());
    assert_eq!(disk("ovf:capacity='0'").1, [format!("Disk \"d1\": its capacity is 0 bytes; 1 to {most} are expected")]);
    assert_eq!(disk(&format!("ovf:capacity='{}'", most + 1)).1.len(), 1);
}

#[test]
fn files_and_disks_that_nobody_uses_are_reported() {
    let files =
        "<File ovf:id='x' ovf:href='x.txt'/><File ovf:id='f1' ovf:href='a.vmdk'/><File ovf:id='f2' ovf:href='b.vmdk'/>";
    let disks = "<Disk ovf:diskId='d1' ovf:fileRef='f1' ovf:capacity='512'/><Disk ovf:diskId='d2' ovf:fileRef='f2' ovf:capacity='512'/>";
    let plan = Parts { files: files.into(), disks: disks.into(), ..Parts::default() }.plan();
    assert_eq!(
        said(&plan.warnings),
        [
            "File \"x\" (\"x.txt\") is used by nothing and is not transferred",
            "Disk \"d2\" is used by no machine and is not made",
        ]
    );
    assert_eq!(plan.files.len(), 1);
}

#[test]
fn a_disk_used_twice_is_transferred_twice() {
    let items = [CPU, MEMORY, SCSI, DISK, &disk_at("5", "3", "1")].concat();
    let plan = Parts { items, ..Parts::default() }.plan();
    let uses: Vec<FileUse> = plan.files.iter().map(|file| file.usage).collect();
    assert_eq!(uses, [FileUse::Disk { system: 0, disk: 0 }, FileUse::Disk { system: 0, disk: 1 }]);
    assert_eq!(plan.systems[0].disks.iter().map(|disk| disk.file).collect::<Vec<_>>(), [Some(0), Some(1)]);
}

#[test]
fn more_disks_than_a_lease_takes_are_an_error() {
    let scsi = (0..4).map(|n| item(&format!("c{n}"), 6, &[("ResourceSubType", "VirtualSCSI")]));
    let sata = [item("c4", 20, &[("ResourceSubType", "AHCI")])];
    let disks = (0..258).map(|n| {
        let parent = format!("c{}", n / 64);
        item(&format!("d{n}"), 17, &[("HostResource", "ovf:/disk/d1"), ("Parent", &parent)])
    });
    let items: Vec<String> =
        [CPU.to_owned(), MEMORY.to_owned()].into_iter().chain(scsi).chain(sata).chain(disks).collect();
    let plan = Parts { items: items.concat(), ..Parts::default() }.plan();
    assert_eq!(said(&plan.errors), ["VirtualSystem \"vm\": more than 256 disks"]);
    assert_eq!((plan.systems[0].disks.len(), plan.files.len()), (256, 256));
}

#[test]
fn sizes_beyond_a_signed_number_are_an_error() {
    let size = i64::MAX;
    let files =
        format!("<File ovf:id='f1' ovf:href='a' ovf:size='{size}'/><File ovf:id='f2' ovf:href='b' ovf:size='{size}'/>");
    let disks = "<Disk ovf:diskId='d1' ovf:fileRef='f1' ovf:capacity='512'/><Disk ovf:diskId='d2' ovf:fileRef='f2' ovf:capacity='512'/>";
    let second = item("5", 17, &[("HostResource", "ovf:/disk/d2"), ("Parent", "3")]);
    let plan =
        Parts { files, disks: disks.into(), items: [CPU, MEMORY, SCSI, DISK, &second].concat(), ..Parts::default() }
            .plan();
    assert_eq!(said(&plan.errors), ["the files together have more than 2^63 - 1 bytes"]);
}

#[test]
fn guests_come_from_vmwares_word_or_cims_number() {
    let of = |section: &str| {
        let plan = Parts { system: section.into(), ..Parts::default() }.plan();
        (plan.systems[0].guest_id.clone(), said(&plan.warnings))
    };
    assert_eq!(of("<OperatingSystemSection ovf:id='1' vmw:osType='*other3xLinux64Guest'/>").0, "other3xLinux64Guest");
    assert_eq!(of("<OperatingSystemSection ovf:id='94'/>"), ("ubuntu64Guest".into(), vec![]));
    assert_eq!(of("<OperatingSystemSection ovf:id='94' vmw:osType='a b'/>").0, "ubuntu64Guest");
    assert_eq!(
        of("<OperatingSystemSection ovf:id='999'/>"),
        (
            "otherGuest64".into(),
            vec!["VirtualSystem \"vm\": the operating system is number 999; otherGuest64 is assumed".into()]
        )
    );
    assert_eq!(of("").1, ["VirtualSystem \"vm\": the operating system is not stated; otherGuest64 is assumed"]);
}

#[test]
fn hardware_and_collections_must_not_be_empty() {
    let head = format!("<Envelope xmlns='{OVF_1}' xmlns:ovf='{OVF_1}'>");
    let plan = planned(&format!("{head}<VirtualSystem ovf:id='vm'><Info/></VirtualSystem></Envelope>"));
    assert_eq!(said(&plan.errors), ["VirtualSystem \"vm\" has no VirtualHardwareSection"]);
    let plan =
        planned(&format!("{head}<VirtualSystemCollection ovf:id='c'><Info/></VirtualSystemCollection></Envelope>"));
    assert_eq!(said(&plan.errors), ["VirtualSystemCollection \"c\" has no VirtualSystem in it"]);
}

#[test]
fn two_machines_do_not_share_a_disk_and_a_collection_in_a_collection_is_named() {
    let text = Parts::default().text();
    let (start, end) = (text.find("<VirtualSystem ").unwrap(), text.find("</Envelope>").unwrap());
    let (system, close) = (&text[start..end], "</VirtualSystemCollection>");
    let other = system.replace("ovf:id='vm'", "ovf:id='vm2'");
    let of = |content: &str| Ovf::parse(&format!("{}{content}</Envelope>", &text[..start])).unwrap();
    let flat = of(&format!("<VirtualSystemCollection ovf:id='c'><Info/>{system}{other}{close}"));
    let shared = plan(&flat, &PlanParams::default());
    let who = "Item 4 (\"Hard disk 1\") of VirtualSystem \"vm2\"";
    let expected =
        format!("{who}: Disk \"d1\" is a disk of VirtualSystem \"vm\" already; two machines cannot share one");
    assert_eq!((said(&shared.errors), shared.errors[0].vim_fault()), (vec![expected], "OvfUnsupportedElement"));
    assert_eq!(flat.nested_collection(), None);
    let inner = format!("<VirtualSystemCollection ovf:id='i'><Info/>{other}{close}");
    let nested = of(&format!("<VirtualSystemCollection ovf:id='c'><Info/>{system}{inner}{close}"));
    assert_eq!((nested.nested_collection(), of(system).nested_collection()), (Some("i"), None));
}

#[test]
fn items_of_unknown_configurations_are_errors() {
    let items = [CPU, MEMORY, SCSI, DISK].concat().replacen("<Item>", "<Item ovf:configuration='huge'>", 1);
    let plan = Parts { items, ..Parts::default() }.plan();
    assert_eq!(
        said(&plan.errors),
        [
            "Item 1 of VirtualSystem \"vm\": ovf:configuration names \"huge\", but the document has no such Configuration"
        ]
    );
}
