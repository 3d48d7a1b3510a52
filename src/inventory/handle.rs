//! The handle through which everybody else sees and changes the inventory.
//!
//! Called by `edge` and `app` from any thread of the control runtime. Reading never waits for storage. Changing takes turns: one
//! step is planned, made durable and applied before the next is planned; nobody sees a step before it is durable. A step runs as
//! a task of its own, so that a caller that goes away (a closed connection) does not cut it in half.

mod snapshots;
mod vapps;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{Mutex, MutexGuard, broadcast};

use super::configured::{self, ConfigureError, NewVApp};
use super::id::MachineId;
use super::machine::{Edit, Machine, NewMachine};
use super::roster::{Roster, same_place};
use super::store::{Store, StoreError, Write};
use super::vapp::VApp;
use crate::lease::{Fault, LeaseId, Target};
use crate::limits::INVENTORY_NOTICES;

pub use vapps::ReservedVApp;

/// The machines of this server. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Inventory(Arc<Shared>);

/// What an inventory is told once, at start.
pub struct Settings {
    /// Milliseconds since 1970, for the age machines show.
    pub wall_clock_ms: fn() -> u64,
    /// Finds the capacity of a stored disk. May block.
    pub measure: Measure,
}

/// Finds the capacity of a stored disk.
pub type Measure = Box<dyn Fn(&Target) -> Result<u64, Fault> + Send + Sync>;

/// How the import of a machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// Its disks are there; the machine stays. Sizes are given for those that are known better now than when it was made.
    Kept {
        /// Capacities by stored object.
        capacities: Vec<(Target, u64)>,
    },
    /// It failed; the machine goes.
    Gone,
}

/// A machine that is not there yet: its id, its name and its disks are taken, nobody sees it. Dropping it gives the name back.
#[derive(Debug)]
pub struct Reserved {
    inventory: Inventory,
    machine: Machine,
}

/// Somebody at work on a machine; others are refused one until it is dropped.
#[derive(Debug)]
pub struct Hold {
    inventory: Inventory,
    id: MachineId,
}

struct Shared {
    roster: RwLock<Roster>,
    /// Held through plan, commit and apply.
    turn: Mutex<()>,
    /// Held while an import is being settled.
    settling: Mutex<()>,
    store: Arc<dyn Store>,
    /// Ids of machines and vApps.
    notices: broadcast::Sender<String>,
    settings: Settings,
}

