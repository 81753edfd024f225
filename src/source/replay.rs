//! A capture as a source: what a device sent, sent again, from a device that nobody has.
//!
//! Promises: what is handed on is what the Bluetooth source would hand on: values that the plan reads or subscribes to, and
//! broadcasts that a profile hears; without a plan everything, so that it is seen why nothing fits.
//! Must never: be given to a gateway that has other sources; the throw-away one of `gateway/replay.rs` has none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::sim::{Emission, Feed};
use crate::capture::{Capture, Kind, Line};
use crate::limits::BLE_BROADCAST_SAME;
use crate::profile::schema::Step;
use crate::profile::{Catalogue, Plan, told};
use crate::reading::{DeviceId, Path};

/// The device of a replay: its address is one of those that are kept for documents.
pub const DEVICE: &str = "ble:00:00:5E:00:53:01";

/// How far a replay is.
#[derive(Debug, Default)]
pub struct Progress {
    kept: AtomicUsize,
}

impl Progress {
    /// Frames that are synced to disk.
    pub fn kept(&self) -> usize {
        self.kept.load(Ordering::Acquire)
    }
}

/// The frames of a capture, in order.
pub struct Replay {
    frames: std::vec::IntoIter<Emission>,
    speed: u32,
    progress: Arc<Progress>,
}

impl Replay {
    /// So many times as fast as it was recorded.
    pub fn new(frames: Vec<Emission>, speed: u32) -> (Self, Arc<Progress>) {
        let progress = Arc::<Progress>::default();
        (Self { frames: frames.into_iter(), speed: speed.max(1), progress: progress.clone() }, progress)
    }
}

impl Feed for Replay {
    fn next(&mut self) -> Option<Emission> {
        let mut frame = self.frames.next()?;
        frame.after /= self.speed;
        Some(frame)
    }

    fn kept(&mut self, _ticket: u64) {
        self.progress.kept.fetch_add(1, Ordering::AcqRel);
    }
}

/// What of a capture reaches the pipeline.
pub fn frames(capture: &Capture, catalogue: &Catalogue) -> Vec<Emission> {
    let name = told_of(capture, catalogue);
    let mut wanted = Wanted { plan: None, name: name.clone() };
    let mut broadcasts: BTreeMap<&str, (&[u8], u64)> = BTreeMap::new();
    let device = || DeviceId(DEVICE.into());
    let mut frames = Vec::new();
    for line in &capture.lines {
        let mut emit = |path, bytes: &[u8]| {
            frames.push(Emission { after: Duration::from_millis(line.ms), path, bytes: Bytes::copy_from_slice(bytes) });
        };
        match line.kind {
            Kind::Connected => wanted.connected(line, catalogue),
            Kind::Heard => {
                for (service, data) in line.service_data.iter().filter(|(service, _)| catalogue.hears(service)) {
                    let before = broadcasts.insert(service, (&data.0, line.ms));
                    let again = before.is_some_and(|(same, at)| {
                        same == data.0 && Duration::from_millis(line.ms - at) < BLE_BROADCAST_SAME
                    });
                    if !again {
                        emit(Path::Advertisement { device: device(), service: service.as_str().into() }, &data.0);
                    }
                }
            }
            _ => {
                let (Some(uuid), Some(value)) = (&line.characteristic, &line.hex) else { continue };
                if line.is_value() && wanted.wants(line.kind, uuid) {
                    let path =
                        Path::Characteristic { device: device(), uuid: uuid.as_str().into(), name: name.clone() };
                    emit(path, &value.0);
                }
            }
        }
    }
    frames
}

/// What profiles match on: the name, and the firmware where they are told apart by it.
fn told_of(capture: &Capture, catalogue: &Catalogue) -> Option<Arc<str>> {
    let name = capture.name()?;
    let mut told_it =
        capture.lines.iter().filter(|l| l.kind == Kind::Read && l.characteristic.as_deref() == Some("2A26"));
    let octets = told_it.find_map(|l| l.hex.as_ref()).filter(|_| catalogue.asks_firmware(name));
    Some(octets.map_or_else(|| name.into(), |octets| told(name, &String::from_utf8_lossy(&octets.0))))
}

/// What the source hands on of a connection.
struct Wanted {
    plan: Option<Plan>,
    name: Option<Arc<str>>,
}

impl Wanted {
    fn connected(&mut self, line: &Line, catalogue: &Catalogue) {
        let service = |offer: &String| offer.split_once('/').map(|(service, _)| service.to_owned());
        let services: BTreeSet<String> = line.offers.iter().filter_map(service).collect();
        self.plan = catalogue.plan(self.name.as_deref(), &services).ok();
    }

    fn wants(&self, kind: Kind, uuid: &str) -> bool {
        let Some(plan) = &self.plan else { return true };
        let asks = |step: &Step| matches!(step, Step::History { characteristic, .. } if characteristic == uuid);
        plan.steps.iter().any(|step| match step {
            Step::Read { characteristic } => kind == Kind::Read && characteristic == uuid,
            Step::Subscribe { characteristic, .. } => kind != Kind::Read && characteristic == uuid,
            _ => false,
        }) && !plan.steps.iter().any(asks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &str) -> Vec<(String, usize)> {
        let head = r#"{"wardline_capture":1,"wardline":"0.1.0","started":"2026-11-28T19:00"}"#;
        let capture = crate::capture::read(format!("{head}\n{lines}").as_bytes()).unwrap();
        let frames = frames(&capture, &Catalogue::built_in());
        frames.iter().map(|f| (f.path.channel().to_owned(), f.bytes.len())).collect()
    }

    #[test]
    fn what_the_plan_does_not_ask_for_is_not_handed_on() {
        let lines = r#"{"ms":1,"kind":"connected","offers":["1808/2A18","1808/2A52","180F/2A19"]}
            {"ms":2,"kind":"read","service":"180F","characteristic":"2A19","hex":"57"}
            {"ms":3,"kind":"notification","service":"1808","characteristic":"2A18","hex":"0000"}
            {"ms":4,"kind":"read","service":"180A","characteristic":"2A25"}
            {"ms":5,"kind":"indication","service":"1808","characteristic":"2A52","hex":"06000101"}"#;
        assert_eq!(of(lines), [("2A18".into(), 2)]);
    }

    #[test]
    fn without_a_plan_all_is_handed_on() {
        let lines = r#"{"ms":1,"kind":"connected","name":"Strange","offers":["FFE0/FFE1"]}
            {"ms":3,"kind":"notification","service":"FFE0","characteristic":"FFE1","hex":"aa55"}"#;
        assert_eq!(of(lines), [("FFE1".into(), 2)]);
    }

    #[test]
    fn a_broadcast_that_is_repeated_is_one() {
        let heard = |ms: u64, hex: &str| {
            format!("{{\"ms\":{ms},\"kind\":\"heard\",\"service_data\":{{\"FCD2\":\"{hex}\"}}}}\n")
        };
        let lines = [heard(0, "40065e1f"), heard(5_000, "40065e1f"), heard(9_000, "4006681f")].concat();
        assert_eq!(of(&lines).len(), 2);
    }
}
