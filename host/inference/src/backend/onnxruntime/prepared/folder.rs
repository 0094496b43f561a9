//! The folder of prepared models: a folder for each, by the model's digest.
//!
//! What is in them is computed as it stands, so only what this host wrote may be used: it is written under
//! another name, with its SHA-256 beside it, and renamed once it is on the disk; checked once per start of
//! the host, and remembered by its inodes. Nobody else writes here; what the check finds is damage. All stand
//! in a folder with the name of what they depend on (`key`), so no library sees what another has made.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use modelet_types::Digest;
use tempfile::TempDir;

/// The graph, in a form.
pub const GRAPH: &str = "graph.onnx";
/// The weights; absent if the graph has none that are worth mapping.
pub const WEIGHTS: &str = "weights";
/// What stays free on the disk: the ledger and the metastore must be able to go on.
const SPARE_BYTES: u64 = 1 << 30;
/// The digests of the two.
const SUMS: &str = "sums";
/// How the name of a folder begins that is not written to its end.
const DRAFT: &str = "draft-";
/// What a digest is followed by in the name of a file that says that its model is not to be prepared.
const REFUSED: &str = ".refused";

/// A prepared model that was checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Form {
    /// Its folder.
    path: PathBuf,
    /// The graph and the weights, in the state in which they were checked.
    files: [Option<Identity>; 2],
}

impl Form {
    /// The file with its graph, which names that with its weights.
    pub fn graph(&self) -> PathBuf {
        self.path.join(GRAPH)
    }

    /// Bytes of its files, all of which can be in memory.
    pub fn bytes(&self) -> u64 {
        self.files.iter().flatten().map(|file| file.bytes).sum()
    }
}

/// A file in the state in which it was checked.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Identity {
    /// Of the file at `path`; `None` if there is none.
    fn of(path: &Path) -> io::Result<Option<Self>> {
        let meta = match fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            meta => meta?,
        };
        let changed = (meta.ctime(), meta.ctime_nsec());
        Ok(Some(Self { device: meta.dev(), inode: meta.ino(), bytes: meta.len(), changed }))
    }
}

/// The folder.
pub struct Folder {
    dir: PathBuf,
    /// Forms whose content was checked.
    checked: Mutex<HashMap<Digest, Form>>,
    /// Models that are not to be prepared until the next start.
    given_up: Mutex<HashSet<Digest>>,
}

