//! Unix sockets that are served: bound beside their path, then moved there.
//!
//! Promises: never reachable with a wider mode than asked for; one that a crash left behind is replaced, one that still
//! answers is not. Must never: leave a file behind when it fails.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tokio::net::{UnixListener, UnixStream};

/// Why a socket is not there.
#[derive(Debug)]
pub enum Unbound {
    /// Stop the other process.
    Taken,
    /// Make the folder writable, or choose another path.
    Io(std::io::Error),
}

/// A listener at `path` with this mode; its folder is made.
///
/// # Errors
/// When somebody answers there, or it cannot be made.
pub async fn bind(path: &Path, mode: u32) -> Result<UnixListener, Unbound> {
    if UnixStream::connect(path).await.is_ok() {
        return Err(Unbound::Taken);
    }
    let at = path.with_extension(format!("new-{}", std::process::id()));
    let bound = || -> std::io::Result<UnixListener> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let listener = UnixListener::bind(&at)?;
        std::fs::set_permissions(&at, std::fs::Permissions::from_mode(mode))?;
        std::fs::rename(&at, path)?;
        Ok(listener)
    };
    bound().map_err(|e| {
        let _ = std::fs::remove_file(&at);
        Unbound::Io(e)
    })
}
