//! The hardware of a machine: OVF 1.x has Items, OVF 2.x StorageItems and EthernetPortItems beside them.

use super::super::error::{OvfError, shown};
use super::super::model::{Hardware, Item, Required, Setting};
use super::super::names::{VMW, attribute, cim, cim_all, is, is_ovf, named, number, required, vmw_attribute};
use super::Reading;
use crate::wire::xml::Element;

impl Reading {
    /// A VirtualHardwareSection.
    pub(super) fn hardware(&mut self, section: &Element, system: &str) -> Result<Hardware, OvfError> {
        let mut hardware = Hardware { transports: words(attribute(section, "transport")), ..Hardware::default() };
        for part in &section.children {
            match part.name.as_str() {
                "Config" if part.namespace == VMW => hardware.settings.push(setting(part, system)?),
                "ExtraConfig" if part.namespace == VMW => hardware.extra_config.push(setting(part, system)?),
                "Info" => {}
                "System" if is_ovf(part) => {
                    let families = cim_all(part, "VirtualSystemType").flat_map(str::split_whitespace);
                    hardware.families.extend(families.map(|family| family.trim_matches([',', ';']).to_owned()));
                }
                "Item" | "StorageItem" | "EthernetPortItem" if is_ovf(part) => {
                    self.count_item()?;
                    // Others say between which bounds a user may choose.
                    if matches!(attribute(part, "bound").map(str::trim), None | Some("" | "normal")) {
                        hardware.items.push(item(part, system)?);
                    }
                }
                _ => self.section_left_out(&format!("VirtualHardwareSection of {system}"), part)?,
            }
        }
        Ok(hardware)
    }
}

fn item(element: &Element, system: &str) -> Result<Item, OvfError> {
    let nameless = format!("{} of {system}", element.name);
    let missing = |element| OvfError::MissingElement { parent: nameless.clone(), element };
    let instance = cim(element, "InstanceID").ok_or_else(|| missing("InstanceID"))?;
    let who = format!("{} of {system}", named(&element.name, instance));
    let missing = |element| OvfError::MissingElement { parent: who.clone(), element };
    let resource_type = cim(element, "ResourceType").ok_or_else(|| missing("ResourceType"))?;
    let quantity = cim(element, "VirtualQuantity");
    let quantity = quantity.map(|found| number(&who, "VirtualQuantity", found, "a number is expected")).transpose()?;
    refuse_required_additions(element, &who)?;
    let string = |name| cim(element, name).map(str::to_owned);
    Ok(Item {
        instance: instance.to_owned(),
        resource_type: number(&who, "ResourceType", resource_type, "a number of CIM's resource types is expected")?,
        sub_types: words(cim(element, "ResourceSubType")),
        label: string("ElementName").or_else(|| string("Caption")).unwrap_or_default(),
        parent: string("Parent"),
        address: string("Address"),
        address_on_parent: string("AddressOnParent"),
        host_resource: string("HostResource"),
        connection: string("Connection"),
        quantity,
        units: string("AllocationUnits").or_else(|| string("VirtualQuantityUnits")),
        cores_per_socket: cores_per_socket(element, &who)?,
        required: required(element, &who)?,
        configurations: words(attribute(element, "configuration")),
    })
}

/// VMware puts it into a namespace of its own.
fn cores_per_socket(element: &Element, who: &str) -> Result<Option<u32>, OvfError> {
    let found = element.children.iter().find(|child| child.name == "CoresPerSocket");
    let found = found.map(|child| child.text.trim()).filter(|text| !text.is_empty());
    found.map(|found| number(who, "CoresPerSocket", found, "a number is expected")).transpose()
}

/// Others may add to an Item; what they insist on, we cannot do.
fn refuse_required_additions(element: &Element, who: &str) -> Result<(), OvfError> {
    for child in element.children.iter().filter(|child| !is(child, "Info")) {
        let is_known = matches!(child.name.as_str(), "Config" | "ExtraConfig" | "CoresPerSocket");
        if !is_known && required(child, who)? == Required::Yes {
            return Err(OvfError::RequiredSection { element: who.to_owned(), section: shown(&child.name) });
        }
    }
    Ok(())
}

/// `<vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>`
fn setting(element: &Element, system: &str) -> Result<Setting, OvfError> {
    let who = format!("{} of {system}", element.name);
    let missing = |attribute| OvfError::MissingAttribute { element: who.clone(), attribute };
    let key = vmw_attribute(element, "key").map(str::trim).filter(|key| !key.is_empty());
    Ok(Setting {
        key: key.ok_or_else(|| missing("key"))?.to_owned(),
        value: vmw_attribute(element, "value").ok_or_else(|| missing("value"))?.to_owned(),
        required: required(element, &who)?,
    })
}

fn words(list: Option<&str>) -> Vec<String> {
    list.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}
