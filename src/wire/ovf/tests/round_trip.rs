//! What is written reads back to the same machines; and nothing read makes the reader panic.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;

/// A text as people write it, not with spaces around it, which readers cut off.
fn words() -> impl Strategy<Value = String> {
    "[A-Za-z0-9&<>'\"é_.-]([ A-Za-z0-9&<>'\"é_.-]{0,18}[A-Za-z0-9&<>'\"é_.-])?"
}

fn controllers() -> impl Strategy<Value = Vec<Controller>> {
    let places = btree_map((0_u8..4, 0_u32..4), prop::sample::select(ControllerKind::ALL.to_vec()), 1..6);
    places.prop_map(|places| {
        let mut controllers: Vec<Controller> = Vec::new();
        for ((_, bus), kind) in places {
            let bus = bus % kind.family().buses();
            if !controllers.iter().any(|other| other.kind.family() == kind.family() && other.bus == bus) {
                controllers.push(Controller { kind, bus });
            }
        }
        controllers
    })
}

fn property() -> impl Strategy<Value = Property> {
    (words(), "[ a-z\t\n\r<&\"']{0,20}", any::<bool>(), words(), words()).prop_map(
        |(key, value, user_configurable, label, description)| {
            let kind = PropertyType::String;
            Property { key, kind, qualifiers: "MaxLen(65535)".into(), value, user_configurable, label, description }
        },
    )
}

/// A machine with what it hangs its devices on; ids, disks and files are given when machines come together.
fn machine() -> impl Strategy<Value = Machine> {
    let numbers = (1_u32..=768, 1_u64..1 << 24, 4_u32..22, any::<bool>(), any::<bool>());
    let guest = prop::sample::select(vec!["otherGuest", "debian11_64Guest", "windows9_64Guest", "other5xLinux64Guest"]);
    let nic = (words(), prop::sample::select(NicKind::ALL.to_vec()), option::of(words()));
    let nics =
        vec(nic.prop_map(|(label, kind, network)| Nic { label, kind, network: network.unwrap_or_default() }), 0..4);
    let units = btree_set(0_usize..400, 0..12);
    let disk = (words(), 1_u64..=62 << 31, option::of(0_u64..1 << 40));
    let texts = (words(), option::of("[a-z\n&<\"]{0,40}[a-z]"), words());
    let lists = (vec(property(), 0..4), vec(("[a-z.]{1,10}", words()), 0..3), 0_usize..3);
    (numbers, guest, nics, controllers(), units, vec(disk, 12), texts, lists).prop_map(
        |((cpus, memory_mib, vmx, efi, with_cores), guest, nics, controllers, units, disks, texts, lists)| {
            let (name, annotation, label) = texts;
            let (mut properties, extra_config, floppies) = lists;
            properties.sort_by(|one, other| one.key.cmp(&other.key));
            properties.dedup_by(|one, other| one.key == other.key);
            let all = controllers.iter().flat_map(|controller| (0..65).map(|unit| (*controller, unit)));
            let all: Vec<_> = all.filter(|(controller, unit)| controller.kind.has_unit(*unit)).collect();
            let places: Vec<_> = units.into_iter().filter_map(|index| all.get(index).copied()).collect();
            let (disk_places, cdrom_places) = places.split_at(places.len() / 3 * 2);
            let new_disk =
                |((controller, unit), (label, sectors, populated_bytes)): (&(Controller, u32), (String, u64, _))| {
                    Disk {
                        id: String::new(),
                        label,
                        capacity_bytes: sectors * 512,
                        populated_bytes,
                        file: None,
                        controller: *controller,
                        unit: *unit,
                    }
                };
            let cores = (1..=cpus).rev().find(|cores| cpus.is_multiple_of(*cores) && *cores <= 8);
            let label = label.as_str();
            Machine {
                id: String::new(),
                name,
                guest_id: guest.to_owned(),
                cpus,
                cores_per_socket: cores.filter(|_| with_cores),
                memory_mib,
                hardware_version: format!("vmx-{vmx:02}"),
                firmware: if efi { Firmware::Efi } else { Firmware::Bios },
                annotation: annotation.unwrap_or_default().trim().to_owned(),
                disks: disk_places.iter().zip(disks).map(new_disk).collect(),
                cdroms: cdrom_places
                    .iter()
                    .map(|(controller, unit)| Cdrom {
                        label: label.to_owned(),
                        file: None,
                        controller: *controller,
                        unit: *unit,
                    })
                    .collect(),
                floppies: (0..floppies)
                    .map(|unit| Floppy { label: label.to_owned(), file: None, unit: unit as u32 })
                    .collect(),
                controllers,
                nics,
                nvram: None,
                properties,
                extra_config,
                start_order: 0,
            }
        },
    )
}

