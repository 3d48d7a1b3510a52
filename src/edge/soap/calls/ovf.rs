//! `OvfManager`: from descriptors to import specifications, and from machines to descriptors.
//!
//! What a descriptor means is decided by [`crate::wire::ovf`]; here its plan becomes what clients echo to `ImportVApp`.

use std::collections::{HashMap, HashSet};

use super::import::{FILES_KEY, directory, disk_path};
use super::{Visit, expect};
use crate::edge::soap::StoreInfo;
use crate::edge::soap::describe::{datastore, places};
use crate::edge::soap::refusal::Refusal;
use crate::edge::soap::world::World;
use crate::inventory::{self, Machine, VApp, check_name};
use crate::lease::view::device_key;
use crate::lease::{DiskSpec, Form, Kind, Target};
use crate::lease::{LeaseSpec, LeaseView};
use crate::limits::MACHINE_NAME_CHARACTERS;
use crate::wire::ovf::{self, DescribedFile, Description, FileUse, Ovf, Plan, PlanParams, PlannedFile, Provisioning};
use crate::wire::soap::{Arguments, Call, MoRef, Object, Value};

/// `CreateImportSpec`. What is wrong with a descriptor is part of the answer, as vSphere has it.
pub async fn create_import_spec(visit: &Visit, call: &Call) -> Result<Value, Refusal> {
    expect(call, &["OvfManager"])?;
    let arguments = call.arguments();
    let mut world = visit.world();
    let pool = arguments.needed_reference("resourcePool")?;
    if world.describe(&pool).await.is_none() {
        return Err(Refusal::no_such(&pool));
    }
    let store = arguments.needed_reference("datastore")?;
    let Some(store) = datastore::find(&mut world, &store).await else { return Err(Refusal::no_such(&store)) };
    let parameters = parameters(&mut world, &arguments.needed_object("cisp")?).await?;
    let text = arguments.needed_text("ovfDescriptor")?;
    let descriptor = match Ovf::parse(text) {
        Ok(descriptor) => descriptor,
        Err(error) => return Ok(result("OvfCreateImportSpecResult").with("error", unreadable(&error)).into()),
    };
    let mut plan = ovf::plan(&descriptor, &parameters);
    let mut answer = result("OvfCreateImportSpecResult");
    let mut errors: Vec<Object> =
        plan.errors.iter().map(|error| localized(error.vim_fault(), &error.to_string())).collect();
    if let Some(id) = descriptor.nested_collection() {
        let reason =
            format!("VirtualSystemCollection {id:?} is part of another one; a vApp of vApps cannot be imported");
        errors.push(localized("OvfUnsupportedElement", &reason));
    }
    let mut warnings = warnings(&plan);
    if errors.is_empty() {
        warnings.extend(settle_names(&mut plan, &world));
        let files = files(&plan);
        answer = answer
            .with("importSpec", import_spec(&plan, &files, &store))
            .with("fileItem", Value::objects("OvfFileItem", file_items(&plan, &files)));
    }
    let answer = answer.with("warning", Value::objects("LocalizedMethodFault", warnings));
    Ok(answer.with("error", Value::objects("LocalizedMethodFault", errors)).into())
}

