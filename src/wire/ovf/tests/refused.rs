//! Documents that are refused, each for its own reason.

use super::*;
use crate::limits::{
    NAME_BYTES, OVF_BYTES, OVF_CONFIGURATIONS, OVF_DISKS, OVF_FILES, OVF_ITEMS, OVF_NETWORKS, OVF_PROPERTIES,
    OVF_SYSTEMS, XML_DEPTH,
};

fn refused(parts: &Parts) -> String {
    parts.parse().unwrap_err().to_string()
}

fn with_file(attributes: &str) -> Parts {
    Parts { files: format!("<File {attributes}/>"), ..Parts::default() }
}

fn with_disk(attributes: &str) -> Parts {
    Parts { disks: format!("<Disk {attributes}/>"), ..Parts::default() }
}

#[test]
fn names_of_files_that_lead_elsewhere() {
    let long = "x".repeat(NAME_BYTES + 1);
    let table = [
        ("", HrefFault::Empty),
        (" ", HrefFault::Empty),
        ("../a.vmdk", HrefFault::Parent),
        ("a/../../b", HrefFault::Parent),
        ("..", HrefFault::Parent),
        (".", HrefFault::Parent),
        ("./a.vmdk", HrefFault::Parent),
        ("/etc/passwd", HrefFault::Absolute),
        ("//host/share", HrefFault::Absolute),
        ("http://example.com/a.vmdk", HrefFault::Url),
        ("https://example.com/a.vmdk", HrefFault::Url),
        ("file:///etc/passwd", HrefFault::Url),
        ("ds:///vmfs/volumes/x", HrefFault::Url),
        ("C:\\a.vmdk", HrefFault::Url),
        ("a\\b.vmdk", HrefFault::Backslash),
        ("..\\b.vmdk", HrefFault::Backslash),
        ("disks/a.vmdk", HrefFault::Directory),
        ("a.vmdk/", HrefFault::Directory),
        ("a&#9;b", HrefFault::Control),
        ("a&#127;b", HrefFault::Control),
        ("%2e%2e%2fa.vmdk", HrefFault::Encoded),
        ("%2E%2E", HrefFault::Encoded),
        ("a%2Fb", HrefFault::Encoded),
        ("a%5cb", HrefFault::Encoded),
        ("a%00b", HrefFault::Encoded),
        ("a%252fb", HrefFault::Encoded),
        (&long, HrefFault::Long),
    ];
    for (href, expected) in table {
        match with_file(&format!("ovf:id='f1' ovf:href='{href}'")).parse() {
            Err(OvfError::Href { element, fault, .. }) => {
                assert_eq!((element.as_str(), fault), ("File \"f1\"", expected), "{href}");
            }
            other => panic!("{href}: {other:?}"),
        }
    }
    assert_eq!(
        refused(&with_file("ovf:id='f1' ovf:href='../x'")),
        "File \"f1\": the href \"../x\" leads out of the package"
    );
    let nul = with_file("ovf:id='f1' ovf:href='a&#0;b'");
    assert!(matches!(nul.parse(), Err(OvfError::Xml(_))), "XML has no NUL");
    let twice = "<File ovf:id='f1' ovf:href='a'/><File ovf:id='f2' ovf:href='a'/>";
    assert_eq!(
        refused(&Parts { files: twice.into(), ..Parts::default() }),
        "File \"f2\": the href \"a\" is the name of another file already"
    );
    for href in
        ["a b.vmdk", "a%20b.vmdk", "été.vmdk", "..a", "a..b", "100%.vmdk", "a:b", "x".repeat(NAME_BYTES).as_str()]
    {
        let is_scheme = href == "a:b";
        assert_eq!(with_file(&format!("ovf:id='f1' ovf:href='{href}'")).parse().is_err(), is_scheme, "{href}");
    }
}

