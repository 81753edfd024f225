//! The FHIR data types that our resources use, borrowing what they can; nothing here knows a rule.

use std::borrow::Cow;

use serde::{Serialize, Serializer};

use crate::clock::Stamp;
use crate::decimal::Decimal;
use crate::mapping::Code as Own;
use crate::vital::{Loinc, Mdc};

/// Code systems and identifier systems.
pub(super) mod system {
    pub const LOINC: &str = "http://loinc.org";
    pub const MDC: &str = "urn:iso:std:iso:11073:10101";
    pub const UCUM: &str = "http://unitsofmeasure.org";
    pub const SNOMED: &str = "http://snomed.info/sct";
    pub const OBSERVATION_CATEGORY: &str = "http://terminology.hl7.org/CodeSystem/observation-category";
    pub const PHD_CATEGORY: &str = "http://hl7.org/fhir/uv/phd/CodeSystem/PhdObservationCategories";
    pub const DATA_ABSENT_REASON: &str = "http://terminology.hl7.org/CodeSystem/data-absent-reason";
    pub const INTERPRETATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation";
    pub const STATISTICS: &str = "http://terminology.hl7.org/CodeSystem/observation-statistics";
    pub const MEASUREMENT_STATUS: &str = "http://hl7.org/fhir/uv/pocd/CodeSystem/measurement-status";
    pub const ACT_REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
    pub const US_CORE_TAGS: &str = "http://hl7.org/fhir/us/core/CodeSystem/us-core-tags";
    /// Identifier of an Observation by the conditional-create recipe of the Personal Health Device guide.
    pub const PHD_OBSERVATION: &str = "http://hl7.org/fhir/uv/phd/StructureDefinition/PhdBaseObservation";
    pub const BLUETOOTH_ADDRESS: &str = "http://hl7.org/fhir/sid/eui-48/bluetooth";
    pub const DEVICE: &str = "urn:wardline:device";
    pub const GATEWAY: &str = "urn:wardline:gateway";
    pub const ALERT: &str = "urn:wardline:alert";
    /// A pair of clocks.
    pub const CLOCK: &str = "urn:wardline:clock";
    /// What a sensor measures.
    pub const METRIC: &str = "urn:wardline:device-metric";
    pub const RULE: &str = "urn:wardline:rule";
    /// The version of codes and units that a resource was made with.
    pub const MAPPING: &str = "urn:wardline:mapping";
    pub const SYSTEM_ID: &str = "urn:oid:1.2.840.10004.1.1.1.0.0.1.0.0.1.2680";
    pub const DEVICE_IDENTIFIERS: &str = "http://terminology.hl7.org/CodeSystem/ContinuaDeviceIdentifiers";
    pub const PHD_INTERFACES: &str = "http://hl7.org/fhir/uv/phd/CodeSystem/ContinuaPHDInterfaceIDs";
    pub const ASN1_TO_HL7: &str = "http://terminology.hl7.org/CodeSystem/ASN1ToHL7";
    pub const YES_NO: &str = "http://terminology.hl7.org/CodeSystem/v2-0136";
    pub const PARTICIPANT: &str = "http://terminology.hl7.org/CodeSystem/provenance-participant-type";
    pub const DATA_OPERATION: &str = "http://terminology.hl7.org/CodeSystem/v3-DataOperation";
    pub const AUDIT_SOURCE: &str = "http://terminology.hl7.org/CodeSystem/security-source-type";
    pub const AUDIT_ENTITY: &str = "http://terminology.hl7.org/CodeSystem/audit-entity-type";
    pub const OBJECT_ROLE: &str = "http://terminology.hl7.org/CodeSystem/object-role";
    /// What was done, as the journal has it.
    pub const DEED: &str = "urn:wardline:deed";
    /// An entry of the chain of custody, by its seal.
    pub const CUSTODY: &str = "urn:wardline:custody";
}

