//! Consent, as R4 has it: what a patient lets happen with readings, or does not. Pure: bytes in, one provision out.
//!
//! Promises: what narrows is heard even where the rest cannot be read; what is not understood whole permits nothing. Must
//! never: take a Consent for wider than it is, or a refusal for less.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{Heard, Said, Unclear, is_id, patient};
use crate::limits::CARE_PARTS_MAX;

/// What a Consent says, by codes as `system|code`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Provision {
    /// It may; or it may not.
    pub permitted: bool,
    /// What. Empty: everything.
    pub of: Vec<String>,
    /// What of that may not.
    pub except: Vec<String>,
    /// What may not cannot be told: nothing may, then.
    pub unclear: bool,
    /// From then on, milliseconds since 1970.
    pub from_ms: Option<i64>,
    /// Up to then.
    pub until_ms: Option<i64>,
}

const SCOPE: &str = "http://terminology.hl7.org/CodeSystem/consentscope";
const ACT_CODE: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
const POLICIES: &str = "http://terminology.hl7.org/CodeSystem/consentpolicycodes";
/// Kinds of consent that say nothing beside what their provision says.
const KINDS: [&str; 4] = [
    "http://loinc.org|59284-0",
    "http://loinc.org|64292-6",
    "http://terminology.hl7.org/CodeSystem/v3-ActCode|IDSCL",
    "http://terminology.hl7.org/CodeSystem/consentcategorycodes|npp",
];
/// What is done with a reading here.
const DISCLOSE: &str = "http://terminology.hl7.org/CodeSystem/consentaction|disclose";
/// Everything that is sent here.
const OBSERVATION: &str = "http://hl7.org/fhir/resource-types|Observation";
const HOURS_MS: i64 = 3_600_000;

/// One Consent. An error: it cannot even be named.
pub(super) fn heard(body: &[u8]) -> Result<Heard, Unclear> {
    // Leniently: a status that says that it is over must not be missed for something else that is wrong.
    let value: Value = serde_json::from_slice(body).map_err(|_| "it is not a resource")?;
    let text = |at: &Value| at.as_str().map(str::to_owned);
    let id = value.get("id").and_then(text).filter(|id| is_id(id)).ok_or("it has no id")?;
    if value.get("resourceType").and_then(Value::as_str) != Some("Consent") {
        return Err("it is another resource");
    }
    let meta = |key: &str| value.get("meta").and_then(|m| m.get(key)).and_then(text);
    let updated = meta("lastUpdated").and_then(|t| t.parse::<jiff::Timestamp>().ok());
    let whose = value.get("patient").and_then(|p| p.get("reference")).and_then(text);
    let mut heard = Heard {
        resource: format!("Consent/{id}"),
        version: meta("versionId").filter(|version| is_id(version)),
        updated_ms: updated.map(jiff::Timestamp::as_millisecond),
        patient: whose.as_deref().and_then(patient),
        active: value.get("status").and_then(Value::as_str) == Some("active") && is_privacy(&value),
        said: Ok(Vec::new()),
    };
    if heard.active {
        heard.said = match denial(&value) {
            Some(denial) => Ok(vec![Said::Consent(denial)]),
            None => permission(body).map(|permission| vec![Said::Consent(permission)]),
        };
    }
    Ok(heard)
}

/// `system|code` of each coding of a CodeableConcept.
fn codes(concept: &Value) -> impl Iterator<Item = Option<String>> {
    let codings = concept.get("coding").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    codings.iter().map(code)
}

fn code(coding: &Value) -> Option<String> {
    let part = |key: &str| coding.get(key).and_then(Value::as_str).filter(|t| !t.is_empty() && t.len() <= 200);
    Some(format!("{}|{}", part("system")?, part("code")?))
}

/// About what becomes of a patient's data; not about treatment, research or the last will.
fn is_privacy(consent: &Value) -> bool {
    let wanted = format!("{SCOPE}|patient-privacy");
    consent.get("scope").is_some_and(|scope| codes(scope).flatten().any(|code| code == wanted))
}

/// What is refused at the top, as far as it can be read.
fn denial(consent: &Value) -> Option<Provision> {
    let opted_out = |code: String| code.strip_prefix(ACT_CODE).is_some_and(|code| code.starts_with("|OPTOUT"));
    let whole = consent.get("policyRule").is_some_and(|rule| codes(rule).flatten().any(opted_out));
    let provision = consent.get("provision");
    let denied = provision.and_then(|p| p.get("type")).is_some_and(|of| of == "deny");
    let (of, unclear) = match provision {
        _ if whole => (Vec::new(), false),
        Some(provision) if denied => match named(provision) {
            Some(of) => (of, false),
            None => (Vec::new(), true),
        },
        _ => return None,
    };
    let until_ms = provision.and_then(|p| p.get("period")).and_then(|p| p.get("end")).and_then(Value::as_str);
    let until_ms = until_ms.filter(|_| denied && !whole).and_then(latest);
    Some(Provision { permitted: false, of, except: Vec::new(), unclear, from_ms: None, until_ms })
}

