//! Files of this machine, in an order that is the same every time.
//!
//! Used by both ways of making a source disk. Takes from several trees in equal parts, so that a disk holds documents,
//! libraries and programs alike; begins anew, under other names, when a small machine has too few.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::SourceError;

/// Smaller files cost time and fill nothing.
const LEAST_BYTES: u64 = 4096;

/// A file to fill a disk with, open for reading.
pub(super) struct Found {
    /// The file.
    pub(super) file: File,
    /// Its length when it was found.
    pub(super) length_bytes: u64,
    /// A relative path no other file of the disk has.
    pub(super) name: PathBuf,
}

/// The files of some trees.
pub(super) struct RealFiles {
    roots: Vec<PathBuf>,
    trees: Vec<Tree>,
    /// Hard links are one file.
    seen: HashSet<(u64, u64)>,
    /// How often the trees have been begun.
    round: u32,
}

impl RealFiles {
    pub(super) fn new(roots: &[PathBuf]) -> Self {
        Self { roots: roots.to_vec(), trees: Vec::new(), seen: HashSet::new(), round: 0 }
    }

    /// The next file of at most `most_bytes`.
    ///
    /// # Errors
    /// [`SourceError::NoFiles`] when there is not a single one.
    pub(super) fn next(&mut self, most_bytes: u64) -> Result<Found, SourceError> {
        if let Some(found) = self.next_of_round(most_bytes) {
            return Ok(found);
        }
        self.round += 1;
        self.seen.clear();
        self.trees = self.roots.iter().map(|root| Tree::new(root)).collect();
        self.next_of_round(most_bytes).ok_or_else(|| SourceError::NoFiles {
            searched: self.roots.iter().map(|root| root.display().to_string()).collect::<Vec<_>>().join(", "),
        })
    }

    /// Takes from the tree that has given least.
    fn next_of_round(&mut self, most_bytes: u64) -> Option<Found> {
        while let Some(index) = (0..self.trees.len()).min_by_key(|index| self.trees[*index].given_bytes) {
            let Some((path, metadata)) = self.trees[index].next_file() else {
                self.trees.remove(index);
                continue;
            };
            let fits = (LEAST_BYTES..=most_bytes).contains(&metadata.len());
            if !fits || !self.seen.insert((metadata.dev(), metadata.ino())) {
                continue;
            }
            // What this user may not read is passed over.
            let Ok(file) = File::open(&path) else { continue };
            self.trees[index].given_bytes += metadata.len();
            return Some(Found { file, length_bytes: metadata.len(), name: self.name_of(&path) });
        }
        None
    }

    fn name_of(&self, path: &Path) -> PathBuf {
        let below_root = path.strip_prefix("/").unwrap_or(path);
        match self.round {
            1 => below_root.to_path_buf(),
            round => Path::new(&format!("copy-{round}")).join(below_root),
        }
    }
}

/// A walk over one tree, names in order, directories read only when they are reached.
struct Tree {
    ahead: VecDeque<PathBuf>,
    given_bytes: u64,
}

impl Tree {
    fn new(root: &Path) -> Self {
        Self { ahead: VecDeque::from([root.to_path_buf()]), given_bytes: 0 }
    }

    fn next_file(&mut self) -> Option<(PathBuf, Metadata)> {
        while let Some(path) = self.ahead.pop_front() {
            let Ok(metadata) = fs::symlink_metadata(&path) else {
                continue;
            };
            if metadata.is_file() {
                return Some((path, metadata));
            }
            if metadata.is_dir() {
                let mut inside: Vec<PathBuf> =
                    fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
                inside.sort_unstable_by(|one, other| other.cmp(one));
                inside.into_iter().for_each(|path| self.ahead.push_front(path));
            }
        }
        None
    }
}