/// `ParseDescriptor`.
pub fn parse_descriptor(_visit: &Visit, call: &Call) -> Result<Value, Refusal> {
    expect(call, &["OvfManager"])?;
    let arguments = call.arguments();
    let option = arguments.object("pdp").and_then(|pdp| pdp.text("deploymentOption").map(str::to_owned));
    let descriptor = match Ovf::parse(arguments.needed_text("ovfDescriptor")?) {
        Ok(descriptor) => descriptor,
        Err(error) => {
            let failed = result("OvfParseDescriptorResult").with("defaultEntityName", "").with("virtualApp", false);
            return Ok(failed.with("annotation", "").with("error", unreadable(&error)).into());
        }
    };
    let parameters = PlanParams { deployment_option: option.unwrap_or_default(), ..PlanParams::default() };
    let plan = ovf::plan(&descriptor, &parameters);
    let networks = plan.networks.iter().map(|network| {
        Object::new("OvfNetworkInfo").with("name", &network.name).with("description", &network.description)
    });
    let options = plan.options.iter().map(|option| {
        Object::new("OvfDeploymentOption")
            .with("key", &option.id)
            .with("label", &option.label)
            .with("description", &option.description)
    });
    let names =
        plan.systems.iter().map(|system| Object::new("KeyValue").with("key", &system.id).with("value", &system.name));
    let errors = plan.errors.iter().map(|error| localized(error.vim_fault(), &error.to_string()));
    Ok(result("OvfParseDescriptorResult")
        .with("eula", Value::texts(plan.licenses.iter()))
        .with("network", Value::objects("OvfNetworkInfo", networks))
        .with("annotation", &plan.annotation)
        .with("approximateDownloadSize", Value::amount(plan.total_bytes))
        .with("approximateFlatDeploymentSize", Value::amount(plan.capacity_bytes()))
        .with("approximateSparseDeploymentSize", Value::amount(plan.populated_bytes()))
        .with("defaultEntityName", &plan.name)
        .with("virtualApp", plan.is_vapp)
        .with("deploymentOption", Value::objects("OvfDeploymentOption", options))
        .with("defaultDeploymentOption", plan.deployment_option.as_deref().unwrap_or_default())
        .with("entityName", Value::objects("KeyValue", names))
        .with("error", Value::objects("LocalizedMethodFault", errors))
        .with("warning", Value::objects("LocalizedMethodFault", warnings(&plan)))
        .into())
}

/// `ValidateHost`: the one host takes everything that can be read.
pub fn validate_host(call: &Call) -> Result<Value, Refusal> {
    expect(call, &["OvfManager"])?;
    let answer = result("OvfValidateHostResult");
    let answer = match Ovf::parse(call.arguments().needed_text("ovfDescriptor")?) {
        Err(error) => answer.with("error", unreadable(&error)),
        Ok(descriptor) => {
            let plan = ovf::plan(&descriptor, &PlanParams::default());
            answer
                .with("downloadSize", Value::amount(plan.total_bytes))
                .with("flatDeploymentSize", Value::amount(plan.capacity_bytes()))
                .with("sparseDeploymentSize", Value::amount(plan.populated_bytes()))
                .with("warning", Value::objects("LocalizedMethodFault", warnings(&plan)))
        }
    };
    Ok(answer.with("supportedDiskProvisioning", Value::texts(["thin", "thick"])).into())
}

/// `CreateDescriptor`.
pub async fn create_descriptor(visit: &Visit, call: &Call) -> Result<Value, Refusal> {
    expect(call, &["OvfManager"])?;
    let arguments = call.arguments();
    let object = arguments.needed_reference("obj")?;
    let world = visit.world();
    let (name, vapp, machines): (String, Option<&VApp>, Vec<&Machine>) = match object.kind.as_str() {
        "VirtualMachine" => {
            let machine = world.machine(&object.id).ok_or_else(|| Refusal::no_such(&object))?;
            (machine.name.clone(), None, vec![machine])
        }
        "VirtualApp" => {
            let vapp = world.vapp(&object.id).ok_or_else(|| Refusal::no_such(&object))?;
            (vapp.name.clone(), Some(vapp), world.members(vapp))
        }
        _ => return Err(arguments.bad("obj", "is neither a VirtualMachine nor a VirtualApp").into()),
    };
    let details = arguments.needed_object("cdp")?;
    let files = details.objects("ovfFiles");
    let named = details.text("name").map(str::trim).filter(|name| !name.is_empty());
    let (exported, machines) = match machines[..] {
        [machine] if vapp.is_none() => {
            let (exported, machine) = super::snapshot::described(machine, &details)?;
            (exported, vec![machine])
        }
        _ => (object.clone(), machines),
    };
    let lease = super::export::spec(&name, exported.clone(), &machines);
    let sent = sent_bytes(visit, &name, &exported).await;
    let mut described = Vec::new();
    let mut at_device: Vec<Option<usize>> = vec![None; lease.disks.len()];
    for file in &files {
        let device = file.needed_text("deviceId")?;
        let disk = (0..lease.disks.len()).find(|disk| device_key(&lease, *disk) == device);
        let disk = disk.ok_or_else(|| file.bad("deviceId", &format!("{device:?} is no device of {name}")))?;
        let given = file.long("size")?.and_then(|size| u64::try_from(size).ok()).filter(|size| *size > 0);
        let size = sent.get(lease.disks[disk].name.as_str()).copied().or(given);
        at_device[disk] = Some(described.len());
        described.push(DescribedFile { href: file.needed_text("path")?.to_owned(), size_bytes: size });
    }
    let mut next = 0;
    let systems = machines.iter().map(|machine| {
        let images = machine.cdroms.iter().filter(|cdrom| cdrom.target.is_some()).count();
        let own = &at_device[next..next + machine.disks.len() + images];
        next += own.len();
        let member = vapp.and_then(|vapp| vapp.members.iter().find(|member| member.machine == machine.id));
        let start_order = member.map_or(0, |member| member.start_order);
        ovf::Machine { start_order, ..system(machine, own) }
    });
    let mut systems: Vec<ovf::Machine> = systems.collect();
    if let (Some(named), None, [system]) = (named, vapp, &mut *systems) {
        (system.id, system.name) = (named.to_owned(), named.to_owned());
    }
    let (name, annotation) = (named.unwrap_or(&name).to_owned(), vapp.map(|vapp| vapp.annotation.clone()));
    let (annotation, is_vapp) = (annotation.unwrap_or_default(), vapp.is_some());
    let description = Description { name, annotation, is_vapp, systems, files: described };
    Ok(result("OvfCreateDescriptorResult")
        .with("ovfDescriptor", ovf::write(&description))
        .with("includeImageFiles", false)
        .into())
}

