//! The simulated disk as the journal sees it.

use std::io;
use std::path::Path;

use wardline::journal::disk;
use wardline_disk::{Disk, VFS};

/// The disk under the journal.
#[derive(Clone)]
pub struct Under {
    pub disk: Disk,
    pub synchronous: &'static str,
}

fn name(file: &Path) -> &str {
    file.file_name().unwrap().to_str().unwrap()
}

impl disk::Disk for Under {
    fn vfs(&self) -> Option<&str> {
        Some(VFS)
    }
    fn synchronous(&self) -> &'static str {
        self.synchronous
    }
    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.disk.free() as u64)
    }
    fn create(&self, file: &Path) -> io::Result<()> {
        self.disk.create(name(file))
    }
    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        self.disk.sync_folder()
    }
    fn exists(&self, file: &Path) -> bool {
        self.disk.names().iter().any(|n| n == name(file))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(name(from), name(to))
    }
    fn remove(&self, file: &Path) -> io::Result<()> {
        self.disk.remove(name(file))
    }
    fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        Ok(self.disk.content(name(file)).unwrap_or_default())
    }
    fn write(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        self.disk.create(name(file))?;
        self.disk.empty(name(file));
        self.disk.write(name(file), 0, bytes);
        self.disk.sync(name(file))
    }
    fn names(&self, _: &Path) -> io::Result<Vec<String>> {
        Ok(self.disk.names())
    }
}