impl Inventory {
    /// Reads the store (blocking). Configured machines of the last run are there until [`Inventory::configure`] replaces them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn open(settings: Settings, store: Arc<dyn Store>) -> Result<Inventory, StoreError> {
        let roster = RwLock::new(Roster::load(store.load()?)?);
        let (notices, _) = broadcast::channel(INVENTORY_NOTICES);
        Ok(Inventory(Arc::new(Shared {
            roster,
            turn: Mutex::new(()),
            settling: Mutex::new(()),
            store,
            notices,
            settings,
        })))
    }

    /// Makes the configured machines and vApps those of the inventory, and finds the sizes of their disks. A disk that is not there
    /// keeps the size it had when it was last seen; using it will say what is wrong.
    ///
    /// # Errors
    /// Every mistake at once, among them a name that an imported machine has.
    pub async fn configure(
        &self,
        mut machines: Vec<NewMachine>,
        new_vapps: Vec<NewVApp>,
    ) -> Result<(), ConfigureError> {
        let targets = machines.iter().flat_map(|machine| &machine.disks).map(|disk| disk.target.clone()).collect();
        let mut sizes = self.measure(targets).await.into_iter();
        for machine in &mut machines {
            let earlier = self.by_name(&machine.name);
            for disk in &mut machine.disks {
                let seen = |earlier: &Machine| {
                    let known = earlier.disks.iter().find(|known| same_place(&known.target, &disk.target));
                    known.map(|known| known.capacity_bytes)
                };
                let size = match sizes.next() {
                    Some(Ok(size)) => Some(size),
                    Some(Err(fault)) => {
                        tracing::warn!(machine = machine.name, disk = %disk.target, %fault, "a configured disk cannot be seen");
                        earlier.as_ref().and_then(seen)
                    }
                    None => None,
                };
                disk.capacity_bytes = size.unwrap_or(0);
            }
        }
        let now_ms = (self.0.settings.wall_clock_ms)();
        let configured = configured::names_of(&machines);
        let vapps = self
            .step(move |roster| {
                let writes = configured::merge(roster, &machines, now_ms, &mut random);
                let made = writes.as_deref().unwrap_or_default();
                let vapps = configured::vapps(roster, made, &machines, &new_vapps);
                match (writes, vapps) {
                    (Ok(writes), Ok(vapps)) => Ok((writes, vapps)),
                    (Err(ConfigureError::Mistakes(mut all)), Err(ConfigureError::Mistakes(more))) => {
                        all.extend(more);
                        Err(ConfigureError::Mistakes(all))
                    }
                    (Err(error), _) | (_, Err(error)) => Err(error),
                }
            })
            .await?;
        self.0.roster.write().unwrap_or_else(PoisonError::into_inner).configure_vapps(vapps);
        for machine in self.machines().iter().filter(|machine| configured::outlasts(machine, &configured)) {
            let snapshots = machine.snapshots.all().len();
            tracing::warn!(
                machine = machine.name,
                snapshots,
                "no longer configured; it stays until its snapshots are removed and the server is restarted"
            );
        }
        Ok(())
    }

    /// Every machine, oldest first.
    pub fn machines(&self) -> Vec<Machine> {
        self.see(|roster| roster.machines().cloned().collect())
    }

    /// One machine.
    pub fn machine(&self, id: &MachineId) -> Option<Machine> {
        self.see(|roster| roster.get(id).cloned())
    }

    /// The machine of that name.
    pub fn by_name(&self, name: &str) -> Option<Machine> {
        let name = super::check_name(name).ok()?;
        self.see(|roster| roster.machines().find(|machine| machine.name == name).cloned())
    }

    /// What machines have stored at a path or below it, each with the name of the machine.
    pub fn stored_at(&self, datastore: &str, path: &str) -> Vec<(String, Target)> {
        self.see(|roster| roster.stored_at(datastore, path))
    }

    /// Machines whose disks are still on their way, with the lease that brings them.
    pub fn importing(&self) -> Vec<(MachineId, LeaseId)> {
        self.see(|roster| {
            roster.machines().filter_map(|machine| Some((machine.id.clone(), machine.importing.clone()?))).collect()
        })
    }

    /// The machines that a lease is bringing.
    pub fn brought_by(&self, lease: &LeaseId) -> Vec<Machine> {
        self.see(|roster| roster.brought_by(lease).cloned().collect())
    }

    /// The id of every machine and vApp that was made, changed or removed, once that is durable. One that lags has to look at
    /// everything.
    pub fn changes(&self) -> broadcast::Receiver<String> {
        self.0.notices.subscribe()
    }

    /// Takes id, name and disks for a machine that [`Inventory::bind`] will make. The id is durable: it is never given out again,
    /// whatever becomes of this.
    ///
    /// # Errors
    /// `DuplicateName`; `FileLocked` for a disk that another machine has; `InvalidArgument` and `OutOfBounds` for what cannot
    /// be; `InsufficientResourcesFault`.
    pub async fn reserve(&self, new: NewMachine) -> Result<Reserved, Fault> {
        let (inventory, now_ms) = (self.clone(), (self.0.settings.wall_clock_ms)());
        self.step(move |roster| {
            let machine = roster.admit(&new, now_ms, &mut random)?;
            roster.reserve(&machine);
            let claim = Write::Claim(machine.id.number().unwrap_or(0));
            Ok((vec![claim], Reserved { inventory, machine }))
        })
        .await
    }

    /// Makes the reserved machine, as one whose disks that lease brings.
    ///
    /// # Errors
    /// Only when it cannot be stored.
    pub async fn bind(&self, reserved: Reserved, lease: &LeaseId) -> Result<Machine, Fault> {
        self.make(reserved, Some(lease.clone())).await
    }

    /// Makes a machine at once, without an import.
    ///
    /// # Errors
    /// As [`Inventory::reserve`].
    pub async fn add(&self, new: NewMachine) -> Result<Machine, Fault> {
        let reserved = self.reserve(new).await?;
        self.make(reserved, None).await
    }

    /// Ends the import that a lease was, for the machine or the vApp and all its machines at once. Nothing happens if nothing is being
    /// imported by it, so this may be repeated.
    ///
    /// # Errors
    /// Only when it cannot be stored.
    pub async fn settle(&self, lease: &LeaseId, settled: Settled) -> Result<(), Fault> {
        let lease = lease.clone();
        self.step(move |roster| {
            let machines = roster.brought_by(&lease).map(|machine| match &settled {
                Settled::Gone => Write::Delete(machine.id.clone()),
                Settled::Kept { capacities } => Write::Put(arrived(machine, capacities)),
            });
            let vapps = roster.vapps.iter().filter(|vapp| vapp.importing.as_ref() == Some(&lease));
            let vapps = vapps.map(|vapp| match &settled {
                Settled::Gone => Write::DeleteVApp(vapp.id.clone()),
                Settled::Kept { .. } => Write::PutVApp(VApp { importing: None, ..vapp.clone() }),
            });
            Ok((machines.chain(vapps).collect(), ()))
        })
        .await
    }

    /// Changes a machine.
    ///
    /// # Errors
    /// `ManagedObjectNotFound`; `NotSupported` for a configured machine; `TaskInProgress` while it is being imported; otherwise as
    /// [`Inventory::reserve`].
    pub async fn reconfigure(&self, id: &MachineId, edit: Edit) -> Result<Machine, Fault> {
        let id = id.clone();
        self.step(move |roster| {
            let (machine, changed) = roster.edit(&id, &edit)?;
            let writes = if changed { vec![Write::Put(machine.clone())] } else { Vec::new() };
            Ok((writes, machine))
        })
        .await
    }

    /// Removes the record of a machine, also from its vApp, and gives it back. Its disks are left alone.
    ///
    /// # Errors
    /// As [`Inventory::reconfigure`].
    pub async fn remove(&self, id: &MachineId) -> Result<Machine, Fault> {
        let id = id.clone();
        self.step(move |roster| {
            let machine = roster.changeable(&id)?.clone();
            let vapp = roster.vapp_without(&machine.id).map(Write::PutVApp);
            Ok(([Write::Delete(machine.id.clone())].into_iter().chain(vapp).collect(), machine))
        })
        .await
    }

    /// Takes a machine for an operation of several steps, so that whoever also asks first is refused meanwhile. Not durable, and
    /// no lock: changes do not ask for it.
    ///
    /// # Errors
    /// `TaskInProgress` naming who holds it, also while it is being imported; `ManagedObjectNotFound`.
    pub fn hold(&self, id: &MachineId, holder: &str) -> Result<Hold, Fault> {
        self.0.roster.write().unwrap_or_else(PoisonError::into_inner).hold(id, holder)?;
        Ok(Hold { inventory: self.clone(), id: id.clone() })
    }

    /// The right to settle an import.
    pub(super) async fn settling(&self) -> MutexGuard<'_, ()> {
        self.0.settling.lock().await
    }

    /// Finds the sizes of stored disks.
    pub(super) async fn measure(&self, targets: Vec<Target>) -> Vec<Result<u64, Fault>> {
        let shared = self.0.clone();
        let sizes = move || targets.iter().map(|target| (shared.settings.measure)(target)).collect();
        // A panic in there only means that nothing is known.
        tokio::task::spawn_blocking(sizes).await.unwrap_or_default()
    }

    async fn make(&self, reserved: Reserved, importing: Option<LeaseId>) -> Result<Machine, Fault> {
        let made = self.step(move |_| {
            let machine = Machine { importing, ..reserved.machine.clone() };
            // The name stays reserved until the machine has it.
            Ok((vec![Write::Put(machine.clone())], (machine, reserved)))
        });
        made.await.map(|(machine, _)| machine)
    }

    fn see<T>(&self, look: impl FnOnce(&Roster) -> T) -> T {
        look(&self.0.roster.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes one step to its end, whatever becomes of the caller.
    async fn step<T, E>(
        &self,
        plan: impl FnOnce(&mut Roster) -> Result<(Vec<Write>, T), E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Fault> + Send + 'static,
    {
        let inventory = self.clone();
        let step = tokio::spawn(async move {
            let _turn = inventory.0.turn.lock().await;
            let (writes, answer) = plan(&mut inventory.0.roster.write().unwrap_or_else(PoisonError::into_inner))?;
            inventory.commit(writes).await?;
            Ok(answer)
        });
        step.await.unwrap_or_else(|_| Err(unexpected().into()))
    }

    /// Makes changes durable, then true, then known.
    async fn commit(&self, writes: Vec<Write>) -> Result<(), Fault> {
        if writes.is_empty() {
            return Ok(());
        }
        let store = self.0.store.clone();
        let committing = tokio::task::spawn_blocking(move || store.commit(&writes).map(|()| writes));
        let writes = committing.await.map_err(|_| unexpected())?.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "the inventory was not changed");
            Fault::SystemError { reason: error.to_string() }
        })?;
        let ids: Vec<String> = writes.iter().filter_map(changed).collect();
        {
            // In one go: nobody sees a vApp without its machines.
            let mut roster = self.0.roster.write().unwrap_or_else(PoisonError::into_inner);
            writes.into_iter().for_each(|write| roster.apply(write));
        }
        for id in ids {
            // Nobody may be listening.
            let _ = self.0.notices.send(id);
        }
        Ok(())
    }
}

