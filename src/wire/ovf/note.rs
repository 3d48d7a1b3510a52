//! What there is to say about a plan: what was left out or assumed, and what cannot be done.
//!
//! A [`Warning`] leaves a machine that works; a [`PlanError`] means that it must not be made.

/// Something was left out or assumed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// A section that nobody here understands.
    #[error("{element}: the section {section} is ignored")]
    SectionIgnored {
        /// Where it stands.
        element: String,
        /// Its name.
        section: String,
    },
    /// Translations in a file of their own.
    #[error("the texts in {language:?} are in another file and are not read")]
    ExternalStrings {
        /// The language.
        language: String,
    },
    /// A file that nothing uses.
    #[error("File {id:?} ({href:?}) is used by nothing and is not transferred")]
    UnusedFile {
        /// Its id.
        id: String,
        /// Its name.
        href: String,
    },
    /// A disk that nothing uses.
    #[error("Disk {id:?} is used by no machine and is not made")]
    UnusedDisk {
        /// Its id.
        id: String,
    },
    /// A disk's file may be a VMDK that cannot be streamed.
    #[error("Disk {id:?}: its format is not streamOptimized; the transfer takes streamOptimized VMDKs only")]
    SparseFormat {
        /// Its id.
        id: String,
    },
    /// A word for provisioning that nobody knows.
    #[error(
        "disk provisioning {found:?} is unknown and ignored; thin, thick, eagerZeroedThick and the like are expected"
    )]
    Provisioning {
        /// The word.
        found: String,
    },
    /// Nothing says what guest it is.
    #[error("{system}: the operating system is {found}; {used} is assumed")]
    GuestAssumed {
        /// The machine.
        system: String,
        /// What stands there.
        found: String,
        /// What is taken.
        used: &'static str,
    },
    /// Made for other hardware.
    #[error("{system}: the hardware family is {found:?}, none of VMware's; {used} is assumed")]
    HardwareFamily {
        /// The machine.
        system: String,
        /// What stands there.
        found: String,
        /// What is taken.
        used: &'static str,
    },
    /// Neither BIOS nor EFI.
    #[error("{system}: the firmware is {found:?}, bios or efi is expected; bios is assumed")]
    Firmware {
        /// The machine.
        system: String,
        /// What stands there.
        found: String,
    },
    /// Nothing says how many processors or how much memory.
    #[error("{system}: no {what} is stated; {used} is assumed")]
    QuantityAssumed {
        /// The machine.
        system: String,
        /// What is missing.
        what: &'static str,
        /// What is taken.
        used: &'static str,
    },
    /// Hardware that is not made.
    #[error("{item}: {kind} is not supported and left out")]
    HardwareIgnored {
        /// The part.
        item: String,
        /// What it is.
        kind: String,
    },
    /// A setting that is not made.
    #[error("{system}: the setting {key:?} is ignored")]
    SettingIgnored {
        /// The machine.
        system: String,
        /// Its key.
        key: String,
    },
    /// Another kind is taken.
    #[error("{item}: the type {found:?} is unknown; {used} is taken")]
    SubTypeReplaced {
        /// The part.
        item: String,
        /// What stands there.
        found: String,
        /// What is taken.
        used: &'static str,
    },
    /// A controller's number was taken or none.
    #[error("{item}: the address {found:?} cannot be had; it becomes {used}")]
    ControllerMoved {
        /// The part.
        item: String,
        /// What stands there.
        found: String,
        /// What is taken.
        used: String,
    },
    /// A disk or drive hangs on nothing.
    #[error("{item}: no controller is named; it is put on {used}")]
    ControllerAssumed {
        /// The part.
        item: String,
        /// What is taken.
        used: String,
    },
    /// No target was named for a network.
    #[error("network {found:?} is not mapped; {used:?} is taken")]
    NetworkDefaulted {
        /// Its name in the document; empty for a card in none.
        found: String,
        /// What is taken.
        used: String,
    },
    /// A target was named for a network that is not there.
    #[error("the network mapping names {found:?}, which is no network of the OVF; they are: {known}")]
    UnknownNetwork {
        /// The name.
        found: String,
        /// Those there are.
        known: String,
    },
    /// A value was given for a property that is not there.
    #[error("the property mapping names {found:?}, which is no property of the OVF, and is ignored")]
    UnknownProperty {
        /// The key.
        found: String,
    },
    /// A property of a type nobody knows.
    #[error("property {key:?}: the type {found:?} is unknown and taken as string")]
    PropertyType {
        /// Its key.
        key: String,
        /// The type.
        found: String,
    },
    /// A restriction nobody knows.
    #[error("property {key:?}: the qualifier {found:?} is not understood and ignored")]
    Qualifier {
        /// Its key.
        key: String,
        /// The restriction.
        found: String,
    },
    /// The document's own value breaks its own rules.
    #[error("property {key:?}: its default {found:?} is not valid; {expected}")]
    PropertyDefault {
        /// Its key.
        key: String,
        /// The value.
        found: String,
        /// What would be acceptable.
        expected: String,
    },
}

