//! Imports: a machine from an import specification, and the lease that brings its disks.
//!
//! The specification usually comes from `CreateImportSpec` by way of the client, which echoes it unread; scripts also write their own. Which of
//! its disks a client will send is said by [`FILES_KEY`]; without it, all of them. A disk that nobody sends is made empty.
//!
//! Disks are stored as vSphere stores them: the contents in `name/name-flat.vmdk`, and `name/name.vmdk` beside it describes them.

use super::{Visit, expect, vapp};
use crate::edge::soap::StoreInfo;
use crate::edge::soap::refusal::Refusal;
use crate::edge::soap::world::lease_ref;
use crate::inventory::{ControllerKind, NewCdrom, NewDisk, NewMachine, NewNic, Slot};
use crate::lease::{DiskSpec, EntityRef, Form, Kind, LeaseSpec, Target};
use crate::wire::soap::{Arguments, BadArgument, Call, Value};

/// Key of the `extraConfig` entry that lists the files a client will send: `key of the device=name`, one a line, in the order of the
/// device URLs.
pub const FILES_KEY: &str = "diskferry.files";

/// `ImportVApp`.
pub async fn import(visit: &Visit, call: &Call) -> Result<Value, Refusal> {
    expect(call, &["ResourcePool", "VirtualApp"])?;
    let session = visit.session(call)?;
    if visit.world().describe(&call.this).await.is_none() {
        return Err(Refusal::no_such(&call.this));
    }
    let arguments = call.arguments();
    for place in [arguments.reference("folder")?, arguments.reference("host")?].into_iter().flatten() {
        if visit.world().describe(&place).await.is_none() {
            return Err(Refusal::no_such(&place));
        }
    }
    let spec = arguments.needed_object("spec")?;
    if call.this.kind == "VirtualApp" {
        return Err(Refusal::unsupported("an import into a vApp; import into the resource pool"));
    }
    if spec.kind() == Some("VirtualAppImportSpec") {
        return vapp::import(visit, call, &spec).await;
    }
    let mut planned = Planned::read(&spec.needed_object("configSpec")?)?;
    planned.put_on_devices(&visit.world().stores().await);
    let reserved = visit.desk.inventory.reserve(planned.machine).await?;
    let machine = reserved.machine();
    let lease = LeaseSpec {
        kind: Kind::Import,
        entity: machine.name.clone(),
        entity_ref: Some(EntityRef { kind: "VirtualMachine".to_owned(), id: machine.id.to_string() }),
        disks: planned.disks,
        max_rate_bytes_per_s: None,
    };
    let lease = visit.desk.leases.begin(lease, Some(session.user.clone())).await?;
    if let Err(fault) = visit.desk.inventory.bind(reserved, &lease.id).await {
        // Without its machine the import is nothing; what remains of it goes.
        let _ = visit.desk.leases.abort(&lease.id, Some(fault.clone())).await;
        return Err(fault.into());
    }
    Ok(lease_ref(&lease.id).into())
}

/// A machine to be, and what a client will send for it.
#[derive(Debug, PartialEq)]
pub(super) struct Planned {
    /// The machine.
    pub(super) machine: NewMachine,
    /// What is sent, in the order of the device URLs.
    pub(super) disks: Vec<DiskSpec>,
}

/// A device of the specification that has contents.
struct Item {
    key: i32,
    target: Target,
    capacity_bytes: Option<u64>,
    disk: bool,
}

impl Planned {
    /// Reads a `VirtualMachineConfigSpec`.
    pub(super) fn read(config: &Arguments<'_>) -> Result<Planned, BadArgument> {
        let name = config.needed_text("name")?.trim();
        let mut machine = NewMachine::named(name);
        let word = |key: &str| config.text(key).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        machine.guest_id = word("guestId").unwrap_or(machine.guest_id);
        machine.hardware_version = word("version").unwrap_or(machine.hardware_version);
        machine.firmware = word("firmware").unwrap_or(machine.firmware);
        machine.annotation = config.text("annotation").unwrap_or_default().to_owned();
        machine.cpus = number(config, "numCPUs")?.unwrap_or(machine.cpus);
        machine.memory_mib = number(config, "memoryMB")?.map_or(machine.memory_mib, u64::from);
        let datastore = datastore(config)?;
        let changes = config.objects("deviceChange");
        let devices: Vec<Arguments<'_>> = changes.iter().filter_map(|change| change.object("device")).collect();
        let mut items = Vec::new();
        let mut disk_number = 0;
        for device in &devices {
            match device.kind().unwrap_or_default() {
                "VirtualDisk" => {
                    let new = disk(device, &devices, name, disk_number, datastore.as_deref())?;
                    disk_number += 1;
                    items.push(Item {
                        key: device.int("key")?.unwrap_or(0),
                        target: new.target.clone(),
                        capacity_bytes: Some(new.capacity_bytes),
                        disk: true,
                    });
                    machine.disks.push(new);
                }
                "VirtualCdrom" => {
                    let new = cdrom(device, &devices)?;
                    if let Some(target) = &new.target {
                        let key = device.int("key")?.unwrap_or(0);
                        items.push(Item { key, target: target.clone(), capacity_bytes: None, disk: false });
                    }
                    machine.cdroms.push(new);
                }
                kind if is_nic(kind) => machine.nics.push(nic(device, kind)),
                // Controllers are found by what hangs on them; other hardware does not exist here.
                _ => {}
            }
        }
        let disks = sent(config, &items)?;
        Ok(Planned { machine, disks })
    }
}

