//! What a start takes over from the journal: alerts, devices with who held them, what was learned of people. Pure but for
//! the clock.
//!
//! Promises: what was damaged is said by an alert, and gives nobody the past. Must never: let the configuration overwrite
//! what people said at run time.

use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use crate::alarm::{AlertEvent, Priority};
use crate::alert::{Engine, Input};
use crate::association::{Held, History};
use crate::clock::Clock;
use crate::config::{Config, DeviceSettings, SourceSettings};
use crate::intake::Intake;
use crate::intake::stream::Streams;
use crate::journal::{Recovered, Salvaged};
use crate::profile::{Catalogue, Decoder};

/// What a start begins with.
pub(super) struct Start {
    pub(super) core: Core,
    /// Alert events of the start itself, to be committed first.
    pub(super) ended: Vec<AlertEvent>,
    /// Devices that were added at run time.
    pub(super) devices: Vec<DeviceSettings>,
    /// Who holds which device by now, to be kept.
    pub(super) held: Vec<Held>,
}

/// Takes over what was before.
pub(super) fn recover(
    config: &Config,
    before: Recovered,
    clock: &Clock,
    catalogue: &Arc<Catalogue>,
    mut engine: Engine,
) -> Start {
    let (intake, held) = intake(config, &before, clock);
    let mut first = engine.restore(clock.now(), before.open_alerts, &before.recent);
    if let Some(Salvaged { readings, damaged, cut_short, kept, .. }) = before.salvaged {
        let more = if cut_short { ". Not all of it was searched: more readings may be in it" } else { "" };
        let text = format!(
            "The journal was damaged and has been salvaged: {readings} readings were kept, {damaged} of them damaged and set \
             aside. What is not among them may be lost. The damaged file is kept as {kept}{more}"
        );
        let name = "journal-salvaged";
        let salvaged = Input::Technical { name, active: true, priority: Priority::High, text: &text };
        first.extend(engine.step(clock.now(), salvaged));
    }
    let text = format!(
        "{} records about people are damaged and not in force: who held a device, who was matched, or what the centre \
         ordered. See `wardline assign DEVICE`, `patient list` and `thresholds`, and say it again (WL-J061)",
        before.people_damaged
    );
    // Over when all of it was said again.
    let active = before.people_damaged > 0;
    let damaged = Input::Technical { name: "journal-people-damaged", active, priority: Priority::High, text: &text };
    first.extend(engine.step(clock.now(), damaged));
    let streams = config.sources.iter().filter_map(|source| match source {
        SourceSettings::Bluetooth(b) => Some((Arc::from(&*b.name), Duration::from_secs(b.stream_period_s))),
        SourceSettings::Mqtt(_) => None,
    });
    let streams = Streams::new(streams.collect());
    let core = Core { decoder: Decoder::new(catalogue.clone()), intake, engine, streams };
    Start { core, ended: first, devices: before.devices, held }
}

/// Devices with who holds them, and what is new about that. What people said at run time stands before the configuration.
fn intake(config: &Config, before: &Recovered, clock: &Clock) -> (Intake, Vec<Held>) {
    let mut intake = Intake::new(config, before.run);
    // A clock that was not set yet must not date a hand-over before what is stored already.
    let at_ms = clock.now().wall_ms.max(before.newest_ms.unwrap_or(i64::MIN));
    let later = |d: &DeviceSettings| before.devices.iter().any(|b| b.id == d.id);
    let configured = config.devices.iter().filter(|d| !later(d)).map(|d| (d, "configuration"));
    let mut new = Vec::new();
    for (device, by) in configured.chain(before.devices.iter().map(|d| (d, "technician"))) {
        let past = before.held.iter().find(|h| h.device == device.id).map(|h| h.history.clone());
        let lost = before.salvaged.is_some() || before.held_lost.contains(&device.id);
        new.extend(match past {
            // Others may have had it before: what it stored is not taken for this patient's.
            None if lost => intake.take_over(&since_now(device, at_ms), History::default(), at_ms, by),
            past => intake.take_over(device, past.unwrap_or_default(), at_ms, by),
        });
    }
    before.recent.iter().for_each(|reading| intake.learn(reading));
    (intake, new)
}

/// Whoever has it now has it from now on, or from the hand-out that was said; not "ever".
fn since_now(device: &DeviceSettings, at_ms: i64) -> DeviceSettings {
    let now = jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default();
    let since = device.since.filter(|since| *since > jiff::Timestamp::UNIX_EPOCH).unwrap_or(now);
    DeviceSettings { since: Some(since), ..device.clone() }
}
