//! Readings for analysis, as CSV (RFC 4180) or NDJSON: one line for each number. `docs/export.md` names the columns.
//!
//! Promises: values are the device's digits; doubt and corrections are columns; a text cannot become a formula; what has
//! no patient, or may not leave, is left out and counted. Must never: hold more than a page in memory, or log whose it is.

use std::fmt::Write;
use std::sync::Arc;

use serde_json::json;

use crate::clock::Clock;
use crate::config::Config;
use crate::control::view::{EXPORT_SAID, ExportFilter, ExportFormat, Exported, LeftOut};
use crate::control::witness::Taken;
use crate::control::{Pieces, Unreadable};
use crate::journal::export::{Fate, Wanted};
use crate::journal::{Journal, Reader};
use crate::limits::EXPORT_PAGE_READINGS;
use crate::reading::{Part, Reading, Value};

/// Whether a reading of a patient may be exported: the one place where an export asks.
pub(super) type Permit = Arc<dyn Fn(&Reading) -> bool + Send + Sync>;

/// By the consent for one destination, if the configuration names it; else by the consent for each that asks for one.
pub(super) fn permit(config: &Config, journal: &Journal, clock: &Clock) -> Permit {
    let (of, journal, clock) = (config.consent.export_as.clone(), journal.clone(), clock.clone());
    Arc::new(move |reading| {
        let (consents, now) = (journal.consents(), clock.now());
        match &of {
            Some(name) => consents.gate(name).is_some_and(|gate| gate.permits(reading, now)),
            None => consents.gates().all(|(_, gate)| gate.permits(reading, now)),
        }
    })
}

/// The names of the columns, in their order.
const COLUMNS: [&str; 19] = [
    "id",
    "device",
    "profile",
    "patient",
    "slot",
    "vital",
    "loinc",
    "role",
    "value",
    "ucum",
    "absent",
    "taken",
    "uncertainty_ms",
    "method",
    "received",
    "from_memory",
    "quality",
    "status",
    "corrects",
];

/// An export under way.
struct Export {
    reader: Reader,
    wanted: Wanted,
    format: ExportFormat,
    permit: Permit,
    /// What is said of it afterwards. `None`: it was said.
    taken: Option<Taken>,
    /// Where the next page begins; `None`: it is whole.
    after: Option<i64>,
    last: i64,
    begun: bool,
    said: Exported,
}

/// Begins one.
pub(super) fn begin(reader: Reader, filter: ExportFilter, permit: Permit, taken: Taken) -> Result<Pieces, Unreadable> {
    let ExportFilter { since_ms, until_ms, device, patient, format } = filter;
    let wanted = Wanted { since_ms, until_ms, device, patient };
    let last = reader.newest_row()?;
    let (after, begun, said) = (Some(0), false, Exported::default());
    Ok(Box::new(Export { reader, wanted, format, permit, taken: Some(taken), after, last, begun, said }))
}

impl Iterator for Export {
    type Item = Result<Vec<u8>, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        let after = self.after?;
        let page = match self.reader.page(&self.wanted, after, self.last, EXPORT_PAGE_READINGS) {
            Ok(page) => page,
            Err(e) => {
                self.after = None;
                return Some(Err(e.into()));
            }
        };
        let mut out = String::new();
        if !std::mem::replace(&mut self.begun, true) && self.format == ExportFormat::Csv {
            let _ = write!(out, "{}\r\n", COLUMNS.join(","));
        }
        for (reading, fate) in &page.readings {
            let left_out = &mut self.said.left_out;
            // Without a patient nobody can have consented.
            let why = match reading.patient {
                None => Some(&mut left_out.no_patient),
                Some(_) if (self.permit)(reading) => None,
                Some(_) => Some(&mut left_out.no_consent),
            };
            if let Some(n) = why {
                *n += 1;
                continue;
            }
            if let (Some(taken), Some(patient)) = (&mut self.taken, &reading.patient) {
                taken.holds(patient);
            }
            for part in &reading.parts {
                let cells = cells(reading, *fate, part);
                match self.format {
                    ExportFormat::Csv => csv(&mut out, &cells),
                    ExportFormat::Ndjson => ndjson(&mut out, &cells),
                }
                self.said.lines += 1;
            }
        }
        self.said.left_out.damaged += page.damaged;
        self.after = page.next;
        let mut out = out.into_bytes();
        if self.after.is_none() {
            self.taken.take().into_iter().for_each(Taken::whole);
            let Exported { lines, left_out: LeftOut { no_patient, no_consent, damaged } } = self.said;
            tracing::info!(
                lines,
                no_patient,
                no_consent,
                damaged,
                "readings were exported for analysis by an administrator."
            );
            out.push(EXPORT_SAID);
            out.append(&mut serde_json::to_vec(&self.said).unwrap_or_default());
        }
        Some(Ok(out))
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        if self.after.is_some() {
            tracing::info!(lines = self.said.lines, "an export of readings was broken off.");
        }
    }
}

/// A value of a column.
enum Cell {
    Nothing,
    /// From outside: it could begin like a formula.
    Text(String),
    /// Ours, or digits.
    Plain(String),
}