impl Folder {
    /// Opens the folder for what depends on `key` in `dir`, and removes the others of its kind.
    pub fn open(dir: &Path, key: &str) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        // ONNX Runtime looks for weights beside the graph, and refuses what only seems to be there.
        let dir = dir.canonicalize()?;
        remove_others(&dir, key)?;
        let dir = dir.join(key);
        fs::create_dir_all(&dir)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
        let folder = Self { dir, checked: Mutex::default(), given_up: Mutex::default() };
        // Nobody else writes here, so these are of a host that was killed.
        for draft in folder.names()?.into_iter().filter(|name| name.starts_with(DRAFT)) {
            fs::remove_dir_all(folder.dir.join(draft))?;
        }
        Ok(folder)
    }

    /// The form of a model, if there is one that is as it was written. What is damaged is removed. The first
    /// time after a start it is read as a whole.
    pub fn find(&self, model: &Digest) -> Option<Form> {
        match self.check(model) {
            Ok(Found::Whole(form)) => Some(form),
            Ok(Found::Nothing) => None,
            Ok(Found::Damaged) => {
                tracing::warn!(%model, "a prepared model is damaged or incomplete and is removed");
                if let Err(error) = self.remove(model) {
                    tracing::error!(%model, %error, "cannot remove a prepared model");
                }
                None
            }
            // Such as no descriptor being left, which is nothing against the form.
            Err(error) => {
                tracing::error!(%model, %error, "cannot read a prepared model");
                None
            }
        }
    }

    fn check(&self, model: &Digest) -> io::Result<Found> {
        let path = self.path(model);
        let files = [Identity::of(&path.join(GRAPH))?, Identity::of(&path.join(WEIGHTS))?];
        let form = Form { path, files };
        if self.checked().get(model) == Some(&form) {
            return Ok(Found::Whole(form));
        }
        let sums = match fs::read_to_string(form.path.join(SUMS)) {
            Ok(sums) => sums,
            Err(error) if error.kind() == ErrorKind::NotFound && !form.path.try_exists()? => {
                return Ok(Found::Nothing);
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => {
                return Ok(Found::Damaged);
            }
            Err(error) => return Err(error),
        };
        if sums != sums_of(&form.path)? {
            return Ok(Found::Damaged);
        }
        self.checked().insert(*model, form.clone());
        Ok(Found::Whole(form))
    }

    /// A folder for a form that is not known to be good yet; removed unless it is kept.
    pub fn draft(&self) -> io::Result<TempDir> {
        tempfile::Builder::new().prefix(DRAFT).tempdir_in(&self.dir)
    }

    /// Keeps what was written to `draft` as the form of a model. Blocks on the disk.
    pub fn keep(&self, model: &Digest, draft: TempDir) -> io::Result<()> {
        let mut sums = File::create(draft.path().join(SUMS))?;
        sums.write_all(sums_of(draft.path())?.as_bytes())?;
        for name in [GRAPH, WEIGHTS, SUMS] {
            match File::open(draft.path().join(name)) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                file => file?.sync_all()?,
            }
        }
        match fs::rename(draft.path(), self.path(model)) {
            // Somebody else has made the same.
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => return Ok(()),
            renamed => renamed?,
        }
        // It has another name now, under which nobody is to remove it.
        _ = draft.keep();
        // Should the power go before the names are on the disk, it is made once more.
        Ok(())
    }

    /// Whether the disk has room for so many bytes, and as much again as the rest of the host needs.
    pub fn has_room_for(&self, bytes: u64) -> bool {
        let free = rustix::fs::statvfs(&self.dir).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        free.is_ok_and(|free| free >= bytes.saturating_add(SPARE_BYTES))
    }

    /// Whether a model is not to be prepared.
    pub fn is_refused(&self, model: &Digest) -> bool {
        self.given_up().contains(model) || self.refusal(model).exists()
    }

    /// Says that a model is not to be prepared until the next start.
    pub fn give_up(&self, model: &Digest) {
        self.given_up().insert(*model);
    }

    /// Says that a model is not to be prepared, for as long as this folder stands.
    pub fn refuse(&self, model: &Digest) -> io::Result<()> {
        self.give_up(model);
        File::create(self.refusal(model))?.sync_all()?;
        File::open(&self.dir)?.sync_all()
    }

    /// The models of which anything is there.
    pub fn models(&self) -> io::Result<BTreeSet<Digest>> {
        let digest = |name: &String| Digest::from_hex(name.strip_suffix(REFUSED).unwrap_or(name));
        Ok(self.names()?.iter().filter_map(digest).collect())
    }

    /// Removes the form of a model.
    pub fn remove(&self, model: &Digest) -> io::Result<()> {
        self.checked().remove(model);
        or_absent(fs::remove_dir_all(self.path(model)))
    }

    /// Removes the form of a model, and what was said of it.
    pub fn remove_all_of(&self, model: &Digest) -> io::Result<()> {
        self.given_up().remove(model);
        self.remove(model)?;
        or_absent(fs::remove_file(self.refusal(model)))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        fs::read_dir(&self.dir)?.map(name).collect()
    }

    fn path(&self, model: &Digest) -> PathBuf {
        self.dir.join(model.to_hex())
    }

    fn refusal(&self, model: &Digest) -> PathBuf {
        self.dir.join(model.to_hex() + REFUSED)
    }

    fn checked(&self) -> MutexGuard<'_, HashMap<Digest, Form>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn given_up(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Found {
    Whole(Form),
    Damaged,
    Nothing,
}

/// Bytes of the form in a folder.
pub fn bytes_of(path: &Path) -> io::Result<u64> {
    let files = [Identity::of(&path.join(GRAPH))?, Identity::of(&path.join(WEIGHTS))?];
    Ok(files.iter().flatten().map(|file| file.bytes).sum())
}