/// The codes that narrow a provision; empty: nothing does. `None`: something does that cannot be read as codes.
fn named(provision: &Value) -> Option<Vec<String>> {
    let list = |key: &str| match provision.get(key) {
        None => Some(&[][..]),
        Some(Value::Array(all)) if all.len() <= CARE_PARTS_MAX => Some(all.as_slice()),
        Some(_) => None,
    };
    let mut classes = list("class")?.iter().map(code).collect::<Option<Vec<_>>>()?;
    let narrows = !classes.iter().any(|class| class == OBSERVATION);
    if !narrows {
        classes.clear();
    }
    let mut of = Vec::new();
    for concept in list("code")? {
        let before = of.len();
        of.extend(codes(concept).collect::<Option<Vec<_>>>()?);
        if of.len() == before {
            return None;
        }
    }
    // Both narrow at once: which readings are in both, the codes do not say.
    match (classes.is_empty(), of.is_empty()) {
        (true, _) => Some(of),
        (false, true) => Some(classes),
        (false, false) => None,
    }
}

/// All that R4 has of a Consent. What is not among it is not understood.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Consent {
    #[serde(rename = "resourceType")]
    _kind: IgnoredAny,
    #[serde(rename = "id")]
    _id: IgnoredAny,
    #[serde(default, rename = "meta")]
    _meta: IgnoredAny,
    implicit_rules: Option<IgnoredAny>,
    #[serde(default, rename = "language")]
    _language: IgnoredAny,
    #[serde(default, rename = "text")]
    _text: IgnoredAny,
    #[serde(default, rename = "contained")]
    _contained: IgnoredAny,
    #[serde(default, rename = "extension")]
    _extension: IgnoredAny,
    modifier_extension: Option<IgnoredAny>,
    #[serde(default, rename = "identifier")]
    _identifier: IgnoredAny,
    #[serde(rename = "status")]
    _status: IgnoredAny,
    #[serde(rename = "scope")]
    _scope: IgnoredAny,
    #[serde(default)]
    category: Vec<Value>,
    #[serde(rename = "patient")]
    _patient: IgnoredAny,
    #[serde(default, rename = "dateTime")]
    _date_time: IgnoredAny,
    #[serde(default, rename = "performer")]
    _performer: IgnoredAny,
    #[serde(default, rename = "organization")]
    _organization: IgnoredAny,
    #[serde(default, rename = "sourceAttachment")]
    _attachment: IgnoredAny,
    #[serde(default, rename = "sourceReference")]
    _source: IgnoredAny,
    #[serde(default, rename = "policy")]
    _policy: IgnoredAny,
    policy_rule: Option<Value>,
    #[serde(default)]
    verification: Vec<Verification>,
    provision: Option<Permit>,
}