/// Lengths of the streams of the last export, by disk: clients state the capacity of the disk, which is not what they have received.
async fn sent_bytes(visit: &Visit, entity: &str, exported: &MoRef) -> HashMap<String, u64> {
    let Some(session) = &visit.session else { return HashMap::new() };
    let leases = visit.desk.leases.list().await;
    // A snapshot's stream is another than its machine's.
    let of_it = |lease: &LeaseView| {
        lease.entity == entity && lease.entity_ref.as_ref().is_none_or(|reference| reference.id == exported.id)
    };
    let own = leases
        .into_iter()
        .filter(|lease| lease.kind == Kind::Export && of_it(lease) && session.owns(lease.owner.as_deref()));
    let delivered = own.flat_map(|lease| lease.disks).filter(|disk| disk.delivered);
    delivered.map(|disk| (disk.name, disk.stored_bytes)).collect()
}

async fn parameters(world: &mut World<'_>, given: &Arguments<'_>) -> Result<PlanParams, Refusal> {
    let text = |name: &str| given.text(name).map(str::trim).unwrap_or_default().to_owned();
    let mut networks = Vec::new();
    for mapping in given.objects("networkMapping") {
        let network = mapping.needed_reference("network")?;
        let found = world.describe(&network).await.ok_or_else(|| Refusal::no_such(&network))?;
        if let Some(Value::Text(name)) = found.field("name") {
            networks.push((mapping.needed_text("name")?.to_owned(), name.clone()));
        }
    }
    let mut properties = Vec::new();
    for mapping in given.objects("propertyMapping") {
        properties.push((mapping.needed_text("key")?.to_owned(), mapping.text("value").unwrap_or_default().to_owned()));
    }
    Ok(PlanParams {
        entity_name: text("entityName"),
        deployment_option: text("deploymentOption"),
        default_network: world.desk.settings.network.clone(),
        disk_provisioning: text("diskProvisioning"),
        locale: text("locale"),
        network_mapping: networks,
        property_mapping: properties,
    })
}

/// The files a client sends: disks, and images of CDs.
fn files(plan: &Plan) -> Vec<&PlannedFile> {
    let kept = |file: &&PlannedFile| matches!(file.usage, FileUse::Disk { .. } | FileUse::Cdrom { .. });
    plan.files.iter().filter(kept).collect()
}

