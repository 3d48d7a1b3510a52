//! Units of OVF and CIM: "byte * 2^30", "MegaBytes", "hertz * 10^6".
//!
//! CIM means 10^6 bytes by a megabyte, but every writer of OVFs that uses the word means 2^20.

/// Why a quantity has no size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnitFault {
    /// Not a unit of bytes that we know.
    Unknown,
    /// More than a u64 holds.
    Overflow,
}

/// So many of these units in bytes. An empty unit is a byte.
pub(super) fn bytes(amount: u64, unit: &str) -> Result<u64, UnitFault> {
    let mut terms = unit.split('*').map(str::trim);
    let base = terms.next().unwrap_or_default();
    let mut factor = BASES
        .iter()
        .find(|(names, _)| names.iter().any(|name| base.eq_ignore_ascii_case(name)))
        .map(|(_, shift)| 1_u64 << shift)
        .ok_or(UnitFault::Unknown)?;
    for term in terms {
        factor = factor.checked_mul(power(term)?).ok_or(UnitFault::Overflow)?;
    }
    amount.checked_mul(factor).ok_or(UnitFault::Overflow)
}

/// The largest unit of which a size is a whole number.
pub(super) fn unit_of(bytes: u64) -> (u64, &'static str) {
    let units = [(30, "byte * 2^30"), (20, "byte * 2^20"), (10, "byte * 2^10")];
    let fitting = units.into_iter().find(|(shift, _)| bytes != 0 && bytes.trailing_zeros() >= *shift);
    fitting.map_or((bytes, "byte"), |(shift, unit)| (bytes >> shift, unit))
}

/// "2^30", or a number.
fn power(term: &str) -> Result<u64, UnitFault> {
    let number = |text: &str| {
        let text = text.trim();
        let is_number = !text.is_empty() && text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { text.parse::<u64>().map_err(|_| UnitFault::Overflow) } else { Err(UnitFault::Unknown) }
    };
    match term.split_once('^') {
        None => number(term),
        Some((base, exponent)) => {
            let exponent = u32::try_from(number(exponent)?).map_err(|_| UnitFault::Overflow)?;
            number(base)?.checked_pow(exponent).ok_or(UnitFault::Overflow)
        }
    }
}

/// Names of units, and which power of two they are.
const BASES: &[(&[&str], u32)] = &[
    (&["", "byte", "bytes", "B"], 0),
    (&["kilobyte", "kilobytes", "kibibyte", "KB", "KiB"], 10),
    (&["megabyte", "megabytes", "mebibyte", "MB", "MiB"], 20),
    (&["gigabyte", "gigabytes", "gibibyte", "GB", "GiB"], 30),
    (&["terabyte", "terabytes", "tebibyte", "TB", "TiB"], 40),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_every_writer_are_understood() {
        let table = [
            (16, "byte * 2^30", 16 << 30),
            (16, "byte*2^30", 16 << 30),
            (16, "byte * 2 ^ 30", 16 << 30),
            (3, " Byte ", 3),
            (3, "", 3),
            (2048, "byte * 2^20", 2 << 30),
            (2048, "MegaBytes", 2 << 30),
            (512, "MB", 512 << 20),
            (8, "GigaBytes", 8 << 30),
            (8, "GB", 8 << 30),
            (7, "KiloBytes", 7 << 10),
            (1, "TB", 1 << 40),
            (5, "byte * 10^9", 5_000_000_000),
            (5, "byte * 1024 * 1024", 5 << 20),
            (5, "megabytes * 2^10", 5 << 30),
            (1, "byte * 2^63", 1 << 63),
            (0, "byte * 2^63", 0),
            (u64::MAX, "byte", u64::MAX),
            (9, "byte * 0^0", 9),
        ];
        for (amount, unit, expected) in table {
            assert_eq!(bytes(amount, unit), Ok(expected), "{amount} {unit:?}");
        }
    }

    #[test]
    fn unknown_units_and_overflows_are_told_apart() {
        let overflows = [
            (2, "byte * 2^63"),
            (1, "byte * 2^64"),
            (0, "byte * 2^64"),
            (1, "byte * 2^4294967296"),
            (1, "byte * 2^99999999999999999999"),
            (1, "byte * 18446744073709551616"),
            (1 << 24, "TB"),
            (1, "TB * 2^24"),
        ];
        for (amount, unit) in overflows {
            assert_eq!(bytes(amount, unit), Err(UnitFault::Overflow), "{amount} {unit:?}");
        }
        for unit in
            ["furlong", "hertz * 10^6", "byte *", "byte * x", "byte * 2^", "byte * ^2", "byte * -1", "bit", "byte / 2"]
        {
            assert_eq!(bytes(1, unit), Err(UnitFault::Unknown), "{unit:?}");
        }
    }

    #[test]
    fn sizes_are_written_in_the_largest_unit_that_fits() {
        let table = [
            (0, (0, "byte")),
            (1, (1, "byte")),
            (512, (512, "byte")),
            (1 << 10, (1, "byte * 2^10")),
            (3 << 20, (3, "byte * 2^20")),
            (1 << 40, (1024, "byte * 2^30")),
            (u64::MAX, (u64::MAX, "byte")),
        ];
        for (size, expected) in table {
            assert_eq!(unit_of(size), expected);
            assert_eq!(bytes(expected.0, expected.1), Ok(size));
        }
    }
}