#[derive(Deserialize)]
struct Verification {
    verified: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Permit {
    #[serde(default, rename = "id")]
    _id: IgnoredAny,
    #[serde(default, rename = "extension")]
    _extension: IgnoredAny,
    #[serde(rename = "type")]
    of: Option<String>,
    period: Option<Period>,
    #[serde(default)]
    action: Vec<Value>,
    #[serde(default)]
    class: Vec<Value>,
    #[serde(default)]
    code: Vec<Value>,
    #[serde(default)]
    provision: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Period {
    start: Option<String>,
    end: Option<String>,
}

/// What is permitted, where all of it is understood.
fn permission(body: &[u8]) -> Result<Provision, Unclear> {
    let value: Value = serde_json::from_slice(body).map_err(|_| "it is not a resource")?;
    let except = value.get("provision").map_or(Ok(Vec::new()), exceptions);
    let consent: Result<Consent, _> = serde_json::from_slice(body);
    let read = consent.map_err(|_| "it says more, or other things, than are understood").and_then(|c| read(&c));
    match (read, except) {
        (Ok(permit), Ok(except)) => Ok(Provision { except, ..permit }),
        // Something may not, whatever else it says.
        (_, Err(())) => Ok(nothing()),
        (Err(why), Ok(except)) if except.is_empty() => Err(why),
        (Err(_), Ok(except)) => Ok(Provision { of: except, unclear: false, ..nothing() }),
    }
}

fn nothing() -> Provision {
    Provision { permitted: false, of: vec![], except: vec![], unclear: true, from_ms: None, until_ms: None }
}

/// What nested provisions refuse. An error: they refuse something, and it cannot be read what.
fn exceptions(provision: &Value) -> Result<Vec<String>, ()> {
    let nested = match provision.get("provision") {
        None => return Ok(Vec::new()),
        Some(Value::Array(all)) => all,
        Some(_) => return Err(()),
    };
    let mut out = Vec::new();
    for one in nested.iter().filter(|one| one.get("type").is_none_or(|of| of != "permit")) {
        let of = named(one).filter(|of| !of.is_empty() && one.get("provision").is_none()).ok_or(())?;
        out.extend(of);
        if out.len() > CARE_PARTS_MAX {
            return Err(());
        }
    }
    Ok(out)
}

fn read(consent: &Consent) -> Result<Provision, Unclear> {
    if consent.implicit_rules.is_some() || consent.modifier_extension.is_some() {
        return Err("it has a modifierExtension or implicitRules, which may turn its meaning around");
    }
    if consent.verification.iter().any(|v| v.verified != Some(true)) {
        return Err("it was not verified with the patient");
    }
    // Each category by itself: one in words only has no code, and may say anything.
    let known = |category: &Value| {
        let kinds: Vec<Option<String>> = codes(category).collect();
        !kinds.is_empty() && kinds.iter().all(|kind| kind.as_deref().is_some_and(|kind| KINDS.contains(&kind)))
    };
    if consent.category.is_empty() || !consent.category.iter().all(known) {
        return Err("its category is none that is known to say no more");
    }
    let rules: Vec<Option<String>> = consent.policy_rule.iter().flat_map(codes).collect();
    let opted_in = format!("{ACT_CODE}|OPTIN");
    let known = |rule: &Option<String>| {
        rule.as_ref().is_some_and(|rule| *rule == opted_in || rule.starts_with(&format!("{POLICIES}|")))
    };
    if !rules.iter().all(known) || (consent.policy_rule.is_some() && rules.is_empty()) {
        return Err("its policy rule is not known");
    }
    let opted_in = rules.iter().flatten().any(|rule| *rule == opted_in);
    let everything = Provision { permitted: true, unclear: false, ..nothing() };
    let Some(permit) = &consent.provision else {
        return if opted_in { Ok(everything) } else { Err("it says neither permit nor deny") };
    };
    match permit.of.as_deref() {
        Some("permit") => {}
        None if opted_in => {}
        _ => return Err("it says neither permit nor deny"),
    }
    if permit.provision.iter().any(|one| one.get("type").is_some_and(|of| of == "permit")) {
        return Err("it permits something within what it permits");
    }
    let actions: Vec<Option<String>> = permit.action.iter().flat_map(codes).collect();
    if !permit.action.is_empty() && !actions.iter().flatten().any(|action| action == DISCLOSE) {
        return Err("it does not permit to disclose");
    }
    let narrowed = serde_json::json!({"class": permit.class, "code": permit.code});
    let of = named(&narrowed).ok_or("what it permits is not said by codes that are understood")?;
    let period = permit.period.as_ref();
    let end = |text: Option<&String>, read: fn(&str) -> Option<i64>| {
        text.map(|t| read(t).ok_or("its period is not understood")).transpose()
    };
    let from_ms = end(period.and_then(|p| p.start.as_ref()), latest_begin)?;
    let until_ms = end(period.and_then(|p| p.end.as_ref()), earliest)?;
    Ok(Provision { of, from_ms, until_ms, ..everything })
}

/// A dateTime with its zone; a date has none, and begins somewhere up to so many hours before or after UTC.
fn moment(text: &str, day_ends: bool, zone_hours: i64) -> Option<i64> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Some(at.as_millisecond());
    }
    let date = text.parse::<jiff::civil::Date>().ok().filter(|_| text.len() == 10)?;
    let at = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond();
    at.checked_add(if day_ends { 24 * HOURS_MS } else { 0 })?.checked_add(zone_hours * HOURS_MS)
}

/// The latest moment at which it can begin.
fn latest_begin(text: &str) -> Option<i64> {
    moment(text, false, 12)
}

/// The earliest moment at which a day can be over.
fn earliest(text: &str) -> Option<i64> {
    moment(text, true, -14)
}

/// The latest: what is refused is refused until then.
fn latest(text: &str) -> Option<i64> {
    moment(text, true, 12)
}
