//! Products and their properties.

use super::super::error::{OvfError, shown};
use super::super::model::{About, Product};
use super::super::names::{attribute, child, children, is_ovf, named, needed, truth};
use super::super::note::Warning;
use super::super::property::{PropertyDeclaration, PropertyType, restrictions};
use super::super::strings::Text;
use super::{Reading, text};
use crate::wire::xml::Element;

impl Reading {
    /// A ProductSection of a machine or collection that has the products in `about` already.
    pub(super) fn product(&mut self, section: &Element, about: &About, system: &str) -> Result<Product, OvfError> {
        let plain = |name: &str| child(section, name).map(|it| it.text.trim().to_owned()).unwrap_or_default();
        let mut product = Product {
            name: text(child(section, "Product")),
            vendor: text(child(section, "Vendor")),
            version: plain("Version"),
            full_version: plain("FullVersion"),
            product_url: plain("ProductUrl"),
            vendor_url: plain("VendorUrl"),
            app_url: plain("AppUrl"),
            properties: Vec::new(),
        };
        for icon in children(section, "Icon") {
            if let Some(found) = attribute(icon, "fileRef").map(str::trim).filter(|found| !found.is_empty()) {
                let file = self.file(&format!("Icon of {system}"), found)?;
                self.side_files.push(file);
            }
        }
        let mut category = Text::default();
        for part in section.children.iter().filter(|part| is_ovf(part)) {
            match part.name.as_str() {
                "Category" => category = text(Some(part)),
                "Property" => {
                    self.count_property()?;
                    let property = self.property(section, part, &category, system)?;
                    let earlier = about.products.iter().flat_map(|it| &it.properties).chain(&product.properties);
                    if earlier.into_iter().any(|it| it.key == property.key) {
                        let element = format!("{} of {system}", named("Property", &property.key));
                        return Err(OvfError::Repeats { element });
                    }
                    product.properties.push(property);
                }
                _ => {}
            }
        }
        Ok(product)
    }

    fn property(
        &mut self,
        section: &Element,
        element: &Element,
        category: &Text,
        system: &str,
    ) -> Result<PropertyDeclaration, OvfError> {
        let name = needed(element, &format!("Property of {system}"), "key")?;
        let part = |field| attribute(section, field).map(str::trim).filter(|found| !found.is_empty());
        let key: Vec<&str> = [part("class"), Some(name), part("instance")].into_iter().flatten().collect();
        let key = key.join(".");
        let who = format!("{} of {system}", named("Property", &key));
        let word = attribute(element, "type").unwrap_or_default();
        let kind = PropertyType::of_word(word).unwrap_or_else(|| {
            self.warnings.push(Warning::PropertyType { key: shown(&key), found: shown(word) });
            PropertyType::String
        });
        let qualifiers = attribute(element, "qualifiers").unwrap_or_default().to_owned();
        let restrictions = restrictions(&key, &qualifiers, &mut self.warnings);
        let mut by_configuration = Vec::new();
        let mut default = attribute(element, "value").map(str::to_owned);
        for value in children(element, "Value") {
            let missing = || OvfError::MissingAttribute { element: format!("Value of {who}"), attribute: "value" };
            let text = attribute(value, "value").ok_or_else(missing)?.to_owned();
            match attribute(value, "configuration").map(str::trim).filter(|id| !id.is_empty()) {
                Some(id) if self.configurations.iter().any(|it| it.id == id) => {
                    by_configuration.push((id.to_owned(), text));
                }
                Some(id) => {
                    return Err(OvfError::Dangling {
                        element: format!("Value of {who}"),
                        field: "configuration",
                        found: shown(id),
                        wanted: "Configuration",
                    });
                }
                None => default = Some(text),
            }
        }
        Ok(PropertyDeclaration {
            kind,
            qualifiers,
            restrictions,
            user_configurable: truth(element, &who, "userConfigurable")?.unwrap_or(false),
            is_secret: truth(element, &who, "password")?.unwrap_or(false) || word.eq_ignore_ascii_case("password"),
            default,
            by_configuration,
            label: text(child(element, "Label")),
            description: text(child(element, "Description")),
            category: category.clone(),
            key,
        })
    }
}