/// The names of what is made, in the form in which names are compared. Machines of a vApp whose names are taken get free ones, which is
/// said: nobody but the document has chosen them.
fn settle_names(plan: &mut Plan, world: &World<'_>) -> Vec<Object> {
    plan.name = check_name(&plan.name).unwrap_or_else(|_| plan.name.clone());
    if !plan.is_vapp {
        plan.systems.iter_mut().for_each(|system| system.name.clone_from(&plan.name));
        return Vec::new();
    }
    let mut taken: HashSet<String> = world.machines.iter().map(|machine| machine.name.clone()).collect();
    taken.extend(world.vapps.iter().map(|vapp| vapp.name.clone()));
    taken.insert(plan.name.clone());
    let mut changed = Vec::new();
    for system in &mut plan.systems {
        let escaped = || system.name.replace('%', "%25").replace('/', "%2f").replace('\\', "%5c");
        let wanted =
            check_name(&system.name).or_else(|_| check_name(&escaped())).unwrap_or_else(|_| system.name.clone());
        let mut free = wanted.clone();
        let mut number = 0;
        while !taken.insert(free.clone()) {
            number += 1;
            let end = format!("_{number}");
            let kept = MACHINE_NAME_CHARACTERS.saturating_sub(end.len());
            free = wanted.chars().take(kept).collect::<String>().trim_end().to_owned() + &end;
        }
        if free != wanted {
            let message =
                format!("VirtualSystem {:?}: the name {wanted:?} is taken; the machine becomes {free:?}", system.id);
            changed.push(localized("OvfImport", &message));
        }
        system.name = free;
    }
    changed
}

fn file_items(plan: &Plan, files: &[&PlannedFile]) -> Vec<Object> {
    // The same keys that the lease will have: they depend on the name and the order of the files only. A lease has the files of one
    // machine after the other; the items stay in the order of the package, in which an OVA is read.
    let mut order: Vec<usize> = (0..files.len()).collect();
    order.sort_by_key(|index| system_of(files[*index]));
    let mut devices = vec![0; files.len()];
    order.iter().enumerate().for_each(|(device, index)| devices[*index] = device);
    let disks = order.iter().map(|index| files[*index]).map(|file| DiskSpec {
        name: file.path.clone(),
        capacity_bytes: None,
        disk: matches!(file.usage, FileUse::Disk { .. }),
        target: Target { datastore: String::new(), path: String::new(), form: Form::Verbatim },
    });
    let entity = plan.name.clone();
    let lease =
        LeaseSpec { kind: Kind::Import, entity, entity_ref: None, disks: disks.collect(), max_rate_bytes_per_s: None };
    let item = |(index, file): (usize, &&PlannedFile)| {
        Object::new("OvfFileItem")
            .with("deviceId", device_key(&lease, devices[index]))
            .with("path", &file.path)
            .with_some("size", file.size_bytes.map(Value::amount))
            .with("cimType", i32::from(file.cim_type))
            .with("create", file.create)
    };
    files.iter().enumerate().map(item).collect()
}

/// Of one machine, or of a vApp with all of them.
fn import_spec(plan: &Plan, files: &[&PlannedFile], store: &StoreInfo) -> Object {
    let mut machines = (0..plan.systems.len()).map(|system| machine_spec(plan, system, files, store));
    if !plan.is_vapp {
        // A document without a vApp has one machine.
        return machines.next().unwrap_or_else(|| Object::new("VirtualMachineImportSpec"));
    }
    Object::new("VirtualAppImportSpec")
        .with("name", &plan.name)
        .with("vAppConfigSpec", Object::new("VAppConfigSpec").with("annotation", &plan.annotation))
        .with("resourcePoolSpec", places::whole_share())
        .with("child", Value::objects("ImportSpec", machines))
}

