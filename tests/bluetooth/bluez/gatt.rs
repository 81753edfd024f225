//! `org.bluez.GattService1` and `GattCharacteristic1`: reads, writes, and values that come when somebody listens.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wardline::lab::device::Use;
use zbus::names::InterfaceName;
use zbus::object_server::SignalEmitter;
use zbus::zvariant::{ObjectPath, Value};
use zbus::{ObjectServer, fdo, interface};

use super::{Options, Peripheral, Refusal, device, long, scale};

struct Service(String, Arc<Peripheral>);

#[interface(name = "org.bluez.GattService1")]
impl Service {
    #[zbus(property, name = "UUID")]
    fn uuid(&self) -> String {
        long(&self.0)
    }
    #[zbus(property)]
    fn primary(&self) -> bool {
        true
    }
    #[zbus(property)]
    fn device(&self) -> ObjectPath<'_> {
        ObjectPath::try_from(self.1.path()).unwrap()
    }
}

pub struct Characteristic {
    uuid: &'static str,
    how: Use,
    service: String,
    notifying: Arc<AtomicBool>,
    p: Arc<Peripheral>,
}

/// Services and characteristics of a peripheral appear; those of an earlier connection stay, as in BlueZ's cache.
pub async fn build(server: &ObjectServer, p: &Arc<Peripheral>) {
    let mut services: BTreeMap<&str, Vec<(usize, &'static str, Use)>> = BTreeMap::new();
    for (i, (service, uuid, how)) in p.gatt.iter().enumerate() {
        services.entry(service).or_default().push((i, uuid, *how));
    }
    for (n, (service, characteristics)) in services.into_iter().enumerate() {
        let path = format!("{}/service{:04x}", p.path(), 16 * (n + 1));
        let _ = server.at(path.as_str(), Service(service.into(), p.clone())).await;
        for (i, uuid, how) in characteristics {
            let at = format!("{path}/char{:04x}", 0x100 + i);
            let notifying = Arc::new(AtomicBool::new(false));
            let c = Characteristic { uuid, how, service: path.clone(), notifying, p: p.clone() };
            // One of an earlier connection stays, and whoever listens to it.
            let _ = server.at(at.as_str(), c).await;
        }
    }
}

/// Where a characteristic of a peripheral is.
fn place(p: &Peripheral, uuid: &str) -> Option<String> {
    let mut names: Vec<&str> = p.gatt.iter().map(|g| g.0).collect();
    names.sort_unstable();
    names.dedup();
    let i = p.gatt.iter().position(|g| g.1 == uuid)?;
    let n = names.iter().position(|s| *s == p.gatt[i].0)?;
    Some(format!("{}/service{:04x}/char{:04x}", p.path(), 16 * (n + 1), 0x100 + i))
}

/// Pushes one value, if somebody listens and the link stands.
pub(super) async fn push(server: &ObjectServer, p: &Peripheral, uuid: &str, bytes: &[u8]) -> bool {
    if !device::is_connected(server, &p.path()).await {
        return false;
    }
    let Some(path) = place(p, uuid) else { return false };
    let Ok(c) = server.interface::<_, Characteristic>(path.as_str()).await else { return false };
    if !c.get().await.notifying.load(Ordering::SeqCst) {
        return false;
    }
    emit(c.signal_emitter(), bytes).await
}

/// The signal itself, with the value in it: nothing is looked up meanwhile.
async fn emit(emitter: &SignalEmitter<'_>, bytes: &[u8]) -> bool {
    let changed = HashMap::from([("Value", Value::from(bytes))]);
    let name = InterfaceName::from_static_str_unchecked("org.bluez.GattCharacteristic1");
    fdo::Properties::properties_changed(emitter, name, changed, (&[]).into()).await.is_ok()
}

/// A value that comes behind the news that the link is gone.
async fn belate(server: &ObjectServer, p: &Peripheral, uuid: &str, bytes: &[u8]) -> bool {
    let Some(path) = place(p, uuid) else { return false };
    let Ok(c) = server.interface::<_, Characteristic>(path.as_str()).await else { return false };
    p.leaving.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(50)).await;
    p.belated.fetch_add(1, Ordering::SeqCst);
    emit(c.signal_emitter(), bytes).await
}

