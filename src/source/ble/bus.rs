//! BlueZ over D-Bus as far as btleplug does not tell it: who is heard, who is connected or bonded, whether bluetoothd lives.
//!
//! Promises: every call has a time-out of ours; what is heard costs no call; signals wait in a bounded queue, on a
//! connection of their own, so that no answer stands behind them. Must never: trust a length, or a name, of a peripheral.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt, select_all};
use zbus::names::OwnedUniqueName;
use zbus::zvariant::{ObjectPath, OwnedObjectPath, OwnedValue, Value};
use zbus::{Connection, MatchRule, MessageStream, message};

use super::fault::RadioFault;
use crate::limits::{
    BLE_CALL_MAX, BLE_NAME_CHARS_MAX, BLE_PAIRING_WINDOW, BLE_SIGNALS_WAITING_MAX, CHARACTERISTIC_BYTES_MAX,
};

pub(super) const BLUEZ: &str = "org.bluez";
const ADAPTER: &str = "org.bluez.Adapter1";
pub(super) const DEVICE: &str = "org.bluez.Device1";
pub(super) const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const MANAGER: &str = "org.freedesktop.DBus.ObjectManager";

pub(super) type Map = HashMap<String, OwnedValue>;
pub(super) type Interfaces = HashMap<String, Map>;

/// What a signal, or the list of objects, says of one device; `None`: not mentioned.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sighting {
    /// `C0:26:DF:00:11:22`, from its object path.
    pub(super) address: String,
    pub(super) name: Option<String>,
    pub(super) rssi: Option<i16>,
    /// Advertised services, in the spelling of frames.
    pub(super) services: Option<Vec<String>>,
    /// Data of services, in an advertisement that was just heard.
    pub(super) data: Vec<(String, Bytes)>,
    /// The same of manufacturers, by their numbers in hex.
    pub(super) manufacturer: Vec<(String, Bytes)>,
    pub(super) paired: Option<bool>,
    pub(super) connected: Option<bool>,
}

/// What happens on the bus.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Signal {
    /// A device was heard, or something of it changed.
    Device(Sighting),
    /// BlueZ has forgotten a device.
    Forgotten(String),
    /// Of our adapter: switched on or off, scanning or not any more.
    Adapter { powered: Option<bool>, discovering: Option<bool> },
    /// Our adapter is gone.
    AdapterGone,
    /// bluetoothd ended, or another one took its place.
    DaemonGone,
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallFault {
    /// No answer.
    Hung,
    /// BlueZ refused; the name of its error.
    Refused(String),
}

/// How soon it is looked again whether bluetoothd is done with something that is waited for.
const BLE_LOOK_AGAIN: Duration = Duration::from_millis(250);

/// The system bus, with bluetoothd on it and an adapter.
#[derive(Clone)]
pub(super) struct Bus {
    pub(super) calls: Connection,
    owner: OwnedUniqueName,
    adapter: String,
    /// Bonds that are being taken away.
    removing: Arc<Mutex<BTreeSet<String>>>,
}

/// Why a device is not paired whose bond bluetoothd holds already: that alone says nothing of the device's half.
const PAIRED_BEFORE: &str =
    "bluetoothd holds a bond with it already; if the device was reset, `wardline devices forget ID` first";

/// How the adapter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AdapterState {
    pub(super) powered: bool,
    pub(super) discovering: bool,
}

async fn timed<T>(
    what: &'static str,
    call: impl Future<Output = zbus::Result<T>>,
) -> Result<zbus::Result<T>, RadioFault> {
    tokio::time::timeout(BLE_CALL_MAX, call).await.map_err(|_| RadioFault::Hung(what))
}

/// A connection to the system bus.
pub(super) async fn system() -> Result<Connection, RadioFault> {
    timed("connecting", async { zbus::connection::Builder::system()?.build().await })
        .await?
        .map_err(|_| RadioFault::NoBus)
}