/// A code as text, or as a number that FHIR writes as text (MDC).
#[derive(Clone, Copy)]
pub(super) enum Code<'a> {
    Text(&'a str),
    Number(u32),
}

impl Serialize for Code<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => s.serialize_str(text),
            Self::Number(n) => s.collect_str(n),
        }
    }
}

#[derive(Clone, Copy, Serialize)]
pub(super) struct Coding<'a> {
    pub system: &'a str,
    pub code: Code<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display: Option<&'a str>,
}

impl<'a> Coding<'a> {
    pub const fn new(system: &'a str, code: &'a str) -> Self {
        Self { system, code: Code::Text(code), display: None }
    }
    pub fn of(Own { system, code, display }: &'a Own) -> Self {
        Self { system, code: Code::Text(code), display: display.as_deref() }
    }
}

impl Coding<'_> {
    pub const fn loinc(Loinc(code, display): Loinc) -> Self {
        Self { system: system::LOINC, code: Code::Text(code), display: Some(display) }
    }
    pub const fn mdc(Mdc(code, reference): Mdc) -> Self {
        Self { system: system::MDC, code: Code::Number(code), display: Some(reference) }
    }
}

/// CodeableConcept. `C` holds its codings: an array, a slice, a `Vec`.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Concept<'a, C> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coding: Option<C>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<&'a str>,
}

/// A concept with one coding.
pub(super) type One<'a> = Concept<'a, [Coding<'a>; 1]>;

pub(super) const fn one<'a>(system: &'a str, code: &'a str) -> One<'a> {
    Concept { coding: Some([Coding::new(system, code)]), text: None }
}

pub(super) const fn text(text: &str) -> One<'_> {
    Concept { coding: None, text: Some(text) }
}

#[derive(Serialize)]
pub(super) struct Identifier<'a> {
    pub system: &'static str,
    pub value: &'a str,
}

/// A reference by URL, by identifier, or by name only.
#[derive(Default, Serialize)]
pub(super) struct Reference<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<Cow<'a, str>>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identifier: Option<Identifier<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display: Option<&'a str>,
}

impl<'a> Reference<'a> {
    pub fn to(url: &'a str) -> Self {
        Self { reference: Some(url.into()), ..Self::default() }
    }
    pub fn known_as(kind: &'static str, system: &'static str, value: &'a str) -> Self {
        Self { kind: Some(kind), identifier: Some(Identifier { system, value }), ..Self::default() }
    }
    pub fn named(name: &'a str) -> Self {
        Self { display: Some(name), ..Self::default() }
    }
}

#[derive(Serialize)]
pub(super) struct Quantity<'a> {
    pub value: Decimal,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparator: Option<&'static str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub unit: &'a str,
    pub system: &'static str,
    pub code: &'static str,
}

#[derive(Serialize)]
pub(super) struct Annotation<'a> {
    #[serde(rename = "authorString", skip_serializing_if = "Option::is_none")]
    pub author: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    pub text: &'a str,
}

/// An extension that holds a reference.
#[derive(Serialize)]
pub(super) struct ReferenceExtension<'a> {
    pub url: &'static str,
    #[serde(rename = "valueReference")]
    pub value: Reference<'a>,
}

/// A moment of ours. `None`: our clock was not set then; no time is better than a wrong one.
pub(super) fn moment(at: Stamp) -> Option<String> {
    at.trusted.then(|| date_time(at.wall_ms, false))
}

/// Milliseconds since 1970 as a FHIR dateTime in UTC, with milliseconds only where they are known.
pub(super) fn date_time(at_ms: i64, milliseconds: bool) -> String {
    let at = jiff::Timestamp::from_millisecond(at_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let precision = if milliseconds { 3 } else { 0 };
    let printer = const { jiff::fmt::temporal::DateTimePrinter::new() };
    let mut out = String::with_capacity(24);
    let printed = printer.precision(Some(precision)).print_timestamp(&at, &mut out);
    // Printing into a String cannot fail.
    printed.map_or_else(|_| String::new(), |()| out)
}
