//! The Bluetooth source, wired: which devices are known, what the journal vouches for, how people see the radio.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use jiff::tz::TimeZone;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::Tasks;
use super::pipeline::Technical;
use super::start::Links;
use super::users::Users;
use crate::alarm::Priority;
use crate::capture::{self, Head};
use crate::clock::{Clock, Stamp};
use crate::config::{Config, DeviceSettings, SourceSettings};
use crate::control::radio::{self, Pairing, Peripheral, RadioState};
use crate::control::users::Slot;
use crate::control::{self, Fault};
use crate::custody::Why;
use crate::fault::Explain;
use crate::journal::Journal;
use crate::limits;
use crate::nameplate::Nameplates;
use crate::profile::Catalogue;
use crate::reading::{DeviceId, Frame};
use crate::source::ble::pairing::{NotNow, Reply, Stage, Window};
use crate::source::ble::{
    self, DeviceFault, DeviceHealth, Forget, Known, Memory, Noticed, RadioFault, RadioView, Setup, Tap, UserFault,
};
use crate::user_code::UserCode;

/// What others are given of it.
pub(super) struct Radio {
    /// Where devices are added that join at run time.
    pub(super) known: watch::Sender<Arc<Known>>,
    /// What people see; `None`: there is no Bluetooth source.
    pub(super) view: Option<Arc<dyn radio::Radio>>,
}

/// Starts the source, if the configuration has one.
pub(super) fn start(
    config: &Config,
    catalogue: &Arc<Catalogue>,
    clock: &Clock,
    frames: &mpsc::Sender<Frame>,
    stop: &CancellationToken,
    (links, tasks): (&mut Links, &mut Tasks),
    (journal, later, plates): (&Journal, &[DeviceSettings], &Nameplates),
) -> Radio {
    let mut devices = Known::new();
    // What was set at run time stands before the configuration.
    for device in config.devices.iter().chain(later) {
        devices.extend(entry(device));
    }
    let known = watch::Sender::new(Arc::new(devices));
    let settings = config.sources.iter().find_map(|s| match s {
        SourceSettings::Bluetooth(settings) => Some(settings),
        SourceSettings::Mqtt(_) => None,
    });
    let Some(settings) = settings else { return Radio { known, view: None } };
    let view = watch::Sender::new(Arc::<RadioView>::default());
    let seen = view.subscribe();
    let zone = TimeZone::get(&config.gateway.time_zone).unwrap_or(TimeZone::UTC);
    let window = Arc::new(Window::default());
    let (forget, forgotten) = mpsc::channel(limits::ORDERS_WAITING_MAX);
    let tap = Arc::<Tap>::default();
    let users = Users::new(journal, !config.journal.unencrypted, clock);
    let (here, ways) = (zone.clone(), (forgotten, tap.clone(), users.watch()));
    let setup = Setup::new(settings, zone, catalogue.clone(), known.subscribe(), view, window.clone(), ways);
    let port = links.source(settings.name.as_str().into(), "bluetooth", frames, clock, stop, tasks);
    let memory = memory(config, journal).telling(plates.clone());
    let (told, found) = (seen.clone(), links.found.clone());
    tasks.spawn(async move {
        tell(told, found).await;
        Ok(())
    });
    let (view, follower) = (seen.clone(), users.clone());
    tasks.spawn(async move {
        follower.follow(view).await;
        Ok(())
    });
    tasks.spawn(async move { ble::run(setup, memory, port).await.map_err(|e| super::start::failed("bluetooth", &e)) });
    Radio { known, view: Some(Arc::new(View { seen, window, forget, tap, users, zone: here, clock: clock.clone() })) }
}

/// What a person must see to, by name: a bond that is lost, a user's code that is refused, records that were never seen here.
fn conditions(view: &RadioView) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for device in &view.devices {
        if device.trouble == Some(DeviceFault::BondLost) {
            let text = "it has forgotten this box: pair it again (WL-S064)";
            all.insert(format!("bond-lost:{}", device.id), text.to_owned());
        }
        if view.held.contains(&device.id) {
            let fault = RadioFault::Held;
            all.insert(format!("connection-held:{}", device.id), format!("{fault} ({})", fault.code()));
        }
        for fault in &device.users.faults {
            if let UserFault::Refused(slot) = fault {
                all.insert(format!("user-code-refused:{}:{slot}", device.id), format!("{fault} ({})", fault.code()));
            }
        }
        for Noticed { gap, at_ms } in &device.gaps {
            all.insert(format!("records-missing:{}:{at_ms}", device.id), format!("{gap} ({})", gap.code()));
        }
    }
    all
}

