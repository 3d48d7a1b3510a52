//! Documents as real tools write them.

use super::*;
use ControllerKind::{BusLogic, Ide, LsiLogic, LsiLogicSas, Nvme, ParaVirtual, Sata};

fn at(kind: ControllerKind, bus: u32) -> Controller {
    Controller { kind, bus }
}

#[test]
fn an_export_of_vsphere_is_read() {
    let plan = planned(VSPHERE);
    assert_eq!(plan.errors, []);
    assert_eq!(
        said(&plan.warnings),
        [
            "Item 6 (\"USB Controller\") of VirtualSystem \"db01\": a USB controller (vmware.usb.xhci) is not supported and left out",
        ]
    );
    assert_eq!((plan.name.as_str(), plan.is_vapp, plan.systems.len()), ("db01", false, 1));
    let machine = &plan.systems[0];
    assert_eq!((machine.id.as_str(), machine.name.as_str()), ("db01", "db01"));
    assert_eq!((machine.guest_id.as_str(), machine.hardware_version.as_str()), ("rhel8_64Guest", "vmx-19"));
    assert_eq!((machine.cpus, machine.cores_per_socket, machine.memory_mib), (4, Some(2), 16_384));
    assert_eq!(
        (machine.firmware, machine.annotation.as_str()),
        (Firmware::Efi, "Primary database.\nAsk Ada before stopping it.")
    );
    assert_eq!(machine.controllers, [at(ParaVirtual, 0), at(LsiLogicSas, 1), at(Sata, 0)]);
    assert_eq!(
        machine.disks,
        [
            Disk {
                id: "vmdisk1".into(),
                label: "Hard disk 1".into(),
                capacity_bytes: 40 << 30,
                populated_bytes: Some(2 << 30),
                file: Some(0),
                controller: at(ParaVirtual, 0),
                unit: 0
            },
            Disk {
                id: "vmdisk2".into(),
                label: "Hard disk 2".into(),
                capacity_bytes: 100 << 30,
                populated_bytes: Some(0),
                file: Some(1),
                controller: at(LsiLogicSas, 1),
                unit: 15
            },
        ]
    );
    assert_eq!(
        machine.cdroms,
        [Cdrom { label: "CD/DVD drive 1".into(), file: None, controller: at(Sata, 0), unit: 0 }]
    );
    assert_eq!(machine.floppies, [Floppy { label: "Floppy drive 1".into(), file: None, unit: 0 }]);
    let nic = |label: &str, kind, network: &str| Nic { label: label.into(), kind, network: network.into() };
    assert_eq!(
        machine.nics,
        [
            nic("Network adapter 1", NicKind::Vmxnet3, "VM Network"),
            nic("Network adapter 2", NicKind::E1000e, "DPG-Backup & Storage"),
        ]
    );
    assert_eq!(machine.extra_config, [("svga.autodetect".to_owned(), "TRUE".to_owned())]);
    let file = |id: &str, path: &str, size, cim_type, create, usage| PlannedFile {
        id: id.into(),
        path: path.into(),
        size_bytes: Some(size),
        cim_type,
        create,
        usage,
    };
    assert_eq!(
        plan.files,
        [
            file("file1", "db01-1.vmdk", 1_073_807_360, 17, false, FileUse::Disk { system: 0, disk: 0 }),
            file("file2", "db01-2.vmdk", 70_144, 17, false, FileUse::Disk { system: 0, disk: 1 }),
            file("file3", "db01-3.nvram", 270_840, 1, true, FileUse::Nvram { system: 0 }),
        ]
    );
    assert_eq!(machine.nvram, Some(2));
    assert_eq!(plan.total_bytes, 1_073_807_360 + 70_144 + 270_840);
    assert_eq!((plan.capacity_bytes(), plan.populated_bytes()), (140 << 30, 2 << 30));
}

