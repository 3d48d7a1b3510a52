//! Records of machines: from what is asked for to a machine whose devices have keys, labels, addresses and places.
//!
//! Pure but for the dice, which are handed in; used by [`super::roster`] and [`super::configured`].

use super::fields::{self, invalid};
use super::id::MachineId;
use super::machine::{Cdrom, ControllerKind, Edit, Machine, MachineDisk, NewDisk, NewMachine, NewNic, Nic, Origin};
use super::slots::Slots;
use crate::lease::Fault;
use crate::limits::DISKS_PER_LEASE;

/// Where random bytes come from: the system, or a test.
pub(super) type Dice<'a> = &'a mut dyn FnMut(&mut [u8]) -> Result<(), Fault>;

/// Checks whether there can be such a machine: every field, and a place for every device. `app` refuses a configuration by this.
///
/// # Errors
/// `InvalidArgument` naming the property, or `OutOfBounds`.
pub fn check_machine(new: &NewMachine) -> Result<(), Fault> {
    machine(new, MachineId::of(0), Origin::Configured, 0, None, &mut |_| Ok(())).map(drop)
}

/// Makes a machine. What one of the same name had before (`earlier`) it keeps: id, UUIDs, age, snapshots and the addresses of its
/// network adapters, as far as they go.
pub(super) fn machine(
    new: &NewMachine,
    id: MachineId,
    origin: Origin,
    now_ms: u64,
    earlier: Option<&Machine>,
    dice: Dice,
) -> Result<Machine, Fault> {
    fields::check_machine(new)?;
    let (uuid, instance_uuid, created_ms) = match earlier {
        Some(earlier) => (earlier.uuid.clone(), earlier.instance_uuid.clone(), earlier.created_ms),
        None => (random_uuid(dice)?, random_uuid(dice)?, now_ms),
    };
    let mut nics = Vec::new();
    for (index, nic) in new.nics.iter().enumerate() {
        let kept = earlier.and_then(|earlier| earlier.nics.get(index)).map(|nic| nic.mac.clone());
        nics.push(self::nic(index, nic, kept, dice)?);
    }
    let mut machine = Machine {
        id,
        name: fields::check_name(&new.name)?,
        guest_id: new.guest_id.clone(),
        cpus: new.cpus,
        memory_mib: new.memory_mib,
        firmware: new.firmware.clone(),
        hardware_version: new.hardware_version.clone(),
        annotation: new.annotation.clone(),
        uuid,
        instance_uuid,
        disks: Vec::new(),
        nics,
        cdroms: Vec::new(),
        origin,
        importing: None,
        created_ms,
        snapshots: earlier.map(|earlier| earlier.snapshots.clone()).unwrap_or_default(),
    };
    attach_disks(&mut machine, &new.disks)?;
    attach_cdroms(&mut machine, new)?;
    Ok(machine)
}

/// The machine with all changes made.
pub(super) fn edited(machine: &Machine, edit: &Edit) -> Result<Machine, Fault> {
    let mut machine = machine.clone();
    if let Some(name) = &edit.name {
        machine.name = fields::check_name(name)?;
    }
    if let Some(guest_id) = &edit.guest_id {
        fields::check_guest(guest_id)?;
        machine.guest_id.clone_from(guest_id);
    }
    if let Some(cpus) = edit.cpus {
        fields::check_cpus(cpus)?;
        machine.cpus = cpus;
    }
    if let Some(memory_mib) = edit.memory_mib {
        fields::check_memory(memory_mib)?;
        machine.memory_mib = memory_mib;
    }
    if let Some(firmware) = &edit.firmware {
        fields::check_firmware(firmware)?;
        machine.firmware.clone_from(firmware);
    }
    if let Some(annotation) = &edit.annotation {
        fields::check_annotation(annotation)?;
        machine.annotation.clone_from(annotation);
    }
    for key in &edit.detach {
        let devices = |machine: &Machine| machine.disks.len() + machine.nics.len() + machine.cdroms.len();
        let before = devices(&machine);
        machine.disks.retain(|disk| disk.key != *key);
        machine.nics.retain(|nic| nic.key != *key);
        machine.cdroms.retain(|cdrom| cdrom.key != *key);
        if devices(&machine) == before {
            return Err(invalid("detach", format!("no disk, network adapter or CD drive has the key {key}")));
        }
    }
    attach_disks(&mut machine, &edit.attach)?;
    Ok(machine)
}

