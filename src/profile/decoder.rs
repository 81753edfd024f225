//! Frames to drafts. Remembers what some encodings need across frames, and what it found out about topics.
//!
//! Must never: grow with what strangers send. Every memory here has a bound, and forgetting it costs no reading.

use std::collections::HashMap;
use std::sync::Arc;

use super::catalogue::{Catalogue, Rule};
use super::compile::{Bound, Bytes};
use super::memory::Memory;
use super::reject;
use super::table::Table;
use super::topic::is_device_id;
use crate::limits::{DEVICE_IDS_CACHED_MAX, PAYLOAD_BYTES_MAX};
use crate::reading::{DeviceId, Draft, Frame, Path, Quality, Reject, Value};
use crate::unit::Unit;

/// What a frame says.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// Which device: from the link, the topic, or the payload.
    pub device: DeviceId,
    /// Id of the profile that matched.
    pub profile: Arc<str>,
    /// Its readings to be; empty for device information and the like.
    pub drafts: Vec<Draft>,
    /// Values of a stream.
    pub stream: bool,
}

/// Decodes frames, with the memory that some encodings need.
pub struct Decoder {
    catalogue: Arc<Catalogue>,
    /// Topics seen, with what they led to.
    topics: HashMap<Arc<str>, (Rule, Option<DeviceId>)>,
    /// Ids seen in payloads.
    ids: HashMap<Box<str>, DeviceId>,
    memory: Memory,
}

impl Decoder {
    /// A decoder for these profiles.
    pub fn new(catalogue: Arc<Catalogue>) -> Self {
        Self { catalogue, topics: HashMap::new(), ids: HashMap::new(), memory: Memory::default() }
    }

    /// Decodes one frame.
    pub fn decode(&mut self, frame: &Frame) -> Result<Decoded, Reject> {
        if frame.bytes.len() > PAYLOAD_BYTES_MAX {
            return Err(reject::TOO_LARGE);
        }
        let (at, device) = match &frame.path {
            Path::Topic(topic) => self.route(topic)?,
            Path::Characteristic { device, uuid, name } => {
                (self.catalogue.by_characteristic(uuid, name.as_deref())?, Some(device.clone()))
            }
            Path::Advertisement { device, service } => {
                (self.catalogue.by_advertisement(service)?, Some(device.clone()))
            }
        };
        // The catalogue is shared, so that it can be borrowed beside the memory.
        let catalogue = Arc::clone(&self.catalogue);
        let (profile, rule) = catalogue.rule(at).ok_or(reject::NO_PROFILE)?;
        let (device, mut drafts) = match &rule.bytes {
            Bytes::Message(table) => self.message(table, &frame.bytes, device)?,
            Bytes::Binary(table) => (device.ok_or(reject::NO_DEVICE)?, table.drafts(&frame.bytes)?),
            Bytes::Codec { codec, quirk, hold_for_context } => {
                let device = device.ok_or(reject::NO_DEVICE)?;
                let mut drafts = Vec::new();
                for bytes in self.memory.frames(&device, codec, *quirk, &frame.bytes)? {
                    let record = codec.decode(&bytes, *quirk)?;
                    drafts.extend(self.memory.after(&device, codec, &record, &bytes, *hold_for_context)?);
                }
                (device, drafts)
            }
        };
        if let Some(window) = rule.repeats
            && self.memory.is_repeated(&device, &drafts, frame.received, window)
        {
            drafts.clear();
        }
        mark_implausible(&mut drafts, &profile.bounds);
        Ok(Decoded { device, profile: Arc::clone(&profile.id), drafts, stream: rule.stream })
    }

    /// The rule of a topic and its device. Remembered, so that a topic is matched once.
    fn route(&mut self, topic: &Arc<str>) -> Result<(Rule, Option<DeviceId>), Reject> {
        if let Some((at, device)) = self.topics.get(topic) {
            return Ok((*at, device.clone()));
        }
        let (at, id) = self.catalogue.by_topic(topic)?;
        let device = match id {
            "" => None,
            id if is_device_id(id) => Some(DeviceId(format!("mqtt:{id}").into())),
            _ => return Err(reject::NO_DEVICE),
        };
        if self.topics.len() >= DEVICE_IDS_CACHED_MAX {
            self.topics.clear();
        }
        self.topics.insert(Arc::clone(topic), (at, device.clone()));
        Ok((at, device))
    }

    fn message(
        &mut self,
        table: &Table,
        bytes: &[u8],
        device: Option<DeviceId>,
    ) -> Result<(DeviceId, Vec<Draft>), Reject> {
        let slots = table.read(bytes)?;
        let device = match device {
            Some(device) => device,
            None => self.device(table.device(&slots).filter(|id| is_device_id(id)).ok_or(reject::NO_DEVICE)?),
        };
        Ok((device, table.drafts(&slots)?))
    }

    /// How much is kept ready.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.topics.len().max(self.ids.len())
    }

    fn device(&mut self, id: &str) -> DeviceId {
        if let Some(device) = self.ids.get(id) {
            return device.clone();
        }
        if self.ids.len() >= DEVICE_IDS_CACHED_MAX {
            self.ids.clear();
        }
        let device = DeviceId(format!("mqtt:{id}").into());
        self.ids.insert(id.into(), device.clone());
        device
    }
}

/// Bounds of the profile, narrower than those of the table of vitals.
fn mark_implausible(drafts: &mut [Draft], bounds: &[Bound]) {
    for bound in bounds {
        for draft in drafts.iter_mut().filter(|d| d.vital == bound.vital) {
            let outside = draft.parts.iter().filter(|p| p.role == bound.role).any(|p| match p.value {
                Value::Number(n) => {
                    let order = |limit| Unit::compare(n, p.unit, limit, bound.unit);
                    order(bound.min).is_some_and(std::cmp::Ordering::is_lt)
                        || order(bound.max).is_some_and(std::cmp::Ordering::is_gt)
                }
                Value::Absent(_) => false,
            });
            if outside && !draft.quality.contains(&Quality::Implausible) {
                draft.quality.push(Quality::Implausible);
            }
        }
    }
}
