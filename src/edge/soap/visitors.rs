//! The same users and sessions at the door of `/folder`: by the cookie of a login, or by HTTP Basic, as curl and browsers have it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{Desk, Peer};
use crate::edge::folder::{Gate, Visitor};
use crate::edge::users::{LoginRefused, Role};

impl Gate for Desk {
    fn visitor<'a>(&'a self, head: &'a Parts) -> BoxFuture<'a, Result<Visitor, LoginRefused>> {
        async move {
            if let Some(session) = self.sessions.of(&head.headers) {
                let may_write = session.role >= Role::Operator;
                let (name, stay) = (session.user.clone(), session.wait());
                // A file may take longer than a session lives unused.
                return Ok(Visitor { name, may_write, stay: Some(Box::new(stay)) });
            }
            let (name, password) = basic(&head.headers).ok_or(LoginRefused::Wrong)?;
            let peer = head.extensions.get::<Peer>();
            let address = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.address.ip());
            let role = self.authenticate(&name, password, address).await?;
            Ok(Visitor { name, may_write: role >= Role::Operator, stay: None })
        }
        .boxed()
    }
}

impl Desk {
    /// The role of a user, if the password is right. Whoever guesses waits longer and longer.
    ///
    /// # Errors
    /// See [`LoginRefused`].
    pub(super) async fn authenticate(
        &self,
        name: &str,
        password: String,
        address: IpAddr,
    ) -> Result<Role, LoginRefused> {
        let wait = self.throttle.wait(address, Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let role = (self.login)(name.to_owned(), password).await;
        match role {
            Ok(_) => self.throttle.succeeded(address),
            Err(refused) => {
                if refused == LoginRefused::Wrong {
                    self.throttle.failed(address, Instant::now());
                }
                tracing::warn!(user = name, %address, reason = %refused, "login refused");
            }
        }
        role
    }
}

/// Name and password of HTTP Basic (RFC 7617).
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let (scheme, coded) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let pair = scheme.eq_ignore_ascii_case("basic").then(|| decode_base64(coded.trim())).flatten()?;
    let (name, password) = pair.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

/// Text in base64, its padding optional.
fn decode_base64(coded: &str) -> Option<String> {
    let digits = coded.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for group in digits.chunks(4) {
        let mut word = 0u32;
        for digit in group {
            word = word << 6 | digit_value(*digit)?;
        }
        let whole = match group.len() {
            1 => return None,
            length => length - 1,
        };
        word <<= 6 * (4 - group.len());
        bytes.extend(&word.to_be_bytes()[1..=whole]);
    }
    String::from_utf8(bytes).ok()
}

fn digit_value(digit: u8) -> Option<u32> {
    Some(u32::from(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_are_read_as_the_standard_writes_them() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            basic(&headers)
        };
        let pair = |name: &str, password: &str| Some((name.to_owned(), password.to_owned()));
        for (value, expected) in [
            ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", pair("Aladdin", "open sesame")),
            ("basic QWxhZGRpbjpvcGVuIHNlc2FtZQ", pair("Aladdin", "open sesame")),
            ("Basic dGVzdDoxMjPCow==", pair("test", "123£")),
            ("Basic Og==", pair("", "")),
            ("Basic YTpiOmM=", pair("a", "b:c")),
            ("Basic", None),
            ("Basic YWJj", None),
            ("Basic YTpi!", None),
            ("Basic A", None),
            ("Basic /////w==", None),
            ("Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==", None),
        ] {
            assert_eq!(read(value), expected, "{value}");
        }
    }
}
