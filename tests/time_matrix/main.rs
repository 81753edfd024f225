//! When a reading was taken: every state of the device's clock, of ours, and every way in which a value comes (X13).
//!
//! Each row has a truth that the code does not know. What must hold of every row is asserted here; the rows themselves are
//! the table of `docs/time.md`, which must be what the code does (`TIME_MATRIX=write` writes it).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods
)]

use std::fmt::Write as _;
use std::path::Path as File;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use wardline::alarm::Condition;
use wardline::alert::ruleset::Rules;
use wardline::alert::{Engine, Input};
use wardline::clock::Stamp;
use wardline::config::Config;
use wardline::fhir::{Identity, Scope, write_observation};
use wardline::intake::Intake;
use wardline::profile::Decoded;
use wardline::reading::{
    ClockPair, Clocks, Delivery, DeviceId, DeviceTime, Draft, Frame, Part, Path, Quality, Reading, Redelivery,
    TimeMethod, Value,
};
use wardline::unit::Unit;
use wardline::vital::{Role, Vital};

mod calendar;
mod ours;

/// 2026-11-22T10:00:00Z, a Sunday in winter time.
const NOW: i64 = 1_795_341_600_000;
const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// What is believed without question: people set clocks by eye.
const BY_EYE: i64 = 5 * MINUTE;

/// A device's clock, by how far it is behind the truth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Clock {
    Right,
    Behind(i64, &'static str),
    /// It began anew two hours ago, at this instant.
    Reset(i64, &'static str),
    /// It tells no time.
    None,
}

const CLOCKS: [Clock; 12] = [
    Clock::Right,
    Clock::Behind(2 * MINUTE, "2 min behind"),
    Clock::Behind(HOUR, "1 h behind (zone)"),
    Clock::Behind(-HOUR, "1 h ahead (zone)"),
    Clock::Behind(3 * DAY, "3 days behind"),
    Clock::Reset(1_767_225_600_000, "reset to 2026"),
    Clock::Reset(1_577_836_800_000, "reset to 2020"),
    Clock::Reset(1_420_070_400_000, "reset to 2015"),
    Clock::Reset(946_684_800_000, "reset to 2000"),
    Clock::Reset(0, "ticks since its start"),
    Clock::Behind(-70 * 365 * DAY, "in the year 2096"),
    Clock::None,
];

impl Clock {
    fn name(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Behind(_, name) | Self::Reset(_, name) => name,
            Self::None => "none",
        }
    }

    /// What it shows at a moment, seen at `now`.
    fn shows(self, at: i64, now: i64) -> Option<i64> {
        match self {
            Self::Right => Some(at),
            Self::Behind(by, _) => Some(at - by),
            Self::Reset(from, _) => Some(from + at - (now - 2 * HOUR)),
            Self::None => None,
        }
    }

    /// Off by more than anybody would take for a late value.
    fn is_absurd(self) -> bool {
        matches!(self, Self::Reset(..)) || matches!(self, Self::Behind(by, _) if by < 0)
    }
}

/// How a value comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Came {
    /// MQTT, when it was measured.
    Live,
    /// The same again: the third time in three minutes that it is off by as much.
    LiveThird,
    /// The same message, sent again by the broker.
    Redelivered,
    /// MQTT, by an uploader that had no network for three days.
    Late,
    /// The same, where it was late before, with a clock that was right.
    LateAgain,
    /// It waited at the broker for a day.
    Waited,
    /// A stream or a broadcast.
    Stream,
    /// Bluetooth, just measured, of a device whose clock cannot be read.
    Notified,
    /// Bluetooth, just measured; the clock was read.
    NotifiedAsked,
    /// From a memory, one hour old.
    Stored,
    /// The same; the record before was taken two days ago, when the clock was right.
    StoredAfter,
    /// From a memory; the clock was read, for the first time.
    StoredAsked,
    /// The same; the clock was read before, two days ago, and was right then.
    StoredAskedAgain,
}

const WAYS: [Came; 13] = [
    Came::Live,
    Came::LiveThird,
    Came::Redelivered,
    Came::Late,
    Came::LateAgain,
    Came::Waited,
    Came::Stream,
    Came::Notified,
    Came::NotifiedAsked,
    Came::Stored,
    Came::StoredAfter,
    Came::StoredAsked,
    Came::StoredAskedAgain,
];