/// A device without a memory: sends what it has measured, once, and hangs up.
async fn tell(server: ObjectServer, p: Arc<Peripheral>, uuid: &'static str) {
    let manners = p.manners();
    if let Some(rate) = manners.floods {
        let first = p.values.lock().unwrap().first().cloned();
        let Some((uuid, bytes)) = first else { return };
        // In bursts of a hundredth of a second.
        while push(&server, &p, &uuid, &bytes).await {
            let Some(path) = place(&p, &uuid) else { return };
            let Ok(c) = server.interface::<_, Characteristic>(path.as_str()).await else { return };
            for _ in 1..rate / 100 {
                emit(c.signal_emitter(), &bytes).await;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        return;
    }
    loop {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let n = p.sent.load(Ordering::SeqCst);
        let next = p.values.lock().unwrap().get(n).cloned();
        // Each of its characteristics is told when its own turn comes.
        let Some((of, bytes)) = next else { break };
        if of != uuid {
            if !device::is_connected(&server, &p.path()).await {
                return;
            }
            continue;
        }
        let breaks = manners.hangs_up_after.is_some_and(|most| (n + 1).is_multiple_of(most));
        let came = if breaks && manners.hasty {
            belate(&server, &p, &of, &bytes).await
        } else {
            push(&server, &p, &of, &bytes).await
        };
        if !came {
            return;
        }
        p.sent.store(n + 1, Ordering::SeqCst);
        if breaks {
            return device::hang_up(&server, &p.path()).await;
        }
    }
    if manners.hangs_up {
        tokio::time::sleep(Duration::from_millis(50)).await;
        device::hang_up(&server, &p.path()).await;
    }
}

/// Under which a record is found again: its number, or the minute of a sensor's session.
pub fn number(uuid: &str, bytes: &[u8]) -> u16 {
    let at = if uuid == "2AA7" { 4..6 } else { 1..3 };
    bytes.get(at).map_or(0, |n| u16::from_le_bytes([n[0], n[1]]))
}

/// A memory is asked: its records from a number on, then the answer.
async fn report(server: ObjectServer, p: Arc<Peripheral>, request: Vec<u8>) {
    let from = match *request {
        [1 | 4, 1] => Some(0),
        [1 | 4, 3, 1, low, high] => Some(u16::from_le_bytes([low, high])),
        _ => None,
    };
    let Some(from) = from else {
        push(&server, &p, "2A52", &[6, 0, request.first().copied().unwrap_or(0), 2]).await;
        return;
    };
    let records: Vec<_> = p.values.lock().unwrap().iter().filter(|(u, b)| number(u, b) >= from).cloned().collect();
    let manners = p.manners();
    if request.first() == Some(&4) {
        // A context is no record of its own.
        let counted = records.iter().filter(|(uuid, _)| uuid != "2A34").count();
        let [low, high] = (u16::try_from(counted).unwrap() + manners.withholds).to_le_bytes();
        push(&server, &p, "2A52", &[5, 0, low, high]).await;
        return;
    }
    let (mut told, link) = (0, p.links.load(Ordering::SeqCst));
    for (uuid, bytes) in &records {
        if manners.loses == Some(number(uuid, bytes)) {
            p.manners.lock().unwrap().loses = None;
            continue;
        }
        // Of this link only.
        if p.links.load(Ordering::SeqCst) != link || !push(&server, &p, uuid, bytes).await {
            return;
        }
        told += 1;
        if manners.hangs_up_after == Some(told) {
            p.manners.lock().unwrap().hangs_up_after = None;
            return device::hang_up(&server, &p.path()).await;
        }
        tokio::time::sleep(manners.pace).await;
    }
    push(&server, &p, "2A52", &[6, 0, 1, if records.is_empty() { 6 } else { 1 }]).await;
}

/// A question is answered, a little later.
async fn answer(server: ObjectServer, p: Arc<Peripheral>, uuid: &'static str, values: Vec<Vec<u8>>) {
    for bytes in values {
        tokio::time::sleep(Duration::from_millis(20)).await;
        push(&server, &p, uuid, &bytes).await;
    }
}

#[interface(name = "org.bluez.GattCharacteristic1")]
impl Characteristic {
    async fn read_value(&self, _options: Options) -> Result<Vec<u8>, Refusal> {
        self.allowed("Read not permitted")?;
        self.p.did(format!("read {}", self.uuid));
        // One that is hasty is gone before it has told this.
        if self.uuid == "2A19" && self.p.manners().hasty {
            let since = tokio::time::Instant::now();
            while since.elapsed() < Duration::from_secs(2) {
                tokio::time::sleep(Duration::from_millis(2)).await;
                if self.p.leaving.swap(false, Ordering::SeqCst) {
                    return Err(Refusal::Failed("Not connected".into()));
                }
            }
        }
        Ok(self.p.read(self.uuid))
    }

    async fn write_value(
        &self,
        value: Vec<u8>,
        _options: Options,
        #[zbus(object_server)] server: &ObjectServer,
    ) -> Result<(), Refusal> {
        self.allowed("Write not permitted")?;
        self.p.did(format!("write {}", self.uuid));
        self.p.written.lock().unwrap().push((self.uuid.into(), value.clone()));
        let answers = self.p.manners().answers;
        if let Some((_, uuid, values)) = answers.into_iter().find(|(question, ..)| *question == value) {
            tokio::spawn(answer(server.clone(), self.p.clone(), uuid, values));
        }
        if self.uuid == "2A9F" {
            tokio::spawn(scale::asked(server.clone(), self.p.clone(), value));
        } else if self.how == Use::Control {
            tokio::spawn(report(server.clone(), self.p.clone(), value));
        }
        Ok(())
    }

    async fn start_notify(&self, #[zbus(object_server)] server: &ObjectServer) -> Result<(), Refusal> {
        self.allowed("Write not permitted")?;
        self.p.did(format!("subscribe {}", self.uuid));
        self.notifying.store(true, Ordering::SeqCst);
        if !self.p.memory && matches!(self.how, Use::Notify | Use::Indicate) {
            let n = self.p.sent.load(Ordering::SeqCst);
            let next = self.p.values.lock().unwrap().get(n).cloned().filter(|(of, _)| of == self.uuid);
            if let Some((uuid, bytes)) = next.filter(|_| self.p.manners().hasty)
                && push(server, &self.p, &uuid, &bytes).await
            {
                self.p.sent.store(n + 1, Ordering::SeqCst);
            }
            tokio::spawn(tell(server.clone(), self.p.clone(), self.uuid));
        }
        Ok(())
    }

    async fn stop_notify(&self) {
        self.notifying.store(false, Ordering::SeqCst);
    }

    #[zbus(property, name = "UUID")]
    fn uuid(&self) -> String {
        long(self.uuid)
    }
    #[zbus(property)]
    fn service(&self) -> ObjectPath<'_> {
        ObjectPath::try_from(self.service.as_str()).unwrap()
    }
    #[zbus(property)]
    fn flags(&self) -> Vec<&str> {
        match self.how {
            Use::Notify => vec!["notify"],
            Use::Indicate => vec!["indicate"],
            Use::Read => vec!["read"],
            Use::ReadWrite => vec!["read", "write"],
            Use::Control => vec!["write", "indicate"],
        }
    }
}

impl Characteristic {
    /// One that needs a bond refuses without it; some things are denied to everybody. bluetoothd has one name for both.
    fn allowed(&self, denied: &str) -> Result<(), Refusal> {
        if self.p.manners().denies.contains(&self.uuid) {
            return Err(Refusal::NotPermitted(denied.into()));
        }
        let bonded = self.p.bonded.load(Ordering::SeqCst) && !self.p.wiped.load(Ordering::SeqCst);
        let open = self.p.manners().pairing.is_none() || bonded;
        if open { Ok(()) } else { Err(Refusal::NotPermitted("Not paired".into())) }
    }
}
