//! The tap: what one known device sends is written down beside its way, while a person records it.
//!
//! Promises: nothing is done while nobody records; a recording ends by its time, its size, or because nobody takes it away,
//! and says which; the device and its readings never wait for it. The lock is held for moments only.
//! Must never: write an address, a serial number or a person down ([`Mask`]).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::bus::Sighting;
use super::session::{NoAnswer, Offer, Operation};
use crate::capture::{Kind, Line, Mask};
use crate::limits::{CAPTURE_BYTES_MAX, CAPTURE_LINES_MAX, CAPTURE_SAME_HEARD, CAPTURE_WAITING_MAX};
use crate::profile::Catalogue;
use crate::reading::DeviceId;

/// Room for head and end.
const SPARE_LINES: usize = 2;
const SPARE_BYTES: usize = 8 * 1_024;

/// What is being recorded, if anything is.
#[derive(Default)]
pub struct Tap {
    on: AtomicBool,
    open: Mutex<Option<Open>>,
}

struct Open {
    device: DeviceId,
    mask: Mask,
    began: Instant,
    lines: mpsc::Sender<String>,
    why: Arc<OnceLock<&'static str>>,
    lines_left: usize,
    bytes_left: usize,
    /// The newest advertisement, without time and strength.
    heard: Option<(Line, Instant)>,
}

/// A recording, for the one who asked for it. Dropped: it ends.
pub struct Recording {
    tap: Arc<Tap>,
    lines: mpsc::Receiver<String>,
    why: Arc<OnceLock<&'static str>>,
    began: Instant,
    until: Instant,
    over: bool,
}

impl Tap {
    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to record this device; `None`: somebody records already.
    pub fn open(self: &Arc<Self>, device: DeviceId, length: Duration) -> Option<Recording> {
        let mut open = self.lock();
        if open.is_some() {
            return None;
        }
        let (lines, taken) = mpsc::channel(CAPTURE_WAITING_MAX);
        let (why, began) = (Arc::<OnceLock<_>>::default(), Instant::now());
        *open = Some(Open {
            mask: Mask::new(super::peers::address(&device)),
            device,
            began,
            lines,
            why: why.clone(),
            lines_left: CAPTURE_LINES_MAX - SPARE_LINES,
            bytes_left: CAPTURE_BYTES_MAX - SPARE_BYTES,
            heard: None,
        });
        self.on.store(true, Ordering::Release);
        Some(Recording { tap: self.clone(), lines: taken, why, began, until: began + length, over: false })
    }

    /// Ends what is recorded.
    pub(super) fn close(&self, why: &'static str) {
        self.end(&mut self.lock(), why);
    }

    /// Under the lock: whoever opens the next one comes after.
    fn end(&self, place: &mut Option<Open>, why: &'static str) {
        if let Some(open) = place.take() {
            let _ = open.why.set(why);
        }
        self.on.store(false, Ordering::Release);
    }

    /// Writes a line down, if this device is recorded.
    fn note(&self, device: &DeviceId, line: impl FnOnce(&mut Open) -> Option<Line>) {
        if !self.on.load(Ordering::Acquire) {
            return;
        }
        let mut place = self.lock();
        let Some(open) = place.as_mut().filter(|open| open.device == *device) else { return };
        let Some(mut line) = line(open) else { return };
        line.ms = u64::try_from(open.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let text = line.to_json();
        let room = open.lines_left > 0 && open.bytes_left >= text.len();
        (open.lines_left, open.bytes_left) =
            (open.lines_left.saturating_sub(1), open.bytes_left.saturating_sub(text.len()));
        let ends = match room.then(|| open.lines.try_send(text)) {
            Some(Ok(())) => return,
            Some(Err(_)) => "it was not taken away fast enough",
            None => "it is as large as it may be",
        };
        self.end(&mut place, ends);
    }

    /// An advertisement. The same again is written down now and then only.
    pub(super) fn heard(&self, device: &DeviceId, sighting: &Sighting, catalogue: &Catalogue) {
        if sighting.rssi.is_none() && sighting.data.is_empty() && sighting.manufacturer.is_empty() {
            return;
        }
        self.note(device, |open| {
            let name = sighting.name.as_deref().map(|name| open.mask.name(name, catalogue.model_part(name)));
            let data = |all: &[(String, bytes::Bytes)], mask: &Mask| {
                all.iter().map(|(of, octets)| (of.clone(), mask.octets(octets))).collect()
            };
            let line = Line {
                name,
                services: sighting.services.clone().unwrap_or_default(),
                service_data: data(&sighting.data, &open.mask),
                manufacturer_data: data(&sighting.manufacturer, &open.mask),
                ..Line::new(Kind::Heard)
            };
            let now = Instant::now();
            let same = open
                .heard
                .as_ref()
                .is_some_and(|(before, at)| *before == line && now.saturating_duration_since(*at) < CAPTURE_SAME_HEARD);
            if same {
                return None;
            }
            open.heard = Some((line.clone(), now));
            Some(Line { rssi: sighting.rssi, ..line })
        });
    }
}

/// One connection's end of the tap.
#[derive(Clone)]
pub(super) struct Ear {
    tap: Arc<Tap>,
    device: DeviceId,
}

impl Ear {
    pub(super) fn new(tap: &Arc<Tap>, device: &DeviceId) -> Self {
        Self { tap: tap.clone(), device: device.clone() }
    }

    /// Connected: what it offers, and the profiles that plan the connection.
    pub(super) fn connected(&self, name: Option<&str>, offers: &[Offer], profiles: &[Arc<str>], catalogue: &Catalogue) {
        self.tap.note(&self.device, |open| {
            Some(Line {
                name: name.map(|name| open.mask.name(name, catalogue.model_part(name))),
                offers: offers.iter().map(|o| format!("{}/{}", o.service, o.uuid)).collect(),
                profiles: profiles.iter().map(ToString::to_string).collect(),
                ..Line::new(Kind::Connected)
            })
        });
    }

