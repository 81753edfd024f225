//! One frame through decoding, intake and alerts: synchronous, no disk, no network, no clock.
//!
//! Promises: an alert is found and signalled before anything can block; whatever a frame holds, it becomes an
//! arrival to keep (readings, or a reject with its reason).

use crate::alarm::AlertEvent;
use crate::alert::{Engine, Input};
use crate::clock::Stamp;
use crate::intake::Intake;
use crate::intake::stream::Streams;
use crate::profile::{Decoded, Decoder};
use crate::reading::{Arrival, Delivery, Frame, Reject};

/// A payload longer than `limits::PAYLOAD_BYTES_MAX`: its beginning is kept.
const OVERSIZED: Reject = Reject::new("WL-D900", "the payload is longer than 64 KiB");

/// Everything that decides about a frame.
pub(super) struct Core {
    pub(super) decoder: Decoder,
    pub(super) intake: Intake,
    pub(super) engine: Engine,
    pub(super) streams: Streams,
}

/// What became of a frame.
pub(super) struct Look {
    pub(super) arrival: Arrival,
    /// It is part of a stream's period: the period is kept, this one frame is not.
    pub(super) gathered: bool,
    pub(super) events: Vec<AlertEvent>,
}

impl Core {
    /// The arrival to keep, and what the alert engine made of it.
    pub(super) fn take(&mut self, frame: Frame, now: Stamp) -> Look {
        let decoded = match frame.delivery {
            Delivery::Cut { .. } => Err(OVERSIZED),
            Delivery::Live | Delivery::Waited => self.decoder.decode(&frame),
        };
        let decoded = match decoded {
            Ok(decoded) => decoded,
            Err(reject) => {
                let arrival = Arrival { frame, undated: false, outcome: Err(reject) };
                return Look { arrival, gathered: false, events: Vec::new() };
            }
        };
        let stream = decoded.stream;
        let (arrival, events) = self.understood(frame, decoded, now);
        let mine = stream && self.is_owed(&arrival);
        let gathered = mine && self.streams.gather(&arrival.frame, arrival.outcome.as_deref().unwrap_or_default());
        // The value that an alert is about is kept, and delivered, by itself too.
        Look { gathered: gathered && events.is_empty(), arrival, events }
    }

    /// A frame that a fresh decoder understands by now. `None`: still not.
    pub(super) fn retake(
        &mut self,
        decoder: &mut Decoder,
        frame: Frame,
        now: Stamp,
    ) -> Option<(Arrival, Vec<AlertEvent>)> {
        let decoded = decoder.decode(&frame).ok()?;
        Some(self.understood(frame, decoded, now))
    }

    /// Whether an arrival holds readings of a device that is known here.
    pub(super) fn is_owed(&self, arrival: &Arrival) -> bool {
        let readings = arrival.outcome.as_deref().unwrap_or_default();
        readings.iter().any(|r| self.intake.knows(&r.device))
    }

    fn understood(&mut self, frame: Frame, decoded: Decoded, now: Stamp) -> (Arrival, Vec<AlertEvent>) {
        let taken = self.intake.take(&frame, decoded);
        let mut events = Vec::new();
        for reading in &taken.readings {
            events.append(&mut self.engine.step(now, Input::Reading(reading)));
        }
        (Arrival { frame, undated: taken.undated, outcome: Ok(taken.readings) }, events)
    }
}
