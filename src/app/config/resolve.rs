//! The second step: raw values to [`Resolved`].
//!
//! Called by [`super::load`]. Fills in defaults, parses addresses, looks at the files that are named, and refuses
//! combinations that cannot work. Goes on after a mistake, so that all of them are reported.

mod datastores;
mod machines;
mod users;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::mistake::Report;
use super::raw::{Field, Fields, Raw};
use super::resolved::{
    Checksum, Data, Engine, KernelTls, Lease, Listen, Pull, Renewal, Resolved, Scheme, State, Tls, Vsphere,
};
use super::{Environment, state_dir_from};
use crate::limits::{
    DATA_MEMORY_MIB, DATA_MEMORY_RANGE_MIB, DATA_THREADS_MAX, LEASE_TIMEOUT_MS, PACE_RATE_MIN_BYTES_PER_S,
    SESSION_IDLE_S, STALL_TIMEOUT_MS, TIMEOUT_MAX_S,
};
use crate::upstream::pull::Allowed;
use crate::wire::soap::ApiVersion;

/// Checks everything. The result counts only if nothing was reported; `None` when there is nothing to go on with.
pub(super) fn resolve(raw: &Raw, report: &Report, file: &Path, environment: Environment) -> Option<Resolved> {
    let base = file.parent().unwrap_or(Path::new(""));
    let checks = Checks { report, base };
    let state = checks.state(&raw.section("state"), environment);
    let listen = checks.listen(&raw.section("listen"));
    let tls_fields = raw.section("tls");
    let tls = checks.tls(&tls_fields);
    let kernel_tls = tls_fields.choice("kernel").map_or(KernelTls::Auto, |field| field.value);
    let lease = checks.lease(&raw.section("lease"));
    let data = checks.data(&raw.section("data"));
    checks.refuse_contradicting_rates(&raw.section("lease"), &lease, &raw.section("data"), &data);
    let users = users::resolve(&checks, raw.named("user"));
    let stores = raw.named("datastore");
    let datastores = datastores::resolve(&checks, &stores, state.as_ref());
    let pull = checks.pull(&raw.section("pull"));
    let vsphere = checks.vsphere(&raw.section("vsphere"));
    let (vm_sections, vapp_sections) = (raw.named("vm"), raw.named("vapp"));
    let places = machines::Places::new(&stores, &datastores);
    let vms = machines::resolve(&checks, &vm_sections, &places, &vsphere.network);
    let vapps = machines::resolve_vapps(&checks, &vapp_sections, &vm_sections);
    let warnings = Vec::new();
    Some(Resolved {
        listen,
        tls,
        kernel_tls,
        state: state?,
        lease,
        data,
        users,
        datastores,
        pull,
        vsphere,
        vms,
        vapps,
        warnings,
    })
}

/// What every check needs: where to report, and where relative paths begin.
struct Checks<'a> {
    report: &'a Report<'a>,
    base: &'a Path,
}