/// Each is a technical alert from its begin to its end.
async fn tell(mut seen: watch::Receiver<Arc<RadioView>>, found: mpsc::Sender<Technical>) {
    let mut before = BTreeMap::new();
    loop {
        let now = conditions(&seen.borrow_and_update());
        let began = now.iter().filter(|(name, _)| !before.contains_key(*name)).map(|c| (c, true));
        let ended = before.iter().filter(|(name, _)| !now.contains_key(*name)).map(|c| (c, false));
        for ((name, text), active) in began.chain(ended) {
            let (name, text) = (name.as_str().into(), text.clone());
            let condition = Technical { name, active, priority: Priority::Medium, text };
            if found.send(condition).await.is_err() {
                return;
            }
        }
        before = now;
        tokio::select! {
            changed = seen.changed() => if changed.is_err() { return },
            () = found.closed() => return,
        }
    }
}

/// A Bluetooth device with the zone of its clock.
fn entry(device: &DeviceSettings) -> Option<(DeviceId, Option<String>)> {
    device.id.0.starts_with("ble:").then(|| (device.id.clone(), device.time_zone.clone()))
}

/// A device joined, or was changed.
pub(super) fn know(known: &watch::Sender<Arc<Known>>, device: &DeviceSettings) {
    let Some((id, zone)) = entry(device) else { return };
    known.send_modify(|all| {
        Arc::make_mut(all).insert(id, zone);
    });
}

/// Where histories stand, as far as the journal has the records: it may have been restored, salvaged or begun anew.
fn memory(config: &Config, journal: &Journal) -> Memory {
    let folder = &config.gateway.state;
    let reader = journal.reader();
    let sequences = |id: &DeviceId| -> BTreeSet<u64> {
        let found = reader.readings(Some(&id.0), None, limits::READINGS_LISTED_MAX).unwrap_or_default();
        found.iter().filter_map(|entry| entry.reading.sequence).collect()
    };
    Memory::open(folder, |id, sequence| sequences(id).contains(&u64::from(sequence)))
}

struct View {
    seen: watch::Receiver<Arc<RadioView>>,
    window: Arc<Window>,
    forget: mpsc::Sender<Forget>,
    tap: Arc<Tap>,
    users: Arc<Users>,
    zone: TimeZone,
    clock: Clock,
}

fn ms(stamp: Stamp) -> i64 {
    stamp.wall_ms
}

impl radio::Radio for View {
    fn state(&self) -> RadioState {
        let view = self.seen.borrow().clone();
        let [scan_restarts, adapter_restarts, rebuilds] = view.restarts;
        RadioState {
            adapter: view.adapter.clone(),
            heard_ms: view.heard.map(ms),
            scan_restarts,
            adapter_restarts,
            rebuilds,
            devices: view.devices.iter().map(peripheral).collect(),
        }
    }

    fn strangers(&self) -> Vec<radio::Stranger> {
        let view = self.seen.borrow().clone();
        let stranger = |s: &ble::Stranger| radio::Stranger {
            id: s.id.clone(),
            name: s.name.clone(),
            rssi: s.rssi,
            seen_ms: ms(s.seen),
            profiles: s.profiles.clone(),
        };
        view.strangers.iter().map(stranger).collect()
    }

    fn pair(&self, device: DeviceId) -> Result<(), Fault> {
        self.window.open(device).map_err(not_now)
    }

    fn pairing(&self) -> Option<Pairing> {
        let (device, stage) = self.window.state()?;
        let (word, passkey, why) = match stage {
            Stage::Waiting => ("waiting", None, None),
            Stage::Talking => ("talking", None, None),
            Stage::Enter => ("enter", None, None),
            Stage::Show(passkey) => ("show", Some(passkey), None),
            Stage::Compare(passkey) => ("compare", Some(passkey), None),
            Stage::Paired => ("paired", None, None),
            Stage::Failed(why) => ("failed", None, Some(why)),
        };
        let seen = self.seen.borrow();
        let known = seen.devices.iter().find(|d| d.id.0.eq_ignore_ascii_case(&device.0));
        let steps = known.map(|d| d.instructions.clone()).unwrap_or_default();
        Some(Pairing { device, stage: word.into(), passkey: passkey.map(|key| format!("{key:06}")), why, steps })
    }