#[test]
fn an_export_of_workstation_is_read() {
    let plan = planned(WORKSTATION);
    assert_eq!(plan.errors, []);
    let left_out = "is not supported and left out";
    assert_eq!(
        said(&plan.warnings),
        [
            format!("Item 5 (\"usb\") of VirtualSystem \"vm\": a USB controller (vmware.usb.ehci) {left_out}"),
            format!(
                "Item 9 (\"sound\") of VirtualSystem \"vm\": a device without a type (vmware.soundcard.hdaudio) {left_out}"
            ),
            format!(
                "Item 11 (\"serial0\") of VirtualSystem \"vm\": a serial port (vmware.serialport.device) {left_out}"
            ),
        ]
    );
    let machine = &plan.systems[0];
    assert_eq!((machine.name.as_str(), machine.guest_id.as_str()), ("Windows 10", "windows9_64Guest"));
    assert_eq!(machine.hardware_version, "vmx-16");
    assert_eq!(machine.controllers, [at(Sata, 0), at(Nvme, 0)]);
    assert_eq!((machine.disks[0].controller, machine.disks[0].unit), (at(Nvme, 0), 0));
    assert_eq!(
        (machine.cdroms[0].controller, machine.cdroms[0].unit, machine.cdroms[0].file),
        (at(Sata, 0), 1, Some(1))
    );
    assert_eq!(plan.files[1].path, "Windows 10-file1.iso");
    assert_eq!((plan.files[1].cim_type, plan.files[1].create), (15, true));
}

#[test]
fn exports_of_virtualbox_are_read() {
    let plan = planned(VIRTUALBOX);
    assert_eq!(plan.errors, []);
    let of_vm = "of VirtualSystem \"bullseye\"";
    assert_eq!(
        said(&plan.warnings),
        [
            "VirtualSystem \"bullseye\": the section Machine (of \"http://www.virtualbox.org/ovf/machine\") is ignored".to_owned(),
            "VirtualSystem \"bullseye\": the hardware family is \"virtualbox-2.2\", none of VMware's; vmx-13 is assumed".to_owned(),
            format!("Item 10 (\"Ethernet adapter on 'NAT'\") {of_vm}: the type \"virtio\" is unknown; E1000 is taken"),
            format!("Item 6 (\"usb\") {of_vm}: a USB controller is not supported and left out"),
            format!("Item 7 (\"sound\") {of_vm}: a sound card (ensoniq1371) is not supported and left out"),
        ]
    );
    let machine = &plan.systems[0];
    assert_eq!((machine.guest_id.as_str(), machine.cpus, machine.memory_mib), ("debian10_64Guest", 2, 2048));
    assert_eq!(machine.controllers, [at(Ide, 0), at(Ide, 1), at(Sata, 0)]);
    assert_eq!((machine.disks[0].label.as_str(), machine.disks[0].capacity_bytes), ("disk1", 20 << 30));
    assert_eq!((machine.cdroms[0].controller, machine.cdroms[0].file), (at(Ide, 1), Some(1)));
    assert_eq!((plan.files[0].size_bytes, plan.total_bytes), (None, 0));
    assert_eq!(plan.product.unwrap().vendor, "Example");

    let ovf = Ovf::parse(VIRTUALBOX_2).unwrap();
    assert_eq!(ovf.version, Version::V2);
    let plan = super::plan(&ovf, &PlanParams::default());
    assert_eq!(plan.errors, []);
    let machine = &plan.systems[0];
    assert_eq!((machine.disks[0].controller, machine.disks[0].unit), (at(LsiLogicSas, 0), 2));
    assert_eq!((machine.nics[0].kind, machine.nics[0].network.as_str()), (NicKind::PcNet32, "Bridged"));
    assert_eq!((machine.memory_mib, machine.guest_id.as_str()), (512, "otherLinux64Guest"));
}

