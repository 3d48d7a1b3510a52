//! Stored disks as vSphere knows them: contents in `x-flat.vmdk`, and `x.vmdk` beside it that describes them. Clients name the latter.
//!
//! Used by what imports, moves and removes disks. A disk without that pair (a configured raw file, a block device) is left as it is.

use std::sync::Arc;

use futures_util::stream;

use super::Desk;
use super::calls::flat_name;
use crate::inventory::Inventory;
use crate::lease::{Fault, Form, Target};
use crate::limits::SECTOR_BYTES;
use crate::transfer::files::{Files, Removal, Unwritten, Used, Users};
use crate::wire::datastore_path::DatastorePath;
use crate::wire::vmdk::{CreateType, Database, DescriptorText};

impl Desk {
    /// Describes the contents of a disk in the file beside them, unless that is there.
    ///
    /// # Errors
    /// What the storage says.
    pub async fn describe_disk(&self, target: &Target, capacity_bytes: u64) -> Result<(), Fault> {
        let contents = path(&target.datastore, &target.path)?;
        let Some(descriptor) = description(&contents)? else { return Ok(()) };
        match self.files.stat(&descriptor).await {
            Ok(_) => return Ok(()),
            Err(Fault::FileNotFound { .. }) => {}
            Err(fault) => return Err(fault),
        }
        let text = text(&contents, capacity_bytes);
        let length_bytes = Some(text.len() as u64);
        let body = stream::iter([Ok::<_, std::convert::Infallible>(bytes::Bytes::from(text))]);
        match self.files.of_machines().write(&descriptor, length_bytes, body).await {
            Ok(_) => Ok(()),
            Err(Unwritten::Refused(fault)) => Err(fault),
            Err(Unwritten::Cut { error, .. }) => match error {},
        }
    }

    /// Makes an empty disk where nothing is.
    ///
    /// # Errors
    /// What the storage says.
    pub async fn make_disk(&self, target: &Target, capacity_bytes: u64) -> Result<(), Fault> {
        if target.path.is_empty() {
            return Ok(());
        }
        self.files.of_machines().make_sparse(&path(&target.datastore, &target.path)?, capacity_bytes).await?;
        self.describe_disk(target, capacity_bytes).await
    }

    /// Removes a disk with what describes it. What is not there is no error; a block device stays what it is.
    ///
    /// # Errors
    /// When something is there and cannot be removed.
    pub async fn remove_disk(&self, target: &Target) -> Result<(), Fault> {
        if target.path.is_empty() {
            return Ok(());
        }
        // The description goes last: as long as something is left, there is a name for it.
        let (files, contents) = (self.files.of_machines(), path(&target.datastore, &target.path)?);
        remove_file(&files, &contents).await?;
        remove_description(&files, &contents).await
    }

    /// Removes the disk that clients call `named`: both files, or the one that there is.
    ///
    /// # Errors
    /// `FileNotFound` when there is neither; `FileLocked` for a disk of a machine; otherwise what the storage says.
    pub async fn delete_virtual_disk(&self, named: &DatastorePath) -> Result<(), Fault> {
        self.files.may_change(named).await?;
        let contents = path(named.datastore(), &flat_name(named.path()))?;
        match self.files.remove(&contents, Removal::Single).await {
            Err(Fault::FileNotFound { .. }) => self.files.remove(named, Removal::Single).await,
            Err(fault) => Err(fault),
            Ok(()) => remove_description(&self.files, &contents).await,
        }
    }

    /// Gives a disk another name.
    ///
    /// # Errors
    /// `FileNotFound`, `FileAlreadyExists`, `FileLocked` for a disk of a machine, and what the storage says.
    pub async fn move_virtual_disk(
        &self,
        source: &DatastorePath,
        target: &DatastorePath,
        force: bool,
    ) -> Result<(), Fault> {
        self.files.may_change(source).await?;
        let Some((from, to)) = self.contents(source, target, force).await? else {
            return self.files.rename(source, target, force).await;
        };
        if from == to {
            return Ok(());
        }
        self.files.rename(&from, &to, force).await?;
        self.describe_anew(&to).await?;
        remove_description(&self.files, &from).await
    }

