//! What a connected device offers and sends, over a D-Bus connection of its own: a device that floods fills its own queue.
//!
//! Promises: the queue is bounded, and begins before the device is connected, so that what is pushed at once is not missed;
//! each call has a time-out of ours. Must never: take a value from anybody but bluetoothd.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::stream::{Stream, StreamExt};
use zbus::zvariant::{OwnedObjectPath, OwnedValue, Value};
use zbus::{Connection, MessageStream};

use super::bus::{self, BLUEZ, Bus, DEVICE, Map, spelled};
use super::fault::DeviceFault;
use super::session::{NoAnswer, Offer, Operation};
use super::tap::Ear;
use crate::limits::{BLE_CALL_MAX, BLE_CONNECT_MAX, BLE_GATT_MAX, CHARACTERISTIC_BYTES_MAX};

const SERVICE: &str = "org.bluez.GattService1";
const CHARACTERISTIC: &str = "org.bluez.GattCharacteristic1";

/// A value as it came: object path of its characteristic, and octets.
type Values = Pin<Box<dyn Stream<Item = (String, Bytes)> + Send>>;

/// One device's wire.
pub(super) struct Wire {
    connection: Connection,
    device: String,
    values: Values,
    /// By object path.
    characteristics: BTreeMap<String, Characteristic>,
    ear: Ear,
}

#[derive(Clone)]
struct Characteristic {
    offer: Offer,
    /// Writes are answered.
    answers: bool,
    /// Its values are indications.
    confirms: bool,
}

impl Wire {
    /// Begins to listen; the device need not be connected yet.
    pub(super) async fn open(bus: &Bus, address: &str, ear: Ear) -> Result<Self, DeviceFault> {
        let connection = bus::system().await.map_err(|_| DeviceFault::Connect)?;
        let device = bus.path(address);
        let rule = bus::values_of(&device).map_err(|_| DeviceFault::Connect)?;
        let listening = MessageStream::for_match_rule(rule, &connection, Some(crate::limits::BLE_SIGNALS_WAITING_MAX));
        let stream = tokio::time::timeout(BLE_CALL_MAX, listening).await;
        let stream = stream.map_err(|_| DeviceFault::Connect)?.map_err(|_| DeviceFault::Connect)?;
        let owner = bus.owner().clone();
        let values = stream.filter_map(move |message| {
            let value = message.ok().filter(|m| bus::is_from(m, &owner)).and_then(|m| value(&m));
            std::future::ready(value)
        });
        Ok(Self { connection, device, values: Box::pin(values), characteristics: BTreeMap::new(), ear })
    }

    /// The next value: UUID and octets. `None`: the bus is gone.
    pub(super) async fn next(&mut self) -> Option<(String, Bytes)> {
        loop {
            let (path, bytes) = self.values.next().await?;
            if let Some(c) = self.characteristics.get(&path) {
                self.ear.value(&c.offer, c.confirms, &bytes);
                return Some((c.offer.uuid.clone(), bytes));
            }
        }
    }