fn machine_spec(plan: &Plan, index: usize, files: &[&PlannedFile], store: &StoreInfo) -> Object {
    let system = &plan.systems[index];
    let bracket = format!("[{}]", store.name);
    let mut devices = Devices { changes: Vec::new(), controllers: Vec::new() };
    for (number, disk) in system.disks.iter().enumerate() {
        let key = -1000 - i32::try_from(number).unwrap_or(0);
        let path = match store.directory {
            true => format!("{bracket} {}", disk_path(&system.name, number)),
            false => bracket.clone(),
        };
        let backing =
            Object::new("VirtualDiskFlatVer2BackingInfo").with("fileName", path).with("diskMode", "persistent").with(
                "thinProvisioned",
                plan.provisioning != Provisioning::EagerZeroed && plan.provisioning != Provisioning::Thick,
            );
        let device = Object::new("VirtualDisk")
            .with("key", key)
            .with("backing", backing)
            .with("controllerKey", devices.controller(disk.controller))
            .with("unitNumber", Value::count(u64::from(disk.unit)))
            .with("capacityInKB", Value::amount(disk.capacity_bytes.div_ceil(1024)))
            .with("capacityInBytes", Value::amount(disk.capacity_bytes));
        devices.add(device, true);
    }
    for (number, cdrom) in system.cdroms.iter().enumerate() {
        let file = cdrom.file.map(|file| &plan.files[file]);
        let backing = match file {
            Some(file) => Object::new("VirtualCdromIsoBackingInfo")
                .with("fileName", format!("{bracket} {}/{}", directory(&system.name), file.path)),
            None => {
                Object::new("VirtualCdromRemotePassthroughBackingInfo").with("deviceName", "").with("exclusive", false)
            }
        };
        let device = Object::new("VirtualCdrom")
            .with("key", -3000 - i32::try_from(number).unwrap_or(0))
            .with("backing", backing)
            .with("controllerKey", devices.controller(cdrom.controller))
            .with("unitNumber", Value::count(u64::from(cdrom.unit)));
        devices.add(device, false);
    }
    for (number, nic) in system.nics.iter().enumerate() {
        let backing = Object::new("VirtualEthernetCardNetworkBackingInfo").with("deviceName", &nic.network);
        let device = Object::new(nic.kind.vim_type())
            .with("key", -4000 - i32::try_from(number).unwrap_or(0))
            .with("backing", backing)
            .with("addressType", "generated");
        devices.add(device, false);
    }
    let own: Vec<&PlannedFile> = files.iter().copied().filter(|file| system_of(file) == index).collect();
    let extra = Object::new("OptionValue").with("key", FILES_KEY).with("value", Value::from(listed(&own)).any());
    let config = Object::new("VirtualMachineConfigSpec")
        .with("name", &system.name)
        .with("version", &system.hardware_version)
        .with("guestId", &system.guest_id)
        .with("annotation", &system.annotation)
        .with("files", Object::new("VirtualMachineFileInfo").with("vmPathName", bracket))
        .with("numCPUs", Value::count(u64::from(system.cpus)))
        .with("memoryMB", Value::amount(system.memory_mib))
        .with("deviceChange", Value::objects("VirtualDeviceConfigSpec", devices.changes))
        .with("extraConfig", Value::objects("OptionValue", [extra]))
        .with("firmware", system.firmware.name());
    let starts = || Object::new("VAppEntityConfigInfo").with("startOrder", i32::from(system.start_order));
    Object::new("VirtualMachineImportSpec")
        .with_some("entityConfig", (system.start_order > 0).then(starts))
        .with("configSpec", config)
}

/// The machine a file is for.
fn system_of(file: &PlannedFile) -> usize {
    match file.usage {
        FileUse::Disk { system, .. }
        | FileUse::Cdrom { system, .. }
        | FileUse::Floppy { system, .. }
        | FileUse::Nvram { system } => system,
    }
}

/// The files a client will send, as `ImportVApp` reads them.
fn listed(files: &[&PlannedFile]) -> String {
    let line = |file: &&PlannedFile| match file.usage {
        FileUse::Disk { disk, .. } => format!("{}={}\n", -1000 - i32::try_from(disk).unwrap_or(0), file.path),
        FileUse::Cdrom { cdrom, .. } => format!("{}={}\n", -3000 - i32::try_from(cdrom).unwrap_or(0), file.path),
        _ => String::new(),
    };
    files.iter().map(line).collect()
}

/// The devices of an import specification; controllers come with the first device that hangs on them.
struct Devices {
    changes: Vec<Object>,
    controllers: Vec<ovf::Controller>,
}

impl Devices {
    fn controller(&mut self, controller: ovf::Controller) -> i32 {
        let known = self.controllers.iter().position(|known| *known == controller);
        let index = known.unwrap_or_else(|| {
            self.controllers.push(controller);
            let index = self.controllers.len() - 1;
            let device = Object::new(controller.kind.vim_type())
                .with("key", -100 - i32::try_from(index).unwrap_or(0))
                .with("busNumber", Value::count(u64::from(controller.bus)));
            // pyvmomi does not send on what lacks a field that must be there.
            let scsi = !matches!(
                controller.kind,
                ovf::ControllerKind::Ide | ovf::ControllerKind::Sata | ovf::ControllerKind::Nvme
            );
            let sharing = scsi.then(|| Value::word("VirtualSCSISharing", "noSharing"));
            self.add(device.with_some("sharedBus", sharing), false);
            index
        });
        -100 - i32::try_from(index).unwrap_or(0)
    }