#[test]
fn cloud_images_and_their_properties_are_read() {
    let ovf = Ovf::parse(CLOUD).unwrap();
    assert_eq!(ovf.version, Version::V1_1);
    let plan = super::plan(&ovf, &PlanParams::default());
    assert_eq!(plan.errors, []);
    assert_eq!(
        said(&plan.warnings),
        [
            "Item 6 (\"Serial port 1\") of VirtualSystem \"server-cloudimg\": a serial port is not supported and left out"
        ]
    );
    let machine = &plan.systems[0];
    assert_eq!((plan.name.as_str(), machine.guest_id.as_str()), ("server-cloudimg", "ubuntu64Guest"));
    let values: Vec<(&str, &str)> = machine.properties.iter().map(|it| (it.key.as_str(), it.value.as_str())).collect();
    assert_eq!(
        values,
        [
            ("instance-id", "id-ovf"),
            ("hostname", "host"),
            ("seedfrom", ""),
            ("public-keys", ""),
            ("user-data", ""),
            ("password", ""),
            ("size", "small"),
            ("release", "noble"),
            ("port", "22"),
        ]
    );
    assert_eq!(plan.files.len(), 1, "an icon is not transferred");
    assert_eq!(plan.product.unwrap().full_version, "24.04 20240601");

    let plan = planned(TALOS);
    assert_eq!((plan.errors.len(), plan.warnings.len()), (0, 0));
    assert_eq!((plan.name.as_str(), plan.systems[0].id.as_str()), ("talos", "vm"));
    assert_eq!(plan.systems[0].disks[0].capacity_bytes, 8 << 30);
}

#[test]
fn a_vapp_is_several_machines() {
    let ovf = Ovf::parse(VAPP).unwrap();
    let plan = super::plan(&ovf, &PlanParams { locale: "de_AT".into(), ..PlanParams::default() });
    assert_eq!(plan.errors, []);
    assert_eq!(said(&plan.warnings), ["the texts in \"fr-FR\" are in another file and are not read"]);
    assert_eq!((plan.name.as_str(), plan.is_vapp), ("The Shop", true));
    assert_eq!((plan.annotation.as_str(), plan.licenses.as_slice()), ("Verkauft Dinge", &["Sei nett.".to_owned()][..]));
    assert_eq!(plan.deployment_option.as_deref(), Some("large"));
    let labels: Vec<&str> = plan.options.iter().map(|option| option.label.as_str()).collect();
    assert_eq!(labels, ["Klein", "Large"]);
    assert_eq!(plan.networks[0].description, "Woher die Leute kommen");
    assert_eq!(
        (plan.properties[0].key.as_str(), plan.properties[0].value.as_str()),
        ("com.example.shop.workers.1", "16")
    );

    let [web, db] = plan.systems.as_slice() else { panic!("{} machines", plan.systems.len()) };
    assert_eq!((web.id.as_str(), web.name.as_str(), web.cpus, web.start_order), ("web", "web", 8, 2));
    assert_eq!((db.id.as_str(), db.name.as_str(), db.cpus), ("db", "db", 2), "names within a vApp differ");
    assert_eq!((web.disks[0].controller, web.disks[0].capacity_bytes), (at(BusLogic, 0), 4 << 30));
    assert_eq!(web.nics.iter().map(|nic| nic.kind).collect::<Vec<_>>(), [NicKind::PcNet32, NicKind::E1000]);
    let places: Vec<_> =
        db.disks.iter().map(|disk| (disk.controller, disk.unit, disk.capacity_bytes, disk.file)).collect();
    let whole_sectors = 1_000_448;
    assert_eq!(places, [(at(LsiLogic, 0), 0, 8 << 30, Some(1)), (at(LsiLogic, 0), 1, whole_sectors, None)]);
    assert_eq!(plan.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["web.vmdk", "db.vmdk"]);
    assert_eq!(plan.total_bytes, 3000);
}

#[test]
fn a_configuration_chooses_items_and_values() {
    let ovf = Ovf::parse(VAPP).unwrap();
    let chosen = |option: &str| plan(&ovf, &PlanParams { deployment_option: option.into(), ..PlanParams::default() });
    let small = chosen("small");
    assert_eq!((small.systems[0].cpus, small.properties[0].value.as_str()), (1, "2"));
    assert_eq!(small.options[0].label, "Small");
    let unknown = chosen("huge");
    assert_eq!(said(&unknown.errors), ["the deployment option is \"huge\"; \"small\", \"large\" are expected"]);
    assert_eq!(unknown.systems[0].cpus, 8);
}