impl Bus {
    /// Connects; the adapter is the one of this name, or the first. Answers with what is known already and what comes.
    pub(super) async fn open(
        adapter: Option<&str>,
    ) -> Result<(Self, Vec<Signal>, impl Stream<Item = Signal> + Send + Unpin + use<>), RadioFault> {
        let (calls, watch) = (system().await?, system().await?);
        let mut streams = Vec::new();
        for rule in rules().map_err(|_| RadioFault::NoBus)? {
            let stream = MessageStream::for_match_rule(rule, &watch, Some(BLE_SIGNALS_WAITING_MAX));
            streams.push(timed("listening", stream).await?.map_err(|_| RadioFault::NoBus)?);
        }
        let owner = timed("bluetoothd", owner(&calls)).await?.map_err(|_| RadioFault::NoDaemon)?;
        let objects = timed("objects", objects(&calls)).await?.map_err(|_| RadioFault::NoDaemon)?;
        let mut adapters: Vec<&str> =
            objects.iter().filter(|(_, i)| i.contains_key(ADAPTER)).map(|(path, _)| path.as_str()).collect();
        adapters.sort_unstable();
        let fits = |path: &&&str| adapter.is_none_or(|name| path.rsplit('/').next() == Some(name));
        let found = adapters.iter().find(fits).map(|path| (*path).to_owned());
        let name = || adapter.map(|name| format!(" `{name}`")).unwrap_or_default();
        let adapter = found.ok_or_else(|| RadioFault::NoAdapter(name()))?;
        let known = objects
            .iter()
            .filter_map(|(path, interfaces)| {
                Some(Signal::Device(sighting(&adapter, path.as_str(), interfaces.get(DEVICE)?, false)?))
            })
            .collect();
        let (ours, bluetoothd) = (adapter.clone(), owner.clone());
        // The end of the connection ends the stream: then there is no bus.
        let signals = select_all(streams).filter_map(move |message| {
            let signal = message.ok().and_then(|message| signal(&ours, &bluetoothd, &message));
            std::future::ready(signal)
        });
        // The connection lives as long as its streams.
        Ok((Self { calls, owner, adapter, removing: Arc::default() }, known, Box::pin(signals)))
    }

    /// `hci0`.
    pub(super) fn adapter_name(&self) -> &str {
        self.adapter.rsplit('/').next().unwrap_or_default()
    }

    /// bluetoothd's name on the bus.
    pub(super) fn owner(&self) -> &OwnedUniqueName {
        &self.owner
    }

    /// Object path of a device.
    pub(super) fn path(&self, address: &str) -> String {
        format!("{}/dev_{}", self.adapter, address.replace(':', "_"))
    }

    /// How the adapter is.
    pub(super) async fn adapter_state(&self) -> Result<AdapterState, RadioFault> {
        let call = self.calls.call_method(Some(BLUEZ), &*self.adapter, Some(PROPERTIES), "GetAll", &(ADAPTER,));
        let gone = || RadioFault::NoAdapter(format!(" `{}`", self.adapter_name()));
        let answer = timed("adapter", call).await?.map_err(|_| gone())?;
        let map: Map = answer.body().deserialize().map_err(|_| gone())?;
        let is = |name: &str| map.get(name).and_then(|v| bool::try_from(v).ok()).unwrap_or(false);
        Ok(AdapterState { powered: is("Powered"), discovering: is("Discovering") })
    }

    /// Switches the adapter on or off.
    pub(super) async fn power(&self, on: bool) -> Result<(), RadioFault> {
        self.set(&self.adapter, ADAPTER, "Powered", on).await.map_err(|fault| match fault {
            CallFault::Hung => RadioFault::Hung("switching the adapter"),
            CallFault::Refused(_) => RadioFault::Off,
        })
    }

    async fn set(&self, path: &str, interface: &str, property: &str, value: bool) -> Result<(), CallFault> {
        self.call(path, PROPERTIES, "Set", &(interface, property, Value::from(value))).await
    }