    /// Let go, with the code of what went wrong.
    pub(super) fn disconnected(&self, why: Option<&str>) {
        self.tap.note(&self.device, |_| Some(Line { why: why.map(Into::into), ..Line::new(Kind::Disconnected) }));
    }

    /// A value came by itself.
    pub(super) fn value(&self, offer: &Offer, confirmed: bool, bytes: &[u8]) {
        let kind = if confirmed { Kind::Indication } else { Kind::Notification };
        self.octets(kind, offer, bytes);
    }

    /// Something is asked of it.
    pub(super) fn asked(&self, offer: &Offer, operation: &Operation) {
        match operation {
            // Written down with its answer.
            Operation::Read => {}
            Operation::Subscribe => self.tap.note(&self.device, |_| Some(at(Kind::Subscribe, offer))),
            Operation::Write(octets) => self.octets(Kind::Write, offer, octets),
            // Withheld, whatever a profile takes for the control point.
            Operation::Consent(_) => self.tap.note(&self.device, |_| Some(at(Kind::Write, offer))),
        }
    }

    /// What it answered.
    pub(super) fn answered(&self, offer: &Offer, read: bool, answer: &Result<Vec<u8>, NoAnswer>) {
        match answer {
            Ok(octets) if read => self.octets(Kind::Read, offer, octets),
            Ok(_) => {}
            Err(why) => self.tap.note(&self.device, |_| {
                Some(Line { why: Some(format!("{why:?}").to_lowercase()), ..at(Kind::Failed, offer) })
            }),
        }
    }

    fn octets(&self, kind: Kind, offer: &Offer, octets: &[u8]) {
        self.tap.note(&self.device, |open| {
            Some(Line { hex: open.mask.value(&offer.service, &offer.uuid, octets), ..at(kind, offer) })
        });
    }
}

fn at(kind: Kind, offer: &Offer) -> Line {
    Line { service: Some(offer.service.clone()), characteristic: Some(offer.uuid.clone()), ..Line::new(kind) }
}

impl Recording {
    /// The next line; after the last one, which says why it ended, nothing.
    pub async fn next(&mut self) -> Option<String> {
        if self.over {
            return None;
        }
        if let Ok(Some(line)) = tokio::time::timeout_at(self.until, self.lines.recv()).await {
            return Some(line);
        }
        self.over = true;
        let why = self.why.get().copied().unwrap_or("its time is over");
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Some(Line::end(ms, why).to_json())
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // Another one may have been opened since this one was closed.
        let mut place = self.tap.lock();
        if place.as_ref().is_some_and(|open| Arc::ptr_eq(&open.why, &self.why)) {
            self.tap.end(&mut place, "nobody takes it any more");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::CHARACTERISTIC_BYTES_MAX;

    fn id(text: &str) -> DeviceId {
        DeviceId(text.into())
    }

    fn offer() -> Offer {
        Offer { service: "1810".into(), uuid: "2A35".into(), reads: false }
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_device_that_was_asked_for_is_recorded_and_one_at_a_time() {
        let tap = Arc::<Tap>::default();
        let mut first = tap.open(id("ble:A"), Duration::from_secs(60)).unwrap();
        assert!(tap.open(id("ble:B"), Duration::from_secs(60)).is_none());
        Ear::new(&tap, &id("ble:B")).disconnected(None);
        Ear::new(&tap, &id("ble:A")).value(&offer(), true, &[1, 2]);
        let line = first.next().await.unwrap();
        assert!(line.contains("\"indication\"") && line.contains("\"0102\""), "{line}");
        assert!(first.next().await.unwrap().contains("its time is over"));
        assert!(first.next().await.is_none());
        drop(first);
        let second = tap.open(id("ble:B"), Duration::from_secs(60)).unwrap();
        tap.close("the gateway stops");
        drop(second);
        assert!(!tap.on.load(Ordering::Acquire));
    }

    #[tokio::test(start_paused = true)]
    async fn a_recording_that_is_not_taken_away_ends_and_nobody_waits() {
        let tap = Arc::<Tap>::default();
        let mut slow = tap.open(id("ble:A"), Duration::from_secs(60)).unwrap();
        let ear = Ear::new(&tap, &id("ble:A"));
        for _ in 0..2 * CAPTURE_WAITING_MAX {
            ear.value(&offer(), false, &[0; 20]);
        }
        let mut last = String::new();
        while let Some(line) = slow.next().await {
            last = line;
        }
        assert!(last.contains("not taken away"), "{last}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_recording_ends_before_it_is_too_large_to_be_read() {
        let tap = Arc::<Tap>::default();
        let mut recording = tap.open(id("ble:A"), Duration::from_secs(60)).unwrap();
        let ear = Ear::new(&tap, &id("ble:A"));
        let head = crate::capture::Head {
            wardline_capture: crate::capture::FORMAT,
            wardline: "0.1.0".into(),
            profiles: Vec::new(),
            started: "2026-11-28T19:00".into(),
        };
        let mut file = head.to_json();
        while let Some(line) = {
            ear.value(&offer(), false, &[0xff; CHARACTERISTIC_BYTES_MAX + 1]);
            recording.next().await
        } {
            file.push_str(&line);
        }
        let capture = crate::capture::read(file.as_bytes()).unwrap();
        let end = capture.lines.last().unwrap();
        assert_eq!(end.why.as_deref(), Some("it is as large as it may be"));
    }
}
