//! The disk the demo moves: an image full of files of this machine.
//!
//! Called by the demo. With `mke2fs` it is an ext4 file system as a guest would have it; without, real files with holes
//! between them. Either way a quarter to a third of it is data, the rest are holes, and the same machine gives the same
//! files. Needs no root. Guarantees that nothing but the finished image stays behind, also on error.
//!
//! ```text
//!   files of /usr ──► staging copy ──► mke2fs -d ──► ext4 image
//!               └───► stripes of data and holes ───► sparse image      (no mke2fs)
//! ```

mod real_files;
mod sparse;

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::limits::{DEMO_DISK_RANGE_BYTES, SECTOR_BYTES};
use real_files::RealFiles;

/// A source disk that is ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceDisk {
    /// The raw image.
    pub path: PathBuf,
    /// Its length, which is the capacity of the disk.
    pub size_bytes: u64,
    /// What is on it, for people.
    pub description: String,
    /// Bytes that are data; the rest are holes.
    pub allocated_bytes: u64,
}

/// Why no source disk could be made.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The caller's fault: a size no disk of ours has.
    #[error("a demo disk of {size_bytes} bytes cannot be made; it takes a multiple of 512 from {} to {}",
        DEMO_DISK_RANGE_BYTES.start(), DEMO_DISK_RANGE_BYTES.end())]
    Size {
        /// What was asked for.
        size_bytes: u64,
    },
    /// The machine's: too little room.
    #[error("{} has {free_bytes} bytes free, a demo disk of this size takes {needed_bytes}", dir.display())]
    NoSpace {
        /// Where the disk was to be.
        dir: PathBuf,
        /// What is free there.
        free_bytes: u64,
        /// What it takes, the staging copy included.
        needed_bytes: u64,
    },
    /// The machine's: nothing to fill a disk with.
    #[error("no readable files in {searched} to fill a disk with")]
    NoFiles {
        /// The directories that were searched.
        searched: String,
    },
    /// The machine's: mke2fs would not.
    #[error("mke2fs failed ({status}): {stderr}")]
    Mke2fs {
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it said.
        stderr: String,
    },
    /// Anything else the file system refused.
    #[error("{}", path.display())]
    Io {
        /// The file in question.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
}

/// Makes a disk of `size_bytes` (a multiple of 512 within [`DEMO_DISK_RANGE_BYTES`]) as `source.raw` in `dir`.
///
/// Blocks for a few seconds per GiB.
///
/// # Errors
/// See [`SourceError`]; `dir` is then as it was before.
pub fn make(dir: &Path, size_bytes: u64) -> Result<SourceDisk, SourceError> {
    make_from(dir, size_bytes, &ROOTS.map(PathBuf::from), find_mke2fs().as_deref())
}

/// Where the files come from.
const ROOTS: [&str; 3] = ["/usr/share", "/usr/lib", "/usr/bin"];

/// [`make`] with its surroundings as arguments: the trees to take files from, and mke2fs if there is one.
fn make_from(dir: &Path, size_bytes: u64, roots: &[PathBuf], mke2fs: Option<&Path>) -> Result<SourceDisk, SourceError> {
    if !DEMO_DISK_RANGE_BYTES.contains(&size_bytes) || !size_bytes.is_multiple_of(SECTOR_BYTES) {
        return Err(SourceError::Size { size_bytes });
    }
    // Data, the staging copy of it, and the file system's own tables.
    check_space(dir, if mke2fs.is_some() { size_bytes / 4 * 3 } else { size_bytes / 5 * 2 })?;
    let path = dir.join("source.raw");
    let image = File::create_new(&path).map_err(at(&path))?;
    let made = fill(&image, &path, size_bytes, &mut RealFiles::new(roots), mke2fs);
    match made {
        Ok((description, allocated_bytes)) => Ok(SourceDisk { path, size_bytes, description, allocated_bytes }),
        Err(error) => {
            // The error says more than a failed removal could.
            let _ = fs::remove_file(&path);
            Err(error)
        }
    }
}

