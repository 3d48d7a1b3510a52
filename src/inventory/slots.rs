//! Where devices hang: buses, units and the keys that follow from them, as vSphere numbers them.
//!
//! Pure; used by [`super::build`]. A key follows from the slot alone and the ranges of the families do not meet, so devices in
//! different slots have different keys.
//!
//! | family | controllers | keys    | units                                  | device keys |
//! |--------|-------------|---------|----------------------------------------|-------------|
//! | SCSI   | 4 together  | 1000..  | 16, or 65 (pvscsi from vmx-14); not 7   | 2000..      |
//! | IDE    | 2           | 200..   | 2                                      | 3000..      |
//! | SATA   | 4           | 15000.. | 30                                     | 16000..     |
//! | NVMe   | 4           | 31000.. | 15                                     | 32000..     |

use super::machine::{Controller, ControllerKind, Slot};
use crate::lease::Fault;

/// The places of one machine that are taken.
pub(super) struct Slots {
    taken: Vec<(Controller, u32)>,
    /// Number of the virtual hardware version, which decides how many units pvscsi has.
    hardware: u32,
}

impl Slots {
    pub(super) fn new(taken: impl IntoIterator<Item = (Controller, u32)>, hardware: u32) -> Self {
        Slots { taken: taken.into_iter().collect(), hardware }
    }

    /// Takes the wanted place, or the first free one on a controller of that type, beginning a new controller where the
    /// others are full. Answers with the controller, the unit and the device's key.
    pub(super) fn take(
        &mut self,
        kind: ControllerKind,
        wanted: Option<Slot>,
        property: &str,
    ) -> Result<(Controller, u32, i32), Fault> {
        let invalid = |reason: String| Fault::InvalidArgument { invalid_property: property.to_owned(), reason };
        let slot = match wanted {
            Some(slot) => self.check(kind, slot).map(|()| slot).map_err(invalid)?,
            None => {
                let buses = 0..family(kind).buses;
                let mut free = buses.flat_map(|bus| (0..self.units(kind)).map(move |unit| Slot { bus, unit }));
                free.find(|slot| self.check(kind, *slot).is_ok())
                    .ok_or_else(|| invalid(format!("every place on {} controllers is taken", kind.word())))?
            }
        };
        let controller = controller(kind, slot.bus);
        self.taken.push((controller, slot.unit));
        Ok((controller, slot.unit, device_key(kind, slot)))
    }

    fn check(&self, kind: ControllerKind, slot: Slot) -> Result<(), String> {
        let Slot { bus, unit } = slot;
        let (family, units) = (family(kind), self.units(kind));
        if bus >= family.buses {
            return Err(format!("there is no bus {bus}: a machine has {} controllers of that kind", family.buses));
        }
        if unit >= units {
            return Err(format!("there is no unit {unit}: a controller of type {} has {units}", kind.word()));
        }
        if family.reserved_unit == Some(unit) {
            return Err(format!("unit {unit} is that of the controller itself"));
        }
        let key = controller(kind, bus).key;
        for (other, other_unit) in self.taken.iter().filter(|(other, _)| other.key == key) {
            if other.kind != kind {
                return Err(format!("the controller on bus {bus} is of type {}", other.kind.word()));
            }
            if *other_unit == unit {
                return Err(format!("unit {unit} on bus {bus} has a device already"));
            }
        }
        Ok(())
    }

    fn units(&self, kind: ControllerKind) -> u32 {
        match kind {
            ControllerKind::ParaVirtual if self.hardware >= WIDE_PVSCSI => WIDE_UNITS,
            _ => family(kind).units,
        }
    }
}

/// How controllers and devices of one family are numbered.
struct Family {
    buses: u32,
    units: u32,
    reserved_unit: Option<u32>,
    controller_key: i32,
    device_key: i32,
}

const SCSI: Family = Family { buses: 4, units: 16, reserved_unit: Some(7), controller_key: 1000, device_key: 2000 };
const IDE: Family = Family { buses: 2, units: 2, reserved_unit: None, controller_key: 200, device_key: 3000 };
const SATA: Family = Family { buses: 4, units: 30, reserved_unit: None, controller_key: 15_000, device_key: 16_000 };
const NVME: Family = Family { buses: 4, units: 15, reserved_unit: None, controller_key: 31_000, device_key: 32_000 };
/// Hardware version from which a pvscsi controller takes 64 disks.
const WIDE_PVSCSI: u32 = 14;
const WIDE_UNITS: u32 = 65;

fn family(kind: ControllerKind) -> &'static Family {
    match kind {
        ControllerKind::LsiLogic
        | ControllerKind::LsiLogicSas
        | ControllerKind::BusLogic
        | ControllerKind::ParaVirtual => &SCSI,
        ControllerKind::Ide => &IDE,
        ControllerKind::Sata => &SATA,
        ControllerKind::Nvme => &NVME,
    }
}