/// Machines with ids, names and files of their own, and the files.
fn description() -> impl Strategy<Value = Description> {
    let machines = vec((machine(), any::<[bool; 4]>(), any::<u16>()), 1..4);
    let texts = (words(), option::of(words()));
    (machines, any::<bool>(), texts, vec(option::of(0_u64..1 << 50), 100)).prop_map(
        |(machines, is_vapp, (name, annotation), sizes)| {
            let is_vapp = is_vapp || machines.len() > 1;
            let mut files = Vec::new();
            let mut sizes = sizes.into_iter();
            let mut file = |with: bool| {
                let href = format!("{name} {}.vmdk", files.len()).replace(['/', '\\', ':', '%'], "_");
                with.then(|| files.push(DescribedFile { href, size_bytes: sizes.next().flatten() }))?;
                Some(files.len() - 1)
            };
            let mut systems = Vec::new();
            let mut disks = 0;
            for (index, (mut machine, with, start_order)) in machines.into_iter().enumerate() {
                machine.id = format!("vm {index}");
                machine.name = format!("{} {index}", machine.name);
                machine.start_order = if is_vapp { start_order } else { 0 };
                for disk in &mut machine.disks {
                    disks += 1;
                    disk.id = format!("vmdisk{disks}");
                    disk.file = file(with[0]);
                }
                machine.cdroms.iter_mut().for_each(|cdrom| cdrom.file = file(with[1]));
                machine.floppies.iter_mut().for_each(|floppy| floppy.file = file(with[2]));
                machine.nvram = file(with[3]);
                systems.push(machine);
            }
            let name = if is_vapp { name } else { systems[0].name.clone() };
            let annotation = annotation.filter(|_| is_vapp).unwrap_or_default();
            Description { name, annotation, is_vapp, systems, files }
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_reads_back_the_same(description in description()) {
        let text = write(&description);
        let ovf = Ovf::parse(&text).unwrap();
        let plan = plan(&ovf, &PlanParams::default());
        prop_assert_eq!(said(&plan.errors), Vec::<String>::new(), "{}", text);
        prop_assert_eq!(said(&plan.warnings), Vec::<String>::new(), "{}", text);
        prop_assert_eq!(&plan.systems, &description.systems, "{}", text);
        prop_assert_eq!((&plan.name, plan.is_vapp), (&description.name, description.is_vapp));
        prop_assert!(!plan.is_vapp || plan.annotation == description.annotation, "{}", text);
        let files: Vec<_> = plan.files.iter().map(|file| (file.path.clone(), file.size_bytes)).collect();
        let expected: Vec<_> = description.files.iter().map(|file| (file.href.clone(), file.size_bytes)).collect();
        prop_assert_eq!(files, expected);
        prop_assert_eq!(write(&description), text);
    }

    #[test]
    fn no_damage_to_a_document_makes_the_reader_panic(
        sample in prop::sample::select(SAMPLES.to_vec()),
        at in any::<prop::sample::Index>(),
        length in 0_usize..40,
        put in prop::sample::select(vec!["", "<", "'", "0", "99999999999999999999", "-1", "ovf:/disk/", "&#x1;", "</Item>", "é", "true"]),
    ) {
        let start = (0..=at.index(sample.len())).rev().find(|at| sample.is_char_boundary(*at)).unwrap();
        let end = (start + length.min(sample.len() - start)..).find(|at| sample.is_char_boundary(*at)).unwrap();
        let damaged = format!("{}{put}{}", &sample[..start], &sample[end..]);
        if let Ok(ovf) = Ovf::parse(&damaged) {
            let plan = plan(&ovf, &PlanParams::default());
            said(&plan.errors);
            said(&plan.warnings);
            let files = plan.files.iter().map(|file| DescribedFile { href: file.path.clone(), size_bytes: file.size_bytes });
            let description =
                Description { name: plan.name, annotation: plan.annotation, is_vapp: plan.is_vapp, files: files.collect(), systems: plan.systems };
            // A file that two disks begin with would have to be there twice.
            let _ = Ovf::parse(&write(&description));
        }
    }

    #[test]
    fn no_values_and_qualifiers_make_the_reader_panic(qualifiers in "[ -~é]{0,40}", value in "[ -~é]{0,10}", kind in "[a-z0-9]{0,8}") {
        let mut escaped = crate::wire::xml::Writer::new();
        escaped.empty("Property", &[("ovf:key", "k"), ("ovf:type", &kind), ("ovf:qualifiers", &qualifiers), ("ovf:value", &value)]);
        let property = escaped.finish().lines().nth(1).unwrap().to_owned();
        let parts = Parts { system: format!("<ProductSection>{property}</ProductSection>"), ..Parts::default() };
        prop_assert_eq!(&parts.plan().systems[0].properties[0].value, &value);
    }
}

#[test]
fn samples_survive_being_written_and_read() {
    for sample in SAMPLES {
        let plan = planned(sample);
        let files =
            plan.files.iter().map(|file| DescribedFile { href: file.path.clone(), size_bytes: file.size_bytes });
        let (files, mut expected) = (files.collect(), plan.systems.clone());
        let (name, annotation) = (plan.name.clone(), plan.annotation.clone());
        let description = Description { name, annotation, is_vapp: plan.is_vapp, files, systems: plan.systems };
        let again = planned(&write(&description));
        assert_eq!(said(&again.errors), [""; 0]);
        let numbers = (1..).map(|number| format!("vmdisk{number}"));
        expected.iter_mut().flat_map(|system| &mut system.disks).zip(numbers).for_each(|(disk, id)| disk.id = id);
        assert_eq!(again.systems, expected);
        assert_eq!((again.name, again.annotation), (plan.name, plan.annotation));
    }
}

#[test]
fn a_description_with_holes_is_written_all_the_same() {
    let mut machine = planned(TALOS).systems.remove(0);
    (machine.id, machine.name) = (String::new(), " ".into());
    machine.controllers.clear();
    machine.disks[0].file = Some(17);
    let description = Description { systems: vec![machine.clone(), machine], ..Description::default() };
    let plan = planned(&write(&description));
    assert_eq!(said(&plan.errors), [""; 0]);
    assert_eq!(plan.systems.iter().map(|system| system.id.as_str()).collect::<Vec<_>>(), ["vm", "vm-2"]);
    assert_eq!((plan.name.as_str(), plan.systems[1].disks[0].file), ("vapp", None));
    let nothing = write(&Description::default());
    assert_eq!(said(&planned(&nothing).errors), ["VirtualSystemCollection \"vapp\" has no VirtualSystem in it"]);
}

#[test]
fn the_form_is_vspheres() {
    let text = write(&Description {
        name: "web".into(),
        annotation: String::new(),
        is_vapp: false,
        systems: vec![Machine { name: "web".into(), id: "web".into(), ..planned(TALOS).systems.remove(0) }],
        files: vec![DescribedFile { href: "web-disk1.vmdk".into(), size_bytes: Some(1 << 20) }],
    });
    let lines = [
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>",
        "<Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\" ",
        "  <References>\n    <File ovf:href=\"web-disk1.vmdk\" ovf:id=\"file1\" ovf:size=\"1048576\"/>\n  </References>\n",
        "<Disk ovf:capacity=\"8\" ovf:capacityAllocationUnits=\"byte * 2^30\" ovf:diskId=\"vmdisk1\" ovf:fileRef=\"file1\" \
         ovf:format=\"http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized\" ovf:populatedSize=\"0\"/>",
        "<Network ovf:name=\"VM Network\">\n      <Description>The VM Network network</Description>",
        "  <VirtualSystem ovf:id=\"web\">\n    <Info>A virtual machine</Info>\n    <Name>web</Name>\n",
        "<OperatingSystemSection ovf:id=\"101\" vmw:osType=\"other5xLinux64Guest\">",
        "<vssd:VirtualSystemType>vmx-15</vssd:VirtualSystemType>",
        "        <rasd:AddressOnParent>0</rasd:AddressOnParent>\n        <rasd:ElementName>disk0</rasd:ElementName>\n        \
         <rasd:HostResource>ovf:/disk/vmdisk1</rasd:HostResource>\n        <rasd:InstanceID>4</rasd:InstanceID>\n        \
         <rasd:Parent>3</rasd:Parent>\n        <rasd:ResourceType>17</rasd:ResourceType>\n      </Item>\n",
        "<vmw:Config ovf:required=\"false\" vmw:key=\"firmware\" vmw:value=\"efi\"/>",
        "</Envelope>\n",
    ];
    let mut rest = text.as_str();
    for line in lines {
        let at = rest.find(line).unwrap_or_else(|| panic!("{line}\nis not (in this order) in\n{text}"));
        rest = &rest[at + line.len()..];
    }
}