/// Fills the image; answers what is on it and how much of it is data.
fn fill(
    image: &File,
    path: &Path,
    size_bytes: u64,
    files: &mut RealFiles,
    mke2fs: Option<&Path>,
) -> Result<(String, u64), SourceError> {
    image.set_len(size_bytes).map_err(at(path))?;
    let description = match mke2fs {
        Some(mke2fs) => fill_ext4(path, size_bytes, files, mke2fs)?,
        None => sparse::fill(image, path, size_bytes, files)?,
    };
    // The file system counts in blocks of 512 bytes, whatever its own are.
    let allocated_bytes = image.metadata().map_err(at(path))?.blocks() * 512;
    Ok((description, allocated_bytes))
}

/// Makes an ext4 file system of the image, with files worth a little more than a quarter of it.
fn fill_ext4(image: &Path, size_bytes: u64, files: &mut RealFiles, mke2fs: &Path) -> Result<String, SourceError> {
    let staging = Staging::make(image.with_extension("staging"))?;
    let staged = stage(&staging.path, size_bytes / 100 * 27, files)?;
    let output = Command::new(mke2fs)
        .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-L", "diskferry-demo"])
        .args(["-E", "lazy_itable_init=1,lazy_journal_init=1"])
        .args(["-N", &(staged.entries + staged.entries / 8 + 64).to_string()])
        .arg("-d")
        .arg(&staging.path)
        .arg(image)
        .stdin(Stdio::null())
        .output()
        .map_err(at(mke2fs))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(SourceError::Mke2fs { status: output.status, stderr });
    }
    Ok(format!("ext4 with {} files of this machine, {} MiB", staged.files, staged.bytes >> 20))
}

/// The directory mke2fs copies from. It goes away with this value.
struct Staging {
    path: PathBuf,
}

impl Staging {
    fn make(path: PathBuf) -> Result<Self, SourceError> {
        // Private: it holds copies of whatever this user may read.
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(at(&path))?;
        Ok(Self { path })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// What has been copied into the staging directory.
#[derive(Default)]
struct Staged {
    files: u64,
    /// Files and directories: the inodes they will take.
    entries: u64,
    /// Room they will take, in whole blocks.
    bytes: u64,
}

/// Copies files until `budget_bytes` are reached.
fn stage(staging: &Path, budget_bytes: u64, files: &mut RealFiles) -> Result<Staged, SourceError> {
    let mut staged = Staged::default();
    while staged.bytes < budget_bytes {
        // So that the last file overshoots by a sixteenth at most.
        let found = files.next(budget_bytes / 16)?;
        let copy = staging.join(&found.name);
        staged.entries += make_parents(staging, &copy)? + 1;
        // Plain new files: owner, mode and set-user-id bits of the originals do not belong on somebody's demo disk.
        let mut target = File::create_new(&copy).map_err(at(&copy))?;
        let copied_bytes = io::copy(&mut found.file.take(found.length_bytes), &mut target).map_err(at(&copy))?;
        staged.files += 1;
        staged.bytes += copied_bytes.next_multiple_of(4096);
    }
    Ok(staged)
}

/// Makes the directories above `path` that are missing below `top`; answers how many.
fn make_parents(top: &Path, path: &Path) -> Result<u64, SourceError> {
    let missing: Vec<&Path> =
        path.ancestors().skip(1).take_while(|parent| *parent != top && !parent.exists()).collect();
    for parent in missing.iter().rev() {
        fs::create_dir(parent).map_err(at(parent))?;
    }
    Ok(missing.len() as u64)
}

fn check_space(dir: &Path, needed_bytes: u64) -> Result<(), SourceError> {
    let stat = rustix::fs::statvfs(dir).map_err(io::Error::from).map_err(at(dir))?;
    let free_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free_bytes < needed_bytes {
        return Err(SourceError::NoSpace { dir: dir.to_path_buf(), free_bytes, needed_bytes });
    }
    Ok(())
}

/// mke2fs, also where only root's PATH leads.
fn find_mke2fs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let beyond = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(beyond).map(|dir| dir.join("mke2fs")).find(|candidate| candidate.is_file())
}

/// Adds the file to an I/O error.
fn at(path: &Path) -> impl Fn(io::Error) -> SourceError {
    let path = path.to_path_buf();
    move |source| SourceError::Io { path: path.clone(), source }
}

#[cfg(test)]
mod tests;
