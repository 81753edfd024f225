//! Readings to `ORU^R01^ORU_R01`, version 2.6, in the layout of IHE PCD-01: one order (OBR) for each reading, with the
//! containment MDS.VMD.CHAN.METRIC in OBX-4.
//!
//! Rules: `docs/decisions/0050-hl7-messages.md`. Promises: decimals as the device gave them; mandatory conversions only.
//! Must never: give a value that the device called invalid, or leave a doubtful value without its flag.

use super::codes::{code, specialisation, unit};
use super::envelope::{Kind, Order, Sender, Subject, control_id};
use super::labels::Labels;
use super::write::{Segment, components, date_time, formatted};
use super::{Message, Unmappable};
use crate::amendment;
use crate::decimal::Decimal;
use crate::demographics::Demographics;
use crate::reading::{Absence, Part, Reading, TimeMethod, Value};
use crate::unit::{Dimension, Unit};
use crate::vital::status::{CARBOHYDRATE, EXERCISE, MEDICATION};
use crate::vital::{Component, Loinc, Mdc, Role, Status};

const KIND: Kind = Kind { name: "ORU^R01^ORU_R01", alert: false };
/// Where a single number, and a panel, stand below their device.
const SINGLE: &str = "1.0.0.1";
const PANEL: &str = "1.0.1";
/// Where the status bits stand, beside either.
const STATUS: &str = "1.0.0.2";
/// What was typed in beside it, counted.
const CONTEXT: &str = "1.0.0.3";

/// A message with these readings, all of the first one's patient, whom the receiver finds by `person` if it asks for that.
pub fn write(
    readings: &[&Reading],
    sender: &Sender,
    person: Option<&Demographics>,
    now_ms: i64,
) -> Result<Message, Unmappable> {
    let id = control_id(readings)?;
    let patient = readings.first().and_then(|r| r.patient.as_ref()).ok_or(Unmappable::Unassigned)?;
    let mut body = String::with_capacity(readings.len().saturating_mul(700));
    for (n, reading) in readings.iter().enumerate() {
        if reading.patient.as_ref() != Some(patient) {
            return Err(Unmappable::Unassigned);
        }
        order(reading, n + 1, sender, &mut body)?;
    }
    Ok(sender.message(&KIND, id, now_ms, Some(Subject { patient, person }), &body))
}

/// OBR with its OBX and NTE segments.
fn order(reading: &Reading, number: usize, sender: &Sender, out: &mut String) -> Result<(), Unmappable> {
    let at = reading.taken.known_ms().ok_or(Unmappable::Undated)?;
    let end = reading.lasted_ms().and_then(|lasted| at.checked_add(lasted));
    // What is counted over a time that its code names ends when it is read.
    let counted = reading.vital.lasts_ms().and_then(|lasts| at.checked_sub(lasts));
    let exact = end.is_some() || is_exact(reading);
    let filler = sender.entity(&reading.known_as().to_string());
    let device = specialisation(reading.vital).map(|(code, name)| [code.to_string(), name.to_owned(), "MDC".into()]);
    let service = match &device {
        Some([code, name, system]) => components(&[code, name, system]),
        None => components(&["182777000", "monitoring of patient", "SCT"]),
    };
    Segment::new("OBR")
        .set(1, number.to_string())
        .set(2, filler.as_str())
        .set(3, filler)
        .set(4, service)
        .set(7, date_time(counted.unwrap_or(at), exact))
        .set(8, end.or(counted.map(|_| at)).map(|end| date_time(end, exact)).unwrap_or_default())
        .end(out);
    let labels = Labels::of(&reading.labels());
    let mut rows =
        Rows { reading, sender, labels: &labels, time: date_time(at, exact), number: 0, mean: end.is_some(), out };
    rows.device(device);
    match reading.vital.components {
        [only] => {
            rows.metric(own_code(reading, sender.codes), reading.parts.iter().find(|p| p.role == only.role), SINGLE)?
        }
        _ => rows.panel()?,
    }
    rows.statuses();
    rows.context();
    rows.notes();
    Ok(())
}

/// Milliseconds only where the device stated them: the time of receipt is not known that well.
fn is_exact(reading: &Reading) -> bool {
    let stated = reading.taken.at_ms.is_some_and(|at| at % 1_000 != 0);
    (reading.taken.method == TimeMethod::DeviceInstant && stated) || reading.taken.uncertainty_ms < 1_000
}

