//! What the plain fields of a machine may be. Pure.
//!
//! Used by [`super::build`] for every new record. A fault names the property and says what would be right.

use super::machine::NewMachine;
use crate::lease::{Fault, Target};
use crate::limits::{
    ANNOTATION_BYTES, DISK_BYTES, DISKS_PER_LEASE, LEASE_NAME_BYTES, MACHINE_CPUS, MACHINE_MEMORY_MIB,
    MACHINE_NAME_CHARACTERS, MACHINE_WORD_BYTES, NICS_PER_MACHINE,
};

/// Checks the name of a machine or a vApp and gives it back in the one form in which names are compared: escapes in lower case.
///
/// # Errors
/// `InvalidArgument`: vSphere has these characters escaped, `/` as `%2f`, `\` as `%5c`, `%` as `%25`.
pub fn check_name(name: &str) -> Result<String, Fault> {
    let invalid = |reason: String| Err(invalid("name", reason));
    let characters = name.chars().count();
    if !(1..=MACHINE_NAME_CHARACTERS).contains(&characters) {
        return invalid(format!("a name has 1 to {MACHINE_NAME_CHARACTERS} characters, this one {characters}"));
    }
    // It becomes a directory, and the entity of a lease.
    if name.len() > LEASE_NAME_BYTES {
        return invalid(format!("a name has at most {LEASE_NAME_BYTES} bytes, this one {}", name.len()));
    }
    if name.chars().any(char::is_control) {
        return invalid("a name has no control characters".to_owned());
    }
    if name.trim() != name || matches!(name, "." | "..") {
        return invalid(format!("\"{name}\" cannot be a name: no blanks around it, not \".\" or \"..\""));
    }
    if let Some(character) = name.chars().find(|character| matches!(character, '/' | '\\')) {
        let escape = if character == '/' { "%2f" } else { "%5c" };
        return invalid(format!("write {character} as {escape} in a name"));
    }
    with_lower_escapes(name)
        .ok_or_else(|| self::invalid("name", "write % as %25 in a name; only %2f, %5c and %25 are escapes".to_owned()))
}

/// Checks every plain field of a machine. Where its devices hang is checked when they are placed.
///
/// # Errors
/// `InvalidArgument` or `OutOfBounds`.
pub(super) fn check_machine(machine: &NewMachine) -> Result<(), Fault> {
    check_name(&machine.name)?;
    check_guest(&machine.guest_id)?;
    check_cpus(machine.cpus)?;
    check_memory(machine.memory_mib)?;
    check_firmware(&machine.firmware)?;
    hardware_number(&machine.hardware_version)?;
    check_annotation(&machine.annotation)?;
    if machine.disks.len() > DISKS_PER_LEASE {
        return Err(Fault::OutOfBounds { argument_name: "disks".to_owned() });
    }
    if machine.nics.len() > NICS_PER_MACHINE {
        return Err(Fault::OutOfBounds { argument_name: "nics".to_owned() });
    }
    for (index, nic) in machine.nics.iter().enumerate() {
        check_nic(&nic.kind, &nic.network, nic.mac.as_deref(), &format!("nics[{index}]"))?;
    }
    for (index, disk) in machine.disks.iter().enumerate() {
        check_disk(&disk.target, disk.capacity_bytes, &format!("disks[{index}]"))?;
    }
    Ok(())
}

pub(super) fn check_guest(guest_id: &str) -> Result<(), Fault> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    match (1..=MACHINE_WORD_BYTES).contains(&guest_id.len()) && guest_id.bytes().all(word) {
        true => Ok(()),
        false => Err(invalid("guestId", format!("\"{}\" names no guest system", guest_id.escape_debug()))),
    }
}

pub(super) fn check_cpus(cpus: u32) -> Result<(), Fault> {
    match MACHINE_CPUS.contains(&cpus) {
        true => Ok(()),
        false => {
            Err(invalid("numCPUs", format!("{cpus} is not within {} to {}", MACHINE_CPUS.start(), MACHINE_CPUS.end())))
        }
    }
}

pub(super) fn check_memory(memory_mib: u64) -> Result<(), Fault> {
    let range = MACHINE_MEMORY_MIB;
    match range.contains(&memory_mib) && memory_mib.is_multiple_of(4) {
        true => Ok(()),
        false => {
            let reason = format!("{memory_mib} is no multiple of 4 within {} to {}", range.start(), range.end());
            Err(invalid("memoryMB", reason))
        }
    }
}

pub(super) fn check_firmware(firmware: &str) -> Result<(), Fault> {
    match firmware {
        "bios" | "efi" => Ok(()),
        other => Err(invalid("firmware", format!("\"{}\" is neither bios nor efi", other.escape_debug()))),
    }
}

pub(super) fn check_annotation(annotation: &str) -> Result<(), Fault> {
    match annotation.len() {
        0..=ANNOTATION_BYTES => Ok(()),
        bytes => Err(invalid("annotation", format!("{bytes} bytes, at most {ANNOTATION_BYTES} are kept"))),
    }
}

/// The number in `vmx-19`.
pub(super) fn hardware_number(version: &str) -> Result<u32, Fault> {
    let number = version.strip_prefix("vmx-").filter(|digits| digits.len() == 2).and_then(|digits| digits.parse().ok());
    number.filter(|number| *number >= 3).ok_or_else(|| {
        invalid("version", format!("\"{}\" is no hardware version; one is vmx-19", version.escape_debug()))
    })
}