    /// Copies a disk.
    ///
    /// # Errors
    /// As [`Desk::move_virtual_disk`].
    pub async fn copy_virtual_disk(
        &self,
        source: &DatastorePath,
        target: &DatastorePath,
        force: bool,
    ) -> Result<(), Fault> {
        let Some((from, to)) = self.contents(source, target, force).await? else {
            return self.files.copy(source, target, force).await;
        };
        self.files.copy(&from, &to, force).await?;
        self.describe_anew(&to).await
    }

    /// Where the contents of two disks are that clients call `source` and `target`; `None` if the source is a single file. The name of
    /// the target must be free unless `force` is given.
    async fn contents(
        &self,
        source: &DatastorePath,
        target: &DatastorePath,
        force: bool,
    ) -> Result<Option<(DatastorePath, DatastorePath)>, Fault> {
        let from = path(source.datastore(), &flat_name(source.path()))?;
        if matches!(self.files.stat(&from).await, Err(Fault::FileNotFound { .. })) {
            return Ok(None);
        }
        if !force && self.files.stat(target).await.is_ok() {
            return Err(Fault::FileAlreadyExists { file: target.to_string() });
        }
        self.files.may_change(target).await?;
        Ok(Some((from, path(target.datastore(), &flat_name(target.path()))?)))
    }

    /// Describes contents that have taken the place of others. The old description would name those.
    async fn describe_anew(&self, contents: &DatastorePath) -> Result<(), Fault> {
        let length_bytes = self.files.stat(contents).await?.size_bytes;
        remove_description(&self.files, contents).await?;
        let (datastore, path) = (contents.datastore().to_owned(), contents.path().to_owned());
        self.describe_disk(&Target { datastore, path, form: Form::Raw }, length_bytes).await
    }
}

/// Tells which files the machines of an inventory use.
pub fn users(inventory: &Inventory) -> Users {
    let inventory = inventory.clone();
    Arc::new(move |datastore: &str, path: &str| {
        let stored = inventory.stored_at(datastore, path).into_iter();
        stored.map(|(machine, target)| Used { machine, target }).collect()
    })
}

/// Where the description of a disk's contents is, if they are stored as vSphere does.
fn description(contents: &DatastorePath) -> Result<Option<DatastorePath>, Fault> {
    let stem = contents.path().strip_suffix("-flat.vmdk");
    stem.map(|stem| path(contents.datastore(), &format!("{stem}.vmdk"))).transpose()
}

async fn remove_description(files: &Files, contents: &DatastorePath) -> Result<(), Fault> {
    match description(contents)? {
        Some(description) => remove_file(files, &description).await,
        None => Ok(()),
    }
}

async fn remove_file(files: &Files, path: &DatastorePath) -> Result<(), Fault> {
    match files.remove(path, Removal::Single).await {
        Err(Fault::FileNotFound { .. }) => Ok(()),
        removed => removed,
    }
}

/// A datastore path of parts that are known to be one.
pub fn path(datastore: &str, path: &str) -> Result<DatastorePath, Fault> {
    DatastorePath::new(datastore, path).map_err(|error| Fault::InvalidDatastorePath {
        datastore_path: format!("[{datastore}] {path}"),
        reason: error.to_string(),
    })
}

fn text(contents: &DatastorePath, capacity_bytes: u64) -> String {
    use sha2::{Digest, Sha256};
    // The same disk gets the same id wherever its description is made again.
    let digest = Sha256::digest(format!("{contents} {capacity_bytes}"));
    let mut content_id = [0; 16];
    content_id.copy_from_slice(&digest[..16]);
    DescriptorText {
        create_type: CreateType::MonolithicFlat,
        capacity_sectors: capacity_bytes.div_ceil(SECTOR_BYTES),
        extent_file: contents.name(),
        content_id,
        database: Database::default(),
    }
    .render()
}
