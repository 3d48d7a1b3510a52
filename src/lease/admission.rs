//! Who may have a lease, and who may have a grant: pure decisions over what the driver knows.
//!
//! Called by the driver before it changes anything. A refused lease names the property that is wrong; a refused grant tells a
//! stranger nothing.

use std::collections::HashSet;

use super::fault::Fault;
use super::grant::{Denied, Purpose};
use super::id::TaskId;
use super::spec::{DiskSpec, EntityRef, Form, Kind, LeaseSpec, Target};
use super::state::{Lease, State};
use crate::limits::{
    DISK_BYTES, DISKS_PER_LEASE, LEASE_NAME_BYTES, PACE_RATE_MIN_BYTES_PER_S, SECTOR_BYTES, TARGET_PATH_BYTES,
};

/// Decides on a new lease. `holders` are the leases that still hold their targets.
///
/// # Errors
/// `InvalidArgument` or `OutOfBounds` for the spec itself; for a target in use `FileLocked` (import) or `TaskInProgress`
/// (export), which are the faults the reference names for either call.
pub fn admit_lease<'a>(spec: &LeaseSpec, holders: impl IntoIterator<Item = &'a Lease>) -> Result<(), Fault> {
    check_spec(spec)?;
    let wanted: HashSet<_> = spec.disks.iter().map(|disk| place(&disk.target)).collect();
    for holder in holders {
        if spec.kind == Kind::Export && holder.spec().kind == Kind::Export {
            continue;
        }
        if let Some(disk) = holder.spec().disks.iter().find(|disk| wanted.contains(&place(&disk.target))) {
            return Err(in_use(spec, &disk.target, holder.task()));
        }
    }
    Ok(())
}

/// Decides on the rate limit of a new lease, beside the least rate that every transfer must have.
///
/// # Errors
/// `InvalidArgument`: a lease that may never be fast enough would only be aborted.
pub fn admit_rate(spec: &LeaseSpec, min_rate_bytes_per_s: u64) -> Result<(), Fault> {
    let Some(max_rate) = spec.max_rate_bytes_per_s.filter(|rate| *rate > 0) else { return Ok(()) };
    let least = min_rate_bytes_per_s.max(PACE_RATE_MIN_BYTES_PER_S);
    match max_rate < least {
        true => Err(invalid("maxRateBytesPerS", &format!("must be 0 (no limit) or at least {least}"))),
        false => Ok(()),
    }
}

/// Decides on a transfer: which device of the lease, if any. `lease` is what the ticket opens; `open` lists the transfers
/// under way by device.
///
/// # Errors
/// [`Denied::NotFound`] for whatever a stranger could probe (ticket, state, disk name, direction); [`Denied::Busy`] when an
/// upload of that device is under way.
pub fn admit_transfer(
    lease: &Lease,
    disk: &str,
    purpose: Purpose,
    open: impl IntoIterator<Item = (usize, Purpose)>,
) -> Result<usize, Denied> {
    if !matches!(lease.state(), State::Ready(_)) || !fits(purpose, lease.spec().kind) {
        return Err(Denied::NotFound);
    }
    let device = lease.spec().disks.iter().position(|spec| spec.name == disk).ok_or(Denied::NotFound)?;
    let uploading = open.into_iter().any(|(other, purpose)| other == device && is_upload(purpose));
    if is_upload(purpose) && uploading { Err(Denied::Busy) } else { Ok(device) }
}

/// Whether the purpose writes to the target.
pub(super) fn is_upload(purpose: Purpose) -> bool {
    matches!(purpose, Purpose::Upload | Purpose::Resume)
}

fn fits(purpose: Purpose, kind: Kind) -> bool {
    match purpose {
        Purpose::Upload | Purpose::Resume => kind == Kind::Import,
        Purpose::Download => kind == Kind::Export,
        Purpose::Inspect => true,
    }
}

/// Two targets are the same thing if they have the same place, whatever their form.
fn place(target: &Target) -> (&str, &str) {
    (&target.datastore, &target.path)
}

fn in_use(spec: &LeaseSpec, target: &Target, task: &TaskId) -> Fault {
    match spec.kind {
        Kind::Import => Fault::FileLocked { file: target.to_string(), reason: format!("held by {task}") },
        Kind::Export => Fault::TaskInProgress { entity: target.to_string(), task: task.to_string() },
    }
}

fn check_spec(spec: &LeaseSpec) -> Result<(), Fault> {
    check_name("entity", &spec.entity)?;
    if let Some(EntityRef { kind, id }) = &spec.entity_ref {
        check_name("entityRef.kind", kind)?;
        check_name("entityRef.id", id)?;
    }
    if spec.disks.len() > DISKS_PER_LEASE {
        return Err(Fault::OutOfBounds { argument_name: "disks".to_owned() });
    }
    let mut names = HashSet::new();
    let mut places = HashSet::new();
    for (index, disk) in spec.disks.iter().enumerate() {
        check_disk(spec.kind, disk, &format!("disks[{index}]"))?;
        if !names.insert(disk.name.as_str()) {
            return Err(invalid(&format!("disks[{index}].name"), "another disk has that name; names must be unique"));
        }
        if !places.insert(place(&disk.target)) {
            return Err(invalid(&format!("disks[{index}].target"), "another disk has that target"));
        }
    }
    Ok(())
}

fn check_disk(kind: Kind, disk: &DiskSpec, property: &str) -> Result<(), Fault> {
    check_name(&format!("{property}.name"), &disk.name)?;
    check_target(&disk.target, &format!("{property}.target"))?;
    let capacity = format!("{property}.capacityBytes");
    match disk.capacity_bytes {
        Some(bytes) if bytes > DISK_BYTES => Err(Fault::OutOfBounds { argument_name: capacity }),
        _ if kind == Kind::Export || disk.target.form == Form::Verbatim => Ok(()),
        None | Some(0) => Err(invalid(&capacity, "the import of a raw disk needs its size in bytes")),
        Some(bytes) if !bytes.is_multiple_of(SECTOR_BYTES) => {
            Err(invalid(&capacity, "the size of a disk is a multiple of 512"))
        }
        Some(_) => Ok(()),
    }
}

/// The path must have one spelling only, or two leases could hold the same file under two names.
fn check_target(target: &Target, property: &str) -> Result<(), Fault> {
    check_name(&format!("{property}.datastore"), &target.datastore)?;
    let property = format!("{property}.path");
    if target.path.is_empty() {
        return match target.form {
            Form::Raw => Ok(()),
            Form::Verbatim => Err(invalid(&property, "a verbatim target needs a path; only a block device has none")),
        };
    }
    if target.path.len() > TARGET_PATH_BYTES {
        return Err(invalid(&property, &format!("longer than {TARGET_PATH_BYTES} bytes")));
    }
    target.path.split('/').try_for_each(|component| check_name(&property, component))
}

/// One path component that means itself: not empty, not `.` or `..`, no separator, no control character.
fn check_name(property: &str, name: &str) -> Result<(), Fault> {
    let reason = match name {
        "" => "must not be empty, nor have an empty path component".to_owned(),
        "." | ".." => format!("must not be or contain {name:?}"),
        _ if name.len() > LEASE_NAME_BYTES => format!("longer than {LEASE_NAME_BYTES} bytes"),
        _ if name.contains('/') => "must not contain '/'".to_owned(),
        _ if name.chars().any(char::is_control) => "must not contain control characters".to_owned(),
        _ => return Ok(()),
    };
    Err(invalid(property, &reason))
}

fn invalid(property: &str, reason: &str) -> Fault {
    Fault::InvalidArgument { invalid_property: property.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
