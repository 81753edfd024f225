//! How often something is to be measured: R4 `ServiceRequest.occurrenceTiming` and `CarePlan.activity.detail.scheduledTiming`.
//!
//! Must never: read a time that depends on meals, weekdays or codes as a plain frequency.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Concept, Modifiers, Said, Unclear, few, unmodified};
use crate::decimal::Decimal;
use crate::limits::CARE_EVERY_MAX;

#[derive(Deserialize)]
struct Request {
    #[serde(rename = "modifierExtension")]
    modifiers: Modifiers,
    intent: Option<String>,
    #[serde(rename = "doNotPerform", default)]
    forbids: bool,
    code: Option<Concept>,
    #[serde(rename = "occurrenceTiming")]
    timing: Option<Timing>,
    #[serde(rename = "asNeededBoolean", default)]
    as_needed: bool,
}

#[derive(Deserialize)]
struct Plan {
    #[serde(rename = "modifierExtension")]
    modifiers: Modifiers,
    period: Option<Period>,
    #[serde(default)]
    activity: Vec<Activity>,
}

#[derive(Deserialize)]
struct Activity {
    #[serde(rename = "modifierExtension")]
    modifiers: Modifiers,
    detail: Option<Detail>,
}

#[derive(Deserialize)]
struct Detail {
    #[serde(rename = "modifierExtension")]
    modifiers: Modifiers,
    status: Option<String>,
    #[serde(rename = "doNotPerform", default)]
    forbids: bool,
    code: Option<Concept>,
    #[serde(rename = "scheduledTiming")]
    timing: Option<Timing>,
}

#[derive(Deserialize)]
struct Timing {
    #[serde(rename = "modifierExtension")]
    modifiers: Modifiers,
    #[serde(default)]
    event: Vec<IgnoredAny>,
    repeat: Option<Repeat>,
}

#[derive(Deserialize)]
struct Repeat {
    #[serde(rename = "boundsPeriod")]
    bounds: Option<Period>,
    #[serde(rename = "boundsDuration")]
    bounds_duration: Option<IgnoredAny>,
    #[serde(rename = "boundsRange")]
    bounds_range: Option<IgnoredAny>,
    count: Option<IgnoredAny>,
    frequency: Option<u32>,
    period: Option<Decimal>,
    #[serde(rename = "periodMax")]
    period_max: Option<IgnoredAny>,
    #[serde(rename = "periodUnit")]
    unit: Option<String>,
    #[serde(rename = "dayOfWeek", default)]
    days: Vec<IgnoredAny>,
    #[serde(rename = "timeOfDay", default)]
    times: Vec<IgnoredAny>,
    #[serde(default)]
    when: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
struct Period {
    end: Option<String>,
}

/// What a ServiceRequest orders. One that proposes, or says nothing of how often, orders nothing here.
pub(super) fn request(body: &[u8]) -> Result<Vec<Said>, Unclear> {
    let request: Request = serde_json::from_slice(body).map_err(|_| "it cannot be read")?;
    unmodified(&request.modifiers)?;
    let orders = request.intent.as_deref().is_some_and(|i| i == "order" || i.ends_with("-order") || i == "directive");
    let (Some(loinc), Some(timing), true) = (request.code.unwrap_or_default().loinc()?, request.timing, orders) else {
        return Ok(Vec::new());
    };
    if request.forbids || request.as_needed {
        return Err("it forbids, or leaves open, what it names");
    }
    let (every_s, until_ms) = often(&timing)?;
    Ok(vec![Said::Expect { loinc, every_s, until_ms }])
}

/// What the activities of a CarePlan order; those that are ServiceRequests are read as such.
pub(super) fn plan(body: &[u8]) -> Result<Vec<Said>, Unclear> {
    let plan: Plan = serde_json::from_slice(body).map_err(|_| "its activities cannot be read")?;
    unmodified(&plan.modifiers)?;
    let over_ms = plan.period.as_ref().map(end).transpose()?.flatten();
    let mut said = Vec::new();
    for activity in few(plan.activity)? {
        unmodified(&activity.modifiers)?;
        let Some(detail) = activity.detail else { continue };
        unmodified(&detail.modifiers)?;
        let goes_on = matches!(detail.status.as_deref(), Some("not-started" | "scheduled" | "in-progress"));
        let (Some(loinc), Some(timing), true) = (detail.code.unwrap_or_default().loinc()?, detail.timing, goes_on)
        else {
            continue;
        };
        if detail.forbids {
            return Err("it forbids what it names");
        }
        let (every_s, until_ms) = often(&timing)?;
        said.push(Said::Expect { loinc, every_s, until_ms: until_ms.into_iter().chain(over_ms).min() });
    }
    Ok(said)
}

/// Seconds between two measurements, and when it ends.
fn often(timing: &Timing) -> Result<(u64, Option<i64>), Unclear> {
    unmodified(&timing.modifiers)?;
    let repeat = timing.repeat.as_ref().ok_or("its timing says not how often (`repeat`)")?;
    let plain = repeat.days.is_empty() && repeat.times.is_empty() && repeat.when.is_empty() && repeat.count.is_none();
    let bounded = repeat.bounds_duration.is_some() || repeat.bounds_range.is_some();
    // "Every one to three days" expects nothing after one.
    if !plain || bounded || repeat.period_max.is_some() || !timing.event.is_empty() {
        return Err("its timing is more than a frequency in a period");
    }
    let unit = match repeat.unit.as_deref() {
        Some("min") => 60,
        Some("h") => 3_600,
        Some("d") => 86_400,
        Some("wk") => 7 * 86_400,
        _ => return Err("its period has no unit out of min, h, d, wk"),
    };
    let (period, frequency) = (repeat.period.ok_or("its timing has no period")?, repeat.frequency.unwrap_or(1));
    let seconds = period.times(Decimal::from(unit)).and_then(|s| s.over(Decimal::from(i64::from(frequency)), 0));
    let seconds = seconds.and_then(|s| s.to_string().parse::<u64>().ok()).ok_or("its frequency is not a number")?;
    if frequency == 0 || !(60..=CARE_EVERY_MAX.as_secs()).contains(&seconds) {
        return Err("its frequency is not between once a minute and once a year");
    }
    Ok((seconds, repeat.bounds.as_ref().map(end).transpose()?.flatten()))
}

/// The end of a period, which belongs to it: a day ends with its last second, by UTC.
fn end(period: &Period) -> Result<Option<i64>, Unclear> {
    let Some(text) = &period.end else { return Ok(None) };
    let whole = match text.len() {
        10 => format!("{text}T23:59:59Z"),
        _ => text.clone(),
    };
    whole
        .parse::<jiff::Timestamp>()
        .map(|t| Some(t.as_millisecond()))
        .map_err(|_| "the end of its period is not a time")
}
