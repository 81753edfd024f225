//! The disk under the journal: the machine's, or one that tests simulate.
//!
//! Promises: an entry that was made is durable when its folder is synced. SQLite's own calls do not come through here.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::Path;

/// What the journal asks of a disk beside SQLite's own calls.
pub trait Disk: Send + Sync {
    /// Its name among SQLite's file systems. `None`: the machine's.
    fn vfs(&self) -> Option<&str> {
        None
    }
    /// How SQLite syncs. Weaker only where a test must see readings lost.
    fn synchronous(&self) -> &'static str {
        "FULL"
    }
    /// Bytes that the gateway's user may still fill.
    fn free_bytes(&self, folder: &Path) -> io::Result<u64>;
    /// Makes an empty file for the gateway alone, if there is none.
    fn create(&self, file: &Path) -> io::Result<()>;
    /// Makes the folder's entries durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Whether there is this file.
    fn exists(&self, file: &Path) -> bool;
    /// Gives a file another name in its folder.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// The bytes of a file; of none: none.
    fn read(&self, file: &Path) -> io::Result<Vec<u8>>;
    /// Octets of a file.
    fn length(&self, file: &Path) -> io::Result<u64> {
        Ok(self.read(file)?.len() as u64)
    }
    /// So many bytes of a file from here on, as far as there are any.
    fn read_at(&self, file: &Path, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let bytes = self.read(file)?;
        let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
        Ok(rest.iter().copied().take(length).collect())
    }
    /// Writes a file of the gateway's alone, and syncs it. A power cut in between may leave a part of it.
    fn write(&self, file: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Writes what the machine's file `from` holds into a new one, and syncs it.
    fn take_in(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.write(to, &std::fs::read(from)?)
    }
    /// Removes a file.
    fn remove(&self, file: &Path) -> io::Result<()>;
    /// Names in the folder.
    fn names(&self, folder: &Path) -> io::Result<Vec<String>>;
}

/// The machine's own.
pub struct Machine;

impl Disk for Machine {
    fn free_bytes(&self, folder: &Path) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(folder)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    fn create(&self, file: &Path) -> io::Result<()> {
        given_file(file).map(drop)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn exists(&self, file: &Path) -> bool {
        file.exists()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        match std::fs::read(file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            read => read,
        }
    }

    fn length(&self, file: &Path) -> io::Result<u64> {
        match file.metadata() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
            found => Ok(found?.len()),
        }
    }

    fn read_at(&self, file: &Path, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length);
        match File::open(file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            opened => {
                let mut open = opened?;
                open.seek(io::SeekFrom::Start(at))?;
                open.take(length as u64).read_to_end(&mut bytes)?;
            }
        }
        Ok(bytes)
    }

    fn write(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = given_file(file)?;
        file.set_len(0)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn take_in(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut to = given_file(to)?;
        to.set_len(0)?;
        io::copy(&mut File::open(from)?, &mut to)?;
        to.sync_all()
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        std::fs::remove_file(file)
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let name = |entry: io::Result<std::fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        std::fs::read_dir(folder)?.map(name).collect()
    }
}

/// A file that is the old one or the new one, whole, whenever the power goes. Durable when it returns.
pub(super) fn write_whole(disk: &dyn Disk, file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    disk.write(Path::new(&new), bytes)?;
    disk.rename(Path::new(&new), file)?;
    disk.sync_folder(file.parent().unwrap_or(file))
}

/// A private file that is the gateway's user's from its first octet on, whoever makes it.
fn given_file(file: &Path) -> io::Result<File> {
    let made = private_file(file)?;
    file.parent().map_or(Ok(()), |folder| own(file, &folder.metadata()?))?;
    Ok(made)
}

/// The gateway's user must be able to use what root puts into its folder.
pub(super) fn own(file: &Path, like: &Metadata) -> io::Result<()> {
    let now = file.metadata()?;
    if (now.uid(), now.gid()) == (like.uid(), like.gid()) {
        return Ok(());
    }
    chown(file, Some(like.uid()), Some(like.gid()))
}

/// SQLite gives the WAL the permissions of the file.
pub(super) fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Root may be cut off at any moment.
    #[test]
    fn what_root_makes_is_the_folders_owners_from_the_beginning() {
        const SOMEBODY: u32 = 65_534;
        let folder = tempfile::tempdir().unwrap();
        if folder.path().metadata().unwrap().uid() != 0 {
            std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("SKIPPED: only root can give files away\n"))
                .unwrap();
            return;
        }
        chown(folder.path(), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
        let file = |name: &str| folder.path().join(name);
        Machine.create(&file("a")).unwrap();
        Machine.write(&file("b"), b"b").unwrap();
        Machine.take_in(&file("b"), &file("c")).unwrap();
        write_whole(&Machine, &file("d"), b"d").unwrap();
        for name in Machine.names(folder.path()).unwrap() {
            assert_eq!(file(&name).metadata().unwrap().uid(), SOMEBODY, "{name}");
        }
        assert_eq!(Machine.names(folder.path()).unwrap().len(), 4);
    }
}