/// Something cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No such configuration.
    #[error("the deployment option is {found:?}; {known} are expected")]
    DeploymentOption {
        /// The one asked for.
        found: String,
        /// Those there are.
        known: String,
    },
    /// A part belongs to a configuration that is not there.
    #[error("{item}: ovf:configuration names {found:?}, but the document has no such Configuration")]
    Configuration {
        /// The part.
        item: String,
        /// The name.
        found: String,
    },
    /// A collection of nothing.
    #[error("VirtualSystemCollection {id:?} has no VirtualSystem in it")]
    NoSystem {
        /// Its id.
        id: String,
    },
    /// A machine without hardware.
    #[error("{system} has no VirtualHardwareSection")]
    NoHardware {
        /// The machine.
        system: String,
    },
    /// Hardware that is not made and may not be left out.
    #[error("{item}: {kind} is not supported, and it is not marked ovf:required=\"false\"")]
    HardwareRequired {
        /// The part.
        item: String,
        /// What it is.
        kind: String,
    },
    /// A setting that is not made and may not be left out.
    #[error("{system}: the setting {key:?} is not supported, and it is marked ovf:required=\"true\"")]
    SettingRequired {
        /// The machine.
        system: String,
        /// Its key.
        key: String,
    },
    /// Two parts with one number.
    #[error("{item}: its InstanceID is that of another Item already")]
    InstanceRepeats {
        /// The part.
        item: String,
    },
    /// A part hangs on nothing.
    #[error("{item}: Parent is {found:?}, which is no controller among the Items of this configuration")]
    Parent {
        /// The part.
        item: String,
        /// The number.
        found: String,
    },
    /// A place that is not there.
    #[error("{item}: AddressOnParent is {found:?}; {controller} has {expected}")]
    Address {
        /// The part.
        item: String,
        /// What stands there.
        found: String,
        /// What it hangs on.
        controller: String,
        /// What would be acceptable.
        expected: String,
    },
    /// Two parts in one place.
    #[error("{item}: unit {unit} of {controller} is taken by {other}")]
    AddressTaken {
        /// The part.
        item: String,
        /// The place.
        unit: u32,
        /// What it hangs on.
        controller: String,
        /// The part that was there first.
        other: String,
    },
    /// No place left.
    #[error("{item}: no unit of {controller} is free")]
    NoRoom {
        /// The part.
        item: String,
        /// What it hangs on.
        controller: String,
    },
    /// No number left.
    #[error("{item}: more than {most} {family} controllers")]
    TooManyControllers {
        /// The part.
        item: String,
        /// What they are.
        family: &'static str,
        /// The limit.
        most: u32,
    },
    /// More disks than a machine can have.
    #[error("{system}: more than {most} disks")]
    TooManyDisks {
        /// The machine.
        system: String,
        /// The limit.
        most: usize,
    },
    /// Machines that would write to one disk.
    #[error("{item}: Disk {id:?} is a disk of {other} already; two machines cannot share one")]
    SharedDisk {
        /// The part.
        item: String,
        /// Id of the disk.
        id: String,
        /// The machine that has it.
        other: String,
    },
    /// What a part is made of is not there.
    #[error("{item}: HostResource is {found:?}; {expected}")]
    HostResource {
        /// The part.
        item: String,
        /// What stands there.
        found: String,
        /// What would be acceptable.
        expected: &'static str,
    },
    /// A network that is not there.
    #[error("{item}: Connection is {found:?}, but the NetworkSection has no such Network")]
    Network {
        /// The part.
        item: String,
        /// The name.
        found: String,
    },
    /// Too many processors, too much memory, or none.
    #[error("{item}: VirtualQuantity is {found}; {expected}")]
    Quantity {
        /// The part.
        item: String,
        /// What stands there.
        found: String,
        /// What would be acceptable.
        expected: String,
    },
    /// A disk's file is no VMDK.
    #[error("Disk {id:?}: the format {found:?} is not supported; a streamOptimized VMDK is expected")]
    DiskFormat {
        /// Its id.
        id: String,
        /// The URI.
        found: String,
    },
    /// A disk of no size, or larger than any.
    #[error("Disk {id:?}: its capacity is {found_bytes} bytes; 1 to {most_bytes} are expected")]
    Capacity {
        /// Its id.
        id: String,
        /// Its size.
        found_bytes: u64,
        /// The largest.
        most_bytes: u64,
    },
    /// All files together are larger than can be said.
    #[error("the files together have more than 2^63 - 1 bytes")]
    TotalSize,
    /// A value that breaks the document's rules.
    #[error("property {key:?}: the value {found:?} is not valid; {expected}")]
    PropertyValue {
        /// Its key.
        key: String,
        /// The value.
        found: String,
        /// What would be acceptable.
        expected: String,
    },
    /// A value for a property that the document fixes.
    #[error("property {key:?} is not user configurable")]
    PropertyFixed {
        /// Its key.
        key: String,
    },
}

