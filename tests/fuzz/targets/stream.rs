//! Fuzz target: the strict reader over whole and damaged streams of every layout, in pieces of every length.
//!
//! What it accepts must be the same disk for the reference reader.
#![no_main]

use diskferry_fuzz::bites::Bites;
use diskferry_fuzz::{reading, recipe};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if input.starts_with(b"KDMV") {
        reading::check(input, 509);
        return;
    }
    let mut bites = Bites::new(input);
    let step = recipe::step(&mut bites);
    let stream = recipe::stream(&mut bites);
    let (_, disk) = reading::check(&stream.bytes, step);
    // Not every recipe is a valid stream, but what is accepted of an undamaged one has the contents it was given.
    if let (true, Some(disk)) = (stream.is_whole, disk) {
        assert_eq!(disk.capacity_sectors, stream.capacity_sectors);
        let given = stream.grains.iter().map(|(lba, data)| (*lba, data.to_vec())).collect();
        assert!(disk.grains == given, "other contents than those given");
    }
});
