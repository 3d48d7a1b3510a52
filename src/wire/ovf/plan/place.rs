//! Which places on which controllers are taken.

use std::collections::BTreeMap;

use crate::wire::ovf::machine::{Controller, ControllerKind, Family};

/// The places of one machine.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Who has which.
    taken: BTreeMap<(Controller, u32), String>,
}

impl Places {
    /// Takes a place, or says who has it.
    pub(super) fn take(&mut self, controller: Controller, unit: u32, who: &str) -> Result<(), String> {
        match self.taken.get(&(controller, unit)) {
            Some(other) => Err(other.clone()),
            None => {
                self.taken.insert((controller, unit), who.to_owned());
                Ok(())
            }
        }
    }

    /// Takes the first free place.
    pub(super) fn take_free(&mut self, controller: Controller, who: &str) -> Option<u32> {
        let mut units = 0..controller.kind.units();
        let unit =
            units.find(|unit| controller.kind.has_unit(*unit) && !self.taken.contains_key(&(controller, *unit)))?;
        self.taken.insert((controller, unit), who.to_owned());
        Some(unit)
    }

    /// Whether there is a free place.
    pub(super) fn has_room(&self, controller: Controller) -> bool {
        let mut units = 0..controller.kind.units();
        units.any(|unit| controller.kind.has_unit(unit) && !self.taken.contains_key(&(controller, unit)))
    }
}

/// The first number of a family that no controller has.
pub(super) fn free_bus(family: Family, taken: impl Fn(u32) -> bool) -> Option<u32> {
    (0..family.buses()).find(|bus| !taken(*bus))
}

/// The units a controller has, for a message.
pub(super) fn units_of(kind: ControllerKind) -> String {
    match kind.family() {
        Family::Scsi => format!("units 0 to {} without 7", kind.units() - 1),
        Family::Ide | Family::Sata | Family::Nvme => format!("units 0 to {}", kind.units() - 1),
    }
}
