//! Answers on the wire: a value or a fault in its envelope.

use super::value::{MoRef, Object, Value};
use super::{ENVELOPE, VIM25};
use crate::wire::xml::{Writer, XSI};

/// The answer to a call of `method`: one `returnval` for each value, none for a method without a result.
pub fn answer(method: &str, returned: Option<&Value>) -> String {
    let mut writer = Writer::new();
    open(&mut writer);
    let name = format!("{method}Response");
    writer.open(&name, &[("xmlns", VIM25)]);
    if let Some(value) = returned {
        field(&mut writer, "returnval", value);
    }
    writer.close(&name);
    close(&mut writer);
    writer.finish()
}

/// A fault: its type, named and marked as clients look for it, and a sentence for people.
pub fn fault(fault: &Object, message: &str) -> String {
    let mut writer = Writer::new();
    open(&mut writer);
    writer.open("soapenv:Fault", &[]);
    writer.leaf("faultcode", &[], "ServerFaultCode");
    writer.leaf("faultstring", &[], message);
    writer.open("detail", &[]);
    // pyvmomi finds the type by cutting "Fault" off the element's name.
    let name = format!("{}Fault", fault.kind);
    writer.open(&name, &[("xmlns", VIM25), ("xsi:type", fault.kind)]);
    fields(&mut writer, fault);
    writer.close(&name);
    writer.close("detail");
    writer.close("soapenv:Fault");
    close(&mut writer);
    writer.finish()
}

fn open(writer: &mut Writer) {
    writer.open("soapenv:Envelope", &[("xmlns:soapenv", ENVELOPE), ("xmlns:xsd", XSD), ("xmlns:xsi", XSI)]);
    writer.open("soapenv:Body", &[]);
}

fn close(writer: &mut Writer) {
    writer.close("soapenv:Body");
    writer.close("soapenv:Envelope");
    writer.text("\n");
}

fn fields(writer: &mut Writer, object: &Object) {
    for (name, value) in &object.fields {
        field(writer, name, value);
    }
}

/// A field whose type the client knows.
fn field(writer: &mut Writer, name: &str, value: &Value) {
    match value {
        Value::Object(object) => {
            writer.open(name, &[("xsi:type", object.kind)]);
            fields(writer, object);
            writer.close(name);
        }
        Value::Ref(MoRef { kind, id }) => writer.leaf(name, &[("type", kind)], id),
        Value::List { items, .. } => items.iter().for_each(|item| field(writer, name, item)),
        Value::Any(value) => any(writer, name, value),
        simple => writer.leaf(name, &[], &text(simple)),
    }
}

/// A field of type `anyType`.
fn any(writer: &mut Writer, name: &str, value: &Value) {
    match value {
        Value::Object(_) => field(writer, name, value),
        Value::Any(value) => any(writer, name, value),
        Value::Ref(MoRef { kind, id }) => {
            writer.leaf(name, &[("xsi:type", "ManagedObjectReference"), ("type", kind)], id);
        }
        Value::List { item, items } => {
            writer.open(name, &[("xsi:type", &array_of(item))]);
            items.iter().for_each(|value| field(writer, item, value));
            writer.close(name);
        }
        simple => writer.leaf(name, &[("xsi:type", type_name(simple))], &text(simple)),
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "xsd:boolean",
        Value::Short(_) => "xsd:short",
        Value::Int(_) => "xsd:int",
        Value::Long(_) => "xsd:long",
        Value::Time(_) => "xsd:dateTime",
        Value::Enum { kind, .. } => kind,
        _ => "xsd:string",
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Bool(flag) => flag.to_string(),
        Value::Short(number) => number.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Long(number) => number.to_string(),
        Value::Text(text) | Value::Time(text) => text.clone(),
        Value::Enum { word, .. } => word.clone(),
        _ => String::new(),
    }
}

/// `ArrayOfString` for `string`.
fn array_of(item: &str) -> String {
    let mut letters = item.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    format!("ArrayOf{}{}", first.into_iter().collect::<String>(), letters.as_str())
}

const XSD: &str = "http://www.w3.org/2001/XMLSchema";