impl Checks<'_> {
    fn state(&self, fields: &Fields, environment: Environment) -> Option<State> {
        let dir = match self.path(fields, "dir") {
            Some(dir) => {
                if dir.value.exists() && !dir.value.is_dir() {
                    let message = format!("{} is not a directory", dir.value.display());
                    self.report.mistake(&dir.span, message, "name a directory; it is made if it does not exist");
                }
                Some(dir.value)
            }
            None if fields.has("dir") => None,
            None => {
                let dir = state_dir_from(environment);
                if dir.is_none() {
                    let message = "there is no place for state: neither XDG_STATE_HOME nor HOME is an absolute path";
                    self.report.mistake(&None, message, "set `dir` in [state]");
                }
                dir
            }
        };
        dir.map(|dir| State { dir })
    }

    fn listen(&self, fields: &Fields) -> Listen {
        let control = self.address(fields, "control", 8989);
        let data = self.address(fields, "data", 8990);
        let data_tls = self.address(fields, "data_tls", 8991);
        self.refuse_same_address(fields, [("control", control), ("data", data), ("data_tls", data_tls)]);
        let control_plain = fields.boolean("control_plain");
        if let Some(plain) = &control_plain
            && plain.value
            && !control.ip().is_loopback()
        {
            self.report.mistake(
                &plain.span,
                format!("`control_plain` would send passwords in the clear to {control}"),
                "set it to false, or let `control` listen on 127.0.0.1 or [::1]",
            );
        }
        Listen {
            control,
            data,
            data_tls,
            advertise: self.advertise(fields),
            lease_urls: fields.choice("lease_urls").map_or(Scheme::Https, |field| field.value),
            control_plain: control_plain.is_some_and(|field| field.value),
        }
    }

    fn address(&self, fields: &Fields, key: &str, default_port: u16) -> SocketAddr {
        let default = SocketAddr::from(([127, 0, 0, 1], default_port));
        let Some(field) = fields.text(key) else { return default };
        field.value.parse().unwrap_or_else(|_| {
            self.report.mistake(
                &field.span,
                format!("`{key} = \"{}\"` is not an address", field.value),
                format!("write an IP address and a port, such as \"{default}\" or \"[::]:{default_port}\""),
            );
            default
        })
    }

    fn refuse_same_address(&self, fields: &Fields, listeners: [(&str, SocketAddr); 3]) {
        for (index, (key, address)) in listeners.iter().enumerate() {
            let taken = listeners[..index].iter().find(|(_, other)| collide(*address, *other));
            if let Some((other, _)) = taken {
                // The line the operator wrote: the other key may be the default.
                let span = fields.span_of(if fields.has(key) { key } else { other });
                self.report.mistake(
                    &span,
                    format!("`{key}` and `{other}` both listen on port {}", address.port()),
                    "give each a port of its own",
                );
            }
        }
    }

    fn advertise(&self, fields: &Fields) -> Option<String> {
        let field = fields.text("advertise")?;
        if is_host(&field.value) {
            return Some(field.value);
        }
        self.report.mistake(
            &field.span,
            format!("`advertise = \"{}\"` is not a host name", field.value),
            "write a host name or an IP address alone, without scheme, port or path",
        );
        None
    }

    fn tls(&self, fields: &Fields) -> Option<Tls> {
        let certificate = self.pem(fields, "certificate", "-----BEGIN CERTIFICATE-----");
        let key = self.pem(fields, "key", "PRIVATE KEY-----");
        for (present, absent) in [("certificate", "key"), ("key", "certificate")] {
            if fields.has(present) && !fields.has(absent) {
                self.report.mistake(
                    &fields.span_of(present),
                    format!("`{present}` without `{absent}`"),
                    format!("set `{absent}` too, or neither for a self-signed certificate"),
                );
            }
        }
        Some(Tls { certificate: certificate?, key: key? })
    }

    fn pem(&self, fields: &Fields, key: &str, marker: &str) -> Option<PathBuf> {
        let field = self.existing_file(fields, key)?;
        match std::fs::read(&field.value) {
            Ok(bytes) if String::from_utf8_lossy(&bytes).contains(marker) => return Some(field.value),
            Ok(_) => self.report.mistake(
                &field.span,
                format!("{} holds no `{marker}`", field.value.display()),
                format!("name the PEM file of the {key}"),
            ),
            Err(error) => self.unreadable(&field, &error),
        }
        None
    }

    fn lease(&self, fields: &Fields) -> Lease {
        let seconds = |key| fields.integer(key, 1..=TIMEOUT_MAX_S).map(|field| field.value);
        let timeout_s = seconds("timeout_s").unwrap_or(LEASE_TIMEOUT_MS / 1000);
        Lease {
            timeout_s,
            renewal: fields.choice("renewal").map_or(Renewal::Either, |field| field.value),
            stall_timeout_s: seconds("stall_timeout_s").unwrap_or(STALL_TIMEOUT_MS / 1000),
            idle_timeout_s: seconds("idle_timeout_s").unwrap_or(timeout_s),
            min_rate_bytes_per_s: fields
                .integer("min_rate_bytes_per_s", 0..=i64::MAX as u64)
                .map_or(0, |field| field.value),
            max_rate_bytes_per_s: self.max_rate(fields),
            checksum: fields.choice("checksum").map_or(Checksum::Sha1, |field| field.value),
        }
    }

    fn data(&self, fields: &Fields) -> Data {
        Data {
            engine: fields.choice("engine").map_or(Engine::Auto, |field| field.value),
            threads: fields.integer("threads", 0..=DATA_THREADS_MAX).map_or(0, |field| field.value),
            memory_mib: fields
                .integer("memory_mib", DATA_MEMORY_RANGE_MIB)
                .map_or(DATA_MEMORY_MIB, |field| field.value),
            max_rate_bytes_per_s: self.max_rate(fields),
        }
    }

    fn pull(&self, fields: &Fields) -> Pull {
        let mut allowed = Allowed::default();
        let mut allow = fields.texts("allow");
        allow.retain(|entry| {
            let added = allowed.add(&entry.value);
            if let Err(reason) = &added {
                let message = format!("`allow` has \"{}\" in it: {reason}", entry.value.escape_debug());
                let remedy = "write \"files.lan\", \"192.168.7.7\" or \"10.0.0.0/8\"";
                self.report.mistake(&entry.span, message, remedy);
            }
            added.is_ok()
        });
        let sha1_pins = fields.boolean("sha1_pins").is_none_or(|field| field.value);
        Pull { allow: allow.into_iter().map(|entry| entry.value).collect(), sha1_pins }
    }

    fn vsphere(&self, fields: &Fields) -> Vsphere {
        let api_version = fields.text("api_version").and_then(|field| {
            let version = field.value.parse::<ApiVersion>().ok();
            if version.is_none() {
                let versions: Vec<&str> = ApiVersion::all().collect();
                self.report.mistake(
                    &field.span,
                    format!("`api_version` cannot be \"{}\"", field.value),
                    format!("choose one of {}", versions.join(", ")),
                );
            }
            version
        });
        Vsphere {
            enabled: fields.boolean("enabled").is_none_or(|field| field.value),
            api_version: api_version.unwrap_or_default(),
            session_idle_s: fields
                .integer("session_idle_s", 1..=TIMEOUT_MAX_S)
                .map_or(SESSION_IDLE_S, |field| field.value),
            network: machines::network(self, fields).unwrap_or_else(|| "VM Network".to_owned()),
        }
    }

    fn max_rate(&self, fields: &Fields) -> u64 {
        let key = "max_rate_bytes_per_s";
        let Some(field) = fields.integer(key, 0..=i64::MAX as u64) else { return 0 };
        if (1..PACE_RATE_MIN_BYTES_PER_S).contains(&field.value) {
            let message = format!("`{key} = {}` is too slow to be kept evenly", field.value);
            let remedy = format!("choose at least {PACE_RATE_MIN_BYTES_PER_S}, or 0 for no limit");
            self.report.mistake(&field.span, message, remedy);
            return 0;
        }
        field.value
    }

    /// A transfer that must be faster than it may be would only be aborted.
    fn refuse_contradicting_rates(&self, lease_fields: &Fields, lease: &Lease, data_fields: &Fields, data: &Data) {
        let limits =
            [("lease", lease_fields, lease.max_rate_bytes_per_s), ("data", data_fields, data.max_rate_bytes_per_s)];
        for (section, fields, max_rate) in limits {
            if max_rate > 0 && lease.min_rate_bytes_per_s > max_rate {
                self.report.mistake(
                    &fields.span_of("max_rate_bytes_per_s"),
                    format!(
                        "transfers may not be faster than {max_rate} bytes per second but must not be slower than {}",
                        lease.min_rate_bytes_per_s
                    ),
                    format!("raise `max_rate_bytes_per_s` in [{section}] or lower `min_rate_bytes_per_s` in [lease]"),
                );
            }
        }
    }

    /// A path, taken from the directory of the configuration file when it is relative.
    fn path(&self, fields: &Fields, key: &str) -> Option<Field<PathBuf>> {
        fields.text(key).map(|field| Field { value: self.base.join(field.value), span: field.span })
    }

    /// A path to something that can be read as a file.
    fn existing_file(&self, fields: &Fields, key: &str) -> Option<Field<PathBuf>> {
        let field = self.path(fields, key)?;
        match std::fs::metadata(&field.value) {
            Ok(metadata) if metadata.is_dir() => {
                let message = format!("{} is a directory", field.value.display());
                self.report.mistake(&field.span, message, "name a file");
                None
            }
            Ok(_) => Some(field),
            Err(error) => {
                self.unreadable(&field, &error);
                None
            }
        }
    }

    fn unreadable(&self, field: &Field<PathBuf>, error: &std::io::Error) {
        let message = format!("{} cannot be read: {error}", field.value.display());
        self.report.mistake(&field.span, message, "mend the path or its permissions");
    }
}

/// Whether two listeners cannot both be bound.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let wildcard = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (one.ip() == other.ip() || wildcard)
}

/// Whether `text` can stand as the host of a URL: a DNS name or an IP address.
fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    text.parse::<std::net::IpAddr>().is_ok() || (name.len() <= 253 && name.split('.').all(label))
}