impl Planned {
    /// A block device has no paths: it is the disk.
    pub(super) fn put_on_devices(&mut self, stores: &[StoreInfo]) {
        let is_device = |target: &Target| stores.iter().any(|store| store.name == target.datastore && !store.directory);
        let targets = self.machine.disks.iter_mut().map(|disk| &mut disk.target);
        for target in targets.chain(self.disks.iter_mut().map(|disk| &mut disk.target)) {
            if is_device(target) {
                target.path.clear();
            }
        }
    }
}

/// The disks a client will send: those the specification lists, else all.
fn sent(config: &Arguments<'_>, items: &[Item]) -> Result<Vec<DiskSpec>, BadArgument> {
    let extra = config.objects("extraConfig");
    let listed = extra.iter().find(|option| option.text("key").map(str::trim) == Some(FILES_KEY));
    let wanted: Vec<(&Item, Option<String>)> = match listed {
        None => items.iter().filter(|item| item.disk).map(|item| (item, None)).collect(),
        Some(option) => {
            let lines = option.text("value").unwrap_or_default().lines().filter(|line| !line.trim().is_empty());
            let found = lines.map(|line| {
                let (key, name) = line.trim().split_once('=')?;
                let key: i32 = key.parse().ok()?;
                items.iter().find(|item| item.key == key).map(|item| (item, Some(name.to_owned())))
            });
            found.collect::<Option<_>>().ok_or_else(|| option.bad("value", "names a device that is not there"))?
        }
    };
    let mut number = 0;
    let specs = wanted.into_iter().map(|(item, name)| {
        let name = match (item.disk, name) {
            (false, Some(name)) => name,
            _ => {
                number += 1;
                format!("disk-{}.vmdk", number - 1)
            }
        };
        DiskSpec { name, capacity_bytes: item.capacity_bytes, disk: item.disk, target: item.target.clone() }
    });
    Ok(specs.collect())
}

/// The datastore for everything that does not say its own: where the machine's files shall be.
fn datastore(config: &Arguments<'_>) -> Result<Option<String>, BadArgument> {
    let Some(files) = config.object("files") else { return Ok(None) };
    let Some(path) = files.text("vmPathName").map(str::trim).filter(|path| !path.is_empty()) else { return Ok(None) };
    bracketed(path)
        .map(|(name, _)| Some(name.to_owned()))
        .ok_or_else(|| files.bad("vmPathName", "is no datastore path: [datastore] path"))
}

