//! OVF: the XML beside a machine's disks, read into a plan for making the machine, and written from a machine.
//!
//! Called by the SOAP edge for CreateImportSpec, ParseDescriptor and CreateDescriptor. Nothing here opens a file or knows a
//! datastore; a file name that comes out of here is the name of a file in the package, never a path.
//!
//! ```text
//!   text ──► Ovf::parse ──► Ovf ──► plan(with the user's choices) ──► Plan { systems: Vec<Machine>, files, warnings, errors }
//!              │ OvfError: not to be understood at all                          │
//!   text ◄── write ◄── Description { systems: Vec<Machine>, files } ◄───────────┘ what is written reads back the same
//! ```

mod error;
mod guest;
mod href;
mod machine;
mod model;
mod names;
mod note;
mod parse;
mod plan;
mod property;
mod strings;
mod units;
mod write;

pub use error::{HrefFault, OvfError};
pub use machine::{Cdrom, Controller, ControllerKind, Disk, Family, Firmware, Floppy, Machine, Nic, NicKind, Property};
pub use model::{
    About, Collection, Configuration, Content, DiskFormat, File, Hardware, Item, Network, OperatingSystem, Ovf,
    Product, Required, Setting, Startup, System, Version, VirtualDisk,
};
pub use note::{PlanError, Warning};
pub use plan::{FileUse, NetworkNote, OptionNote, Plan, PlanParams, PlannedFile, ProductNote, Provisioning, plan};
pub use property::{PropertyDeclaration, PropertyType};
pub use strings::Text;
pub use write::{DescribedFile, Description, write};

#[cfg(test)]
mod tests;
