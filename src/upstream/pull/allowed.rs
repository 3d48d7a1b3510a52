//! Which addresses pull mode may connect to: public ones, and what the operator allows.
//!
//! Whoever may ask for a pull chooses the URL, so without this the server could be made to read from its own neighbours:
//! loopback, private networks, the metadata service of a cloud. Checked on the address that is connected to, after the name has
//! been resolved, so that no name and no spelling leads around it. The list is `[pull] allow`, read by `app`; so is whether a
//! certificate may be pinned by its SHA-1.

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the operator has decided: hosts whose addresses do not matter, networks that may be reached although they are not public,
/// and pins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    hosts: HashSet<String>,
    networks: Vec<Network>,
    sha1_pins_refused: bool,
}

/// Why an address is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotPublic(&'static str);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    first: IpAddr,
    prefix_bits: u32,
}

impl Allowed {
    /// Adds an entry: a host name, an address, or a network as `10.0.0.0/8`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn add(&mut self, entry: &str) -> Result<(), String> {
        if let Some((first, bits)) = entry.split_once('/') {
            self.networks.push(Network::parse(first, bits)?);
        } else if let Ok(address) = entry.trim_matches(['[', ']']).parse::<IpAddr>() {
            let address = plain(address);
            self.networks.push(Network { first: address, prefix_bits: bits_of(address) });
        } else if is_host(entry) {
            self.hosts.insert(normal(entry));
        } else {
            return Err("neither a host name, nor an address, nor a network such as 10.0.0.0/8".to_owned());
        }
        Ok(())
    }

    /// From here on no certificate is pinned by its SHA-1.
    pub fn refuse_sha1_pins(&mut self) {
        self.sha1_pins_refused = true;
    }

    /// Whether a certificate may be pinned by its SHA-1, as vSphere clients do.
    pub fn takes_sha1_pins(&self) -> bool {
        !self.sha1_pins_refused
    }

    /// Decides on a connection to `address`, which `host` has been resolved to.
    ///
    /// # Errors
    /// What kind of address it is.
    pub fn admit(&self, host: &str, address: IpAddr) -> Result<(), NotPublic> {
        let address = plain(address);
        match reserved(address) {
            Some(_) if self.hosts.contains(&normal(host)) => Ok(()),
            Some(_) if self.networks.iter().any(|network| network.contains(address)) => Ok(()),
            Some(kind) => Err(NotPublic(kind)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for NotPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "leads to a {} address, which is refused unless [pull] allow names it", self.0)
    }
}

impl Network {
    fn parse(first: &str, bits: &str) -> Result<Self, String> {
        let address: IpAddr = first.parse().map_err(|_| format!("{first} is not an address"))?;
        let most = bits_of(address);
        let digits = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits = bits.parse::<u32>().ok().filter(|bits| digits && *bits <= most);
        let prefix_bits = bits.ok_or_else(|| format!("the length of the prefix must be 0 to {most}"))?;
        let network = Self { first: address, prefix_bits };
        match number(address) & !network.mask() {
            0 => Ok(network),
            _ => Err(format!("{address} is inside the network, not its first address")),
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && number(address) & self.mask() == number(self.first)
    }

    /// Ones in the place of the prefix, in the lowest bits of the number that an address of this family has.
    fn mask(&self) -> u128 {
        let host_bits = bits_of(self.first) - self.prefix_bits;
        u128::MAX.checked_shl(host_bits).unwrap_or(0)
    }
}

/// What kind of address it is, if it is not one of the public internet (IANA special-purpose registries).
fn reserved(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => reserved_v4(address),
        IpAddr::V6(address) => reserved_v6(address),
    }
}

fn reserved_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, ..] => Some("unspecified"),
        [127, ..] => Some("loopback"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some("private"),
        [169, 254, ..] => Some("link-local"),
        [100, 64..=127, ..] => Some("shared"),
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18..=19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => {
            Some("reserved")
        }
        [224..=239, ..] => Some("multicast"),
        [255, 255, 255, 255] => Some("broadcast"),
        [240..=255, ..] => Some("reserved"),
        _ => None,
    }
}

fn reserved_v6(address: Ipv6Addr) -> Option<&'static str> {
    let [first, second, third, _, _, _, high, low] = address.segments();
    // Addresses that are carried inside: what is reached is decided by those.
    let inner = |high: u16, low: u16| reserved_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match (first, second, third) {
        _ if address.is_unspecified() => Some("unspecified"),
        _ if address.is_loopback() => Some("loopback"),
        _ if address.segments()[..6] == [0; 6] => Some("reserved"),
        _ if address.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0] => inner(high, low),
        (0x64, 0xff9b, _) | (0x100, 0, _) => Some("reserved"),
        (0x2001, 0..=0x1ff | 0xdb8, _) | (0x3fff, 0..=0xfff, _) | (0x5f00, ..) => Some("reserved"),
        (0x2002, high, low) => inner(high, low),
        (0xfc00..=0xfdff, ..) => Some("private"),
        (0xfe80..=0xfebf, ..) => Some("link-local"),
        (0xfec0..=0xfeff, ..) => Some("private"),
        (0xff00.., ..) => Some("multicast"),
        (0x2000..=0x3fff, ..) => None,
        _ => Some("reserved"),
    }
}

/// An IPv4 address that is written as IPv6 reaches the IPv4 one.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(inner) => inner.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

fn bits_of(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn normal(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// A DNS name. What ends in a number is an address or a mistaken one.
fn is_host(text: &str) -> bool {
    let name = text.trim_end_matches('.');
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let last_is_number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    name.len() <= 253 && name.split('.').all(label) && !last_is_number
}

#[cfg(test)]
mod tests;