/// The digests of the form in a folder, as they are written beside it.
fn sums_of(path: &Path) -> io::Result<String> {
    let sum = |name| match File::open(path.join(name)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::from("none")),
        file => Digest::of_reader(&mut file?).map(|digest| digest.to_string()),
    };
    Ok(format!("{GRAPH} {}\n{WEIGHTS} {}\n", sum(GRAPH)?, sum(WEIGHTS)?))
}

fn or_absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Removes what depends on other libraries and processors, which nobody will ask for again.
fn remove_others(dir: &Path, key: &str) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let other = entry.file_name();
        if other != *key && other.len() == key.len() && entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef";

    fn folder() -> (TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path(), KEY).unwrap();
        (dir, folder)
    }

    fn keep(folder: &Folder, model: &Digest) {
        let draft = folder.draft().unwrap();
        fs::write(draft.path().join(GRAPH), b"a graph").unwrap();
        fs::write(draft.path().join(WEIGHTS), [7; 5000]).unwrap();
        folder.keep(model, draft).unwrap();
    }

    #[test]
    fn finds_what_was_kept_and_nothing_half_written() {
        let (dir, folder) = folder();
        let model = Digest::of(b"a model");
        assert!(folder.find(&model).is_none());
        keep(&folder, &model);
        assert_eq!(folder.find(&model).unwrap().bytes(), 5007);
        let draft = folder.draft().unwrap().keep();
        fs::write(draft.join(GRAPH), b"half of it").unwrap();
        let folder = Folder::open(dir.path(), KEY).unwrap();
        assert!(!draft.exists(), "a killed host's draft is removed");
        assert_eq!(folder.models().unwrap(), BTreeSet::from([model]));
        keep(&folder, &model);
        assert!(folder.find(&model).is_some(), "made twice, kept once");
        assert_eq!(folder.names().unwrap().len(), 1);
    }

    #[test]
    fn what_is_damaged_is_removed() {
        let model = Digest::of(b"a model");
        for damaged in [GRAPH, WEIGHTS, SUMS] {
            for how in ["changed", "absent"] {
                let (dir, folder) = folder();
                keep(&folder, &model);
                let path = folder.path(&model).join(damaged);
                let mut bytes = fs::read(&path).unwrap();
                bytes[2] ^= 1;
                match how {
                    "changed" => fs::write(&path, bytes).unwrap(),
                    _ => fs::remove_file(&path).unwrap(),
                }
                let folder = Folder::open(dir.path(), KEY).unwrap();
                assert!(folder.find(&model).is_none(), "{damaged} {how}");
                assert!(!folder.path(&model).exists(), "{damaged} {how}");
            }
        }
    }

    #[test]
    fn what_was_replaced_after_its_check_is_checked_again() {
        let (_dir, folder) = folder();
        let model = Digest::of(b"a model");
        keep(&folder, &model);
        assert!(folder.find(&model).is_some());
        let weights = folder.path(&model).join(WEIGHTS);
        let other = weights.with_extension("other");
        fs::write(&other, [8; 5000]).unwrap();
        fs::rename(&other, &weights).unwrap();
        assert!(folder.find(&model).is_none());
    }

    #[test]
    fn another_library_sees_nothing_and_removes_what_there_was() {
        let (dir, folder) = folder();
        let model = Digest::of(b"a model");
        keep(&folder, &model);
        let other = Folder::open(dir.path(), "fedcba9876543210").unwrap();
        assert!(other.find(&model).is_none());
        assert!(folder.find(&model).is_none());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_refusal_outlives_a_start_and_goes_with_its_model() {
        let (dir, folder) = folder();
        let [refused, given_up] = [b"a", b"b"].map(|bytes| Digest::of(bytes));
        folder.refuse(&refused).unwrap();
        folder.give_up(&given_up);
        assert!(folder.is_refused(&refused) && folder.is_refused(&given_up));
        let folder = Folder::open(dir.path(), KEY).unwrap();
        assert!(folder.is_refused(&refused) && !folder.is_refused(&given_up));
        assert_eq!(folder.models().unwrap(), BTreeSet::from([refused]));
        folder.remove_all_of(&refused).unwrap();
        assert!(!folder.is_refused(&refused) && folder.models().unwrap().is_empty());
    }
}