/// The vital's own code: by moles where the unit counts moles, with the site's MDC where a temperature has one.
pub(super) fn own_code(reading: &Reading, first: Order) -> Option<String> {
    let (mdc, loinc) = own_codes(reading);
    code(mdc, loinc, first)
}

fn own_codes(reading: &Reading) -> (Option<Mdc>, Option<Loinc>) {
    let vital = reading.vital;
    let loinc = vital.loinc_for(reading.is_by_moles());
    let temperature = vital.first_unit().is_some_and(|u| u.dimension() == Dimension::Temperature);
    let site = reading.site.filter(|_| temperature).and_then(|s| s.temperature_mdc);
    (site.or(vital.mdc), loinc.first().copied())
}

/// The OBX segments of one order.
struct Rows<'a> {
    reading: &'a Reading,
    sender: &'a Sender,
    labels: &'a Labels,
    time: String,
    number: usize,
    /// The numbers are means of a period.
    mean: bool,
    out: &'a mut String,
}

impl Rows<'_> {
    fn next(&mut self) -> Segment {
        self.number += 1;
        Segment::new("OBX").set(1, self.number.to_string())
    }

    /// The device that measured.
    fn device(&mut self, kind: Option<[String; 3]>) {
        let kind = match &kind {
            Some([code, name, system]) => components(&[code, name, system]),
            // An agent that is not told more exactly.
            None => components(&["65573", "MDC_MOC_VMS_MDS_SIMP", "MDC"]),
        };
        let equipment = self.sender.device(&self.reading.device);
        self.next().set(3, kind).set(4, "1").set(11, "X").set(18, equipment).end(self.out);
    }

    /// The panel's own row, and a row for each component that has a number or is asked for in any case.
    fn panel(&mut self) -> Result<(), Unmappable> {
        let code = own_code(self.reading, self.sender.codes).ok_or(Unmappable::Uncoded)?;
        let time = self.time.clone();
        self.next().set(3, code).set(4, PANEL).set(11, "X").set(14, time).end(self.out);
        for (n, row) in self.reading.vital.components.iter().enumerate() {
            let part = self.reading.parts.iter().find(|p| p.role == row.role);
            if row.required || self.reading.number(row.role).is_some() {
                self.metric(component_code(row, self.sender.codes), part, &format!("{PANEL}.{}", n + 1))?;
            }
        }
        Ok(())
    }

    /// One number, or the flag that says why there is none.
    fn metric(&mut self, code: Option<String>, part: Option<&Part>, place: &str) -> Result<(), Unmappable> {
        let code = code.ok_or(Unmappable::Uncoded)?;
        let (reading, sender, labels) = (self.reading, self.sender, self.labels);
        let (number, absent) = match part.map(|p| (p.value, p.unit)) {
            _ if labels.invalid => (None, Some(Absence::Error)),
            Some((Value::Number(n), from)) => {
                let deliverable: (Decimal, Unit) = reading.vital.deliverable(n, from).ok_or(Unmappable::Unit)?;
                (Some(deliverable), None)
            }
            Some((Value::Absent(why), _)) => (None, Some(why)),
            None => (None, Some(Absence::Unknown)),
        };
        let (kind, value) = match (number, labels.comparator) {
            (Some((n, _)), Some(beyond)) => ("SN", format!("{beyond}^{n}")),
            (Some((n, _)), None) => ("NM", n.to_string()),
            (None, _) => ("NM", String::new()),
        };
        let site = reading.site.and_then(|s| s.snomed).map(|(code, name)| components(&[code, name, "SCT"]));
        let status = match number {
            // As posted, but wrong: of another patient, perhaps.
            _ if reading.is_withdrawal() => "W",
            Some(_) => sender.status,
            None => "X",
        };
        let time = self.time.clone();
        let mean = if self.mean { components(&["average", "Average of the period", "L"]) } else { String::new() };
        self.next()
            .set(2, kind)
            .set(3, code)
            .set(4, place)
            .set(5, value)
            .set(6, number.map(|(_, u)| unit(reading.vital, u, sender.units)).unwrap_or_default())
            .set(8, labels.flags(absent))
            .set(11, status)
            .set(14, time)
            .set(17, mean)
            .set(18, sender.device(&reading.device))
            .set(20, site.unwrap_or_default())
            .end(self.out);
        Ok(())
    }

    /// Status bits that the device set: those of one field in one row, `1^irregular-pulse(2)~…`.
    fn statuses(&mut self) {
        let mut bits = self.reading.statuses().filter(|status| status.is_bit()).peekable();
        let Some(of) = bits.peek().map(|status| status.of) else { return };
        let bits = bits.filter(|status| status.of == of).map(|status| {
            let bit = status.code.rsplit_once('.').map_or("", |(_, bit)| bit);
            components(&["1", &format!("{}({bit})", status.display)])
        });
        let bits = bits.collect::<Vec<_>>().join("~");
        self.said(("CWE", mdc(of), STATUS), bits, String::new());
    }

    /// What a person typed in beside a glucose: coded fields, then amounts, which have the code of what they are of.
    fn context(&mut self) {
        let reading = self.reading;
        let coded: Vec<Status> = reading.statuses().filter(|status| !status.is_bit()).collect();
        let name = |status: &Status| components(&[status.code, status.display, "MDC"]);
        let mut place = 0;
        let mut next = || {
            place += 1;
            format!("{CONTEXT}.{place}")
        };
        for status in &coded {
            self.said(("CWE", mdc(status.of), &next()), name(status), String::new());
        }
        for part in &reading.parts {
            let kind = |of: Mdc| coded.iter().find(|status| status.of == of).map_or_else(|| mdc(of), name);
            let code = match part.role {
                Role::Carbohydrate => kind(CARBOHYDRATE),
                Role::Medication => kind(MEDICATION),
                Role::Exercise => mdc(EXERCISE),
                Role::Exercised => components(&["exercise-duration", "Duration of exercise", "L"]),
                _ => continue,
            };
            let Some((n, from)) = part.number() else { continue };
            self.said(("NM", code, &next()), n.to_string(), unit(reading.vital, from, self.sender.units));
        }
    }

    /// A row beside the measurement.
    fn said(&mut self, (kind, code, place): (&str, String, &str), value: String, unit: String) {
        let (time, equipment) = (self.time.clone(), self.sender.device(&self.reading.device));
        let status = if self.reading.is_withdrawal() { "W" } else { self.sender.status };
        self.next()
            .set(2, kind)
            .set(3, code)
            .set(4, place)
            .set(5, value)
            .set(6, unit)
            .set(11, status)
            .set(14, time)
            .set(18, equipment)
            .end(self.out);
    }

    /// What a person must know about the numbers.
    fn notes(&mut self) {
        let statistics = self.statistics();
        // Not which one: it may stand in another patient's chart.
        let correction = self.reading.amendment.as_ref().map(|a| match a.kind {
            amendment::Kind::Withdrawal => "Entered in error: this measurement is withdrawn.",
            amendment::Kind::Replacement => "Stands in the place of a measurement that was withdrawn.",
        });
        let fixed = correction.into_iter().chain(self.labels.notes().iter().copied());
        let notes = fixed.map(str::to_owned).chain(statistics);
        for (n, note) in notes.enumerate() {
            Segment::new("NTE").set(1, (n + 1).to_string()).set(2, "L").set(3, formatted(&note)).end(self.out);
        }
    }

    /// `Mean of 60 values, lowest 58 /min, highest 91 /min.`
    fn statistics(&self) -> Option<String> {
        let (count, _) = self.reading.number(Role::Count)?;
        let extreme = |role, word| {
            let (n, from) = self.reading.number(role)?;
            let (n, unit) = self.reading.vital.deliverable(n, from)?;
            Some(format!(", {word} {n} {}", unit.ucum()))
        };
        let lowest = extreme(Role::Minimum, "lowest").unwrap_or_default();
        let highest = extreme(Role::Maximum, "highest").unwrap_or_default();
        Some(format!("Mean of {count} values{lowest}{highest}."))
    }
}

fn mdc(Mdc(code, reference): Mdc) -> String {
    components(&[&code.to_string(), reference, "MDC"])
}

fn component_code(row: &Component, first: Order) -> Option<String> {
    code(row.mdc, row.loinc.first().copied(), first)
}
