//! The vocabulary of an OVF: namespaces, and attributes and children looked up by them.
//!
//! Elements count by namespace and name, whatever their prefix. Attributes of OVF are also taken without one, which the
//! standard forbids and some writers do.

use super::error::{OvfError, shown};
use super::model::Required;
use crate::wire::xml::Element;

/// OVF 1.x.
pub(super) const OVF_1: &str = "http://schemas.dmtf.org/ovf/envelope/1";
/// OVF 2.x.
pub(super) const OVF_2: &str = "http://schemas.dmtf.org/ovf/envelope/2";
/// Before the standard.
pub(super) const OVF_0_9: &str = "http://www.vmware.com/schema/ovf/1/envelope";
/// VMware's additions.
pub(super) const VMW: &str = "http://www.vmware.com/schema/ovf";
/// CIM's common attributes.
pub(super) const CIM: &str = "http://schemas.dmtf.org/wbem/wscim/1/common";
/// Parts of the hardware.
pub(super) const RASD: &str = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData";
/// The hardware as a whole.
pub(super) const VSSD: &str = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData";

/// Whether it is that element of OVF.
pub(super) fn is(element: &Element, name: &str) -> bool {
    element.name == name && is_ovf(element)
}

/// Whether it is an element of OVF.
pub(super) fn is_ovf(element: &Element) -> bool {
    element.namespace == OVF_1 || element.namespace == OVF_2
}

/// The children that are that element of OVF.
pub(super) fn children<'e>(element: &'e Element, name: &'e str) -> impl Iterator<Item = &'e Element> {
    element.children.iter().filter(move |child| is(child, name))
}

/// The first of them.
pub(super) fn child<'e>(element: &'e Element, name: &str) -> Option<&'e Element> {
    element.children.iter().find(|child| is(child, name))
}

/// An attribute of OVF.
pub(super) fn attribute<'e>(element: &'e Element, name: &str) -> Option<&'e str> {
    [OVF_1, OVF_2, ""].into_iter().find_map(|namespace| element.attribute_in(namespace, name))
}

/// An attribute of VMware's.
pub(super) fn vmw_attribute<'e>(element: &'e Element, name: &str) -> Option<&'e str> {
    [VMW, ""].into_iter().find_map(|namespace| element.attribute_in(namespace, name))
}

/// An attribute of OVF that must be there.
pub(super) fn needed<'e>(element: &'e Element, who: &str, name: &'static str) -> Result<&'e str, OvfError> {
    let found = attribute(element, name).map(str::trim).filter(|value| !value.is_empty());
    found.ok_or_else(|| OvfError::MissingAttribute { element: who.to_owned(), attribute: name })
}

/// The text of a child that CIM defines; `None` when it is not there or empty.
pub(super) fn cim<'e>(element: &'e Element, name: &str) -> Option<&'e str> {
    let found = element.children.iter().find(|child| child.name == name && is_cim(child));
    found.map(|child| child.text.trim()).filter(|text| !text.is_empty())
}

/// The texts of all children of that name that CIM defines.
pub(super) fn cim_all<'e>(element: &'e Element, name: &'e str) -> impl Iterator<Item = &'e str> {
    let found = element.children.iter().filter(move |child| child.name == name && is_cim(child));
    found.map(|child| child.text.trim()).filter(|text| !text.is_empty())
}

/// OVF 2.0 has classes of its own for disks and network cards, and puts `.xsd` behind the names.
fn is_cim(element: &Element) -> bool {
    element.namespace.contains("/CIM_") && element.namespace.contains("SettingData")
}

/// A number.
pub(super) fn number<T: std::str::FromStr>(
    who: &str,
    field: &'static str,
    found: &str,
    expected: &'static str,
) -> Result<T, OvfError> {
    let found = found.trim();
    // Rust takes a plus sign, XML's unsigned numbers do not mean one.
    let number = if found.starts_with('+') { None } else { found.parse().ok() };
    number.ok_or_else(|| OvfError::Value { element: who.to_owned(), field, found: shown(found), expected })
}

/// A truth value; `None` when it is not there.
pub(super) fn truth(element: &Element, who: &str, field: &'static str) -> Result<Option<bool>, OvfError> {
    match attribute(element, field).map(str::trim) {
        None | Some("") => Ok(None),
        Some("true" | "1") => Ok(Some(true)),
        Some("false" | "0") => Ok(Some(false)),
        Some(found) => Err(OvfError::Value {
            element: who.to_owned(),
            field,
            found: shown(found),
            expected: "true or false is expected",
        }),
    }
}

/// What `ovf:required` says.
pub(super) fn required(element: &Element, who: &str) -> Result<Required, OvfError> {
    Ok(match truth(element, who, "required")? {
        Some(true) => Required::Yes,
        Some(false) => Required::No,
        None => Required::Unstated,
    })
}

/// An element with its name, for messages: `File "file1"`.
pub(super) fn named(kind: &str, name: &str) -> String {
    format!("{kind} {:?}", shown(name))
}