impl Came {
    fn name(self) -> &'static str {
        match self {
            Self::Live => "MQTT, live",
            Self::LiveThird => "MQTT, live, third time",
            Self::Redelivered => "MQTT, redelivered",
            Self::Late => "MQTT, uploaded 3 days later",
            Self::LateAgain => "the same, late before",
            Self::Waited => "waited at the broker, 1 day",
            Self::Stream => "stream, broadcast",
            Self::Notified => "Bluetooth, live",
            Self::NotifiedAsked => "Bluetooth, live, clock read",
            Self::Stored => "memory, 1 h old",
            Self::StoredAfter => "the same, after a later number's time",
            Self::StoredAsked => "the same, clock read",
            Self::StoredAskedAgain => "the same, clock read, right 2 days ago",
        }
    }

    fn age(self) -> i64 {
        match self {
            Self::Late | Self::LateAgain => 3 * DAY,
            Self::Waited => DAY,
            _ if self.is_stored() => HOUR,
            Self::Notified | Self::NotifiedAsked => 30 * SECOND,
            _ => 2 * SECOND,
        }
    }

    fn is_stored(self) -> bool {
        matches!(self, Self::Stored | Self::StoredAfter | Self::StoredAsked | Self::StoredAskedAgain)
    }

    fn is_mqtt(self) -> bool {
        matches!(self, Self::Live | Self::LiveThird | Self::Redelivered | Self::Late | Self::LateAgain | Self::Waited)
    }

    fn is_asked(self) -> bool {
        matches!(self, Self::NotifiedAsked | Self::StoredAsked | Self::StoredAskedAgain)
    }

    fn is_old(self) -> bool {
        self.age() > 15 * MINUTE
    }
}

/// Our clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ours {
    Right,
    /// The box has just started and asked nobody yet.
    Unset,
    /// The same, with the time of two hours ago: a file had it from before the power cut.
    Stale,
}

struct Bench {
    intake: Intake,
    ours: Ours,
    came: Came,
    ticket: u64,
}

impl Bench {
    fn new(came: Came, ours: Ours) -> Self {
        let text = "[gateway]\nid='box'\nstate='/nowhere'\ntime_zone='Europe/Berlin'\n\
                    [[device]]\nid='ble:1'\npatient='Patient/a'\n[[device]]\nid='mqtt:1'\npatient='Patient/a'\n";
        let config: Config = toml::from_str(text).unwrap();
        Self { intake: Intake::new(&config, 1), ours, came, ticket: 0 }
    }

    fn stamp(&self, now: i64) -> Stamp {
        match self.ours {
            Ours::Right => Stamp::at_ms(now),
            Ours::Unset => Stamp { wall_ms: 25 * SECOND, mono_us: 25_000_000, boot: 1, trusted: false },
            Ours::Stale => Stamp { wall_ms: NOW - 2 * HOUR, ..Self::new(self.came, Ours::Unset).stamp(now) },
        }
    }

    fn civil(at: i64) -> jiff::civil::DateTime {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        Timestamp::from_millisecond(at).unwrap().to_zoned(berlin).datetime()
    }

    fn time(&self, at: i64) -> DeviceTime {
        match self.came.is_mqtt() {
            true => DeviceTime::Instant(Timestamp::from_millisecond(at).unwrap()),
            false => DeviceTime::Civil(Self::civil(at)),
        }
    }

    fn take(&mut self, time: Option<DeviceTime>, stored: bool, now: i64, clocks: Option<Clocks>, dup: bool) -> Reading {
        self.take_at(self.stamp(now), time, stored, clocks, dup)
    }

