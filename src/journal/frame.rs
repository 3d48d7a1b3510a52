//! How a record is stored: a CRC-32 over its key and its content (4 bytes, little-endian), then the content as JSON.
//!
//! Used by [`super::redb`]. The checksum covers the key, so a record that lies where it does not belong is noticed.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Frames a record.
///
/// # Errors
/// When it cannot be written as JSON.
pub(super) fn encode(key: &str, record: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut stored = vec![0; CRC_BYTES];
    serde_json::to_writer(&mut stored, record)?;
    let crc = checksum(key, &stored[CRC_BYTES..]);
    stored[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
    Ok(stored)
}

/// Reads a framed record. `key_of` says under which key it should be stored.
///
/// # Errors
/// What is wrong with it.
pub(super) fn decode<R: DeserializeOwned>(
    key: &str,
    stored: &[u8],
    key_of: impl Fn(&R) -> String,
) -> Result<R, String> {
    let Some((crc, json)) = stored.split_first_chunk::<CRC_BYTES>() else {
        return Err(format!("only {} bytes", stored.len()));
    };
    if u32::from_le_bytes(*crc) != checksum(key, json) {
        return Err("its checksum does not match".to_owned());
    }
    let record: R = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    match key_of(&record) {
        own if own == key => Ok(record),
        own => Err(format!("it contains the record {own:?}")),
    }
}

fn checksum(key: &str, json: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key.as_bytes());
    hasher.update(json);
    hasher.finalize()
}

const CRC_BYTES: usize = 4;
