//! Who holds a stored object: asked before anybody changes or reads one without a lease.
//!
//! Decided by the driver from the leases it knows; asked by `transfer::files`.

use std::future::Future;
use std::pin::Pin;

use super::fault::Fault;
use super::handle::Leases;
use super::id::TaskId;
use super::spec::{Kind, Target};
use super::state::Lease;

/// A lease's claim on one of its targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// Direction of the lease: what an import holds may be half-written, what an export holds is only read.
    pub kind: Kind,
    /// What it holds.
    pub target: Target,
    /// The lease's task, by which an operator finds it.
    pub task: TaskId,
}

/// Answers who holds what. Implemented by [`Leases`].
pub trait Holdings: Send + Sync + 'static {
    /// A lease that holds the object at `path`, or one in the directory at `path`; an import rather than an export.
    fn holder<'a>(
        &'a self,
        datastore: &'a str,
        path: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Holding>, Fault>> + Send + 'a>>;
}

impl Holdings for Leases {
    fn holder<'a>(
        &'a self,
        datastore: &'a str,
        path: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Holding>, Fault>> + Send + 'a>> {
        Box::pin(Leases::holder(self, datastore, path))
    }
}

impl Holding {
    /// The claim of one of `holders` on what is at `path` or below it, if there is any: an import's rather than an export's.
    pub(super) fn find<'a>(
        holders: impl IntoIterator<Item = &'a Lease>,
        datastore: &str,
        path: &str,
    ) -> Option<Holding> {
        let mut export = None;
        for lease in holders {
            let held = |target: &&Target| target.datastore == datastore && is_within(&target.path, path);
            let Some(target) = lease.spec().disks.iter().map(|disk| &disk.target).find(held) else { continue };
            let kind = lease.spec().kind;
            let holding = Holding { kind, target: target.clone(), task: lease.task().clone() };
            match kind {
                Kind::Import => return Some(holding),
                Kind::Export => _ = export.get_or_insert(holding),
            }
        }
        export
    }
}

/// Whether `path` is `ancestor` or lies below it.
fn is_within(path: &str, ancestor: &str) -> bool {
    let rest = path.strip_prefix(ancestor);
    rest.is_some_and(|rest| rest.is_empty() || ancestor.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::{DiskSpec, Form, LeaseId, LeaseSpec};

    fn lease(number: u32, kind: Kind, path: &str) -> Lease {
        let target = Target { datastore: "ds".into(), path: path.into(), form: Form::Verbatim };
        let disk = DiskSpec { name: "disk".into(), capacity_bytes: None, disk: true, target };
        let mut spec: LeaseSpec =
            serde_json::from_value(serde_json::json!({ "kind": "export", "entity": "vm", "disks": [] })).unwrap();
        spec.kind = kind;
        spec.disks.push(disk);
        let (id, task) = (LeaseId::from(format!("lease-{number}").as_str()), TaskId::random().unwrap());
        Lease::new(id, task, spec, None)
    }

    #[test]
    fn a_directory_is_held_with_what_is_in_it() {
        let leases = [lease(1, Kind::Export, "vm/a"), lease(2, Kind::Import, "vm/b"), lease(3, Kind::Export, "vm2")];
        for (datastore, path, held) in [
            ("ds", "vm/a", Some("vm/a")),
            ("ds", "vm/b", Some("vm/b")),
            ("ds", "vm", Some("vm/b")),
            ("ds", "", Some("vm/b")),
            ("ds", "vm2", Some("vm2")),
            ("ds", "v", None),
            ("ds", "vm/a/x", None),
            ("ds", "vm/ab", None),
            ("other", "vm/a", None),
        ] {
            let found = Holding::find(&leases, datastore, path);
            assert_eq!(found.as_ref().map(|holding| holding.target.path.as_str()), held, "{datastore} {path}");
        }
    }
}
