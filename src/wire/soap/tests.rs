//! Tests of reading calls and writing answers, with requests in the shapes that govc and pyvmomi send.

use super::*;
use crate::wire::xml::Element;

fn call(inner: &str) -> Result<Call, BadCall> {
    let envelope = format!(
        "<?xml version=\"1.0\"?><Envelope xmlns=\"{ENVELOPE}\"><Header><operationID xmlns=\"x\">1</operationID></Header><Body>{inner}</Body></Envelope>"
    );
    Call::parse(envelope.as_bytes())
}

#[test]
fn a_call_is_read_whatever_its_prefixes() {
    let one = call(
        "<Login xmlns=\"urn:vim25\"><_this type=\"SessionManager\">SessionManager</_this><userName>u</userName></Login>",
    );
    let two = call(
        "<v:Login xmlns:v=\"urn:vim25\"><v:_this versionId=\"7\" type=\"SessionManager\"> SessionManager </v:_this><v:userName>u</v:userName></v:Login>",
    );
    for call in [one.unwrap(), two.unwrap()] {
        assert_eq!((call.method.as_str(), &call.this), ("Login", &MoRef::new("SessionManager", "SessionManager")));
        assert_eq!(call.arguments().text("userName"), Some("u"));
    }
}

#[test]
fn what_is_no_call_is_refused_by_name() {
    let said = |inner| call(inner).unwrap_err().to_string();
    assert_eq!(
        said("<Login xmlns='urn:vim2'/>"),
        "method Login is in namespace \"urn:vim2\"; this server speaks urn:vim25"
    );
    assert_eq!(said("<Login xmlns='urn:vim25'/>"), "method Login has no usable _this");
    assert_eq!(said(""), "expected a SOAP 1.1 envelope with a Body, got a Body without exactly one method");
    assert!(matches!(Call::parse(b"<x/>"), Err(BadCall::Envelope { .. })));
    assert!(matches!(Call::parse(b"<x>"), Err(BadCall::Xml(_))));
}

#[test]
fn an_argument_of_the_wrong_type_is_named_with_its_path() {
    let call =
        call("<P xmlns='urn:vim25'><_this type='T'>t</_this><percent>many</percent><o><f>maybe</f><r>x</r></o></P>")
            .unwrap();
    let arguments = call.arguments();
    assert_eq!(arguments.int("percent").unwrap_err().to_string(), "percent: \"many\" is not an int");
    let object = arguments.object("o").unwrap();
    assert_eq!(object.flag("f").unwrap_err().property, "o.f");
    assert_eq!(object.needed_reference("r").unwrap_err().to_string(), "o.r: is no managed object reference");
    assert_eq!(object.needed_text("n").unwrap_err().to_string(), "o.n: is required");
    assert_eq!(arguments.objects("o")[0].bad("f", "no").property, "o[0].f");
}

fn lease() -> Object {
    let urls = ["a", "b"].map(|key| Object::new("HttpNfcLeaseDeviceUrl").with("key", key).with("disk", true));
    Object::new("HttpNfcLeaseInfo")
        .with("lease", MoRef::new("HttpNfcLease", "l1"))
        .with("deviceUrl", Value::objects("HttpNfcLeaseDeviceUrl", urls))
        .with("leaseTimeout", 300)
}

#[test]
fn any_typed_values_carry_their_type() {
    let values = [
        (Value::word("HttpNfcLeaseState", "ready"), "<val xsi:type=\"HttpNfcLeaseState\">ready</val>"),
        (Value::Int(3), "<val xsi:type=\"xsd:int\">3</val>"),
        (Value::from("a<b"), "<val xsi:type=\"xsd:string\">a&lt;b</val>"),
        (MoRef::new("Folder", "f").into(), "<val xsi:type=\"ManagedObjectReference\" type=\"Folder\">f</val>"),
        (Value::texts(["x"]), "<val xsi:type=\"ArrayOfString\"><string>x</string></val>"),
        (
            Value::refs([MoRef::new("Folder", "f")]),
            "<val xsi:type=\"ArrayOfManagedObjectReference\"><ManagedObjectReference type=\"Folder\">f</ManagedObjectReference></val>",
        ),
        (
            Value::objects("VirtualDevice", [Object::new("VirtualDisk").with("key", 2000)]),
            "<val xsi:type=\"ArrayOfVirtualDevice\"><VirtualDevice xsi:type=\"VirtualDisk\"><key>2000</key></VirtualDevice></val>",
        ),
    ];
    for (value, expected) in values {
        let change = Object::new("DynamicProperty").with("name", "n").with("val", value.any());
        let answer = envelope::answer("Fetch", Some(&change.into()));
        assert!(answer.contains(expected), "{answer}");
        Element::parse(answer.as_bytes()).unwrap();
    }
}