    fn add(&mut self, device: Object, makes_a_file: bool) {
        let change = Object::new("VirtualDeviceConfigSpec")
            .with("operation", Value::word("VirtualDeviceConfigSpecOperation", "add"))
            .with_some(
                "fileOperation",
                makes_a_file.then(|| Value::word("VirtualDeviceConfigSpecFileOperation", "create")),
            )
            .with("device", device);
        self.changes.push(change);
    }
}

/// A machine as a descriptor describes it. `files` has one entry for each disk, then one for each image in a CD drive.
fn system(machine: &Machine, files: &[Option<usize>]) -> ovf::Machine {
    let disks = machine.disks.iter().zip(files).map(|(disk, file)| ovf::Disk {
        id: String::new(),
        label: disk.label.clone(),
        capacity_bytes: disk.capacity_bytes,
        populated_bytes: None,
        file: *file,
        controller: controller(disk.controller),
        unit: disk.unit,
    });
    let mut images = files[machine.disks.len()..].iter();
    let cdroms = machine.cdroms.iter().map(|cdrom| ovf::Cdrom {
        label: cdrom.label.clone(),
        file: cdrom.target.as_ref().and_then(|_| images.next().copied().flatten()),
        controller: controller(cdrom.controller),
        unit: cdrom.unit,
    });
    let nics = machine.nics.iter().map(|nic| ovf::Nic {
        label: nic.label.clone(),
        kind: NIC_KINDS.into_iter().find(|kind| kind.vim_type() == nic.kind).unwrap_or(ovf::NicKind::E1000),
        network: nic.network.clone(),
    });
    ovf::Machine {
        id: machine.name.clone(),
        name: machine.name.clone(),
        guest_id: machine.guest_id.clone(),
        cpus: machine.cpus,
        cores_per_socket: None,
        memory_mib: machine.memory_mib,
        hardware_version: machine.hardware_version.clone(),
        firmware: if machine.firmware == "efi" { ovf::Firmware::Efi } else { ovf::Firmware::Bios },
        annotation: machine.annotation.clone(),
        controllers: machine.controllers().into_iter().map(controller).collect(),
        disks: disks.collect(),
        cdroms: cdroms.collect(),
        floppies: Vec::new(),
        nics: nics.collect(),
        nvram: None,
        properties: Vec::new(),
        extra_config: Vec::new(),
        start_order: 0,
    }
}

const NIC_KINDS: [ovf::NicKind; 6] = [
    ovf::NicKind::Vmxnet3,
    ovf::NicKind::Vmxnet2,
    ovf::NicKind::Vmxnet,
    ovf::NicKind::E1000,
    ovf::NicKind::E1000e,
    ovf::NicKind::PcNet32,
];

fn controller(controller: inventory::Controller) -> ovf::Controller {
    let kind = match controller.kind {
        inventory::ControllerKind::LsiLogic => ovf::ControllerKind::LsiLogic,
        inventory::ControllerKind::LsiLogicSas => ovf::ControllerKind::LsiLogicSas,
        inventory::ControllerKind::BusLogic => ovf::ControllerKind::BusLogic,
        inventory::ControllerKind::ParaVirtual => ovf::ControllerKind::ParaVirtual,
        inventory::ControllerKind::Ide => ovf::ControllerKind::Ide,
        inventory::ControllerKind::Sata => ovf::ControllerKind::Sata,
        inventory::ControllerKind::Nvme => ovf::ControllerKind::Nvme,
    };
    ovf::Controller { kind, bus: controller.bus }
}

fn result(kind: &'static str) -> Object {
    Object::new(kind)
}

fn localized(kind: &'static str, message: &str) -> Object {
    Object::new("LocalizedMethodFault").with("fault", Object::new(kind)).with("localizedMessage", message)
}

fn warnings(plan: &Plan) -> Vec<Object> {
    plan.warnings.iter().map(|warning| localized(warning.vim_fault(), &warning.to_string())).collect()
}

/// A descriptor that cannot be read at all, with everything that is known of why.
fn unreadable(error: &ovf::OvfError) -> Value {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    Value::objects("LocalizedMethodFault", [localized(error.vim_fault(), &message)])
}
