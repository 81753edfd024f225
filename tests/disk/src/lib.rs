//! A disk in memory, under SQLite, that loses power and fails on demand. For tests only; the product has no unsafe code.
//!
//! It keeps a log of every write, truncation, sync, and change of a folder's entries. A power cut at any place of the log
//! gives the files as they may be found afterwards: what was synced is there; of what was not, each piece is lost, torn,
//! kept, or applied in another order. After a failed sync, what it was for is never made durable by a later one, as the
//! system marks such pages clean.

mod cut;
mod fault;
mod random;
mod vfs;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

pub use fault::{Fails, Fault};
pub use random::Random;

/// Name of the disk for SQLite.
pub const VFS: &str = "wardline-disk";

/// File names with their contents.
pub type Image = BTreeMap<String, Vec<u8>>;

/// One thing that was done to the disk.
#[derive(Clone, Debug)]
enum Op {
    Create {
        name: String,
        file: usize,
    },
    Write {
        file: usize,
        at: usize,
        data: Arc<[u8]>,
    },
    Truncate {
        file: usize,
        len: usize,
    },
    Sync {
        file: usize,
    },
    /// A sync that failed.
    Spoiled {
        file: usize,
    },
    /// The folder's entries are synced.
    Folder,
    Delete {
        name: String,
    },
    Rename {
        from: String,
        to: String,
    },
}

/// A disk with one folder. Cheap to clone.
#[derive(Clone)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// What was durable when the log began.
    start: Durable,
    names: BTreeMap<String, usize>,
    files: Vec<Vec<u8>>,
    log: Vec<Op>,
    fault: Fault,
    /// Bytes that all files together may have.
    room: Option<usize>,
    /// The WAL's index of each file: memory that connections share. Pages of 32 KiB at fixed places.
    shared: HashMap<usize, Vec<Box<[u64]>>>,
}

/// What a power cut leaves for sure.
#[derive(Clone, Default)]
struct Durable {
    names: BTreeMap<String, usize>,
    files: Vec<Vec<u8>>,
}

