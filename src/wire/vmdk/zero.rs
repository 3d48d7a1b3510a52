//! Finding grains of zeros, which a stream does not carry.
//!
//! Called by `transfer/egress` before it deflates a grain and by `transfer/ingest` before it writes one.

/// Whether all of `bytes` are zero. Runs at memory speed and stops at the first 4 KiB that hold something.
pub fn is_zero(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
    blocks.iter().all(block_is_zero) && rest.iter().all(|&byte| byte == 0)
}

/// Without an early exit inside, the compiler turns this into vector instructions.
fn block_is_zero(block: &[u8; BLOCK_BYTES]) -> bool {
    let (words, _) = block.as_chunks::<8>();
    words.iter().fold(0, |any, word| any | u64::from_ne_bytes(*word)) == 0
}

const BLOCK_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_bit_anywhere_is_seen() {
        for length in [0, 1, 7, 8, 511, 4095, 4096, 4097, 65_536] {
            let mut bytes = vec![0; length];
            assert!(is_zero(&bytes), "{length} zeros");
            for at in (0..length).step_by(1 + length / 97).chain(length.checked_sub(1)) {
                bytes[at] = 0x80;
                assert!(!is_zero(&bytes), "bit at {at} of {length}");
                bytes[at] = 0;
            }
        }
    }
}
