//! Properties and the values they get.

use super::Planning;
use crate::wire::ovf::error::shown;
use crate::wire::ovf::machine::Property;
use crate::wire::ovf::model::About;
use crate::wire::ovf::note::{PlanError, Warning};
use crate::wire::ovf::property::PropertyDeclaration;

impl Planning<'_> {
    /// The properties of a machine or collection with their values.
    pub(super) fn properties(&mut self, about: &About) -> Vec<Property> {
        let declared = about.products.iter().flat_map(|product| &product.properties);
        declared.map(|property| self.valued(property)).collect()
    }

    fn valued(&mut self, property: &PropertyDeclaration) -> Property {
        self.known_keys.insert(property.key.clone());
        let default = property.default_in(self.configuration).unwrap_or_default();
        let chosen = self.params.property_mapping.iter().find(|(key, _)| *key == property.key);
        // A client that fills in a form sends defaults along; nobody chose those.
        let chosen = chosen.map(|(_, value)| value.as_str()).filter(|value| *value != default);
        let (key, value) = (shown(&property.key), chosen.unwrap_or(default));
        let found = if property.is_secret { "(secret)".to_owned() } else { shown(value) };
        match (chosen, property.fault(value)) {
            (Some(_), _) if !property.user_configurable => self.plan.errors.push(PlanError::PropertyFixed { key }),
            (Some(_), Some(expected)) => self.plan.errors.push(PlanError::PropertyValue { key, found, expected }),
            (None, Some(expected)) if !value.is_empty() => {
                self.plan.warnings.push(Warning::PropertyDefault { key, found, expected });
            }
            _ => {}
        }
        Property {
            key: property.key.clone(),
            kind: property.kind,
            qualifiers: property.qualifiers.clone(),
            value: value.to_owned(),
            user_configurable: property.user_configurable,
            label: self.text(&property.label),
            description: self.text(&property.description),
        }
    }

    /// Says which keys of the mapping nobody knows.
    pub(super) fn unknown_properties(&mut self) {
        for (key, _) in &self.params.property_mapping {
            if !self.known_keys.contains(key) {
                self.plan.warnings.push(Warning::UnknownProperty { found: shown(key) });
            }
        }
    }
}
