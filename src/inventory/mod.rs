//! The small inventory a standalone server shows to vSphere clients: virtual machines with their disks, and vApps of them.
//!
//! Opened by `app`, read and changed by `edge` through an [`Inventory`]. Datacenter, host, resource pool, network and folders
//! are fixed objects that `edge` shows; here are only the things that come and go. Machines come from the configuration
//! (`[vm.NAME]`: they keep their id as long as they are configured, and nobody else can change them) and from imports. The machines of an
//! imported vApp have one lease between them; every step below is one commit for all of them and the vApp.
//!
//! ```text
//!   edge ──► Inventory ──► plan (roster, build, slots: pure) ──► Store, one durable commit ──► roster, change notice, answer
//! ```
//!
//! Every step of an import can be the last before a `kill -9`. Their order, and what the next start makes of each:
//!
//! ```text
//!   1 reserve   number claimed                     durable   a number is lost, nothing else
//!   2 lease     journaled, names the machine's id  durable   an import without its machine: `recover` aborts it
//!   3 bind      machine, importing = that lease    durable   the lease goes on, and so does the import
//!   4 answered
//!   5 lease     done, in error, or forgotten       durable   `follow` and `recover` take step 6
//!   6 settle    done: machine kept; else: gone     durable   nothing is left to do
//! ```
//!
//! Guarantees: what was answered survives; names and disks belong to one machine each; an id is never given out twice, not even
//! across restarts; a step, once begun, is not cut short by a caller that goes away.

mod build;
mod configured;
mod fields;
mod handle;
mod id;
mod machine;
mod reconcile;
mod roster;
mod slots;
mod snapshot;
mod store;
mod vapp;

pub use build::check_machine;
pub use configured::{ConfigureError, NewVApp};
pub use fields::check_name;
pub use handle::{Hold, Inventory, Measure, Reserved, ReservedVApp, Settings, Settled};
pub use id::{MachineId, SnapshotId};
pub use machine::{
    Cdrom, Controller, ControllerKind, Edit, Machine, MachineDisk, NewCdrom, NewDisk, NewMachine, NewNic, Nic, Origin,
    Slot,
};
pub use reconcile::{follow, orphans, reconcile, recover};
pub use snapshot::{NewSnapshot, Snapshot, Snapshots, Stage};
pub use store::{Memory, Store, StoreError, Stored, Write};
pub use vapp::{Member, VApp, VAppImport};
