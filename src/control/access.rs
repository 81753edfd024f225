//! Who is on the other end of the control socket, by the kernel's word, and what they may do.
//!
//! The socket has mode 0660: root, the gateway's own user and members of the socket's group get through to us, nobody
//! else. Root and the gateway's user administer; the group operates; the local page reads and acknowledges.

use std::os::unix::fs::MetadataExt;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::net::UnixListener;

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Administrator,
    /// Read, acknowledge, and serve devices: for an hour, at the local page ([`technician`](super::technician)).
    Technician,
    /// Read and acknowledge.
    Operator,
}

impl Role {
    /// May add devices, give them to people, and pair them.
    pub fn serves_devices(self) -> bool {
        matches!(self, Self::Administrator | Self::Technician)
    }

    /// May do everything.
    pub fn administers(self) -> bool {
        self == Self::Administrator
    }
}

/// The peer of a connection; `None`: the kernel did not say.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub Option<u32>);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().ok().map(|c| c.uid()))
    }
}

/// Who owns the socket: the gateway's user.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    uid: u32,
}

impl Owner {
    /// From the socket's file.
    pub fn of(socket: &std::path::Path) -> std::io::Result<Self> {
        std::fs::metadata(socket).map(|m| Self { uid: m.uid() })
    }

    /// What this peer may do; a peer without a name may do nothing.
    pub fn admit(self, peer: Peer) -> Option<Role> {
        match peer.0? {
            0 => Some(Role::Administrator),
            uid if uid == self.uid => Some(Role::Administrator),
            // The mode bits let nobody else in but the socket's group.
            _ => Some(Role::Operator),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_owner_administer_the_group_operates_the_nameless_do_nothing() {
        let owner = Owner { uid: 990 };
        assert_eq!(owner.admit(Peer(Some(0))), Some(Role::Administrator));
        assert_eq!(owner.admit(Peer(Some(990))), Some(Role::Administrator));
        assert_eq!(owner.admit(Peer(Some(1000))), Some(Role::Operator));
        assert_eq!(owner.admit(Peer(None)), None);
    }
}