#[test]
fn files_that_cannot_be_taken() {
    let table = [
        ("ovf:href='a'", "File has no attribute id"),
        ("ovf:id='f1'", "File \"f1\" has no attribute href"),
        (
            "ovf:id='f1' ovf:href='a' ovf:size='x'",
            "File \"f1\": size is \"x\"; a number of bytes is expected, at most 2^63 - 1",
        ),
        (
            "ovf:id='f1' ovf:href='a' ovf:size='-1'",
            "File \"f1\": size is \"-1\"; a number of bytes is expected, at most 2^63 - 1",
        ),
        (
            "ovf:id='f1' ovf:href='a' ovf:size='+1'",
            "File \"f1\": size is \"+1\"; a number of bytes is expected, at most 2^63 - 1",
        ),
        (
            "ovf:id='f1' ovf:href='a' ovf:size='1e3'",
            "File \"f1\": size is \"1e3\"; a number of bytes is expected, at most 2^63 - 1",
        ),
        (
            "ovf:id='f1' ovf:href='a' ovf:size='9223372036854775808'",
            "File \"f1\": size is \"9223372036854775808\"; a number of bytes is expected, at most 2^63 - 1",
        ),
        (
            "ovf:id='f1' ovf:href='a' ovf:chunkSize='7516192768'",
            "File \"f1\" is split into chunks of 7516192768 bytes, which is not supported; join them and remove ovf:chunkSize",
        ),
        (
            "ovf:id='f1' ovf:href='a' ovf:compression='gzip'",
            "File \"f1\" is compressed (gzip), which is not supported; unpack it and remove ovf:compression",
        ),
    ];
    for (attributes, expected) in table {
        assert_eq!(refused(&with_file(attributes)), expected);
    }
    let twice = "<File ovf:id='f1' ovf:href='a'/><File ovf:id='f1' ovf:href='b'/>";
    assert_eq!(refused(&Parts { files: twice.into(), ..Parts::default() }), "File \"f1\" for the second time");
    assert!(with_file("ovf:id='f1' ovf:href='a' ovf:compression='identity' ovf:size=''").parse().is_ok());
    assert!(with_file("id='f1' href='a' size='1'").parse().is_ok(), "attributes without a prefix are understood");
}

#[test]
fn disks_that_cannot_be_taken() {
    let table = [
        ("ovf:capacity='1'", "Disk has no attribute diskId"),
        ("ovf:diskId='d1'", "Disk \"d1\" has no attribute capacity"),
        ("ovf:diskId='d1' ovf:capacity='ten'", "Disk \"d1\": capacity is \"ten\"; a number is expected"),
        (
            "ovf:diskId='d1' ovf:capacity='${size}'",
            "Disk \"d1\": capacity is \"${size}\"; a number is expected; capacities that a property gives are not supported",
        ),
        (
            "ovf:diskId='d1' ovf:capacity='1' ovf:fileRef='f9'",
            "Disk \"d1\": fileRef is \"f9\", but the document has no such File",
        ),
        (
            "ovf:diskId='d1' ovf:capacity='2' ovf:capacityAllocationUnits='byte * 2^63'",
            "Disk \"d1\": capacity is \"2 byte * 2^63\"; less than 2^64 bytes are expected",
        ),
        (
            "ovf:diskId='d1' ovf:capacity='2' ovf:capacityAllocationUnits='furlong'",
            "Disk \"d1\": capacityAllocationUnits is \"furlong\"; a unit of bytes is expected, such as \"byte * 2^30\"",
        ),
        (
            "ovf:diskId='d1' ovf:capacity='18446744073709551616'",
            "Disk \"d1\": capacity is \"18446744073709551616\"; a number is expected",
        ),
        (
            "ovf:diskId='d1' ovf:capacity='1' ovf:populatedSize='-1'",
            "Disk \"d1\": populatedSize is \"-1\"; a number of bytes is expected, at most 2^63 - 1",
        ),
        (
            "ovf:diskId='d1' ovf:capacity='1' ovf:parentRef='d0'",
            "Disk \"d1\" is a delta of \"d0\" (ovf:parentRef), which is not supported; consolidate the disk first",
        ),
    ];
    for (attributes, expected) in table {
        assert_eq!(refused(&with_disk(attributes)), expected);
    }
    let twice = "<Disk ovf:diskId='d' ovf:capacity='1'/><Disk ovf:diskId='d' ovf:capacity='1'/>";
    assert_eq!(refused(&Parts { disks: twice.into(), ..Parts::default() }), "Disk \"d\" for the second time");
}

