//! Sizes as people write them: `2GiB`, `512M`, `1500000000`.

use crate::limits::{DEMO_DISK_RANGE_BYTES, DISK_BYTES, PACE_RATE_MIN_BYTES_PER_S, SECTOR_BYTES};

/// Why a size cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SizeError {
    /// Not a whole number with a known unit.
    #[error("write a whole number and a unit, such as 2GiB, 512MiB or 1G, or a number of bytes")]
    Unreadable,
    /// More than 64 bits hold.
    #[error("that is more bytes than can be counted")]
    Overflow,
    /// Too small or too large for a disk.
    #[error("a disk has from {} MiB to {} TiB", DEMO_DISK_RANGE_BYTES.start() >> 20, DEMO_DISK_RANGE_BYTES.end() >> 40)]
    OutOfRange,
    /// Too small or too large for a disk that comes from outside.
    #[error("a disk has from 1 byte to {} TiB", DISK_BYTES >> 40)]
    NoCapacity,
    /// Not a whole number of sectors.
    #[error("a disk is a whole number of {SECTOR_BYTES}-byte sectors")]
    PartSector,
    /// A rate that cannot be kept evenly.
    #[error("a rate is 0 (no limit) or at least {} KiB per second", PACE_RATE_MIN_BYTES_PER_S >> 10)]
    TooSlow,
}

/// Reads the size of a disk that can be made, in bytes.
pub(super) fn parse_disk_size(text: &str) -> Result<u64, SizeError> {
    let size_bytes = parse_size(text)?;
    if !DEMO_DISK_RANGE_BYTES.contains(&size_bytes) {
        return Err(SizeError::OutOfRange);
    }
    if !size_bytes.is_multiple_of(SECTOR_BYTES) {
        return Err(SizeError::PartSector);
    }
    Ok(size_bytes)
}

/// Reads the size of a disk that comes on standard input, in bytes.
pub(super) fn parse_capacity(text: &str) -> Result<u64, SizeError> {
    let size_bytes = parse_size(text)?;
    if (1..=DISK_BYTES).contains(&size_bytes) { Ok(size_bytes) } else { Err(SizeError::NoCapacity) }
}

/// Reads a rate in bytes per second; a trailing `/s` may be there.
pub(super) fn parse_rate(text: &str) -> Result<u64, SizeError> {
    let rate = parse_size(text.strip_suffix("/s").unwrap_or(text))?;
    if (1..PACE_RATE_MIN_BYTES_PER_S).contains(&rate) { Err(SizeError::TooSlow) } else { Ok(rate) }
}

/// Reads a size in bytes. Units without `B` and those with `iB` count in 1024s, those with `B` alone in 1000s.
fn parse_size(text: &str) -> Result<u64, SizeError> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let unit_bytes: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(SizeError::Unreadable),
    };
    if digits.is_empty() {
        return Err(SizeError::Unreadable);
    }
    let count: u64 = digits.parse().map_err(|_| SizeError::Overflow)?;
    count.checked_mul(unit_bytes).ok_or(SizeError::Overflow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_every_unit() {
        let sizes = [
            ("0", 0),
            ("4096", 4096),
            ("7b", 7),
            ("1k", 1024),
            ("3KiB", 3072),
            ("2KB", 2000),
            ("512MiB", 512 << 20),
            ("1G", 1 << 30),
            ("2 GiB", 2 << 30),
            ("2gb", 2_000_000_000),
            ("1TiB", 1 << 40),
        ];
        for (text, bytes) in sizes {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_size_is_refused() {
        for text in ["", "GiB", "1.5G", "-1", "2 G B", "1X", "0x10"] {
            assert_eq!(parse_size(text), Err(SizeError::Unreadable), "{text}");
        }
        assert_eq!(parse_size("99999999999999999999"), Err(SizeError::Overflow));
        assert_eq!(parse_size("99999999T"), Err(SizeError::Overflow));
    }

    #[test]
    fn a_rate_is_a_size_per_second() {
        assert_eq!(parse_rate("50MB"), Ok(50_000_000));
        assert_eq!(parse_rate("1GiB/s"), Ok(1 << 30));
        assert_eq!(parse_rate("0"), Ok(0));
        assert_eq!(parse_rate("1KiB/s"), Err(SizeError::TooSlow));
        assert_eq!(parse_rate("fast"), Err(SizeError::Unreadable));
    }

    #[test]
    fn a_disk_has_whole_sectors_and_a_sensible_size() {
        assert_eq!(parse_disk_size("64MiB"), Ok(64 << 20));
        assert_eq!(parse_disk_size("1MiB"), Err(SizeError::OutOfRange));
        assert_eq!(parse_disk_size("3TiB"), Err(SizeError::OutOfRange));
        assert_eq!(parse_disk_size("1000000001"), Err(SizeError::PartSector));
    }
}