impl fmt::Debug for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inventory({} machines)", self.see(|roster| roster.machines().count()))
    }
}

impl Reserved {
    /// The machine as it will be.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.inventory.0.roster.write().unwrap_or_else(PoisonError::into_inner).release(&self.machine.id);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.inventory.0.roster.write().unwrap_or_else(PoisonError::into_inner).let_go(&self.id);
    }
}

/// What a step of a commit changes.
fn changed(write: &Write) -> Option<String> {
    match write {
        Write::Claim(_) => None,
        Write::Put(machine) => Some(machine.id.to_string()),
        Write::Delete(id) => Some(id.to_string()),
        Write::PutVApp(vapp) => Some(vapp.id.clone()),
        Write::DeleteVApp(id) => Some(id.clone()),
    }
}

/// The machine once its disks are there.
fn arrived(machine: &Machine, capacities: &[(Target, u64)]) -> Machine {
    let mut machine = Machine { importing: None, ..machine.clone() };
    for disk in &mut machine.disks {
        if let Some((_, bytes)) = capacities.iter().find(|(target, _)| same_place(target, &disk.target)) {
            disk.capacity_bytes = *bytes;
        }
    }
    machine
}

fn random(bytes: &mut [u8]) -> Result<(), Fault> {
    getrandom::fill(bytes).map_err(|error| Fault::SystemError { reason: format!("no randomness: {error}") })
}

fn unexpected() -> Fault {
    Fault::SystemError { reason: "the inventory failed unexpectedly".to_owned() }
}

#[cfg(test)]
mod tests;
