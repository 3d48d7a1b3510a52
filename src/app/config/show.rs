//! Settings as text, in the form of the configuration file and with every default spelled out.
//!
//! Used by [`crate::app::check_config`]. Passwords and their hashes are left out.

use std::fmt;

use toml_edit::Value;

use super::resolved::{Backing, Resolved};

impl fmt::Display for Resolved {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listen = &self.listen;
        writeln!(out, "[listen]")?;
        text(out, "control", listen.control)?;
        text(out, "data", listen.data)?;
        text(out, "data_tls", listen.data_tls)?;
        match &listen.advertise {
            Some(host) => text(out, "advertise", host)?,
            None => writeln!(out, "# advertise: the address the client reached us on")?,
        }
        text(out, "lease_urls", listen.lease_urls)?;
        writeln!(out, "control_plain = {}", listen.control_plain)?;
        writeln!(out, "\n[tls]")?;
        match &self.tls {
            Some(tls) => {
                text(out, "certificate", tls.certificate.display())?;
                text(out, "key", tls.key.display())?;
            }
            None => writeln!(out, "# self-signed, in the state directory")?,
        }
        text(out, "kernel", self.kernel_tls)?;
        writeln!(out, "\n[state]")?;
        text(out, "dir", self.state.dir.display())?;
        self.show_lease_and_data(out)?;
        for user in &self.users {
            writeln!(out, "\n[user.{}]", key(&user.name))?;
            text(out, "role", user.role)?;
        }
        self.show_datastores(out)?;
        self.show_machines(out)
    }
}

impl Resolved {
    fn show_lease_and_data(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lease = &self.lease;
        writeln!(out, "\n[lease]\ntimeout_s = {}", lease.timeout_s)?;
        text(out, "renewal", lease.renewal)?;
        writeln!(out, "stall_timeout_s = {}", lease.stall_timeout_s)?;
        writeln!(out, "idle_timeout_s = {}", lease.idle_timeout_s)?;
        writeln!(out, "min_rate_bytes_per_s = {}", lease.min_rate_bytes_per_s)?;
        writeln!(out, "max_rate_bytes_per_s = {}", lease.max_rate_bytes_per_s)?;
        text(out, "checksum", lease.checksum)?;
        writeln!(out, "\n[data]")?;
        text(out, "engine", self.data.engine)?;
        writeln!(out, "threads = {}\nmemory_mib = {}", self.data.threads, self.data.memory_mib)?;
        writeln!(out, "max_rate_bytes_per_s = {}", self.data.max_rate_bytes_per_s)
    }

    fn show_datastores(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for datastore in &self.datastores {
            writeln!(out, "\n[datastore.{}]", key(&datastore.name))?;
            match &datastore.backing {
                Backing::Directory(path) => text(out, "path", path.display())?,
                Backing::Device(path) => text(out, "device", path.display())?,
            }
        }
        Ok(())
    }

    fn show_machines(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vsphere = &self.vsphere;
        writeln!(out, "\n[pull]")?;
        list(out, "allow", self.pull.allow.iter().map(quoted))?;
        writeln!(out, "sha1_pins = {}", self.pull.sha1_pins)?;
        writeln!(out, "\n[vsphere]\nenabled = {}", vsphere.enabled)?;
        text(out, "api_version", vsphere.api_version)?;
        writeln!(out, "session_idle_s = {}", vsphere.session_idle_s)?;
        text(out, "network", &vsphere.network)?;
        for vm in &self.vms {
            writeln!(out, "\n[vm.{}]", key(&vm.name))?;
            text(out, "guest", &vm.guest)?;
            writeln!(out, "cpus = {}\nmemory_mib = {}", vm.cpus, vm.memory_mib)?;
            text(out, "firmware", vm.firmware)?;
            text(out, "network", &vm.network)?;
            text(out, "annotation", &vm.annotation)?;
            let disks = vm.disks.iter().map(|disk| {
                format!("{{ path = {}, controller = {} }}", quoted(disk.target()), quoted(disk.controller))
            });
            list(out, "disks", disks)?;
        }
        for vapp in &self.vapps {
            writeln!(out, "\n[vapp.{}]", key(&vapp.name))?;
            list(out, "vms", vapp.vms.iter().map(quoted))?;
        }
        Ok(())
    }
}

fn quoted(value: impl fmt::Display) -> String {
    Value::from(value.to_string()).decorated("", "").to_string()
}

fn text(out: &mut fmt::Formatter<'_>, key: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(out, "{key} = {}", quoted(value))
}

/// A list with one element on each line.
fn list(out: &mut fmt::Formatter<'_>, key: &str, elements: impl Iterator<Item = String>) -> fmt::Result {
    writeln!(out, "{key} = [")?;
    for element in elements {
        writeln!(out, "    {element},")?;
    }
    writeln!(out, "]")
}

/// A section's name, in quotes where TOML wants them.
fn key(name: &str) -> String {
    toml_edit::Key::new(name).to_string()
}