#[test]
fn an_answer_repeats_its_lists_and_may_be_empty() {
    let answer = envelope::answer("M", Some(&Value::from(lease())));
    assert!(
        answer.contains("<returnval xsi:type=\"HttpNfcLeaseInfo\"><lease type=\"HttpNfcLease\">l1</lease><deviceUrl "),
        "{answer}"
    );
    assert_eq!(answer.matches("<deviceUrl ").count(), 2);
    assert!(envelope::answer("Logout", None).contains("<LogoutResponse xmlns=\"urn:vim25\"></LogoutResponse>"));
}

#[test]
fn a_fault_is_named_after_its_type() {
    let fault = Object::new("FileFault").with("file", "[a] b");
    let answer = envelope::fault(&fault, "no & never");
    assert!(answer.contains("<faultstring>no &amp; never</faultstring>"));
    assert!(
        answer
            .contains("<FileFaultFault xmlns=\"urn:vim25\" xsi:type=\"FileFault\"><file>[a] b</file></FileFaultFault>"),
        "{answer}"
    );
}

#[test]
fn a_property_is_found_by_its_path() {
    let root = Object::new("HttpNfcLease").with("info", lease());
    assert_eq!(root.at("info.leaseTimeout"), Some(&Value::Int(300)));
    assert_eq!(root.at("info.deviceUrl[b].key"), Some(&Value::from("b")));
    assert_eq!(root.at("info.deviceUrl[\"c\"].key"), None);
    assert_eq!(root.at("info.lease.x"), None);
    assert_eq!(root.at("error"), None);
}

#[test]
fn a_client_of_an_old_version_is_not_shown_what_it_does_not_know() {
    let old: ApiVersion = "6.5".parse().unwrap();
    let new: ApiVersion = ApiVersion::DEFAULT.parse().unwrap();
    let lease = || Object::new("HttpNfcLease").with("state", "ready").with("mode", "pull");
    let mut trimmed = lease();
    trimmed.trim(old);
    assert_eq!(trimmed.field("mode"), None);
    let mut whole = lease();
    whole.trim(new);
    assert!(whole.field("mode").is_some());
    assert!(!old.has_method("HttpNfcLeasePullFromUrls_Task") && new.has_method("HttpNfcLeaseProbeUrls"));
    assert_eq!(new.prior().next(), Some("8.0.1.0"));
    assert_eq!(("8.0.3.1".parse::<ApiVersion>().unwrap().product(), old.product()), ("8.0.3".into(), "6.5.0".into()));
    assert!("1.0".parse::<ApiVersion>().is_err());
}

#[test]
fn a_recursive_traversal_is_found_by_its_name() {
    let call = call(
        "<RetrieveProperties xmlns='urn:vim25' xmlns:x='http://www.w3.org/2001/XMLSchema-instance'><_this type='PropertyCollector'>p</_this>\
         <specSet><propSet><type>ManagedEntity</type><pathSet>name</pathSet><pathSet>parent</pathSet></propSet>\
         <objectSet><obj type='Folder'>group-d1</obj><skip>false</skip>\
         <selectSet x:type='TraversalSpec'><name>traverseParent</name><type>ManagedEntity</type><path>parent</path><skip>false</skip>\
         <selectSet><name>traverseParent</name></selectSet></selectSet></objectSet></specSet></RetrieveProperties>",
    )
    .unwrap();
    let spec = FilterSpec::read(&call.arguments().objects("specSet")[0]).unwrap();
    assert_eq!((spec.properties[0].kind.as_str(), spec.properties[0].paths.len()), ("ManagedEntity", 2));
    let traversal = spec.objects[0].named("traverseParent").unwrap();
    assert_eq!(traversal.select, [Selection::Named("traverseParent".to_owned())]);
    assert_eq!(spec.objects[0].named("other"), None);
}
