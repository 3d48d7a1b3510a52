//! Fuzz target: descriptors. What is read is within its bounds and does not depend on how lines end; what we write is read
//! back as it was meant.
#![no_main]

use diskferry_fuzz::bites::Bites;
use diskferry_fuzz::wire::vmdk::{
    Adapter, CreateType, Database, Descriptor, DescriptorText, ExtentKind, Identified, check_extent_file, identify,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| match input.split_first() {
    Some((0, choices)) => write_and_read(choices),
    _ => read(input),
});

fn read(text: &[u8]) {
    let Ok(descriptor) = Descriptor::parse(text) else { return };
    let capacity_sectors = descriptor.extents.iter().try_fold(0u64, |sum, extent| sum.checked_add(extent.sectors));
    assert_eq!(capacity_sectors, Some(descriptor.capacity_sectors()));
    assert!(descriptor.capacity_sectors() <= 1 << 53);
    for extent in &descriptor.extents {
        assert_eq!(extent.file.is_none(), extent.kind == ExtentKind::Zero);
        assert!(extent.offset_sectors.checked_add(extent.sectors).is_some_and(|end| end <= 1 << 53));
        let Some(file) = &extent.file else { continue };
        assert!(
            !file.contains(['/', '\\', '\0', '"']) && !file.contains("..") && !file.is_empty() && file.len() <= 255
        );
        assert!(check_extent_file(file).is_ok());
    }
    assert!(descriptor.parent_cid.as_deref().is_none_or(|cid| cid != "ffffffff"));
    let padded = [text, &[0; 40]].concat();
    if padded.len() <= 1 << 16 {
        assert_eq!(Descriptor::parse(&padded).as_ref(), Ok(&descriptor), "NULs at the end");
    }
    let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
    let windows: Vec<u8> = text[..end].split(|&byte| byte == b'\n').collect::<Vec<_>>().join(&b" \r\n"[..]);
    if windows.len() <= 1 << 16 {
        let again = Descriptor::parse(&windows).map(|again| Descriptor { text: descriptor.text.clone(), ..again });
        assert_eq!(again, Ok(descriptor), "CRLF");
    }
}

fn write_and_read(choices: &[u8]) {
    let mut bites = Bites::new(choices);
    let kinds = [CreateType::StreamOptimized, CreateType::MonolithicSparse, CreateType::MonolithicFlat];
    let create_type = kinds[usize::from(bites.byte() % 3)];
    let database = Database {
        adapter: Adapter::ALL[usize::from(bites.byte() % 4)],
        hardware_version: bites.short().into(),
        tools_version: Some(u32::from_le_bytes(bites.array())).filter(|version| version % 2 == 0),
    };
    let capacity_sectors = u64::from_le_bytes(bites.array()) % ((1 << 53) + 1);
    let content_id = bites.array();
    let Ok(file) = std::str::from_utf8(bites.take(300)) else { return };
    let text = DescriptorText { create_type, capacity_sectors, extent_file: file, content_id, database }.render();
    assert_eq!(identify(text.as_bytes()), Identified::Descriptor);
    let parsed = Descriptor::parse(text.as_bytes());
    if check_extent_file(file).is_err() {
        return;
    }
    let descriptor = parsed.unwrap_or_else(|error| panic!("{error}:\n{text}"));
    assert!(text.len() <= 2048 && descriptor.parent_cid.is_none());
    assert_eq!(descriptor.create_type.as_deref(), Some(create_type.name()));
    assert_eq!(descriptor.capacity_sectors(), capacity_sectors);
    assert_eq!(descriptor.extents[0].file.as_deref(), Some(file));
    let long = descriptor.long_content_id.unwrap_or_default();
    assert_eq!(descriptor.cid, Some(u32::from_be_bytes([long[12], long[13], long[14], long[15]])));
    let entry = |key: &str| descriptor.database.iter().find(|(found, _)| found == key).map(|(_, value)| value.as_str());
    assert_eq!(entry("ddb.adapterType").and_then(|name| name.parse().ok()), Some(database.adapter));
    assert_eq!(entry("ddb.virtualHWVersion"), Some(database.hardware_version.to_string().as_str()));
    assert_eq!(entry("ddb.toolsVersion").map(str::to_owned), database.tools_version.map(|version| version.to_string()));
}