    /// Any method that answers with nothing, within the usual time.
    pub(super) async fn call<B>(&self, path: &str, interface: &str, method: &str, body: &B) -> Result<(), CallFault>
    where
        B: serde::Serialize + zbus::zvariant::DynamicType,
    {
        let call = self.calls.call_method(Some(BLUEZ), path, Some(interface), method, body);
        match tokio::time::timeout(BLE_CALL_MAX, call).await {
            Err(_) => Err(CallFault::Hung),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(e)) => Err(CallFault::Refused(error_name(&e))),
        }
    }

    /// What BlueZ knows of a device; `None`: nothing.
    pub(super) async fn known(&self, address: &str) -> Option<Sighting> {
        let path = self.path(address);
        let call = self.calls.call_method(Some(BLUEZ), &*path, Some(PROPERTIES), "GetAll", &(DEVICE,));
        let answer = tokio::time::timeout(BLE_CALL_MAX, call).await.ok()?.ok()?;
        sighting(&self.adapter, &path, &answer.body().deserialize().ok()?, false)
    }

    /// Whether a device is connected now: a signal that says otherwise may be an old one.
    pub(super) async fn is_connected(&self, address: &str) -> bool {
        let path = self.path(address);
        let call = self.calls.call_method(Some(BLUEZ), &*path, Some(PROPERTIES), "Get", &(DEVICE, "Connected"));
        let Ok(Ok(answer)) = tokio::time::timeout(BLE_CALL_MAX, call).await else { return false };
        let body = answer.body();
        body.deserialize::<Value<'_>>().ok().and_then(|v| bool::try_from(v).ok()).unwrap_or(false)
    }

    /// Bonds with a device; the agent is asked meanwhile. Trusted afterwards, so that it may come back by itself.
    pub(super) async fn pair(&self, address: &str) -> Result<(), String> {
        let path = self.path(address);
        let settled = tokio::time::timeout(BLE_PAIRING_WINDOW, self.settled(address));
        let bonded_before = settled.await.map_err(|_| "timeout")?;
        let pairing = self.calls.call_method(Some(BLUEZ), &*path, Some(DEVICE), "Pair", &());
        let paired = tokio::time::timeout(BLE_PAIRING_WINDOW, pairing).await;
        let name = |e: &zbus::Error| error_name(e).trim_start_matches("org.bluez.Error.").to_owned();
        match paired {
            Err(_) => {
                let _ = self.call(&path, DEVICE, "CancelPairing", &()).await;
                return Err("timeout".into());
            }
            Ok(Err(e)) if name(&e) == "AlreadyExists" => {
                if bonded_before {
                    return Err(PAIRED_BEFORE.into());
                }
                // The device asked for it first: then it is what was wanted.
                let bonded = self.known(address).await.is_some_and(|known| known.paired == Some(true));
                bonded.then_some(()).ok_or_else(|| name(&e))?;
            }
            Ok(Err(e)) => return Err(name(&e)),
            Ok(Ok(_)) => {}
        }
        let _ = self.set(&path, DEVICE, "Trusted", true).await;
        Ok(())
    }

    fn removing(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.removing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no bond of it is being taken away and BlueZ knows it: whether it holds a bond. One that is going would
    /// pass for the new one.
    async fn settled(&self, address: &str) -> bool {
        loop {
            let going = self.removing().contains(address);
            if !going && let Some(known) = self.known(address).await {
                return known.paired == Some(true);
            }
            tokio::time::sleep(BLE_LOOK_AGAIN).await;
        }
    }

    /// Takes a device's bond away, with all that BlueZ knows of it.
    pub(super) async fn forget(&self, address: &str) -> Result<(), String> {
        let path = ObjectPath::try_from(self.path(address)).map_err(|e| e.to_string())?;
        self.removing().insert(address.to_owned());
        let removed = self.call(&self.adapter, ADAPTER, "RemoveDevice", &(path,)).await;
        self.removing().remove(address);
        removed.map_err(|fault| match fault {
            CallFault::Hung => "bluetoothd does not answer".into(),
            CallFault::Refused(name) => name,
        })
    }

    /// Lets go of a device by its address, also one that btleplug has not connected to the end.
    pub(super) async fn disconnect(&self, address: &str) -> Result<(), CallFault> {
        self.call(&self.path(address), DEVICE, "Disconnect", &()).await
    }
}

/// The name of BlueZ's error, or what zbus calls it.
pub(super) fn error_name(error: &zbus::Error) -> String {
    match error {
        zbus::Error::MethodError(name, _, _) => name.to_string(),
        other => other.to_string(),
    }
}

