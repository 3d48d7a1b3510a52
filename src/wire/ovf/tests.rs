//! OVFs as known writers make them, every kind of mistake in one, and our own against the reader.

mod documents;
mod planned;
mod refused;
mod round_trip;

use super::names::{OVF_1, RASD, VMW, VSSD};
use super::*;

const VSPHERE: &str = include_str!("tests/samples/vsphere.ovf");
const WORKSTATION: &str = include_str!("tests/samples/workstation.ovf");
const VIRTUALBOX: &str = include_str!("tests/samples/virtualbox.ovf");
const VIRTUALBOX_2: &str = include_str!("tests/samples/virtualbox2.ovf");
const CLOUD: &str = include_str!("tests/samples/cloud.ovf");
const TALOS: &str = include_str!("tests/samples/talos.ovf");
const VAPP: &str = include_str!("tests/samples/vapp.ovf");

const SAMPLES: [&str; 7] = [VSPHERE, WORKSTATION, VIRTUALBOX, VIRTUALBOX_2, CLOUD, TALOS, VAPP];

/// The parts of a document; the default ones make a machine of one disk that nothing is to be said about.
struct Parts {
    envelope: String,
    files: String,
    disks: String,
    networks: String,
    configurations: String,
    /// In the machine, before its hardware.
    system: String,
    items: String,
    settings: String,
    /// Behind the machine.
    tail: String,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            envelope: String::new(),
            files: "<File ovf:id='f1' ovf:href='a.vmdk' ovf:size='1024'/>".into(),
            disks:
                "<Disk ovf:diskId='d1' ovf:fileRef='f1' ovf:capacity='1' ovf:capacityAllocationUnits='byte * 2^30'/>"
                    .into(),
            networks: "<Network ovf:name='net'/>".into(),
            configurations: String::new(),
            system: "<OperatingSystemSection ovf:id='96'/>".into(),
            items: [CPU, MEMORY, SCSI, DISK].concat(),
            settings: String::new(),
            tail: String::new(),
        }
    }
}

const CPU: &str = "<Item><r:InstanceID>1</r:InstanceID><r:ResourceType>3</r:ResourceType><r:VirtualQuantity>2</r:VirtualQuantity></Item>";
const MEMORY: &str = "<Item><r:AllocationUnits>byte * 2^20</r:AllocationUnits><r:InstanceID>2</r:InstanceID><r:ResourceType>4</r:ResourceType><r:VirtualQuantity>512</r:VirtualQuantity></Item>";
const SCSI: &str = "<Item><r:Address>0</r:Address><r:InstanceID>3</r:InstanceID><r:ResourceSubType>lsilogic</r:ResourceSubType><r:ResourceType>6</r:ResourceType></Item>";
const DISK: &str = "<Item><r:AddressOnParent>0</r:AddressOnParent><r:ElementName>Hard disk 1</r:ElementName><r:HostResource>ovf:/disk/d1</r:HostResource><r:InstanceID>4</r:InstanceID><r:Parent>3</r:Parent><r:ResourceType>17</r:ResourceType></Item>";

impl Parts {
    fn text(&self) -> String {
        let Self { envelope, files, disks, networks, configurations, system, items, settings, tail } = self;
        format!(
            "<Envelope xmlns='{OVF_1}' xmlns:ovf='{OVF_1}' xmlns:r='{RASD}' xmlns:v='{VSSD}' xmlns:vmw='{VMW}'{envelope}>\
             <References>{files}</References><DiskSection>{disks}</DiskSection><NetworkSection>{networks}</NetworkSection>\
             {configurations}<VirtualSystem ovf:id='vm'><Info/>{system}<VirtualHardwareSection>\
             <System><v:VirtualSystemType>vmx-13</v:VirtualSystemType></System>{items}{settings}</VirtualHardwareSection>\
             </VirtualSystem>{tail}</Envelope>"
        )
    }

    fn parse(&self) -> Result<Ovf, OvfError> {
        Ovf::parse(&self.text())
    }

    fn plan(&self) -> Plan {
        planned(&self.text())
    }
}

/// An Item with the fields given, its number first.
fn item(instance: &str, resource_type: u16, fields: &[(&str, &str)]) -> String {
    let fields: String = fields.iter().map(|(name, text)| format!("<r:{name}>{text}</r:{name}>")).collect();
    format!(
        "<Item><r:InstanceID>{instance}</r:InstanceID><r:ResourceType>{resource_type}</r:ResourceType>{fields}</Item>"
    )
}

/// The plan of a text without any choices.
fn planned(text: &str) -> Plan {
    plan(&Ovf::parse(text).unwrap(), &PlanParams::default())
}

fn said<T: ToString>(notes: &[T]) -> Vec<String> {
    notes.iter().map(ToString::to_string).collect()
}