    fn reply(&self, reply: radio::Reply) -> Result<(), Fault> {
        let reply = match reply {
            radio::Reply { passkey: Some(passkey), same: None } => Reply::Passkey(passkey),
            radio::Reply { passkey: None, same: Some(same) } => Reply::Same(same),
            radio::Reply { .. } => return Err(Fault::Malformed("a reply is `passkey` or `same`".into())),
        };
        self.window.reply(reply).map_err(not_now)
    }

    fn cancel(&self) {
        self.window.close();
    }

    fn forget(&self, device: DeviceId) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            let (answer, done) = oneshot::channel();
            self.forget.try_send((device, answer)).map_err(|_| Fault::Busy)?;
            done.await.map_err(|_| Fault::Busy)?.map_err(|why| Fault::Refused(format!("BlueZ says {why}")))
        })
    }

    fn users(&self, device: &DeviceId) -> control::users::Users {
        let view = self.seen.borrow();
        self.users.of(device, view.devices.iter().find(|d| d.id == *device))
    }

    fn give_code(&self, slot: Slot, code: UserCode, by: String) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(self.users.give(slot, code, by))
    }

    fn forget_code(&self, slot: Slot, by: String) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(self.users.forget(slot, by))
    }

    fn record(&self, device: DeviceId, length: Duration) -> Result<BoxStream<'static, String>, Fault> {
        let view = self.seen.borrow().clone();
        let found = view.devices.iter().find(|d| d.id.0.eq_ignore_ascii_case(&device.0));
        let found = found.ok_or(Fault::Missing("Bluetooth device here: `wardline devices add` makes it known"))?;
        // To the hour: when exactly a person measured is nobody's business who looks for a defect.
        let started = self.clock.now().timestamp().to_zoned(self.zone.clone()).strftime("%Y-%m-%dT%H:00").to_string();
        let head = Head {
            wardline_capture: capture::FORMAT,
            wardline: env!("CARGO_PKG_VERSION").into(),
            profiles: found.profiles.iter().map(ToString::to_string).collect(),
            started,
        };
        let recording = self.tap.open(found.id.clone(), length);
        let recording = recording.ok_or_else(|| Fault::Refused("another recording is being made".into()))?;
        let lines = stream::unfold(recording, async |mut r| r.next().await.map(|line| (line, r)));
        Ok(stream::once(std::future::ready(head.to_json())).chain(lines).boxed())
    }
}

fn not_now(why: NotNow) -> Fault {
    Fault::Refused(match why {
        NotNow::Busy => "another device is being paired".into(),
        NotNow::NotAsked => "nothing of this kind is asked now".into(),
    })
}

fn peripheral(d: &DeviceHealth) -> Peripheral {
    Peripheral {
        id: d.id.clone(),
        state: d.phase.word().into(),
        rssi: d.rssi,
        trend: d.habits.trend().map(|trend| trend.word().into()),
        heard_every_ms: d.habits.every.and_then(|every| u64::try_from(every.as_millis()).ok()),
        comes_every_s: d.habits.comes.map(|comes| comes.as_secs()),
        seen_ms: d.seen.map(ms),
        answered_ms: d.answered.map(ms),
        connections: d.connections,
        failures: d.failures,
        values: d.values,
        battery: d.battery,
        maker: d.says.manufacturer.clone(),
        model: d.says.model.clone(),
        firmware: d.says.firmware.clone(),
        hardware: d.says.hardware.clone(),
        software: d.says.software.clone(),
        profiles: d.profiles.clone(),
        paired: d.paired,
        clock_ahead_s: d.clock.map(|(ahead, _)| ahead),
        why: d.why().map(|t| Why::new(t.code, &*t.sentence)),
        gaps: d.gaps.iter().map(|n| Why::new(n.gap.code(), n.gap.to_string())).collect(),
        users: super::users::faults(d),
    }
}
