//! Alert event to `ORU^R40^ORU_R40` in the layout of IHE PCD-04: one group of OBX segments, a facet of the alert in each.
//!
//! Which codes the facets have differs between public examples, so they are settings. Must never: attach the reading of
//! another patient, or of nobody.

use std::sync::Arc;

use super::Message;
use super::codes::unit;
use super::envelope::{Kind, Sender, Subject, alert_control_id};
use super::oru::own_code;
use super::write::{Segment, components, composite, date_time, text};
use crate::alarm::{AlertEvent, Condition, Happened, Priority};
use crate::clock::Stamp;
use crate::demographics::Demographics;
use crate::reading::Reading;
use crate::vital::Role;

const KIND: Kind = Kind { name: "ORU^R40^ORU_R40", alert: true };
/// Where an alert stands below its source.
const PLACE: &str = "1.0.0.1";

/// Codes of an alert's facets: `68481^MDC_ATTR_EVENT_PHASE^MDC`.
#[derive(Clone, Debug)]
pub struct Facets {
    /// The event, `.1`, and what the order is for.
    pub event: String,
    /// The source of the alert, `.2`, where no value is its source.
    pub source: String,
    /// `.3`: start, update, end.
    pub phase: String,
    /// `.4`: active, latched, inactive.
    pub state: String,
    /// `.5`: enabled, or that somebody has taken it.
    pub inactivation: String,
    /// `.6`: PH, PM, PL.
    pub priority: String,
    /// `.7`: SP, ST, SA.
    pub kind: String,
}

/// The event with the readings at hand, its evidence among them; `person` as in a message with readings.
pub fn write(
    event: &AlertEvent,
    readings: &[Arc<Reading>],
    (sender, facets): (&Sender, &Facets),
    person: Option<&Demographics>,
    now_ms: i64,
) -> Message {
    let alert = &event.alert;
    let order = sender.entity(&alert.id.0);
    let mut body = String::with_capacity(1_200);
    Segment::new("OBR")
        .set(1, "1")
        .set(2, order.as_str())
        .set(3, order)
        .set(4, composite(&facets.event))
        .set(7, moment(alert.raised))
        .end(&mut body);
    let priority = match alert.priority {
        Priority::High => "PH",
        Priority::Medium => "PM",
        Priority::Low => "PL",
    };
    let kind = match alert.condition {
        Condition::Limit | Condition::Unconfirmed => "SP",
        Condition::Retrospective => "SA",
        Condition::Technical => "ST",
    };
    let device = alert.device.as_ref().map(|d| sender.device(d)).unwrap_or_else(|| sender.entity(&sender.gateway));
    let mut rows = Rows { number: 0, time: moment(event.at), device, out: &mut body };
    // The rule by its name, and what a care manager reads.
    let words =
        if alert.taken_back.is_some() { format!("Entered in error: {}", alert.text) } else { alert.text.clone() };
    let said = [composite(&facets.event), components(&[&alert.rule, &words, "L"])].join("^");
    rows.row(1, "CWE", &facets.event, |s| s.set(5, said).set(8, format!("{priority}~{kind}")));
    source(event, readings, sender, facets, &mut rows);
    let phase = match event.happened {
        Happened::Raised => "start",
        Happened::Acknowledged => "update",
        Happened::Resolved | Happened::TakenBack => "end",
    };
    let state = match (alert.resolved.is_some(), alert.acknowledged.is_some() || alert.taken_back.is_some()) {
        (false, _) => "active",
        // It signals until somebody takes it.
        (true, false) => "latched",
        (true, true) => "inactive",
    };
    let taken = if alert.acknowledged.is_some() { "alert-acknowledged" } else { "enabled" };
    let rest = [&facets.phase, &facets.state, &facets.inactivation, &facets.priority, &facets.kind];
    for (n, (code, value)) in rest.into_iter().zip([phase, state, taken, priority, kind]).enumerate() {
        rows.row(n + 3, "ST", code, |s| s.set(5, value));
    }
    let subject = alert.patient.as_ref().map(|patient| Subject { patient, person });
    sender.message(&KIND, alert_control_id(event), now_ms, subject, &body)
}

/// Empty where our clock was not set then: no time is better than a wrong one.
fn moment(at: Stamp) -> String {
    if at.trusted { date_time(at.wall_ms, true) } else { String::new() }
}

struct Rows<'a> {
    number: usize,
    time: String,
    device: String,
    out: &'a mut String,
}

impl Rows<'_> {
    fn row(&mut self, facet: usize, kind: &str, code: &str, rest: impl FnOnce(Segment) -> Segment) {
        self.coded(facet, kind, composite(code), rest);
    }

    fn coded(&mut self, facet: usize, kind: &str, code: String, rest: impl FnOnce(Segment) -> Segment) {
        self.number += 1;
        let row = Segment::new("OBX").set(1, self.number.to_string()).set(2, kind).set(3, code);
        let row = row.set(4, format!("{PLACE}.{facet}")).set(11, "R").set(14, self.time.as_str());
        rest(row.set(18, self.device.as_str())).end(self.out);
    }
}

/// The value that raised it, where there is one; else only whose it is.
fn source(event: &AlertEvent, readings: &[Arc<Reading>], sender: &Sender, facets: &Facets, rows: &mut Rows<'_>) {
    let alert = &event.alert;
    let ours = |r: &&Arc<Reading>| alert.evidence.contains(&r.key) && r.patient.is_some() && r.patient == alert.patient;
    let last = readings.iter().filter(ours).max_by_key(|r| r.taken.at_ms);
    let found = last.and_then(|reading| {
        let (n, from) = reading.number(Role::Value)?;
        let (n, of) = reading.vital.deliverable(n, from)?;
        Some((own_code(reading, sender.codes)?, n.to_string(), unit(reading.vital, of, sender.units)))
    });
    match found {
        Some((code, value, unit)) => rows.coded(2, "NM", code, |s| s.set(5, value).set(6, unit)),
        None => {
            let of = alert.vital.map_or("", |v| v.name);
            rows.row(2, "ST", &facets.source, |s| s.set(5, text(of)));
        }
    }
}