#[test]
fn what_is_not_an_ovf() {
    let of = |text: &str| Ovf::parse(text).unwrap_err().to_string();
    assert_eq!(of("<html/>"), "the root element is html in namespace \"\"; an Envelope of OVF 1.x or 2.x is expected");
    assert_eq!(
        of("<Envelope xmlns='urn:x'/>"),
        "the root element is Envelope in namespace \"urn:x\"; an Envelope of OVF 1.x or 2.x is expected"
    );
    let old = "OVF 0.9 is not supported, 1.0 to 2.x are; convert the package with a tool that reads the old form";
    assert_eq!(of("<ovf:Envelope xmlns:ovf='http://www.vmware.com/schema/ovf/1/envelope' ovf:version='0.9'/>"), old);
    assert_eq!(of(&Parts { envelope: " ovf:version='0.9'".into(), ..Parts::default() }.text()), old);
    assert_eq!(of(&format!("<Envelope xmlns='{OVF_1}'/>")), "Envelope has no VirtualSystem or VirtualSystemCollection");
    let dtd = "<!DOCTYPE x [<!ENTITY a 'a'>]><x>&a;</x>";
    assert!(matches!(Ovf::parse(dtd), Err(OvfError::Xml(crate::wire::xml::XmlError::DocumentType { .. }))));
    for broken in ["", "x", "<", "<Envelope", "PK\u{3}\u{4}", &VSPHERE[..VSPHERE.len() / 2]] {
        assert!(matches!(Ovf::parse(broken), Err(OvfError::Xml(_))), "{broken:?}");
    }
    let large = " ".repeat(OVF_BYTES + 1);
    assert_eq!(of(&large), format!("the OVF has {} bytes, at most {OVF_BYTES} are supported", OVF_BYTES + 1));
}

#[test]
fn sections_that_repeat_or_that_nobody_knows() {
    let with_system = |system: &str| Parts { system: system.into(), ..Parts::default() };
    let with_tail = |tail: &str| Parts { tail: tail.into(), ..Parts::default() };
    assert_eq!(refused(&with_tail("<DiskSection/>")), "DiskSection in Envelope for the second time");
    assert_eq!(refused(&with_tail("<VirtualSystem ovf:id='b'/>")), "VirtualSystem in Envelope for the second time");
    let section = "<x:Warp xmlns:x='urn:x'/>";
    let unknown = "the section Warp (of \"urn:x\"), which is unknown here and not marked ovf:required=\"false\"";
    assert_eq!(refused(&with_tail(section)), format!("Envelope contains {unknown}"));
    assert_eq!(refused(&with_system(section)), format!("VirtualSystem \"vm\" contains {unknown}"));
    let settings = Parts { settings: section.into(), ..Parts::default() };
    assert_eq!(refused(&settings), format!("VirtualHardwareSection of VirtualSystem \"vm\" contains {unknown}"));
    assert_eq!(
        refused(&with_system("<EncryptionSection/>")),
        "VirtualSystem \"vm\" contains the section EncryptionSection, which is unknown here and not marked ovf:required=\"false\""
    );
    let optional = with_system("<OperatingSystemSection ovf:id='96'/><x:Warp xmlns:x='urn:x' ovf:required='false'/>");
    assert_eq!(said(&optional.plan().warnings), ["VirtualSystem \"vm\": the section Warp (of \"urn:x\") is ignored"]);
    assert_eq!(
        refused(&with_system("<x:Warp xmlns:x='urn:x' ovf:required='maybe'/>")),
        "Warp (of \"urn:x\"): required is \"maybe\"; true or false is expected"
    );
    let os = "<OperatingSystemSection ovf:id='96'/>";
    assert_eq!(
        refused(&with_system(&os.repeat(2))),
        "OperatingSystemSection in VirtualSystem \"vm\" for the second time"
    );
    assert_eq!(
        refused(&with_system("<OperatingSystemSection ovf:id='linux'/>")),
        "OperatingSystemSection of VirtualSystem \"vm\": id is \"linux\"; a number of CIM's operating systems is expected"
    );
    let property = "<Property ovf:key='k'/>";
    assert_eq!(
        refused(&with_system(&format!("<ProductSection>{}</ProductSection>", property.repeat(2)))),
        "Property \"k\" of VirtualSystem \"vm\" for the second time"
    );
}

#[test]
fn items_that_say_too_little_or_nonsense() {
    let with = |item: &str| refused(&Parts { items: item.into(), ..Parts::default() });
    let of_vm = "of VirtualSystem \"vm\"";
    assert_eq!(with("<Item/>"), format!("Item {of_vm} has no InstanceID"));
    assert_eq!(with("<Item><r:InstanceID>1</r:InstanceID></Item>"), format!("Item \"1\" {of_vm} has no ResourceType"));
    assert_eq!(
        with("<Item><InstanceID>1</InstanceID></Item>"),
        format!("Item {of_vm} has no InstanceID"),
        "by namespace"
    );
    let number = "<Item><r:InstanceID>1</r:InstanceID><r:ResourceType>disk</r:ResourceType></Item>";
    assert_eq!(
        with(number),
        format!("Item \"1\" {of_vm}: ResourceType is \"disk\"; a number of CIM's resource types is expected")
    );
    let quantity = item("1", 3, &[("VirtualQuantity", "many")]);
    assert_eq!(with(&quantity), format!("Item \"1\" {of_vm}: VirtualQuantity is \"many\"; a number is expected"));
    let addition =
        "<Item><r:InstanceID>1</r:InstanceID><r:ResourceType>3</r:ResourceType><vmw:Warp ovf:required='true'/></Item>";
    assert!(with(addition).starts_with("Item \"1\" of VirtualSystem \"vm\" contains the section Warp"));
}