fn rules() -> zbus::Result<Vec<MatchRule<'static>>> {
    let signal = || MatchRule::builder().msg_type(message::Type::Signal);
    let changed = |of: &'static str| {
        signal()
            .sender(BLUEZ)?
            .interface(PROPERTIES)?
            .member("PropertiesChanged")?
            .add_arg(of)
            .map(zbus::match_rule::Builder::build)
    };
    let objects = signal().sender(BLUEZ)?.interface(MANAGER)?.build();
    let owner = signal()
        .sender("org.freedesktop.DBus")?
        .interface("org.freedesktop.DBus")?
        .member("NameOwnerChanged")?
        .add_arg(BLUEZ)?
        .build();
    Ok(vec![changed(DEVICE)?, changed(ADAPTER)?, objects, owner])
}

async fn owner(bus: &Connection) -> zbus::Result<OwnedUniqueName> {
    let dbus = "org.freedesktop.DBus";
    let answer = bus.call_method(Some(dbus), "/org/freedesktop/DBus", Some(dbus), "GetNameOwner", &(BLUEZ,)).await?;
    let name: OwnedUniqueName = answer.body().deserialize()?;
    Ok(name)
}

/// Everything that BlueZ has.
pub(super) async fn objects(bus: &Connection) -> zbus::Result<HashMap<OwnedObjectPath, Interfaces>> {
    bus.call_method(Some(BLUEZ), "/", Some(MANAGER), "GetManagedObjects", &()).await?.body().deserialize()
}

/// What changes of a device itself.
pub(super) fn changes_of(device: &str) -> zbus::Result<MatchRule<'static>> {
    let rule = MatchRule::builder().msg_type(message::Type::Signal).sender(BLUEZ)?.interface(PROPERTIES)?;
    Ok(rule.member("PropertiesChanged")?.path(device)?.add_arg(DEVICE)?.build().into_owned())
}

/// Values of a device's characteristics.
pub(super) fn values_of(device: &str) -> zbus::Result<MatchRule<'static>> {
    let rule = MatchRule::builder().msg_type(message::Type::Signal).sender(BLUEZ)?.interface(PROPERTIES)?;
    let rule = rule.member("PropertiesChanged")?.path_namespace(device)?.add_arg("org.bluez.GattCharacteristic1")?;
    Ok(rule.build().into_owned())
}

/// Whether bluetoothd sent it: the bus lets anybody send signals.
pub(super) fn is_from(message: &zbus::Message, owner: &OwnedUniqueName) -> bool {
    message.header().sender().map(zbus::names::UniqueName::as_str) == Some(owner.as_str())
}

/// What a message says to us; `None`: nothing, or not from bluetoothd.
fn signal(adapter: &str, owner: &OwnedUniqueName, message: &zbus::Message) -> Option<Signal> {
    let header = message.header();
    let (path, member) = (header.path()?.as_str(), header.member()?.as_str());
    if member == "NameOwnerChanged" {
        return Some(Signal::DaemonGone);
    }
    if !is_from(message, owner) {
        return None;
    }
    let body = message.body();
    match member {
        "PropertiesChanged" => {
            let (interface, changed, _): (String, Map, Vec<String>) = body.deserialize().ok()?;
            match interface.as_str() {
                ADAPTER if path == adapter => {
                    let is = |name: &str| changed.get(name).and_then(|v| bool::try_from(v).ok());
                    Some(Signal::Adapter { powered: is("Powered"), discovering: is("Discovering") })
                }
                DEVICE => Some(Signal::Device(sighting(adapter, path, &changed, true)?)),
                _ => None,
            }
        }
        "InterfacesAdded" => {
            let (path, interfaces): (OwnedObjectPath, Interfaces) = body.deserialize().ok()?;
            Some(Signal::Device(sighting(adapter, path.as_str(), interfaces.get(DEVICE)?, true)?))
        }
        "InterfacesRemoved" => {
            let (path, interfaces): (OwnedObjectPath, Vec<String>) = body.deserialize().ok()?;
            if path.as_str() == adapter && interfaces.iter().any(|i| i == ADAPTER) {
                return Some(Signal::AdapterGone);
            }
            interfaces.iter().any(|i| i == DEVICE).then(|| address(adapter, path.as_str()).map(Signal::Forgotten))?
        }
        _ => None,
    }
}

