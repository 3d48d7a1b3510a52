//! The part of the handle that is about vApps.
//!
//! Called by `edge`. As with machines: durable before visible, and a vApp comes and goes in the same commit as its machines.

use std::sync::PoisonError;

use super::{Inventory, random};
use crate::inventory::machine::Machine;
use crate::inventory::store::Write;
use crate::inventory::vapp::{VApp, VAppImport, number_of};
use crate::lease::{Fault, LeaseId};

/// A vApp that is not there yet, with its machines: ids, names and disks are taken, nobody sees it. Dropping it gives them back.
#[derive(Debug)]
pub struct ReservedVApp {
    inventory: Inventory,
    vapp: VApp,
    machines: Vec<Machine>,
}

impl Inventory {
    /// Every vApp: those of the configuration in its order, then the imported ones, oldest first.
    pub fn vapps(&self) -> Vec<VApp> {
        self.see(|roster| roster.vapps.clone())
    }

    /// One vApp.
    pub fn vapp(&self, id: &str) -> Option<VApp> {
        self.see(|roster| roster.vapp(id).cloned())
    }

    /// A vApp that a client may change or remove now.
    ///
    /// # Errors
    /// `ManagedObjectNotFound`; `NotSupported` for a configured one; `TaskInProgress` while it is being imported.
    pub fn changeable_vapp(&self, id: &str) -> Result<VApp, Fault> {
        self.see(|roster| roster.changeable_vapp(id).cloned())
    }

    /// Takes ids, names and disks for a vApp and its machines that [`Inventory::bind_vapp`] will make.
    ///
    /// # Errors
    /// As [`Inventory::reserve`], for the vApp and each of its machines; then nothing is taken.
    pub async fn reserve_vapp(&self, new: VAppImport) -> Result<ReservedVApp, Fault> {
        let (inventory, now_ms) = (self.clone(), (self.0.settings.wall_clock_ms)());
        self.step(move |roster| {
            let (vapp, machines) = roster.reserve_vapp(&new, now_ms, &mut random)?;
            let claim = Write::Claim(number_of(&vapp.id).unwrap_or(0));
            Ok((vec![claim], ReservedVApp { inventory, vapp, machines }))
        })
        .await
    }

    /// Makes the reserved vApp and its machines, as ones whose disks that lease brings.
    ///
    /// # Errors
    /// Only when they cannot be stored.
    pub async fn bind_vapp(&self, reserved: ReservedVApp, lease: &LeaseId) -> Result<VApp, Fault> {
        let importing = Some(lease.clone());
        let made = self.step(move |_| {
            let vapp = VApp { importing: importing.clone(), ..reserved.vapp.clone() };
            let machines = reserved.machines.iter();
            let machines =
                machines.map(|machine| Write::Put(Machine { importing: importing.clone(), ..machine.clone() }));
            let writes = machines.chain([Write::PutVApp(vapp.clone())]).collect();
            // The names stay reserved until they are taken.
            Ok((writes, (vapp, reserved)))
        });
        made.await.map(|(vapp, _)| vapp)
    }

    /// Gives a vApp another name.
    ///
    /// # Errors
    /// As [`Inventory::changeable_vapp`]; `DuplicateName` and `InvalidArgument`.
    pub async fn rename_vapp(&self, id: &str, name: &str) -> Result<VApp, Fault> {
        let (id, name) = (id.to_owned(), name.to_owned());
        self.step(move |roster| {
            let vapp = roster.renamed_vapp(&id, &name)?;
            let writes = if roster.vapp(&id) == Some(&vapp) { Vec::new() } else { vec![Write::PutVApp(vapp.clone())] };
            Ok((writes, vapp))
        })
        .await
    }

    /// Removes the records of a vApp and of the machines that are in it, and gives the former back. Disks are left alone.
    ///
    /// # Errors
    /// As [`Inventory::changeable_vapp`].
    pub async fn remove_vapp(&self, id: &str) -> Result<VApp, Fault> {
        let id = id.to_owned();
        self.step(move |roster| {
            let vapp = roster.changeable_vapp(&id)?.clone();
            let machines = vapp.members.iter().map(|member| Write::Delete(member.machine.clone()));
            Ok((machines.chain([Write::DeleteVApp(id)]).collect(), vapp))
        })
        .await
    }
}

impl ReservedVApp {
    /// The vApp as it will be.
    pub fn vapp(&self) -> &VApp {
        &self.vapp
    }
}

impl Drop for ReservedVApp {
    fn drop(&mut self) {
        let mut roster = self.inventory.0.roster.write().unwrap_or_else(PoisonError::into_inner);
        roster.release_vapp(&self.vapp.id, &self.machines);
    }
}
