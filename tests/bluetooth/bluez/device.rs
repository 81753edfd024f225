//! `org.bluez.Device1`: connects, resolves its services, pairs, hangs up.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use zbus::object_server::SignalEmitter;
use zbus::zvariant::{ObjectPath, Value};
use zbus::{ObjectServer, fdo, interface};

use super::{ADAPTER, Leak, Peripheral, Refusal, State, agent, gatt};

pub struct Device {
    p: Arc<Peripheral>,
    state: Arc<State>,
    connected: AtomicBool,
    resolved: AtomicBool,
    /// A `Connect` that leaked is under way, for ever.
    pending: AtomicBool,
}

impl Device {
    pub fn new(p: Arc<Peripheral>, state: Arc<State>) -> Self {
        let no = || AtomicBool::new(false);
        Self { p, state, connected: no(), resolved: no(), pending: no() }
    }

    /// Takes a place of the adapter, if there is one.
    fn take_place(&self) -> bool {
        let places = self.state.places.load(Ordering::SeqCst);
        let one_more = |n| (n < places).then_some(n + 1);
        let taken = self.state.connected.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more);
        self.state.connected_most.fetch_max(self.state.connected.load(Ordering::SeqCst), Ordering::SeqCst);
        taken.is_ok()
    }
}

/// An advertisement: the object appears, or its strength and data change.
pub async fn heard(server: &ObjectServer, p: &Arc<Peripheral>, state: &Arc<State>) {
    let path = p.path();
    state.heard.fetch_add(1, Ordering::SeqCst);
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
        let mut told = p.told.lock().unwrap();
        if told.last().is_none_or(|(last, _)| *last != bytes) {
            told.push((bytes.clone(), jiff::Timestamp::now().as_millisecond()));
        }
        drop(told);
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

/// The adapter has lost its power: nothing is connected or leaks any more.
pub async fn power_lost(server: &ObjectServer, p: &Arc<Peripheral>) {
    {
        let mut manners = p.manners.lock().unwrap();
        if manners.leak != Leak::Forever {
            manners.leak = Leak::None;
        }
    }
    let path = p.path();
    if let Ok(device) = server.interface::<_, Device>(path.as_str()).await {
        let device = device.get().await;
        if device.pending.swap(false, Ordering::SeqCst) {
            device.state.connected.fetch_sub(1, Ordering::SeqCst);
        }
    }
    hang_up(server, &path).await;
}

/// The link ends, from the device's side or because its time is over; unless it leaks.
pub async fn hang_up(server: &ObjectServer, path: &str) {
    let Ok(device) = server.interface::<_, Device>(path).await else { return };
    {
        let device = device.get().await;
        if matches!(device.p.manners().leak, Leak::Link | Leak::Forever) {
            return;
        }
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
    ) -> Result<(), Refusal> {
        self.p.connects.fetch_add(1, Ordering::SeqCst);
        if self.pending.load(Ordering::SeqCst) {
            return Err(Refusal::InProgress("Operation already in progress".into()));
        }
        let connected = self.connected.load(Ordering::SeqCst);
        if !connected && !self.take_place() {
            return Err(Refusal::Failed("le-connection-abort-by-local".into()));
        }
        if self.p.manners().leak == Leak::Connect {
            self.pending.store(true, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        if self.p.manners().forgetful {
            self.connected.store(true, Ordering::SeqCst);
            self.connected_changed(&emitter).await?;
            self.connected.store(false, Ordering::SeqCst);
            self.state.connected.fetch_sub(1, Ordering::SeqCst);
            let (server, path) = (server.clone(), self.p.path());
            tokio::spawn(async move { changed(&server, &path).await });
            return Err(Refusal::Failed("le-connection-abort-by-local".into()));
        }
        if self.p.manners().stuck || (self.p.manners().sleeps && !self.p.awake.load(Ordering::SeqCst)) {
            self.state.connected.fetch_sub(1, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        if !self.connected.swap(true, Ordering::SeqCst) {
            self.p.links.fetch_add(1, Ordering::SeqCst);
        }
        self.connected_changed(&emitter).await?;
        if self.p.manners().belated_end {
            let old: HashMap<&str, Value<'_>> = HashMap::from([("Connected", Value::from(false))]);
            let name = zbus::names::InterfaceName::from_static_str_unchecked("org.bluez.Device1");
            fdo::Properties::properties_changed(&emitter, name, old, (&[]).into()).await?;
        }
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
    ) -> Result<(), Refusal> {
        if self.p.bonded.load(Ordering::SeqCst) {
            return Err(Refusal::AlreadyExists("Already Paired".into()));
        }
        let paired = agent::pair(connection, &self.p, &self.state).await;
        paired.map_err(|e| Refusal::AuthenticationFailed(e.to_string()))?;
        self.p.bonded.store(true, Ordering::SeqCst);
        self.p.manners.lock().unwrap().forgetful = false;
        self.p.wiped.store(false, Ordering::SeqCst);
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