/// Which disk is in which folder.
static MOUNTED: LazyLock<Mutex<HashMap<PathBuf, Disk>>> = LazyLock::new(|| {
    vfs::register();
    Mutex::default()
});

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk {
    /// A disk with these files on it, all of it durable.
    pub fn new(image: Image) -> Self {
        let names: BTreeMap<_, _> = image.keys().enumerate().map(|(file, name)| (name.clone(), file)).collect();
        let files: Vec<_> = image.into_values().collect();
        let start = Durable { names: names.clone(), files: files.clone() };
        Self(Arc::new(Mutex::new(State { start, names, files, ..State::default() })))
    }

    /// From now on SQLite finds this disk in the folder, when it opens a file there with [`VFS`].
    pub fn mount(&self, folder: &Path) {
        locked(&MOUNTED).insert(folder.into(), self.clone());
    }

    /// There is no disk in this folder any more.
    pub fn unmount(folder: &Path) {
        locked(&MOUNTED).remove(folder);
    }

    /// The disk that is mounted where this file is, and the file's name there.
    fn of(path: &str) -> Option<(Self, String)> {
        let path = Path::new(path);
        let disk = locked(&MOUNTED).get(path.parent()?)?.clone();
        Some((disk, path.file_name()?.to_str()?.to_owned()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.0)
    }

    /// How far the log has come.
    pub fn position(&self) -> usize {
        self.state().log.len()
    }

    /// The files as they may be found after a power cut at this place of the log.
    pub fn cut(&self, at: usize, random: &mut Random) -> Image {
        let state = self.state();
        cut::cut(&state.start, &state.log[..at], random)
    }

    /// The files as a program sees them now.
    pub fn image(&self) -> Image {
        let state = self.state();
        state.names.iter().map(|(name, file)| (name.clone(), state.files[*file].clone())).collect()
    }

    /// Lets the log begin anew, with what is durable now: a long life would fill the memory. What is not durable stays in it.
    pub fn forget(&self) {
        let state = &mut *self.state();
        // After a failed sync nothing is sure to be durable any more: the power cut decides.
        if state.log.iter().any(|op| matches!(op, Op::Spoiled { .. })) {
            return;
        }
        let log = std::mem::take(&mut state.log);
        state.log = cut::settle(&mut state.start, log);
        // Files that were removed keep their numbers, and nothing else.
        for file in 0..state.files.len() {
            if !state.names.values().chain(state.start.names.values()).any(|f| *f == file) {
                state.files[file] = Vec::new();
                state.start.files.get_mut(file).into_iter().for_each(Vec::clear);
            }
        }
    }

    /// The content of a file as a program sees it now.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(name).map(|file| state.files[*file].clone())
    }

    /// Lets calls fail from now on; they are counted from 1 again.
    pub fn fail(&self, fault: Fault) {
        self.state().fault = fault;
    }

    /// Whether a call was made to fail since then.
    pub fn failed(&self) -> bool {
        self.state().fault.happened()
    }

    /// The log, for people.
    pub fn tell(&self) -> Vec<String> {
        let state = self.state();
        let short = |op: &Op| match op {
            Op::Write { file, at, data } => format!("write {} octets of file {file} at {at}", data.len()),
            other => format!("{other:?}"),
        };
        state.log.iter().map(short).collect()
    }

    /// Syncs that were asked for after a failed one: of the same file.
    pub fn syncs_after_failure(&self) -> usize {
        let state = self.state();
        let mut spoiled = Vec::new();
        let again = |op: &&Op| match op {
            Op::Spoiled { file } => {
                spoiled.push(*file);
                false
            }
            Op::Sync { file } => spoiled.contains(file),
            _ => false,
        };
        state.log.iter().filter(again).count()
    }

    /// All files together may have this many bytes.
    pub fn set_room(&self, bytes: Option<usize>) {
        self.state().room = bytes;
    }

    /// Bytes of all files together.
    pub fn used(&self) -> usize {
        self.state().used()
    }

    /// Bytes that may still be written.
    pub fn free(&self) -> usize {
        let state = self.state();
        state.room.map_or(usize::MAX, |room| room.saturating_sub(state.used()))
    }

    /// What a program does beside SQLite: makes an empty file if there is none.
    pub fn create(&self, name: &str) -> std::io::Result<()> {
        self.state().call(fault::Call::Entry).map_err(io)?;
        self.state().open(name);
        Ok(())
    }

    /// Renames a file, over another if there is one.
    pub fn rename(&self, from: &str, to: &str) -> std::io::Result<()> {
        let mut state = self.state();
        state.call(fault::Call::Entry).map_err(io)?;
        let Some(file) = state.names.remove(from) else { return Err(std::io::ErrorKind::NotFound.into()) };
        state.names.insert(to.into(), file);
        state.log.push(Op::Rename { from: from.into(), to: to.into() });
        Ok(())
    }

    /// Removes a file.
    pub fn remove(&self, name: &str) -> std::io::Result<()> {
        let mut state = self.state();
        state.call(fault::Call::Entry).map_err(io)?;
        if state.delete(name) { Ok(()) } else { Err(std::io::ErrorKind::NotFound.into()) }
    }

    /// Writes to a file that is there.
    pub fn write(&self, name: &str, at: usize, data: &[u8]) {
        let mut state = self.state();
        let file = state.names[name];
        state.write(file, at, data);
    }

    /// Cuts a file that is there to nothing.
    pub fn empty(&self, name: &str) {
        let mut state = self.state();
        let file = state.names[name];
        state.files[file].clear();
        state.log.push(Op::Truncate { file, len: 0 });
    }

    /// Syncs a file that is there.
    pub fn sync(&self, name: &str) -> std::io::Result<()> {
        let mut state = self.state();
        let file = state.names[name];
        state.sync(file).map_err(io)
    }

    /// Syncs the folder's entries.
    pub fn sync_folder(&self) -> std::io::Result<()> {
        let mut state = self.state();
        state.call(fault::Call::Sync).map_err(io)?;
        state.log.push(Op::Folder);
        Ok(())
    }

    /// Names of the files.
    pub fn names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }
}

fn io(code: i32) -> std::io::Error {
    std::io::Error::other(format!("SQLite's code for it: {code}"))
}

impl State {
    fn used(&self) -> usize {
        self.names.values().map(|file| self.files[*file].len()).sum()
    }

    /// The file of this name, made if there is none. Answers also whether it was made.
    fn open(&mut self, name: &str) -> (usize, bool) {
        if let Some(file) = self.names.get(name) {
            return (*file, false);
        }
        let file = self.files.len();
        self.files.push(Vec::new());
        self.names.insert(name.into(), file);
        self.log.push(Op::Create { name: name.into(), file });
        (file, true)
    }

    /// Answers whether there was one.
    fn delete(&mut self, name: &str) -> bool {
        let there = self.names.remove(name).is_some();
        if there {
            self.log.push(Op::Delete { name: name.into() });
        }
        there
    }

    fn sync(&mut self, file: usize) -> Result<(), i32> {
        let result = self.call(fault::Call::Sync);
        self.log.push(if result.is_ok() { Op::Sync { file } } else { Op::Spoiled { file } });
        result
    }

    /// Writes as much as there is room for. Answers how much that was.
    fn write(&mut self, file: usize, at: usize, data: &[u8]) -> usize {
        let len = self.files[file].len();
        let room = self.room.map_or(usize::MAX, |room| room.saturating_sub(self.used()));
        let data = &data[..data.len().min(len.saturating_add(room).saturating_sub(at))];
        if !data.is_empty() {
            cut::write(&mut self.files[file], at, data);
            self.log.push(Op::Write { file, at, data: data.into() });
        }
        data.len()
    }
}