fn controller(kind: ControllerKind, bus: u32) -> Controller {
    Controller { kind, bus, key: family(kind).controller_key + as_key(bus) }
}

/// Units that only a wide controller has are numbered behind those of all narrow ones.
fn device_key(kind: ControllerKind, slot: Slot) -> i32 {
    let Family { buses, units, device_key, .. } = family(kind);
    let offset = match slot.unit.checked_sub(*units) {
        None => slot.bus * units + slot.unit,
        Some(beyond) => buses * units + slot.bus * (WIDE_UNITS - units) + beyond,
    };
    device_key + as_key(offset)
}

/// Bus and unit numbers have been checked and are small.
fn as_key(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn fill(kind: ControllerKind, hardware: u32) -> Vec<(Controller, u32, i32)> {
        let mut slots = Slots::new([], hardware);
        std::iter::from_fn(|| slots.take(kind, None, "disks[0]").ok()).collect()
    }

    #[test]
    fn every_controller_takes_what_vsphere_allows() {
        let most = [(15, 60), (15, 60), (15, 60), (64, 256), (2, 4), (30, 120), (15, 60)];
        for (kind, (on_first, together)) in ControllerKind::ALL.into_iter().zip(most) {
            let devices = fill(kind, 19);
            assert_eq!(devices.len(), together, "{kind:?}");
            assert_eq!(devices.iter().filter(|(controller, ..)| controller.bus == 0).count(), on_first, "{kind:?}");
        }
        assert_eq!(fill(ControllerKind::ParaVirtual, 13).len(), 60);
    }

    #[test]
    fn no_two_slots_of_a_machine_share_a_key() {
        let mut keys = HashSet::new();
        for kind in [ControllerKind::ParaVirtual, ControllerKind::Ide, ControllerKind::Sata, ControllerKind::Nvme] {
            for (controller, _, key) in fill(kind, 19) {
                assert!(keys.insert(key), "{key}");
                keys.insert(controller.key);
            }
        }
        assert!(keys.iter().all(|key| !(4000..5000).contains(key)), "those are network adapters");
    }

    #[test]
    fn keys_are_those_vsphere_gives() {
        let mut slots = Slots::new([], 19);
        let mut key = |kind, bus, unit| slots.take(kind, Some(Slot { bus, unit }), "x").unwrap().2;
        assert_eq!(key(ControllerKind::LsiLogic, 0, 0), 2000);
        assert_eq!(key(ControllerKind::ParaVirtual, 1, 0), 2016);
        assert_eq!(key(ControllerKind::ParaVirtual, 1, 16), 2000 + 64 + 49);
        assert_eq!(key(ControllerKind::Ide, 1, 0), 3002);
        assert_eq!(key(ControllerKind::Sata, 0, 0), 16_000);
        assert_eq!(key(ControllerKind::Nvme, 1, 1), 32_016);
    }

    #[test]
    fn a_place_that_cannot_be_had_is_named() {
        let refused = |first: (ControllerKind, u32, u32), second: (ControllerKind, u32, u32)| {
            let mut slots = Slots::new([], 19);
            let slot = |(kind, bus, unit)| (kind, Some(Slot { bus, unit }));
            let (kind, wanted) = slot(first);
            slots.take(kind, wanted, "x").unwrap();
            let (kind, wanted) = slot(second);
            slots.take(kind, wanted, "disks[1]").unwrap_err().to_string()
        };
        let (lsi, ide) = (ControllerKind::LsiLogic, ControllerKind::Ide);
        let cases = [
            ((lsi, 0, 7), "unit 7 is that of the controller itself"),
            ((lsi, 0, 0), "unit 0 on bus 0 has a device already"),
            ((lsi, 0, 16), "there is no unit 16"),
            ((lsi, 4, 0), "there is no bus 4"),
            ((ide, 2, 0), "there is no bus 2"),
            ((ControllerKind::ParaVirtual, 0, 1), "the controller on bus 0 is of type lsilogic"),
        ];
        for (wanted, reason) in cases {
            let fault = refused((lsi, 0, 0), wanted);
            assert!(fault.starts_with("disks[1]: ") && fault.contains(reason), "{fault}");
        }
    }

    #[test]
    fn a_full_controller_is_followed_by_a_new_one_and_a_foreign_one_is_passed_over() {
        let mut slots = Slots::new([], 19);
        slots.take(ControllerKind::BusLogic, None, "x").unwrap();
        let (controller, unit, key) = slots.take(ControllerKind::LsiLogic, None, "x").unwrap();
        assert_eq!((controller.bus, controller.key, unit, key), (1, 1001, 0, 2016));
        for _ in 0..14 {
            slots.take(ControllerKind::LsiLogic, None, "x").unwrap();
        }
        assert_eq!(slots.take(ControllerKind::LsiLogic, None, "x").unwrap().0.bus, 2);
    }
}
