//! `org.bluez.Device1`: connects, resolves its services, pairs, hangs up.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use zbus::object_server::SignalEmitter;
use zbus::zvariant::{ObjectPath, Value};
use zbus::{ObjectServer, fdo, interface};

use super::{ADAPTER, Peripheral, State, agent, gatt};

pub struct Device {
    p: Arc<Peripheral>,
    state: Arc<State>,
    connected: AtomicBool,
    resolved: AtomicBool,
}

impl Device {
    pub fn new(p: Arc<Peripheral>, state: Arc<State>) -> Self {
        Self { p, state, connected: AtomicBool::new(false), resolved: AtomicBool::new(false) }
    }
}

/// An advertisement: the object appears, or its strength and data change.
pub async fn heard(server: &ObjectServer, p: &Arc<Peripheral>, state: &Arc<State>) {
    let path = p.path();
    let Ok(device) = server.interface::<_, Device>(path.as_str()).await else {
        let _ = server.at(path, Device::new(p.clone(), state.clone())).await;
        return;
    };
    if device.get().await.connected.load(Ordering::SeqCst) {
        return;
    }
    let mut changed: HashMap<&str, Value<'_>> = HashMap::from([("RSSI", Value::from(-60i16))]);
    let broadcast = p.broadcast.lock().unwrap().clone();
    if let Some((service, bytes)) = broadcast {
        let data: HashMap<String, Value<'_>> = HashMap::from([(super::long(&service), Value::from(bytes))]);
        changed.insert("ServiceData", Value::from(data));
    }
    let name = zbus::names::InterfaceName::from_static_str_unchecked("org.bluez.Device1");
    let _ = fdo::Properties::properties_changed(device.signal_emitter(), name, changed, (&[]).into()).await;
}

/// Says what it is now.
pub async fn changed(server: &ObjectServer, path: &str) {
    let Ok(device) = server.interface::<_, Device>(path).await else { return };
    let emitter = device.signal_emitter();
    let _ = device.get().await.paired_changed(emitter).await;
    let _ = device.get().await.connected_changed(emitter).await;
}

/// The link ends, from the device's side or because its time is over.
pub async fn hang_up(server: &ObjectServer, path: &str) {
    let Ok(device) = server.interface::<_, Device>(path).await else { return };
    {
        let device = device.get().await;
        if !device.connected.swap(false, Ordering::SeqCst) {
            return;
        }
        device.resolved.store(false, Ordering::SeqCst);
        device.state.connected.fetch_sub(1, Ordering::SeqCst);
    }
    let emitter = device.signal_emitter();
    let _ = device.get().await.services_resolved_changed(emitter).await;
    let _ = device.get().await.connected_changed(emitter).await;
}

/// Connected now.
pub async fn is_connected(server: &ObjectServer, path: &str) -> bool {
    match server.interface::<_, Device>(path).await {
        Ok(device) => device.get().await.connected.load(Ordering::SeqCst),
        Err(_) => false,
    }
}

async fn resolve(server: ObjectServer, p: Arc<Peripheral>) {
    tokio::time::sleep(Duration::from_millis(20)).await;
    let path = p.path();
    if !p.manners().bare {
        gatt::build(&server, &p).await;
    }
    let Ok(device) = server.interface::<_, Device>(path.as_str()).await else { return };
    device.get().await.resolved.store(true, Ordering::SeqCst);
    let _ = device.get().await.services_resolved_changed(device.signal_emitter()).await;
}

#[interface(name = "org.bluez.Device1")]
impl Device {
    async fn connect(
        &self,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
        #[zbus(object_server)] server: &ObjectServer,
    ) -> fdo::Result<()> {
        self.p.connects.fetch_add(1, Ordering::SeqCst);
        if self.p.manners().stuck {
            std::future::pending::<()>().await;
        }
        if self.p.manners().forgetful {
            self.connected.store(true, Ordering::SeqCst);
            self.connected_changed(&emitter).await?;
            self.connected.store(false, Ordering::SeqCst);
            let (server, path) = (server.clone(), self.p.path());
            tokio::spawn(async move { changed(&server, &path).await });
            return Err(fdo::Error::Failed("le-connection-abort-by-local".into()));
        }
        if !self.connected.swap(true, Ordering::SeqCst) {
            self.p.links.fetch_add(1, Ordering::SeqCst);
            let now = self.state.connected.fetch_add(1, Ordering::SeqCst) + 1;
            self.state.connected_most.fetch_max(now, Ordering::SeqCst);
        }
        self.connected_changed(&emitter).await?;
        tokio::spawn(resolve(server.clone(), self.p.clone()));
        Ok(())
    }

    async fn disconnect(&self, #[zbus(object_server)] server: &ObjectServer) {
        let (server, path) = (server.clone(), self.p.path());
        tokio::spawn(async move { hang_up(&server, &path).await });
    }

    async fn pair(
        &self,
        #[zbus(connection)] connection: &zbus::Connection,
        #[zbus(object_server)] server: &ObjectServer,
    ) -> fdo::Result<()> {
        agent::pair(connection, &self.p, &self.state).await?;
        self.p.bonded.store(true, Ordering::SeqCst);
        self.p.manners.lock().unwrap().forgetful = false;
        let (server, path) = (server.clone(), self.p.path());
        tokio::spawn(async move { changed(&server, &path).await });
        Ok(())
    }

    async fn cancel_pairing(&self) {}

    #[zbus(property)]
    fn address(&self) -> &str {
        &self.p.address
    }
    #[zbus(property)]
    fn address_type(&self) -> &str {
        "random"
    }
    #[zbus(property)]
    fn name(&self) -> &str {
        &self.p.name
    }
    #[zbus(property)]
    fn alias(&self) -> &str {
        &self.p.name
    }
    #[zbus(property, name = "UUIDs")]
    fn uuids(&self) -> Vec<String> {
        self.p.services()
    }
    #[zbus(property)]
    fn adapter(&self) -> ObjectPath<'_> {
        ObjectPath::from_static_str_unchecked(ADAPTER)
    }
    #[zbus(property, name = "RSSI")]
    fn rssi(&self) -> i16 {
        -60
    }
    #[zbus(property)]
    fn paired(&self) -> bool {
        self.p.bonded.load(Ordering::SeqCst)
    }
    #[zbus(property)]
    fn bonded(&self) -> bool {
        self.p.bonded.load(Ordering::SeqCst)
    }
    #[zbus(property)]
    fn trusted(&self) -> bool {
        false
    }
    #[zbus(property)]
    fn set_trusted(&self, _trusted: bool) {}
    #[zbus(property)]
    fn blocked(&self) -> bool {
        false
    }
    #[zbus(property)]
    fn legacy_pairing(&self) -> bool {
        false
    }
    #[zbus(property)]
    fn connected(&self) -> bool {
        self.connected.load(Ordering::SeqCst)
    }
    #[zbus(property)]
    fn services_resolved(&self) -> bool {
        self.resolved.load(Ordering::SeqCst)
    }
}