/// `/org/bluez/hci0/dev_C0_26_DF_00_11_22` on our adapter.
fn address(adapter: &str, path: &str) -> Option<String> {
    let address = path.strip_prefix(adapter)?.strip_prefix("/dev_")?.replace('_', ":");
    let parts = address.split(':').filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit())).count();
    (parts == 6 && address.len() == 17).then(|| address.to_ascii_uppercase())
}

fn sighting(adapter: &str, path: &str, map: &Map, fresh: bool) -> Option<Sighting> {
    let is = |name: &str| map.get(name).and_then(|v| bool::try_from(v).ok());
    let rssi = map.get("RSSI").and_then(|v| i16::try_from(v).ok());
    let services = map.get("UUIDs").and_then(|v| Vec::<String>::try_from(v.clone()).ok());
    // What BlueZ knows from before is old: only what it just heard is data.
    let data = map.get("ServiceData").filter(|_| fresh || rssi.is_some());
    let manufacturer = map.get("ManufacturerData").filter(|_| fresh || rssi.is_some());
    let name = map.get("Name").and_then(|v| String::try_from(v.clone()).ok());
    Some(Sighting {
        address: address(adapter, path)?,
        name: name.map(|n| n.chars().filter(|c| !c.is_control()).take(BLE_NAME_CHARS_MAX).collect()),
        rssi,
        services: services.map(|all| all.iter().take(64).map(|u| spelled(u)).collect()),
        data: data.map(service_data).unwrap_or_default(),
        manufacturer: manufacturer.map(manufacturer_data).unwrap_or_default(),
        paired: is("Paired"),
        connected: is("Connected"),
    })
}

fn service_data(value: &OwnedValue) -> Vec<(String, Bytes)> {
    let Ok(map) = HashMap::<String, OwnedValue>::try_from(value.clone()) else { return Vec::new() };
    let octets = |value: OwnedValue| Vec::<u8>::try_from(value).ok().filter(|b| b.len() <= CHARACTERISTIC_BYTES_MAX);
    map.into_iter().take(16).filter_map(|(uuid, v)| Some((spelled(&uuid), octets(v)?.into()))).collect()
}

fn manufacturer_data(value: &OwnedValue) -> Vec<(String, Bytes)> {
    let Ok(map) = HashMap::<u16, OwnedValue>::try_from(value.clone()) else { return Vec::new() };
    let octets = |value: OwnedValue| Vec::<u8>::try_from(value).ok().filter(|b| b.len() <= CHARACTERISTIC_BYTES_MAX);
    map.into_iter().take(16).filter_map(|(number, v)| Some((format!("{number:04X}"), octets(v)?.into()))).collect()
}

/// A 16-bit UUID in capitals, another one in small letters: as frames and profiles name them.
pub(super) fn spelled(uuid: &str) -> String {
    let small = uuid.to_ascii_lowercase();
    match small.strip_prefix("0000").and_then(|rest| rest.strip_suffix("-0000-1000-8000-00805f9b34fb")) {
        Some(short) if short.len() == 4 => short.to_ascii_uppercase(),
        _ => small,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_spelled_as_in_frames() {
        assert_eq!(spelled("00002a35-0000-1000-8000-00805f9b34fb"), "2A35");
        assert_eq!(spelled("0AAD7EA0-0D60-11E2-8E3C-0002A5D5C51B"), "0aad7ea0-0d60-11e2-8e3c-0002a5d5c51b");
    }

    #[test]
    fn an_address_is_read_from_a_path_of_our_adapter_only() {
        let of = |path| address("/org/bluez/hci0", path);
        assert_eq!(of("/org/bluez/hci0/dev_c0_26_DF_00_11_22").unwrap(), "C0:26:DF:00:11:22");
        assert!(of("/org/bluez/hci1/dev_C0_26_DF_00_11_22").is_none());
        assert!(of("/org/bluez/hci0/dev_C0_26_DF_00_11").is_none());
        assert!(of("/org/bluez/hci0/dev_C0_26_DF_00_11_22/service0010").is_none());
    }
}