/// Those with a place of their own first, so that no other takes it; keys and labels stay in order.
fn attach_disks(machine: &mut Machine, disks: &[NewDisk]) -> Result<(), Fault> {
    if machine.disks.len() + disks.len() > DISKS_PER_LEASE {
        return Err(Fault::OutOfBounds { argument_name: "disks".to_owned() });
    }
    let mut slots = Slots::new(machine.occupied(), fields::hardware_number(&machine.hardware_version)?);
    let mut places = vec![None; disks.len()];
    for fixed in [true, false] {
        for (index, disk) in disks.iter().enumerate().filter(|(_, disk)| disk.slot.is_some() == fixed) {
            let property = format!("disks[{index}]");
            fields::check_disk(&disk.target, disk.capacity_bytes, &property)?;
            places[index] = Some(slots.take(disk.controller, disk.slot, &property)?);
        }
    }
    for (disk, (controller, unit, key)) in disks.iter().zip(places.into_iter().flatten()) {
        let label = next_label("Hard disk", machine.disks.iter().map(|disk| disk.label.as_str()));
        let (target, capacity_bytes) = (disk.target.clone(), disk.capacity_bytes);
        machine.disks.push(MachineDisk { key, label, target, capacity_bytes, controller, unit });
    }
    Ok(())
}

fn attach_cdroms(machine: &mut Machine, new: &NewMachine) -> Result<(), Fault> {
    let mut slots = Slots::new(machine.occupied(), fields::hardware_number(&machine.hardware_version)?);
    for (index, cdrom) in new.cdroms.iter().enumerate() {
        let property = format!("cdroms[{index}]");
        if !matches!(cdrom.controller, ControllerKind::Ide | ControllerKind::Sata) {
            return Err(invalid(&property, format!("no CD drive hangs on {}", cdrom.controller.word())));
        }
        let (controller, unit, key) = slots.take(cdrom.controller, cdrom.slot, &property)?;
        let label = next_label("CD/DVD drive", machine.cdroms.iter().map(|cdrom| cdrom.label.as_str()));
        machine.cdroms.push(Cdrom { key, label, target: cdrom.target.clone(), controller, unit });
    }
    Ok(())
}

fn nic(index: usize, nic: &NewNic, kept_mac: Option<String>, dice: Dice) -> Result<Nic, Fault> {
    let mac = match nic.mac.as_ref().map(|mac| mac.to_ascii_lowercase()).or(kept_mac) {
        Some(mac) => mac,
        None => random_mac(dice)?,
    };
    // At most ten of them.
    let number = i32::try_from(index).unwrap_or(i32::MAX - FIRST_NIC_KEY);
    let label = format!("Network adapter {}", index + 1);
    Ok(Nic { key: FIRST_NIC_KEY + number, label, kind: nic.kind.clone(), network: nic.network.clone(), mac })
}

/// One more than the highest number, as vSphere counts.
fn next_label<'a>(what: &str, labels: impl Iterator<Item = &'a str>) -> String {
    let number = |label: &str| label.strip_prefix(what)?.trim_start().parse::<usize>().ok();
    format!("{what} {}", labels.filter_map(number).max().unwrap_or(0) + 1)
}

/// A UUID of version 4.
fn random_uuid(dice: Dice) -> Result<String, Fault> {
    let mut bytes = [0_u8; 16];
    dice(&mut bytes)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

/// An address of the range that vCenter gives out.
fn random_mac(dice: Dice) -> Result<String, Fault> {
    let mut bytes = [0_u8; 3];
    dice(&mut bytes)?;
    Ok(format!("00:50:56:{:02x}:{:02x}:{:02x}", bytes[0] & 0x3f | 0x80, bytes[1], bytes[2]))
}

const FIRST_NIC_KEY: i32 = 4000;

#[cfg(test)]
mod tests;