    /// Connects, until BlueZ knows the device's services.
    pub(super) async fn connect(&mut self) -> Result<(), DeviceFault> {
        let mut stood = false;
        match tokio::time::timeout(BLE_CONNECT_MAX, connecting(&self.connection, &self.device, &mut stood)).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Err(e)) if no_answer(&format!("{e:?}")) == NoAnswer::Unauthorised => Err(DeviceFault::NotPaired),
            // We ask for nothing: it is an earlier connection, that never came about.
            Ok(Err(e)) if bus::error_name(&e).ends_with(".InProgress") => Err(DeviceFault::Stuck),
            // The link was there, and is gone before anything was asked.
            Ok(Ok(false) | Err(_)) if stood => Err(DeviceFault::CutOff),
            Ok(Ok(false) | Err(_)) | Err(_) => Err(DeviceFault::Connect),
        }
    }

    /// Reads what the connected device offers.
    pub(super) async fn discover(&mut self) -> Result<Vec<Offer>, DeviceFault> {
        let objects = tokio::time::timeout(BLE_CALL_MAX, bus::objects(&self.connection)).await;
        let objects = objects.map_err(|_| DeviceFault::Connect)?.map_err(|_| DeviceFault::Connect)?;
        let below =
            |path: &OwnedObjectPath| path.as_str().strip_prefix(&*self.device).is_some_and(|p| p.starts_with('/'));
        let text = |map: &Map, name: &str| map.get(name).and_then(|v| String::try_from(v.clone()).ok());
        let services: HashMap<&str, String> = objects
            .iter()
            .filter(|(path, _)| below(path))
            .filter_map(|(path, i)| Some((path.as_str(), spelled(&text(i.get(SERVICE)?, "UUID")?))))
            .collect();
        for (path, interfaces) in objects.iter().filter(|(path, _)| below(path)) {
            let Some(map) = interfaces.get(CHARACTERISTIC) else { continue };
            let service = path.as_str().rsplit_once('/').and_then(|(service, _)| services.get(service));
            let (Some(service), Some(uuid)) = (service, text(map, "UUID")) else { continue };
            let flags = map.get("Flags").and_then(|v| Vec::<String>::try_from(v.clone()).ok()).unwrap_or_default();
            let has = |flag: &str| flags.iter().any(|f| f == flag);
            let offer = Offer { service: service.clone(), uuid: spelled(&uuid), reads: has("read") };
            let confirms = has("indicate") && !has("notify");
            let c = Characteristic { offer, answers: has("write"), confirms };
            self.characteristics.insert(path.as_str().to_owned(), c);
        }
        Ok(self.characteristics.values().map(|c| c.offer.clone()).collect())
    }

    /// Carries out one operation; it can be waited for beside everything else.
    pub(super) fn carry_out(
        &self,
        offer: &Offer,
        operation: Operation,
    ) -> impl Future<Output = Result<Vec<u8>, NoAnswer>> + Send + use<> {
        let found = self.characteristics.iter().find(|(_, c)| c.offer == *offer);
        let found = found.map(|(path, c)| (path.clone(), c.answers));
        let connection = self.connection.clone();
        let (ear, offer, read) = (self.ear.clone(), offer.clone(), operation == Operation::Read);
        ear.asked(&offer, &operation);
        async move {
            let Some((path, answers)) = found else { return Err(NoAnswer::Refused) };
            let answer =
                match tokio::time::timeout(BLE_GATT_MAX, carry_out(&connection, &path, answers, operation)).await {
                    Err(_) => Err(NoAnswer::Timeout),
                    Ok(Ok(octets)) => Ok(octets),
                    Ok(Err(e)) => Err(no_answer(&format!("{e:?}"))),
                };
            ear.answered(&offer, read, &answer);
            answer
        }
    }
}

/// Whether its services are known, or the link broke before; `stood`: a link was there meanwhile.
async fn connecting(bus: &Connection, device: &str, stood: &mut bool) -> zbus::Result<bool> {
    let rule = bus::changes_of(device)?;
    let mut changes = MessageStream::for_match_rule(rule, bus, Some(64)).await?;
    let connect = bus.call_method(Some(BLUEZ), device, Some(DEVICE), "Connect", &()).await;
    if let Err(e) = connect {
        // What was said before the refusal lies here already.
        while let Some(Some(change)) = changes.next().now_or_never() {
            *stood |= flag(&change?, "Connected")? == Some(true);
        }
        return Err(e);
    }
    *stood = true;
    if is(bus, device, "ServicesResolved").await? {
        return Ok(true);
    }
    while let Some(change) = changes.next().await {
        let change = change?;
        match (flag(&change, "ServicesResolved")?, flag(&change, "Connected")?) {
            (Some(true), _) => return Ok(true),
            // It may be the end of an earlier link, told late.
            (_, Some(false)) if !is(bus, device, "Connected").await? => return Ok(false),
            _ => {}
        }
    }
    Ok(false)
}

/// What BlueZ says now.
async fn is(bus: &Connection, device: &str, property: &str) -> zbus::Result<bool> {
    let answer = bus.call_method(Some(BLUEZ), device, Some(bus::PROPERTIES), "Get", &(DEVICE, property)).await?;
    let value: OwnedValue = answer.body().deserialize()?;
    Ok(bool::try_from(value).unwrap_or(false))
}

