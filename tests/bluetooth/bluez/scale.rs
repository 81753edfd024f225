//! A scale that numbers its users and gives the weights of one only to who says that user's code (User Control Point, 2A9F).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use zbus::ObjectServer;

use super::gatt::push;
use super::{Peripheral, device};

/// It hangs up when it was asked nothing for so long.
const IDLE: Duration = Duration::from_secs(4);

/// A user of a scale.
#[derive(Clone)]
pub struct ScaleUser {
    pub slot: u8,
    pub code: u16,
    /// It does not answer for this user.
    pub mute: bool,
    /// Values of 2A9D.
    pub weights: Vec<Vec<u8>>,
}

/// Something was written to its control point.
pub async fn asked(server: ObjectServer, p: Arc<Peripheral>, request: Vec<u8>) {
    let (link, asked) = (p.links.load(Ordering::SeqCst), p.written.lock().unwrap().len());
    tokio::time::sleep(Duration::from_millis(20)).await;
    let user = match *request {
        [2, slot, low, high] => {
            let user = p.manners().users.into_iter().find(|user| user.slot == slot);
            user.map(|user| (user.code == u16::from_le_bytes([low, high]), user))
        }
        _ => None,
    };
    let code = match &user {
        Some((_, user)) if user.mute => None,
        Some((true, _)) => Some(1),
        Some((false, _)) => Some(5),
        None => Some(4),
    };
    if let Some(code) = code {
        push(&server, &p, "2A9F", &[0x20, request[0], code]).await;
    }
    let weights = user.filter(|(right, user)| *right && !user.mute).map(|(_, user)| user.weights).unwrap_or_default();
    for weight in weights {
        tokio::time::sleep(Duration::from_millis(200)).await;
        // A scale that is asked for another user gives what is that user's.
        if p.written.lock().unwrap().len() != asked {
            return;
        }
        push(&server, &p, "2A9D", &weight).await;
    }
    tokio::time::sleep(IDLE).await;
    if p.written.lock().unwrap().len() == asked && p.links.load(Ordering::SeqCst) == link {
        device::hang_up(&server, &p.path()).await;
    }
}
