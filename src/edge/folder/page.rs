//! The pages `/folder` shows to people: datacenters, datastores, directories. Everything in them is escaped.

use std::fmt::Write as _;

use super::respond;
use crate::transfer::files::{EntryKind, FileEntry, Volume};
use crate::wire::datastore_path::DatastorePath;
use crate::wire::percent;

/// All datacenters: there is one.
pub(super) fn datacenters(datacenter: &str) -> String {
    let row = Row {
        href: datacenter_href(datacenter),
        name: datacenter.to_owned(),
        modified: String::new(),
        size: String::new(),
    };
    page("Datacenters", None, &[row])
}

/// All datastores of the datacenter. A block device is shown, but holds no files.
pub(super) fn datastores(datacenter: &str, volumes: &[Volume]) -> String {
    let row = |volume: &Volume| Row {
        href: if volume.device { String::new() } else { href(datacenter, &volume.name, "") },
        name: volume.name.clone(),
        modified: String::new(),
        size: match volume.device {
            true => format!("block device of {} bytes", volume.capacity_bytes),
            false => format!("{} bytes free of {}", volume.free_bytes, volume.capacity_bytes),
        },
    };
    let rows: Vec<Row> = volumes.iter().map(row).collect();
    page(&format!("Datastores of {datacenter}"), Some("/folder".to_owned()), &rows)
}

/// One directory.
pub(super) fn directory(datacenter: &str, at: &DatastorePath, entries: &[FileEntry]) -> String {
    let above = match at.parent() {
        Some(parent) => href(datacenter, parent.datastore(), &parent.url_path()),
        None => datacenter_href(datacenter),
    };
    let row = |entry: &FileEntry| {
        let (slash, size) = match entry.kind {
            EntryKind::Directory => ("/", String::new()),
            EntryKind::File => ("", entry.size_bytes.to_string()),
        };
        Row {
            href: href(datacenter, at.datastore(), &entry.path.url_path()),
            name: format!("{}{slash}", entry.path.name()),
            modified: respond::date(entry.modified_ms),
            size,
        }
    };
    let rows: Vec<Row> = entries.iter().map(row).collect();
    page(&format!("Index of {at}"), Some(above), &rows)
}

struct Row {
    /// Where the name leads; nowhere if empty.
    href: String,
    name: String,
    modified: String,
    size: String,
}

fn page(title: &str, above: Option<String>, rows: &[Row]) -> String {
    let title = escape(title);
    let mut text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <style>body{{font-family:sans-serif}}td{{padding-right:2em}}td:last-child{{text-align:right}}</style>\n\
         </head><body><h1>{title}</h1>\n<table>\n<tr><th>Name</th><th>Last modified</th><th>Size</th></tr>\n"
    );
    if let Some(above) = above {
        let _ =
            writeln!(text, "<tr><td><a href=\"{}\">Parent directory</a></td><td></td><td></td></tr>", escape(&above));
    }
    for Row { href, name, modified, size } in rows {
        let (name, modified, size) = (escape(name), escape(modified), escape(size));
        let name = match href.is_empty() {
            true => name,
            false => format!("<a href=\"{}\">{name}</a>", escape(href)),
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "<tr><td>{name}</td><td>{modified}</td><td>{size}</td></tr>");
    }
    text.push_str("</table>\n</body></html>\n");
    text
}

fn datacenter_href(datacenter: &str) -> String {
    format!("/folder?dcPath={}", percent::encode(datacenter))
}

fn href(datacenter: &str, datastore: &str, url_path: &str) -> String {
    format!("/folder/{url_path}?dcPath={}&dsName={}", percent::encode(datacenter), percent::encode(datastore))
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_the_page() {
        let path = DatastorePath::parse("[d&s] a'<b>/\"><script>alert(1)<").unwrap();
        let entry = FileEntry {
            path: path.clone(),
            kind: EntryKind::File,
            size_bytes: 7,
            populated_bytes: 0,
            modified_ms: u64::MAX,
            stamp: String::new(),
        };
        let page = directory("dc \"1\"", &path.parent().unwrap(), &[entry]);
        assert!(!page.contains("<script") && !page.contains("<b>") && !page.contains("\"1\""), "{page}");
        assert!(page.contains("&quot;&gt;&lt;script&gt;alert(1)&lt;</a></td>"), "{page}");
        assert!(
            page.contains("/folder/a%27%3Cb%3E/%22%3E%3Cscript%3Ealert%281%29%3C?dcPath=dc%20%221%22&amp;dsName=d%26s")
        );
        assert!(page.contains("31 Dec 9999"), "{page}");
    }

    #[test]
    fn a_device_is_shown_without_a_way_in() {
        let volume = |name: &str, device| Volume { name: name.into(), device, capacity_bytes: 9, free_bytes: 1 };
        let page = datastores("dc", &[volume("ds", false), volume("nvme", true)]);
        assert!(page.contains("dsName=ds\">ds</a>") && page.contains("<td>nvme</td>"), "{page}");
    }
}