async fn carry_out(bus: &Connection, path: &str, answers: bool, operation: Operation) -> zbus::Result<Vec<u8>> {
    let mut options: HashMap<&str, Value<'_>> = HashMap::new();
    let interface = Some(CHARACTERISTIC);
    match operation {
        Operation::Read => {
            bus.call_method(Some(BLUEZ), path, interface, "ReadValue", &(options,)).await?.body().deserialize()
        }
        Operation::Subscribe => {
            bus.call_method(Some(BLUEZ), path, interface, "StartNotify", &()).await.map(|_| Vec::new())
        }
        Operation::Write(_) | Operation::Consent(_) => {
            let octets = match operation {
                Operation::Consent(request) => request.reveal(),
                Operation::Write(octets) => octets,
                Operation::Read | Operation::Subscribe => Vec::new(),
            };
            options.insert("type", Value::from(if answers { "request" } else { "command" }));
            bus.call_method(Some(BLUEZ), path, interface, "WriteValue", &(octets, options)).await.map(|_| Vec::new())
        }
    }
}

/// The value in a signal, cut one octet after the longest: the decoder says that it is too long.
fn value(message: &zbus::Message) -> Option<(String, Bytes)> {
    let path = message.header().path()?.as_str().to_owned();
    let body = message.body();
    let (_, mut changed, _): (String, HashMap<String, OwnedValue>, Vec<String>) = body.deserialize().ok()?;
    let mut octets = Vec::<u8>::try_from(changed.remove("Value")?).ok()?;
    octets.truncate(CHARACTERISTIC_BYTES_MAX + 1);
    Some((path, octets.into()))
}

/// What a change of a device says of one of its properties.
fn flag(change: &zbus::Message, name: &str) -> zbus::Result<Option<bool>> {
    let body = change.body();
    let (_, changed, _): (String, Map, Vec<String>) = body.deserialize()?;
    Ok(changed.get(name).and_then(|v| bool::try_from(v).ok()))
}

/// What an error of BlueZ means: names and texts, as `Debug` gives them.
pub(super) fn no_answer(error: &str) -> NoAnswer {
    let text = error.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    // ATT errors 0x05, 0x0c and 0x0f ask for a bond, a longer key, encryption: bluetoothd says `Not paired`, under the same name
    // (NotPermitted) as for 0x02 and 0x03, which are a plain no.
    let bond =
        ["authentication", "insufficient", "not paired", "att error: 0x05", "att error: 0x0c", "att error: 0x0f"];
    if says(&bond) {
        NoAnswer::Unauthorised
    } else if says(&["notconnected", "not connected", "unknownobject"]) {
        NoAnswer::Lost
    } else if says(&["noreply", "timeout", "timed out"]) {
        NoAnswer::Timeout
    } else {
        NoAnswer::Refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_bluez_are_understood() {
        let not_permitted = |text: &str| no_answer(&format!("MethodError(org.bluez.Error.NotPermitted, {text:?}, ..)"));
        // bluetoothd has one name for ATT 0x02, 0x03 (no) and for 0x05, 0x0c, 0x0f (not without a bond).
        assert_eq!(not_permitted("Not paired"), NoAnswer::Unauthorised);
        for no in ["Read not permitted", "Write not permitted", "Notify acquired"] {
            assert_eq!(not_permitted(no), NoAnswer::Refused, "{no}");
        }
        // ATT 0x08: an authorisation of its own kind, which no bond gives.
        assert_eq!(no_answer("org.bluez.Error.NotAuthorized: Operation Not Authorized"), NoAnswer::Refused);
        assert_eq!(no_answer("org.bluez.Error.Failed: Operation failed with ATT error: 0x0f"), NoAnswer::Unauthorised);
        assert_eq!(no_answer("org.bluez.Error.Failed: Operation failed with ATT error: 0x80"), NoAnswer::Refused);
        assert_eq!(no_answer("org.freedesktop.DBus.Error.NoReply"), NoAnswer::Timeout);
        assert_eq!(no_answer("org.bluez.Error.Failed: Not connected"), NoAnswer::Lost);
        assert_eq!(no_answer("org.bluez.Error.NotSupported"), NoAnswer::Refused);
    }
}