    fn take_at(
        &mut self,
        received: Stamp,
        time: Option<DeviceTime>,
        stored: bool,
        clocks: Option<Clocks>,
        dup: bool,
    ) -> Reading {
        if !dup {
            self.ticket += 1;
        }
        let part = |role, value: &str| Part {
            role,
            value: Value::Number(value.parse().unwrap()),
            unit: Unit::parse("mm[Hg]").unwrap(),
        };
        let draft = Draft {
            vital: Vital::parse("blood-pressure").unwrap(),
            parts: vec![part(Role::Systolic, "220"), part(Role::Diastolic, "80")],
            slot: None,
            sequence: Some(self.ticket),
            device_time: time,
            quality: vec![],
            site: None,
            stored,
        };
        let device = DeviceId(if self.came.is_mqtt() { "mqtt:1" } else { "ble:1" }.into());
        let path = match self.came {
            c if c.is_mqtt() => Path::Topic("vitals/1".into()),
            Came::Stream => Path::Advertisement { device: device.clone(), service: "FCD2".into() },
            _ => Path::Characteristic { device: device.clone(), uuid: "2A35".into(), name: None },
        };
        let marks = Redelivery { dup, packet_id: 7, connection: 1, count: self.ticket };
        let frame = Frame {
            path,
            ticket: self.ticket,
            redelivery: self.came.is_mqtt().then_some(marks),
            delivery: if self.came == Came::Waited { Delivery::Waited } else { Delivery::Live },
            clocks: clocks.map(Arc::new),
            ..Frame::new("home", "x", received)
        };
        let decoded = Decoded { device, profile: "p".into(), drafts: vec![draft], stream: self.came == Came::Stream };
        self.intake.take(&frame, decoded).readings.remove(0)
    }

    /// What becomes of a value of this clock; what came before it is in the way it came.
    fn row(clock: Clock, came: Came, ours: Ours) -> Reading {
        let mut bench = Self::new(came, ours);
        let says = |bench: &Self, at: i64, now: i64| clock.shows(at, now).map(|shown| bench.time(shown));
        match came {
            Came::LiveThird => {
                for before in [6 * MINUTE, 3 * MINUTE] {
                    // The clock runs on: it does not begin anew for each.
                    let shown = clock.shows(NOW - before - came.age(), NOW).map(|shown| bench.time(shown));
                    bench.take(shown, false, NOW - before, None, false);
                }
            }
            Came::LateAgain => {
                let right = bench.time(NOW - 2 * DAY);
                bench.take(Some(right), false, NOW - DAY, None, false);
            }
            Came::StoredAfter | Came::StoredAskedAgain => {
                let right = bench.time(NOW - 2 * DAY - MINUTE);
                bench.take(Some(right), true, NOW - 2 * DAY, None, false);
            }
            Came::Redelivered => {
                let shown = says(&bench, NOW - came.age(), NOW);
                let first = bench.take(shown, false, NOW, None, false);
                let again = bench.take(shown, false, NOW + 40 * SECOND, None, true);
                assert_eq!(first.key, again.key, "{clock:?}: it is the same reading");
                return first;
            }
            _ => {}
        }
        let clocks = clock.shows(NOW - 5 * SECOND, NOW).filter(|_| came.is_asked()).map(|shown| Clocks {
            now: ClockPair {
                device: Self::civil(shown),
                box_ms: bench.stamp(NOW - 5 * SECOND).wall_ms,
                trusted: ours == Ours::Right,
            },
            before: (came == Came::StoredAskedAgain).then(|| ClockPair {
                device: Self::civil(NOW - 2 * DAY),
                box_ms: NOW - 2 * DAY,
                trusted: true,
            }),
        });
        let shown = says(&bench, NOW - came.age(), NOW);
        bench.take(shown, came.is_stored(), NOW, clocks, false)
    }
}

/// Whether its extreme value pages as now.
fn pages(reading: &Reading) -> bool {
    let rule = "[[rule]]\nid='sys'\ntitle='t'\nvital='blood-pressure'\nrole='systolic'\nabove=180\nunit='mm[Hg]'\n\
                clear_below=170\npriority='high'\n";
    let rules = Rules::parse(&[(File::new("test.toml"), rule)], &[]).unwrap();
    let mut engine = Engine::new(rules, Duration::from_secs(15 * 60));
    let events = engine.step(reading.taken.received, Input::Reading(reading));
    assert_eq!(events.len(), 1, "an extreme value is never silent");
    match events[0].alert.condition {
        Condition::Limit => true,
        Condition::Retrospective => false,
        other => panic!("{other:?}"),
    }
}

