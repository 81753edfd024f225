//! Where a resource is written so that it is there once, and the Bundles that carry many.
//!
//! `batch` for readings: one outcome each. `transaction` for an alert with its evidence: references hold together.
//! `collection` for a receiver that takes a Bundle as one document, and knows doubles by the identifier.
//! Must never: write a resource without what shuts out its double.

use std::io::Write as _;

use serde::Serialize;

use super::observation;
use super::types::system;
use super::{Identity, Scope, Unmappable};
use crate::alarm::AlertId;
use crate::reading::Reading;

/// How a server is kept from storing a resource twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Create if none has this identifier.
    ConditionalCreate,
    /// `PUT` with an id derived from the identity.
    Update,
}

/// Bundle.type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Each entry on its own.
    Batch,
    /// All or none.
    Transaction,
    /// Resources without requests: what the receiver does with them is its own affair.
    Collection,
}

/// The request of one entry, or of a resource sent alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// `POST` or `PUT`.
    pub method: &'static str,
    /// Relative to the base.
    pub url: String,
    /// Search that must find nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub if_none_exist: Option<String>,
}

impl Target {
    pub(super) fn create(kind: &str, system: &str, value: &str) -> Self {
        Self { method: "POST", url: kind.into(), if_none_exist: Some(format!("identifier={system}|{value}")) }
    }
    /// A part of an alert, if there is none yet.
    pub fn of_alert(kind: &str, alert: &AlertId) -> Self {
        Self::create(kind, system::ALERT, &alert.0)
    }
    /// A document, to the address itself.
    pub fn document() -> Self {
        Self { method: "POST", url: String::new(), if_none_exist: None }
    }
    pub(super) fn put(url: String) -> Self {
        Self { method: "PUT", url, if_none_exist: None }
    }
}

/// A resource that is sent alone.
#[derive(Clone)]
pub struct Single {
    /// Where.
    pub target: Target,
    /// Its JSON.
    pub body: Vec<u8>,
}

/// The Observation of a reading, to be sent alone.
pub fn single(reading: &Reading, scope: &Scope, write: Write) -> Result<Single, Unmappable> {
    let mut body = Vec::with_capacity(1_500);
    let target = put_observation(&mut body, reading, scope, write)?;
    Ok(Single { target, body })
}

/// The same as an update of what a server has under this id.
pub fn single_at(reading: &Reading, scope: &Scope, id: &str) -> Result<Single, Unmappable> {
    let mut body = Vec::with_capacity(1_500);
    observation::write(reading, scope, &Identity::of(reading)?, Some(id), &mut body)?;
    Ok(Single { target: Target::put(format!("Observation/{id}")), body })
}

/// The same where a server has nothing of it.
pub fn single_new(reading: &Reading, scope: &Scope) -> Result<Single, Unmappable> {
    let (mut body, identity) = (Vec::with_capacity(1_500), Identity::of(reading)?);
    observation::write(reading, scope, &identity, None, &mut body)?;
    Ok(Single { target: Target::create("Observation", Identity::system(), identity.value()), body })
}

/// Appends the Observation and says where it goes. On an error nothing is appended.
pub(super) fn put_observation(
    out: &mut Vec<u8>,
    reading: &Reading,
    scope: &Scope,
    write: Write,
) -> Result<Target, Unmappable> {
    let identity = Identity::of(reading)?;
    match write {
        Write::ConditionalCreate => {
            observation::write(reading, scope, &identity, None, out)?;
            let (system, value) = (Identity::system(), identity.value());
            Ok(match reading.is_withdrawal() {
                false => Target::create("Observation", system, value),
                // A conditional update: of what is there, or in its place where it is not there yet.
                true => Target::put(format!("Observation?identifier={system}|{value}")),
            })
        }
        Write::Update => {
            let id = identity.resource_id();
            observation::write(reading, scope, &identity, Some(&id), out)?;
            Ok(Target::put(format!("Observation/{id}")))
        }
    }
}

/// The last 32 hex digits of a text as `urn:uuid:…`: a name within a Bundle.
pub(super) fn urn(text: &str) -> String {
    let mut out = String::with_capacity(45);
    out.push_str("urn:uuid:");
    let hex = text.get(text.len().saturating_sub(32)..).unwrap_or(text);
    for (i, c) in hex.chars().enumerate() {
        if matches!(i, 8 | 12 | 16 | 20) {
            out.push('-');
        }
        out.push(c);
    }
    out
}

/// A Bundle in the making: one buffer, written once.
pub struct Bundle {
    kind: Kind,
    body: Vec<u8>,
    entries: usize,
}

impl Bundle {
    /// An empty Bundle; `expected` entries are made room for.
    pub fn new(kind: Kind, expected: usize) -> Self {
        let mut body = Vec::with_capacity(expected.saturating_mul(1_700).saturating_add(100));
        body.extend_from_slice(match kind {
            Kind::Batch => br#"{"resourceType":"Bundle","type":"batch","entry":["#,
            Kind::Transaction => br#"{"resourceType":"Bundle","type":"transaction","entry":["#,
            Kind::Collection => br#"{"resourceType":"Bundle","type":"collection","entry":["#,
        });
        Self { kind, body, entries: 0 }
    }

    /// Adds a reading. On an error the Bundle is as it was.
    /// Answers where it goes: `Observation`, or `Observation/<id>`.
    pub fn reading(&mut self, reading: &Reading, scope: &Scope, write: Write) -> Result<String, Unmappable> {
        // An entry without a request must have a name; it is the same each time that the reading is sent.
        let name = match self.kind {
            Kind::Collection => Some(urn(&Identity::of(reading)?.resource_id())),
            Kind::Batch | Kind::Transaction => None,
        };
        self.entry(name.as_deref(), |body| put_observation(body, reading, scope, write))
    }

    /// Adds an entry whose resource `resource` appends. On an error the Bundle is as it was.
    pub(super) fn entry(
        &mut self,
        full_url: Option<&str>,
        resource: impl FnOnce(&mut Vec<u8>) -> Result<Target, Unmappable>,
    ) -> Result<String, Unmappable> {
        let start = self.body.len();
        let added = self.try_entry(full_url, resource);
        match added {
            Ok(_) => self.entries += 1,
            Err(_) => self.body.truncate(start),
        }
        added
    }

    fn try_entry(
        &mut self,
        full_url: Option<&str>,
        resource: impl FnOnce(&mut Vec<u8>) -> Result<Target, Unmappable>,
    ) -> Result<String, Unmappable> {
        let body = &mut self.body;
        body.extend_from_slice(if self.entries == 0 { b"{" } else { b",{" });
        if let Some(url) = full_url {
            let _ = write!(body, r#""fullUrl":"{url}","#);
        }
        body.extend_from_slice(br#""resource":"#);
        let target = resource(body)?;
        if self.kind != Kind::Collection {
            body.extend_from_slice(br#","request":"#);
            serde_json::to_writer(&mut *body, &target).map_err(|_| Unmappable::Unit)?;
        }
        body.push(b'}');
        Ok(target.url)
    }

    /// Entries so far.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Its JSON.
    pub fn finish(mut self) -> Vec<u8> {
        self.body.extend_from_slice(b"]}");
        self.body
    }
}