pub(super) fn check_disk(target: &Target, capacity_bytes: u64, property: &str) -> Result<(), Fault> {
    if target.datastore.is_empty() {
        return Err(invalid(&format!("{property}.target"), "it names no datastore".to_owned()));
    }
    match capacity_bytes {
        0..=DISK_BYTES => Ok(()),
        _ => Err(invalid(&format!("{property}.capacityBytes"), format!("more than {DISK_BYTES}"))),
    }
}

fn check_nic(kind: &str, network: &str, mac: Option<&str>, property: &str) -> Result<(), Fault> {
    if !NIC_KINDS.contains(&kind) {
        let reason = format!("\"{}\" is none of {}", kind.escape_debug(), NIC_KINDS.join(", "));
        return Err(invalid(property, reason));
    }
    let characters = network.chars().count();
    if !(1..=MACHINE_NAME_CHARACTERS).contains(&characters) || network.chars().any(char::is_control) {
        return Err(invalid(&format!("{property}.network"), "it names no network".to_owned()));
    }
    match mac.map(is_mac) {
        Some(false) => {
            Err(invalid(&format!("{property}.macAddress"), "an address is six pairs of hex digits".to_owned()))
        }
        _ => Ok(()),
    }
}

fn is_mac(text: &str) -> bool {
    let pairs: Vec<&str> = text.split(':').collect();
    pairs.len() == 6 && pairs.iter().all(|pair| pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The name with its escapes in lower case; `None` if a `%` begins none.
fn with_lower_escapes(name: &str) -> Option<String> {
    let mut pieces = name.split('%');
    let mut lower = pieces.next()?.to_owned();
    for piece in pieces {
        let escape =
            piece.get(..2).map(str::to_ascii_lowercase).filter(|hex| ["2f", "5c", "25"].contains(&hex.as_str()))?;
        lower.extend(["%", &escape, &piece[2..]]);
    }
    Some(lower)
}

pub(super) fn invalid(property: &str, reason: String) -> Fault {
    Fault::InvalidArgument { invalid_property: property.to_owned(), reason }
}

/// The network adapters of the API.
const NIC_KINDS: [&str; 7] = [
    "VirtualVmxnet3",
    "VirtualVmxnet2",
    "VirtualVmxnet",
    "VirtualE1000",
    "VirtualE1000e",
    "VirtualPCNet32",
    "VirtualSriovEthernetCard",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{ControllerKind, NewDisk, NewNic};
    use crate::lease::Form;

    #[test]
    fn names_are_those_vsphere_takes() {
        for name in ["web", "a b", "[1] x", "größe", "x%2fy", ".hidden", &"n".repeat(80)] {
            assert_eq!(check_name(name).as_deref(), Ok(name), "{name}");
        }
        assert_eq!(check_name("a%2Fb%5Cc%25").as_deref(), Ok("a%2fb%5cc%25"));
        let long = "n".repeat(81);
        for name in ["", " a", "a ", ".", "..", "a/b", "a\\b", "50%", "%2", "%2e", "a\nb", &long, &"😀".repeat(70)] {
            assert!(matches!(check_name(name), Err(Fault::InvalidArgument { .. })), "{name}");
        }
        assert!(check_name("a/b").unwrap_err().to_string().contains("write / as %2f"));
    }

    #[test]
    fn a_field_out_of_its_range_is_named() {
        let nic = NewNic {
            kind: "VirtualVmxnet3".into(),
            network: "VM Network".into(),
            mac: Some("00:50:56:9a:00:0F".into()),
        };
        let target = Target { datastore: "default".into(), path: "a".into(), form: Form::Raw };
        let disk = NewDisk { target, capacity_bytes: 1 << 30, controller: ControllerKind::Sata, slot: None };
        let good = NewMachine { nics: vec![nic.clone()], disks: vec![disk.clone()], ..NewMachine::named("web") };
        assert_eq!(check_machine(&good), Ok(()));
        type Spoil = fn(&mut NewMachine);
        let cases: [(&str, Spoil); 16] = [
            ("name", |m| m.name.clear()),
            ("guestId", |m| m.guest_id = "no spaces".into()),
            ("guestId", |m| m.guest_id.clear()),
            ("numCPUs", |m| m.cpus = 0),
            ("numCPUs", |m| m.cpus = 769),
            ("memoryMB", |m| m.memory_mib = 0),
            ("memoryMB", |m| m.memory_mib = 1022),
            ("memoryMB", |m| m.memory_mib = 1 << 40),
            ("firmware", |m| m.firmware = "BIOS".into()),
            ("version", |m| m.hardware_version = "vmx-9".into()),
            ("version", |m| m.hardware_version = "19".into()),
            ("annotation", |m| m.annotation = "x".repeat(ANNOTATION_BYTES + 1)),
            ("nics[0]", |m| m.nics[0].kind = "Vmxnet3".into()),
            ("nics[0].network", |m| m.nics[0].network.clear()),
            ("nics[0].macAddress", |m| m.nics[0].mac = Some("00:50:56".into())),
            ("disks[0].capacityBytes", |m| m.disks[0].capacity_bytes = u64::MAX),
        ];
        for (property, spoil) in cases {
            let mut machine = good.clone();
            spoil(&mut machine);
            let fault = check_machine(&machine).unwrap_err();
            assert!(
                matches!(&fault, Fault::InvalidArgument { invalid_property, .. } if invalid_property == property),
                "{fault}"
            );
        }
        let crowd = NewMachine { nics: vec![nic; NICS_PER_MACHINE + 1], ..good.clone() };
        assert_eq!(check_machine(&crowd), Err(Fault::OutOfBounds { argument_name: "nics".into() }));
        let crowd = NewMachine { disks: vec![disk; DISKS_PER_LEASE + 1], ..good };
        assert_eq!(check_machine(&crowd), Err(Fault::OutOfBounds { argument_name: "disks".into() }));
    }
}
