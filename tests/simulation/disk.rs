//! The simulated disk as the journal sees it, and what readers see of it.

use std::path::Path;

use wardline::journal::reader::Reader;
use wardline_disk::Image;

#[path = "../support/under.rs"]
mod under;

pub use under::Under;

/// Gives `see` the files as another process would see them now. The simulated disk itself takes one connection only.
pub fn look<T>(image: &Image, see: impl FnOnce(&Path, &Reader) -> T) -> T {
    let folder = tempfile::tempdir_in(memory()).unwrap();
    for (name, content) in image {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    see(folder.path(), &Reader::new(folder.path()))
}

/// Where files cost no disk, if there is such a place.
pub fn memory() -> std::path::PathBuf {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { shared.into() } else { std::env::temp_dir() }
}
