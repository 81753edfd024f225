//! Files with passwords and keys: read once at start, refused when others could read or change them.
//!
//! Must never: show what it read.

use std::fmt;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::limits;

/// Permission bits of "others": reading and writing.
const OTHERS: u32 = 0o006;

/// What a secret file holds. Redacts itself, and is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The octets, for the one who must present them.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }

    /// The octets without the line end that editors add.
    pub fn line(&self) -> &[u8] {
        self.0.trim_ascii_end()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why a secret file is not used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Give the path of a file that the gateway's user can read.
    #[error("{file}: cannot be read: {source}")]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Take the permission away from others, and change the secret: somebody may have it.
    #[error("{file}: others can read or change it (mode {mode:03o})")]
    Open {
        /// Which file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Write the secret into it.
    #[error("{file}: is empty or larger than {max} octets", max = limits::SECRET_FILE_BYTES_MAX)]
    Size {
        /// Which file.
        file: PathBuf,
    },
}

/// Reads a secret. The permissions are those of the file that was opened, so that it cannot be exchanged in between.
pub fn read(file: &Path) -> Result<Secret, SecretError> {
    let unreadable = |source| SecretError::Unreadable { file: file.into(), source };
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    let mode = opened.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(SecretError::Open { file: file.into(), mode });
    }
    // In one piece: one that grows leaves octets behind.
    let length = opened.metadata().map_err(unreadable)?.len().min(limits::SECRET_FILE_BYTES_MAX) + 2;
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or(0)));
    opened.take(limits::SECRET_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.trim_ascii().is_empty() || bytes.len() as u64 > limits::SECRET_FILE_BYTES_MAX {
        return Err(SecretError::Size { file: file.into() });
    }
    Ok(Secret(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(mode: u32, text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        (folder, file)
    }

    #[test]
    fn a_file_that_others_can_read_or_write_is_refused() {
        for mode in [0o604, 0o602, 0o606, 0o644, 0o666] {
            let (_folder, file) = file(mode, "hush");
            assert!(matches!(read(&file), Err(SecretError::Open { mode: m, .. }) if m == mode), "{mode:o}");
        }
        for mode in [0o400, 0o600, 0o640, 0o440] {
            let (_folder, file) = file(mode, "hush\n");
            let secret = read(&file).unwrap();
            assert_eq!((secret.line(), format!("{secret:?}").as_str()), (&b"hush"[..], "Secret(…)"));
        }
    }

    #[test]
    fn a_missing_or_empty_file_is_refused() {
        assert!(matches!(read(Path::new("/nonexistent/secret")), Err(SecretError::Unreadable { .. })));
        assert!(matches!(read(&file(0o600, " \n").1), Err(SecretError::Unreadable { .. } | SecretError::Size { .. })));
    }
}