#[test]
fn every_limit_is_named() {
    let many = |count: usize, one: fn(usize) -> String| (0..count).map(one).collect::<String>();
    let file = |n: usize| format!("<File ovf:id='f{n}' ovf:href='{n}.vmdk'/>");
    let parts = Parts { files: many(10_000, file), ..Parts::default() };
    assert_eq!(refused(&parts), format!("more than {OVF_FILES} files"));
    let parts = Parts {
        disks: many(OVF_DISKS + 1, |n| format!("<Disk ovf:diskId='d{n}' ovf:capacity='1'/>")),
        ..Parts::default()
    };
    assert_eq!(refused(&parts), format!("more than {OVF_DISKS} disks"));
    let parts =
        Parts { networks: many(OVF_NETWORKS + 1, |n| format!("<Network ovf:name='n{n}'/>")), ..Parts::default() };
    assert_eq!(refused(&parts), format!("more than {OVF_NETWORKS} networks"));
    let parts = Parts { items: many(OVF_ITEMS + 1, |n| item(&n.to_string(), 10, &[])), ..Parts::default() };
    assert_eq!(refused(&parts), format!("more than {OVF_ITEMS} hardware items"));
    let properties = many(OVF_PROPERTIES + 1, |n| format!("<Property ovf:key='k{n}'/>"));
    let parts = Parts { system: format!("<ProductSection>{properties}</ProductSection>"), ..Parts::default() };
    assert_eq!(refused(&parts), format!("more than {OVF_PROPERTIES} properties"));
    let options = many(OVF_CONFIGURATIONS + 1, |n| format!("<Configuration ovf:id='c{n}'/>"));
    let configurations = format!("<DeploymentOptionSection>{options}</DeploymentOptionSection>");
    let parts = Parts { configurations, ..Parts::default() };
    assert_eq!(refused(&parts), format!("more than {OVF_CONFIGURATIONS} configurations"));
    let systems = many(OVF_SYSTEMS + 1, |n| format!("<VirtualSystem ovf:id='v{n}'/>"));
    let text = format!(
        "<Envelope xmlns='{OVF_1}' xmlns:ovf='{OVF_1}'><VirtualSystemCollection ovf:id='c'>{systems}</VirtualSystemCollection></Envelope>"
    );
    assert_eq!(Ovf::parse(&text).unwrap_err().to_string(), format!("more than {OVF_SYSTEMS} machines and collections"));
    let deep = "<VirtualSystemCollection ovf:id='c'>".repeat(XML_DEPTH);
    let text = format!("<Envelope xmlns='{OVF_1}' xmlns:ovf='{OVF_1}'>{deep}");
    assert!(matches!(Ovf::parse(&text), Err(OvfError::Xml(crate::wire::xml::XmlError::TooMany { .. }))));
}

#[test]
fn names_that_stand_for_nothing() {
    let start = |id: &str| {
        format!(
            "<Envelope xmlns='{OVF_1}' xmlns:ovf='{OVF_1}'><VirtualSystemCollection ovf:id='c'><StartupSection>\
             <Item ovf:id='{id}' ovf:order='1'/></StartupSection><VirtualSystem ovf:id='v'/></VirtualSystemCollection></Envelope>"
        )
    };
    assert!(Ovf::parse(&start("v")).is_ok());
    assert_eq!(
        Ovf::parse(&start("w")).unwrap_err().to_string(),
        "Item in StartupSection of VirtualSystemCollection \"c\": id is \"w\", but the document has no such member of the collection"
    );
    let value = "<ProductSection><Property ovf:key='k'><Value ovf:value='1' ovf:configuration='x'/></Property></ProductSection>";
    assert_eq!(
        refused(&Parts { system: value.into(), ..Parts::default() }),
        "Value of Property \"k\" of VirtualSystem \"vm\": configuration is \"x\", but the document has no such Configuration"
    );
    let same = "<VirtualSystem ovf:id='v'/>".repeat(2);
    let text = format!(
        "<Envelope xmlns='{OVF_1}' xmlns:ovf='{OVF_1}'><VirtualSystemCollection ovf:id='c'>{same}</VirtualSystemCollection></Envelope>"
    );
    assert_eq!(Ovf::parse(&text).unwrap_err().to_string(), "VirtualSystem \"v\" for the second time");
}