fn disk(
    device: &Arguments<'_>,
    devices: &[Arguments<'_>],
    machine: &str,
    number: usize,
    datastore: Option<&str>,
) -> Result<NewDisk, BadArgument> {
    let capacity_bytes = match (device.long("capacityInBytes")?, device.long("capacityInKB")?) {
        (Some(bytes), _) if bytes > 0 => u64::try_from(bytes).ok(),
        (_, kib) => kib.and_then(|kib| u64::try_from(kib).ok()).and_then(|kib| kib.checked_mul(1024)),
    };
    let capacity_bytes =
        capacity_bytes.filter(|bytes| *bytes > 0).ok_or_else(|| device.bad("capacityInKB", "is no size of a disk"))?;
    let backing = device.object("backing");
    let named =
        backing.as_ref().and_then(|backing| backing.text("fileName")).map(str::trim).filter(|name| !name.is_empty());
    let named = match named {
        Some(name) => Some(
            bracketed(name).ok_or_else(|| device.bad("backing.fileName", "is no datastore path: [datastore] path"))?,
        ),
        None => None,
    };
    let own = named.map(|(store, _)| store).or(datastore);
    let own = own.ok_or_else(|| device.bad("backing.fileName", "names no datastore, and vmPathName neither"))?;
    let path = match named.map(|(_, path)| path).filter(|path| !path.is_empty()) {
        Some(path) => flat_name(path),
        None => flat_name(&disk_path(machine, number)),
    };
    let target = Target { datastore: own.to_owned(), path, form: Form::Raw };
    let (controller, slot) = place(device, devices)?;
    Ok(NewDisk { target, capacity_bytes, controller, slot })
}

fn cdrom(device: &Arguments<'_>, devices: &[Arguments<'_>]) -> Result<NewCdrom, BadArgument> {
    let backing = device.object("backing").filter(|backing| backing.kind() == Some("VirtualCdromIsoBackingInfo"));
    let target = match backing.as_ref().and_then(|backing| backing.text("fileName")) {
        Some(name) => {
            let (store, path) = bracketed(name)
                .ok_or_else(|| device.bad("backing.fileName", "is no datastore path: [datastore] path"))?;
            Some(Target { datastore: store.to_owned(), path: path.to_owned(), form: Form::Verbatim })
        }
        None => None,
    };
    let (kind, slot) = place(device, devices)?;
    let controller = if kind == ControllerKind::Sata { ControllerKind::Sata } else { ControllerKind::Ide };
    Ok(NewCdrom { target, controller, slot: slot.filter(|_| controller == kind) })
}

fn nic(device: &Arguments<'_>, kind: &str) -> NewNic {
    let backing = device.object("backing");
    let network = backing.as_ref().and_then(|backing| backing.text("deviceName")).map(str::trim).unwrap_or_default();
    let mac = device.text("macAddress").map(str::trim).filter(|mac| !mac.is_empty()).map(str::to_owned);
    NewNic { kind: kind.to_owned(), network: network.to_owned(), mac }
}

/// The controller that a device names, and where on it the device is; without one, a place is found.
fn place(device: &Arguments<'_>, devices: &[Arguments<'_>]) -> Result<(ControllerKind, Option<Slot>), BadArgument> {
    let default = (ControllerKind::LsiLogic, None);
    let Some(key) = device.int("controllerKey")? else { return Ok(default) };
    for other in devices {
        if other.int("key")? != Some(key) {
            continue;
        }
        let kind = other.kind().unwrap_or_default();
        let Some(kind) = ControllerKind::ALL.into_iter().find(|known| known.api_type() == kind) else { continue };
        let bus = number(other, "busNumber")?.unwrap_or(0);
        let unit = number(device, "unitNumber")?;
        return Ok((kind, unit.map(|unit| Slot { bus, unit })));
    }
    // The two IDE controllers every machine has need not be listed.
    match key {
        200 | 201 => {
            let unit = number(device, "unitNumber")?;
            Ok((ControllerKind::Ide, unit.map(|unit| Slot { bus: if key == 200 { 0 } else { 1 }, unit })))
        }
        _ => Ok(default),
    }
}

/// A number that cannot be negative; a negative unit number means "anywhere".
fn number(arguments: &Arguments<'_>, name: &str) -> Result<Option<u32>, BadArgument> {
    Ok(arguments.long(name)?.and_then(|number| u32::try_from(number).ok()))
}

fn is_nic(kind: &str) -> bool {
    matches!(
        kind,
        "VirtualVmxnet3" | "VirtualVmxnet2" | "VirtualVmxnet" | "VirtualE1000" | "VirtualE1000e" | "VirtualPCNet32"
    )
}

/// Splits `[datastore] path`.
pub fn bracketed(path: &str) -> Option<(&str, &str)> {
    let (store, path) = path.trim().strip_prefix('[')?.split_once(']')?;
    (!store.is_empty()).then(|| (store, path.trim().trim_start_matches('/')))
}

/// Where the n-th disk of a machine goes, as vSphere names it.
pub fn disk_path(machine: &str, number: usize) -> String {
    let directory = directory(machine);
    match number {
        0 => format!("{directory}/{directory}.vmdk"),
        _ => format!("{directory}/{directory}_{number}.vmdk"),
    }
}

/// The directory of a machine's files.
pub fn directory(machine: &str) -> String {
    let safe: String =
        machine.chars().map(|letter| if matches!(letter, '/' | '\\' | '\0') { '_' } else { letter }).collect();
    match safe.trim_start_matches('.') {
        "" => "machine".to_owned(),
        safe => safe.to_owned(),
    }
}

/// The name of a disk's contents, given that of the disk.
pub fn flat_name(path: &str) -> String {
    match path.strip_suffix(".vmdk") {
        Some(stem) if !stem.ends_with("-flat") => format!("{stem}-flat.vmdk"),
        _ => path.to_owned(),
    }
}