fn cells(reading: &Reading, fate: Fate, part: &Part) -> [Cell; COLUMNS.len()] {
    let taken = &reading.taken;
    let plain = |text: &str| Cell::Plain(text.to_owned());
    let said = |word: Option<String>| word.map_or(Cell::Nothing, Cell::Plain);
    let time = |ms: i64| jiff::Timestamp::from_millisecond(ms).map_or(Cell::Nothing, |t| Cell::Plain(t.to_string()));
    let (value, absent) = match part.value {
        Value::Number(n) => (Cell::Plain(n.to_string()), Cell::Nothing),
        Value::Absent(why) => (Cell::Nothing, said(word(why))),
    };
    let status = match (fate, &reading.amendment) {
        (Fate::TakenBack, _) => "taken-back",
        (Fate::Replaced, _) => "replaced",
        (Fate::Stands, Some(_)) => "correction",
        (Fate::Stands, None) => "original",
    };
    let quality: Vec<String> = reading.labels().iter().filter_map(word).collect();
    [
        Cell::Plain(reading.key.to_string()),
        Cell::Text(reading.device.0.to_string()),
        Cell::Text(reading.profile.to_string()),
        reading.patient.as_ref().map_or(Cell::Nothing, |p| Cell::Text(p.reveal().to_owned())),
        reading.slot.map_or(Cell::Nothing, |s| Cell::Plain(s.to_string())),
        plain(reading.vital.id),
        loinc(reading, part).map_or(Cell::Nothing, plain),
        said(word(part.role)),
        value,
        plain(part.unit.ucum()),
        absent,
        taken.known_ms().map_or(Cell::Nothing, time),
        taken
            .known_ms()
            .filter(|_| taken.uncertainty_ms < u32::MAX)
            .map_or(Cell::Nothing, |_| Cell::Plain(taken.uncertainty_ms.to_string())),
        said(word(taken.method)),
        if taken.received.trusted { time(taken.received.wall_ms) } else { Cell::Nothing },
        plain(if reading.stored { "true" } else { "false" }),
        Cell::Plain(quality.join(" ")),
        plain(status),
        reading.amendment.as_ref().map_or(Cell::Nothing, |a| Cell::Plain(a.of.to_string())),
    ]
}

/// The code of the number: its component's own, else the vital's.
fn loinc(reading: &Reading, part: &Part) -> Option<&'static str> {
    // What was typed in beside it is no measurement of this code.
    if part.role.is_context() {
        return None;
    }
    let vital = reading.vital;
    let own = vital.components.iter().find(|c| c.role == part.role).and_then(|c| c.loinc.first());
    own.or(vital.loinc_for(reading.is_by_moles()).first()).map(|code| code.0)
}

/// As the journal and FHIR name it.
fn word(what: impl serde::Serialize) -> Option<String> {
    serde_json::to_value(what).ok()?.as_str().map(str::to_owned)
}

/// A line of RFC 4180. A text that a spreadsheet would calculate begins with an apostrophe.
fn csv(out: &mut String, cells: &[Cell]) {
    for (n, cell) in cells.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        let (text, guarded) = match cell {
            Cell::Nothing => continue,
            Cell::Plain(text) => (text, false),
            Cell::Text(text) => (text, text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n'])),
        };
        if guarded || text.contains(['"', ',', '\r', '\n', '\x1e']) {
            out.push('"');
            if guarded {
                out.push('\'');
            }
            out.push_str(&text.replace('"', "\"\"").replace(['\r', '\n', '\x1e'], " "));
            out.push('"');
        } else {
            out.push_str(text);
        }
    }
    out.push_str("\r\n");
}

/// A JSON object; values are texts, so that no reader rounds them.
fn ndjson(out: &mut String, cells: &[Cell]) {
    let named = COLUMNS.iter().zip(cells).filter_map(|(name, cell)| match cell {
        Cell::Nothing => None,
        Cell::Plain(text) | Cell::Text(text) => Some(((*name).to_owned(), json!(text))),
    });
    let object: serde_json::Map<String, serde_json::Value> = named.collect();
    let _ = writeln!(out, "{}", serde_json::Value::Object(object));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(cells: &[Cell]) -> String {
        let mut out = String::new();
        csv(&mut out, cells);
        out
    }

    #[test]
    fn a_text_is_quoted_and_never_a_formula() {
        let text = |t: &str| Cell::Text(t.into());
        assert_eq!(line(&[text("a"), Cell::Nothing, Cell::Plain("-1.50".into())]), "a,,-1.50\r\n");
        assert_eq!(
            line(&[text("a,b"), text("say \"x\""), text("two\nlines"), text("its\x1eend")]),
            "\"a,b\",\"say \"\"x\"\"\",\"two lines\",\"its end\"\r\n"
        );
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"] {
            assert_eq!(line(&[text(formula)]), format!("\"'{formula}\"\r\n"));
        }
        let mut out = String::new();
        ndjson(&mut out, &[text("=1"), Cell::Nothing]);
        assert_eq!(out, "{\"id\":\"=1\"}\n");
    }
}