impl Warning {
    /// The fault of vSphere's API that says the same.
    pub fn vim_fault(&self) -> &'static str {
        match self {
            Self::SectionIgnored { .. } => "OvfUnsupportedSection",
            Self::ExternalStrings { .. } | Self::UnusedFile { .. } | Self::UnusedDisk { .. } => "OvfUnsupportedElement",
            Self::SparseFormat { .. } | Self::Firmware { .. } | Self::SettingIgnored { .. } => {
                "OvfUnsupportedAttributeValue"
            }
            Self::Provisioning { .. } => "OvfUnsupportedDiskProvisioning",
            Self::GuestAssumed { .. } => "OvfMappedOsId",
            Self::HardwareFamily { .. } => "OvfNoSupportedHardwareFamily",
            Self::QuantityAssumed { .. } => "OvfMissingHardware",
            Self::HardwareIgnored { .. } => "OvfUnknownDevice",
            Self::SubTypeReplaced { .. } => "OvfUnsupportedSubType",
            Self::ControllerMoved { .. } | Self::ControllerAssumed { .. } => "OvfInvalidValue",
            Self::NetworkDefaulted { .. } | Self::UnknownNetwork { .. } => "OvfImport",
            Self::UnknownProperty { .. } => "OvfProperty",
            Self::PropertyType { .. } => "OvfPropertyType",
            Self::Qualifier { .. } => "OvfPropertyQualifierWarning",
            Self::PropertyDefault { .. } => "OvfPropertyValue",
        }
    }
}

impl PlanError {
    /// The fault of vSphere's API that says the same.
    pub fn vim_fault(&self) -> &'static str {
        match self {
            Self::DeploymentOption { .. } | Self::Configuration { .. } => "OvfInvalidValueConfiguration",
            Self::NoSystem { .. } => "OvfMissingElement",
            Self::NoHardware { .. } => "OvfMissingHardware",
            Self::HardwareRequired { .. } => "OvfUnsupportedType",
            Self::SettingRequired { .. } | Self::DiskFormat { .. } => "OvfUnsupportedAttributeValue",
            Self::InstanceRepeats { .. } => "OvfDuplicateElement",
            Self::Parent { .. } | Self::HostResource { .. } | Self::Network { .. } => "OvfInvalidValueReference",
            Self::Address { .. } | Self::AddressTaken { .. } | Self::Quantity { .. } => "OvfInvalidValue",
            Self::NoRoom { .. } | Self::TooManyControllers { .. } => "OvfNoSpaceOnController",
            Self::TooManyDisks { .. } | Self::TotalSize => "OvfUnsupportedPackage",
            Self::Capacity { .. } => "OvfInvalidValue",
            Self::SharedDisk { .. } => "OvfUnsupportedElement",
            Self::PropertyValue { .. } => "OvfPropertyValue",
            Self::PropertyFixed { .. } => "OvfProperty",
        }
    }
}