/// `effectiveDateTime` of its Observation. `None`: it is not sent.
fn effective(reading: &Reading) -> Option<String> {
    let scope = Scope::new("box");
    let mut json = Vec::new();
    write_observation(reading, &scope, &Identity::of(reading).unwrap(), None, &mut json).ok()?;
    let observation: serde_json::Value = serde_json::from_slice(&json).unwrap();
    Some(observation["effectiveDateTime"].as_str().unwrap().to_owned())
}

fn doubtful(reading: &Reading) -> bool {
    reading.labels().contains(&Quality::TimeDoubtful)
}

fn length(ms: u32) -> String {
    match i64::from(ms) {
        _ if ms == u32::MAX => "unknown".into(),
        ms if ms >= DAY => format!("{} d", (ms + DAY / 2) / DAY),
        ms if ms >= HOUR => format!("{} h", (ms + HOUR / 2) / HOUR),
        ms if ms >= 2 * MINUTE => format!("{} min", (ms + MINUTE / 2) / MINUTE),
        ms => format!("{} s", (ms + SECOND / 2) / SECOND),
    }
}

fn method(method: TimeMethod) -> &'static str {
    match method {
        TimeMethod::DeviceInstant => "its instant",
        TimeMethod::DeviceCivil => "its local time",
        TimeMethod::DeviceCorrected => "its time, corrected",
        TimeMethod::Received => "receipt",
        TimeMethod::Pending => "receipt, once our clock is set",
        TimeMethod::Unchecked => "its word, once our clock is set",
        TimeMethod::Unresolved => "none",
    }
}

fn line(first: &str, came: &str, reading: &Reading) -> String {
    let said = match reading.taken.device {
        Some(DeviceTime::Instant(t)) => t.strftime("%Y-%m-%dT%H:%MZ").to_string(),
        Some(DeviceTime::Civil(t)) => t.strftime("%Y-%m-%dT%H:%M").to_string(),
        None => "–".into(),
    };
    let taken = &reading.taken;
    let uncertain = taken.known_ms().map_or("–".into(), |_| length(taken.uncertainty_ms));
    let (label, page) = (if doubtful(reading) { "doubtful" } else { "" }, if pages(reading) { "now" } else { "past" });
    let effective = effective(reading).unwrap_or_else(|| "not sent".into());
    format!("| {first} | {came} | {said} | {effective} | {uncertain} | {} | {label} | {page} |\n", method(taken.method))
}

/// What nobody can know from one value: a clock that is wrong by a time that could be the value's age.
fn is_unknowable(clock: Clock, came: Came) -> bool {
    let Clock::Behind(by, _) = clock else {
        // This January is no longer ago than what a memory may hold.
        return clock.name() == "reset to 2026" && matches!(came, Came::Notified | Came::Stored | Came::Waited);
    };
    let late = by > BY_EYE && !came.is_asked();
    // Ahead by no more than the value's age.
    let hidden = by < 0 && -by <= came.age() + BY_EYE && !came.is_asked();
    (late && !matches!(came, Came::Stream | Came::LiveThird)) || hidden
}

/// The instant of a clock's face in a zone.
fn ms(face: jiff::civil::DateTime, zone: &str) -> i64 {
    face.in_tz(zone).unwrap().timestamp().as_millisecond()
}

