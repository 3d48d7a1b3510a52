//! Machines and collections of machines.

use super::super::error::{OvfError, shown};
use super::super::model::{About, Collection, OperatingSystem, Startup, System};
use super::super::names::{attribute, child, children, is_ovf, named, needed, number, vmw_attribute};
use super::super::strings::Text;
use super::{Reading, text};
use crate::wire::xml::Element;

impl Reading {
    /// A machine.
    pub(super) fn system(&mut self, element: &Element) -> Result<System, OvfError> {
        let id = self.id(element)?;
        let who = named("VirtualSystem", &id);
        let mut system =
            System { about: About { id, ..About::default() }, operating_system: None, hardware: Vec::new() };
        for part in &element.children {
            match part.name.as_str() {
                _ if !is_ovf(part) => self.section_left_out(&who, part)?,
                "OperatingSystemSection" if system.operating_system.is_some() => {
                    return Err(OvfError::Repeats { element: format!("OperatingSystemSection in {who}") });
                }
                "OperatingSystemSection" => system.operating_system = Some(operating_system(part, &who)?),
                "VirtualHardwareSection" => system.hardware.push(self.hardware(part, &who)?),
                _ => self.described(&mut system.about, part, &who)?,
            }
        }
        Ok(system)
    }

    /// A collection. How deep they nest is limited by how deep XML may.
    pub(super) fn collection(&mut self, element: &Element) -> Result<Collection, OvfError> {
        let id = self.id(element)?;
        let who = named("VirtualSystemCollection", &id);
        let about = About { id, ..About::default() };
        let mut collection = Collection { about, startup: Vec::new(), members: Vec::new() };
        for part in &element.children {
            match part.name.as_str() {
                _ if !is_ovf(part) => self.section_left_out(&who, part)?,
                "VirtualSystem" | "VirtualSystemCollection" => collection.members.push(self.content(part)?),
                "StartupSection" => startup(part, &mut collection.startup)?,
                _ => self.described(&mut collection.about, part, &who)?,
            }
        }
        for item in &collection.startup {
            if !collection.members.iter().any(|member| member.about().id == item.id) {
                return Err(OvfError::Dangling {
                    element: format!("Item in StartupSection of {who}"),
                    field: "id",
                    found: shown(&item.id),
                    wanted: "member of the collection",
                });
            }
        }
        Ok(collection)
    }

    /// The parts that machines and collections both have.
    fn described(&mut self, about: &mut About, part: &Element, who: &str) -> Result<(), OvfError> {
        match part.name.as_str() {
            "Info" => {}
            "Name" if about.name.is_some() => return Err(OvfError::Repeats { element: format!("Name in {who}") }),
            "Name" => about.name = Some(text(Some(part))),
            "AnnotationSection" => {
                let annotation = text(child(part, "Annotation"));
                about.annotation = Some(joined(about.annotation.take(), annotation));
            }
            "EulaSection" => about.licenses.push(text(child(part, "License"))),
            "ProductSection" => {
                let product = self.product(part, about, who)?;
                about.products.push(product);
            }
            _ => self.section_left_out(who, part)?,
        }
        Ok(())
    }
}

/// Two notes become one; translations of the first are kept.
fn joined(before: Option<Text>, more: Text) -> Text {
    match before {
        None => more,
        Some(before) if more.inline.is_empty() => before,
        Some(before) => Text { inline: format!("{}\n{}", before.inline, more.inline), message: before.message },
    }
}

fn operating_system(section: &Element, who: &str) -> Result<OperatingSystem, OvfError> {
    let who = format!("OperatingSystemSection of {who}");
    let id = number(&who, "id", needed(section, &who, "id")?, "a number of CIM's operating systems is expected")?;
    let vmware_id = vmw_attribute(section, "osType").map(str::to_owned);
    let description = child(section, "Description").map(|element| text(Some(element)));
    Ok(OperatingSystem { id, vmware_id, description })
}

fn startup(section: &Element, startup: &mut Vec<Startup>) -> Result<(), OvfError> {
    for item in children(section, "Item") {
        let id = needed(item, "Item in StartupSection", "id")?;
        let who = format!("{} in StartupSection", named("Item", id));
        let order = attribute(item, "order").filter(|order| !order.trim().is_empty());
        let order = order.map(|order| number(&who, "order", order, "a number from 0 to 65535 is expected"));
        if startup.iter().any(|other| other.id == id) {
            return Err(OvfError::Repeats { element: who });
        }
        startup.push(Startup { id: id.to_owned(), order: order.transpose()?.unwrap_or(0) });
    }
    Ok(())
}
