//! The bearer token of the admin API.
//!
//! Made at the first start, kept in the state directory (mode 0600), read by `diskferry lease`. Compared in constant time; never
//! printed by `Debug`.

use std::fmt;
use std::path::Path;

use subtle::ConstantTimeEq;

use crate::edge::tls::{TlsError, write_private};

/// The token the admin API asks for.
pub struct Token(String);

impl Token {
    /// Reads the token from `path`, or makes it there.
    ///
    /// # Errors
    /// [`TlsError::File`] when the file cannot be read or written, or is empty.
    pub fn load_or_make(path: &Path) -> Result<Token, TlsError> {
        let fail = |error| TlsError::File { path: path.to_owned(), error };
        match std::fs::read_to_string(path) {
            Ok(text) if !text.trim().is_empty() => Ok(Token(text.trim().to_owned())),
            Ok(_) => Err(fail(std::io::Error::other("the file is empty; remove it to have a new token made"))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut bytes = [0; 32];
                getrandom::fill(&mut bytes).map_err(|error| fail(std::io::Error::other(error.to_string())))?;
                let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                write_private(path, format!("{token}\n").as_bytes())?;
                Ok(Token(token))
            }
            Err(error) => Err(fail(error)),
        }
    }

    /// Whether `given` is the token.
    pub fn matches(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }

    /// The token itself, for a client in the same process.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_hidden() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.token");
        let first = Token::load_or_make(&path).unwrap();
        let second = Token::load_or_make(&path).unwrap();
        assert!(second.matches(first.reveal()) && !second.matches("") && !second.matches("x"));
        assert_eq!(format!("{first:?}"), "Token(…)");
        std::fs::write(&path, "\n").unwrap();
        assert!(Token::load_or_make(&path).is_err());
    }
}