/// What must hold whatever the row is.
fn judge(clock: Clock, came: Came, ours: Ours, reading: &Reading) {
    let row = format!("{} / {} / {ours:?}: {:?} {:?}", clock.name(), came.name(), reading.taken, reading.quality);
    let taken = &reading.taken;
    let (truth, knowable) = (NOW - came.age(), !is_unknowable(clock, came));
    assert_eq!(taken.device.is_some(), clock != Clock::None, "the device's word is kept: {row}");
    assert_eq!(effective(reading).is_some(), taken.known_ms().is_some(), "{row}");
    assert!(
        ours == Ours::Right || effective(reading).is_none(),
        "nothing is sent that no clock of ours was held against: {row}"
    );
    if let Some(at) = taken.at_ms.filter(|_| ours == Ours::Right && knowable && clock != Clock::None) {
        let allowed = i64::from(taken.uncertainty_ms).max(if doubtful(reading) { MINUTE } else { BY_EYE });
        assert!(
            (at - truth).abs() <= allowed || taken.uncertainty_ms == u32::MAX,
            "the truth is in the interval: {row}"
        );
    }
    // The pair is of the setting of the clock under which the value was measured: by it anybody finds the truth.
    let corrected = taken.method == TimeMethod::DeviceCorrected;
    assert!(reading.clocks.is_some() || !corrected, "it was corrected by a pair: {row}");
    if let (Some(pair), Some(DeviceTime::Civil(said))) = (reading.clocks.as_deref(), taken.device) {
        let by_pair = pair.box_ms + (ms(said, "UTC") - ms(pair.device, "UTC"));
        assert!((by_pair - truth).abs() <= MINUTE, "{} s off by the pair: {row}", (by_pair - truth) / SECOND);
    }
    if came.is_stored() {
        assert!(!matches!(taken.method, TimeMethod::Received | TimeMethod::Pending), "never by its receipt: {row}");
        assert!(!pages(reading), "{row}");
    }
    if came == Came::Waited {
        assert!(!pages(reading), "{row}");
    }
    // A wrong clock must not silence; and what may be old pages only where nothing tells that it may be.
    let unproven = came == Came::Late && (clock.is_absurd() || clock == Clock::None);
    if came.is_old()
        && ours == Ours::Right
        && knowable
        && !unproven
        && !(came == Came::LateAgain && clock == Clock::None)
    {
        assert!(!pages(reading), "what is old pages as now: {row}");
    }
    if !came.is_old() && knowable {
        assert!(pages(reading), "what is now does not page: {row}");
    }
    let off = clock.shows(truth, NOW).map_or(0, |shown| (shown - truth).abs());
    if off > 26 * HOUR && knowable && ours == Ours::Right && !came.is_asked() {
        assert!(doubtful(reading), "a clock that is far off is said: {row}");
    }
}

const HEAD: &str = "| device's clock | how it came | it said | `effectiveDateTime` | ± | by | label | pages as |\n\
                    |---|---|---|---|---|---|---|---|\n";

/// Whether there is such a row: what needs our clock to have been right before is not there without it.
fn exists(clock: Clock, came: Came, ours: Ours) -> bool {
    let needs_ours = came.is_asked() || matches!(came, Came::LiveThird | Came::LateAgain | Came::StoredAfter);
    (ours == Ours::Right || !needs_ours) && (clock != Clock::None || !came.is_asked())
}

fn matrix() -> String {
    let mut page = format!("### Our clock is right: 2026-11-22T10:00:00Z\n\n{HEAD}");
    for (clock, came) in CLOCKS.into_iter().flat_map(|clock| WAYS.map(|came| (clock, came))) {
        if exists(clock, came, Ours::Right) {
            let reading = Bench::row(clock, came, Ours::Right);
            page += &line(clock.name(), came.name(), &reading);
            judge(clock, came, Ours::Right, &reading);
        }
    }
    page
}

#[tokio::test]
async fn every_clock_in_every_way_is_resolved_as_docs_time_md_says() {
    let mut page = String::new();
    write!(page, "{}{}{}{}", matrix(), ours::not_set().await, ours::set_anew(), calendar::rows()).unwrap();
    let file = File::new(env!("CARGO_MANIFEST_DIR")).join("docs/time.md");
    let text = std::fs::read_to_string(&file).unwrap();
    let (begin, end) = ("<!-- matrix -->\n", "<!-- end -->\n");
    let (head, rest) = text.split_once(begin).unwrap();
    let (there, tail) = rest.split_once(end).unwrap();
    if std::env::var("TIME_MATRIX").is_ok_and(|v| v == "write") {
        std::fs::write(&file, format!("{head}{begin}{page}{end}{tail}")).unwrap();
        return;
    }
    for (found, expected) in page.lines().zip(there.lines()) {
        assert_eq!(found, expected, "docs/time.md (`TIME_MATRIX=write` writes it anew)");
    }
    assert_eq!(page.lines().count(), there.lines().count());
}
