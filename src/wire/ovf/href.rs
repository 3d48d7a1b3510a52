//! The names of the files of a package.
//!
//! A name that is accepted is that of a file beside the document: it can be joined to a directory or looked up in a tar
//! without leading anywhere else, also by those who resolve percent signs.

use super::error::HrefFault;
use crate::limits::NAME_BYTES;

/// Checks the name of a file. The name is taken as it stands; percent signs are not resolved, as no client does.
pub(super) fn check_href(href: &str) -> Result<(), HrefFault> {
    if href.trim().is_empty() {
        return Err(HrefFault::Empty);
    }
    if href.chars().any(char::is_control) {
        return Err(HrefFault::Control);
    }
    if has_scheme(href) {
        return Err(HrefFault::Url);
    }
    if href.contains('\\') {
        return Err(HrefFault::Backslash);
    }
    if href.starts_with('/') {
        return Err(HrefFault::Absolute);
    }
    if href.split('/').any(|part| part == ".." || part == ".") {
        return Err(HrefFault::Parent);
    }
    if href.contains('/') {
        return Err(HrefFault::Directory);
    }
    let plain = unescaped(href);
    let is_hidden = plain.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0..0x20 | 0x7f));
    if is_hidden || plain == b".." || plain == b"." {
        return Err(HrefFault::Encoded);
    }
    if href.len() > NAME_BYTES {
        return Err(HrefFault::Long);
    }
    Ok(())
}

/// Whether it begins like `https:` or `C:`.
fn has_scheme(href: &str) -> bool {
    let Some((scheme, _)) = href.split_once(':') else { return false };
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(|character| character.is_ascii_alphanumeric() || "+-.".contains(character))
}

/// What somebody would get who resolves percent signs, even twice.
fn unescaped(href: &str) -> Vec<u8> {
    let once = unescaped_once(href.as_bytes());
    unescaped_once(&once)
}

fn unescaped_once(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut plain = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                plain.extend(u8::try_from(high * 16 + low));
                at += 3;
            }
            _ => {
                plain.push(*byte);
                at += 1;
            }
        }
    }
    plain
}
