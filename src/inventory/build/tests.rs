//! Machines from what was asked for, and changed ones.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::inventory::{NewCdrom, Slot};
use crate::lease::{Form, Target};

fn target(path: &str) -> Target {
    Target { datastore: "default".into(), path: path.into(), form: Form::Raw }
}

fn disk(path: &str, controller: ControllerKind, slot: Option<Slot>) -> NewDisk {
    NewDisk { target: target(path), capacity_bytes: 1 << 20, controller, slot }
}

fn make(new: &NewMachine) -> Result<Machine, Fault> {
    machine(new, MachineId::of(1), Origin::Imported, 7, None, &mut |bytes| {
        bytes.fill(0xff);
        Ok(())
    })
}

#[test]
fn devices_have_keys_labels_and_places() {
    let slot = Some(Slot { bus: 0, unit: 0 });
    let disks = vec![
        disk("a", ControllerKind::LsiLogic, None),
        disk("b", ControllerKind::LsiLogic, slot),
        disk("c", ControllerKind::Ide, None),
    ];
    let nics = vec![
        NewNic { kind: "VirtualVmxnet3".into(), network: "VM Network".into(), mac: None },
        NewNic { kind: "VirtualE1000".into(), network: "other".into(), mac: Some("00:50:56:00:AA:01".into()) },
    ];
    let cdroms = vec![NewCdrom { target: None, controller: ControllerKind::Ide, slot: None }];
    let machine = make(&NewMachine { disks, nics, cdroms, ..NewMachine::named("a%2Fb") }).unwrap();
    let disks: Vec<_> = machine.disks.iter().map(|disk| (disk.key, disk.label.as_str(), disk.unit)).collect();
    assert_eq!(disks, [(2001, "Hard disk 1", 1), (2000, "Hard disk 2", 0), (3000, "Hard disk 3", 0)]);
    let nics: Vec<_> = machine.nics.iter().map(|nic| (nic.key, nic.label.as_str(), nic.mac.as_str())).collect();
    let (first, second) =
        ((4000, "Network adapter 1", "00:50:56:bf:ff:ff"), (4001, "Network adapter 2", "00:50:56:00:aa:01"));
    assert_eq!(nics, [first, second]);
    assert_eq!((machine.cdroms[0].key, machine.cdroms[0].unit), (3001, 1));
    assert_eq!(machine.controllers().iter().map(|controller| controller.key).collect::<Vec<_>>(), [200, 1000]);
    assert_eq!((machine.name.as_str(), machine.uuid.as_str()), ("a%2fb", "ffffffff-ffff-4fff-bfff-ffffffffffff"));
    assert_eq!((machine.created_ms, machine.importing), (7, None));
}

#[test]
fn a_device_without_a_place_is_refused() {
    let cdrom = NewCdrom { target: None, controller: ControllerKind::LsiLogic, slot: None };
    let fault = make(&NewMachine { cdroms: vec![cdrom], ..NewMachine::named("a") }).unwrap_err();
    assert_eq!(fault.to_string(), "cdroms[0]: no CD drive hangs on lsilogic");
    let disks = (0..5).map(|index| disk(&index.to_string(), ControllerKind::Ide, None)).collect();
    let fault = make(&NewMachine { disks, ..NewMachine::named("a") }).unwrap_err();
    assert_eq!(fault.to_string(), "disks[4]: every place on ide controllers is taken");
}

#[test]
fn an_edit_changes_everything_or_nothing() {
    let disks = vec![disk("a", ControllerKind::Sata, None), disk("b", ControllerKind::Sata, None)];
    let before = make(&NewMachine { disks, ..NewMachine::named("a") }).unwrap();
    let edit = Edit {
        name: Some("b".into()),
        guest_id: Some("ubuntu64Guest".into()),
        cpus: Some(4),
        memory_mib: Some(4096),
        firmware: Some("efi".into()),
        annotation: Some("moved".into()),
        detach: vec![16_000],
        attach: vec![disk("c", ControllerKind::Sata, None)],
    };
    let after = edited(&before, &edit).unwrap();
    assert_eq!((after.name.as_str(), after.cpus, after.memory_mib, after.firmware.as_str()), ("b", 4, 4096, "efi"));
    let disks: Vec<_> = after.disks.iter().map(|disk| (disk.key, disk.label.as_str())).collect();
    assert_eq!(disks, [(16_001, "Hard disk 2"), (16_000, "Hard disk 3")]);
    assert_eq!((&after.id, &after.uuid), (&before.id, &before.uuid));
    assert_eq!(edited(&before, &Edit::default()).unwrap(), before);

    let bad = [
        Edit { name: Some("x/y".into()), ..edit.clone() },
        Edit { cpus: Some(0), ..edit.clone() },
        Edit { memory_mib: Some(1), ..edit.clone() },
        Edit { detach: vec![16_000, 16_000], ..edit.clone() },
        Edit { attach: vec![disk("c", ControllerKind::Sata, Some(Slot { bus: 0, unit: 1 }))], ..edit },
    ];
    for edit in bad {
        assert!(matches!(edited(&before, &edit), Err(Fault::InvalidArgument { .. })), "{edit:?}");
    }
}

proptest! {
    #[test]
    fn no_two_devices_share_a_key_or_a_place(
        kinds in proptest::collection::vec((0..7_usize, proptest::option::of((0..5_u32, 0..20_u32))), 0..40),
        cdroms in 0..3_usize,
    ) {
        let disks: Vec<NewDisk> = kinds
            .iter()
            .enumerate()
            .map(|(index, (kind, slot))| {
                let slot = slot.map(|(bus, unit)| Slot { bus, unit });
                disk(&index.to_string(), ControllerKind::ALL[*kind], slot)
            })
            .collect();
        let cdroms = vec![NewCdrom { target: None, controller: ControllerKind::Sata, slot: None }; cdroms];
        // What cannot be placed is refused as a whole, which is no harm.
        if let Ok(machine) = make(&NewMachine { disks: disks.clone(), cdroms, ..NewMachine::named("a") }) {
            let mut keys: Vec<i32> = machine.disks.iter().map(|disk| disk.key).collect();
            keys.extend(machine.cdroms.iter().map(|cdrom| cdrom.key));
            keys.extend(machine.controllers().iter().map(|controller| controller.key));
            prop_assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
            prop_assert!(keys.iter().all(|key| *key >= 200));
            for (wanted, got) in disks.iter().zip(&machine.disks) {
                prop_assert_eq!(&wanted.target, &got.target);
                prop_assert_eq!(wanted.controller, got.controller.kind);
                let slot = Slot { bus: got.controller.bus, unit: got.unit };
                prop_assert!(wanted.slot.is_none_or(|wanted| wanted == slot));
            }
        }
    }
}
