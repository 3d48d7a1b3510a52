//! Tests of the XML reader and writer.

use super::*;

fn refused(document: &str) -> String {
    Element::parse(document.as_bytes()).unwrap_err().to_string()
}

#[test]
fn names_are_known_by_namespace_not_by_prefix() {
    let one = "<a:x xmlns:a='urn:vim25' xmlns:i='http://www.w3.org/2001/XMLSchema-instance'><y i:type='a:Z' a:k='1' k='2'/></a:x>";
    let root = Element::parse(one.as_bytes()).unwrap();
    assert_eq!((root.namespace.as_str(), root.name.as_str()), ("urn:vim25", "x"));
    let child = root.child("y").unwrap();
    assert_eq!((child.namespace.as_str(), child.xsi_type()), ("", Some("Z")));
    assert_eq!((child.attribute_in("", "k"), child.attribute_in("urn:vim25", "k")), (Some("2"), Some("1")));
    let default = Element::parse(b"<x xmlns='urn:vim25'><y/></x>").unwrap();
    assert_eq!(default.children[0].namespace, "urn:vim25");
}

#[test]
fn text_is_put_together_from_its_pieces() {
    let root = Element::parse(
        "\u{feff}<?xml version='1.0' encoding='UTF-8'?><x> a&amp;b<!-- no --><![CDATA[<c>]]>&#xe9;</x>\n".as_bytes(),
    );
    assert_eq!(root.unwrap().text, " a&b<c>é");
}

#[test]
fn a_document_type_and_its_entities_are_refused() {
    let laughs = "<!DOCTYPE l [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;&a;'>]><l>&b;</l>";
    assert_eq!(refused(laughs), "a document type (<!DOCTYPE) at byte 0 is not allowed");
    assert_eq!(refused("<x>&b;</x>"), "unknown entity &b; at byte 3");
    assert_eq!(refused("<x>&#0;</x>"), "unknown entity &#0; at byte 3");
}

#[test]
fn every_limit_is_named() {
    let deep = "<x>".repeat(XML_DEPTH + 1) + &"</x>".repeat(XML_DEPTH + 1);
    assert!(refused(&deep).starts_with(&format!("more than {XML_DEPTH} levels of elements")), "{}", refused(&deep));
    let wide = format!("<x>{}</x>", "<y/>".repeat(XML_ELEMENTS));
    assert!(refused(&wide).starts_with(&format!("more than {XML_ELEMENTS} elements")));
    let attributes: String = (0..=XML_ATTRIBUTES).map(|n| format!(" a{n}='1'")).collect();
    assert!(refused(&format!("<x{attributes}/>")).starts_with(&format!("more than {XML_ATTRIBUTES} attributes")));
    let namespaces: String = (0..=XML_NAMESPACES).map(|n| format!(" xmlns:a{n}='urn:{n}'")).collect();
    assert!(refused(&format!("<x{namespaces}/>")).starts_with(&format!("more than {XML_NAMESPACES} namespaces")));
}

#[test]
fn what_is_not_well_formed_is_refused_where_it_is() {
    for document in
        ["", " ", "<x>", "<x><y></x>", "<x></y>", "<x/><x/>", "<x/>text", "text", "<x a='1' a='2'/>", "<x a=1/>"]
    {
        assert!(Element::parse(document.as_bytes()).is_err(), "{document:?}");
    }
    assert_eq!(refused("<x><y>"), "the document ends too early: </y> is missing");
    assert_eq!(refused("<a:x/>"), "the prefix \"a\" at byte 0 is not declared");
    assert_eq!(Element::parse(b"<x>\xff</x>"), Err(XmlError::Encoding));
    assert_eq!(refused("<?xml version='1.0' encoding='ISO-8859-1'?><x/>"), "the document is not UTF-8");
    assert_eq!(refused("<x>\u{1}</x>"), "not well-formed at byte 3: the character U+0001");
}

#[test]
fn what_is_written_reads_back() {
    let mut writer = Writer::new();
    let value = "<&>\"' \r\n\u{e9}\u{1f600}";
    let attribute = "1 & \"2\"\r\n\t3 ";
    writer.open("x", &[("a", attribute)]);
    writer.leaf("y", &[], value);
    writer.empty("z", &[]);
    writer.text("\u{0}");
    writer.close("x");
    let root = Element::parse(writer.finish().as_bytes()).unwrap();
    assert_eq!((root.attribute("a"), root.child("y").unwrap().text.as_str()), (Some(attribute), value));
    assert_eq!(root.text, "\u{fffd}");
}
