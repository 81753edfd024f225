//! Reads, page by page, which Observations a destination has of one patient that bear an identifier of our kind.
//!
//! Promises: reads only, below the configured base only, within the destination's stated rate, with an end in pages and
//! octets. Must never: send the credential to another address, or take a part of an answer for all of it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use reqwest::Url;
use serde::Deserialize;

use super::Prober;
use crate::fhir::{GATEWAY_EXTENSION, GATEWAY_SYSTEM, Identity};
use crate::limits;
use crate::probed::Stated;
use crate::reading::PatientId;
use crate::sink::answer::{Whole, whole};
use crate::sink::why::Trouble;

/// Why nothing can be said: a sentence without patient data.
pub type Reason = Cow<'static, str>;

/// An Observation there with an identifier of our kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Find {
    /// `Observation/1`.
    pub place: String,
    /// The identifier's value.
    pub value: String,
    /// Which gateway it says that it came through.
    pub bearer: Bearer,
    /// It was entered in error: nobody counts on it.
    pub void: bool,
    /// When the destination last changed it, by its clock.
    pub updated_ms: Option<i64>,
}

/// Whose mark an Observation bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bearer {
    /// Ours.
    Ours,
    /// Another gateway's.
    Another,
    /// None at all: not sent by any gateway, or the destination does not show it.
    Nobody,
}

/// By what Observations can be searched there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ways {
    patient: &'static str,
    since: Option<&'static str>,
}

impl Ways {
    /// As the destination states, or the usual ones. An error: it cannot be asked.
    pub fn of(stated: Option<&Stated>) -> Result<Self, Reason> {
        let by = |name: &&'static str| stated.is_none_or(|s| s.searches_by(name));
        let patient = ["patient", "subject"].into_iter().find(by);
        let patient = patient.ok_or("it states that it does not search by patient")?;
        Ok(Self { patient, since: ["_lastUpdated", "date"].into_iter().find(by) })
    }

    /// Only what was measured since then is found, whenever it was stored.
    pub fn by_date(&self) -> bool {
        self.since == Some("date")
    }
}

/// What the questions to one destination may cost, all together.
#[derive(Clone, Copy, Debug)]
pub struct Purse {
    pages: usize,
    octets: usize,
}

impl Default for Purse {
    fn default() -> Self {
        Self { pages: limits::STRANGERS_PAGES_MAX, octets: limits::STRANGERS_BYTES_MAX }
    }
}

/// One patient's Observations.
pub struct Shelf<'a> {
    prober: &'a Prober,
    ways: Ways,
    next: Option<Url>,
    /// Resources seen, by their hashes: a server whose pages never end shows the same ones again.
    seen: HashSet<u64>,
    /// The least and the most that it said there are.
    totals: Option<(u64, u64)>,
}

impl Prober {
    /// What was stored of a patient since then; nothing is asked yet.
    pub fn shelf(&self, patient: &PatientId, since_ms: i64, ways: Ways) -> Result<Shelf<'_>, Reason> {
        let mut url = Url::parse(&self.sink.peer.below("Observation")).map_err(|_| "its URL cannot be searched")?;
        let since = jiff::Timestamp::from_second(since_ms.div_euclid(1_000)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let mut query = url.query_pairs_mut();
        query.append_pair(ways.patient, patient.reveal());
        if let Some(name) = ways.since {
            query.append_pair(name, &format!("ge{since}"));
        }
        query.append_pair("_elements", "identifier,extension,status,meta").append_pair("_count", "100");
        drop(query);
        Ok(Shelf { prober: self, ways, next: Some(url), seen: HashSet::new(), totals: None })
    }
}

impl Shelf<'_> {
    /// The next page. `None`: that was all of it.
    pub async fn page(&mut self, purse: &mut Purse) -> Result<Option<Vec<Find>>, Reason> {
        let Some(url) = self.next.take() else { return Ok(None) };
        if purse.pages == 0 || purse.octets == 0 {
            return Err("it was cut short: there is more than is read in one go".into());
        }
        self.prober.sink.turn().await;
        let answer = self.prober.sink.get(url.as_str()).await.map_err(|t| t.to_string())?;
        purse.pages -= 1;
        purse.octets = purse.octets.saturating_sub(answer.body.len());
        match whole(&answer) {
            Whole::Taken => {}
            Whole::Destination(trouble) if !matches!(trouble, Trouble::NotHere(_)) && answer.status != 501 => {
                return Err(trouble.to_string().into());
            }
            _ => return Err(format!("it does not search by patient (HTTP {})", answer.status).into()),
        }
        let page: Page = serde_json::from_slice(&answer.body).map_err(|_| "its answer is not a searchset")?;
        if page.kind != "Bundle" || page.of.as_deref().is_some_and(|of| of != "searchset") {
            return Err("its answer is not a searchset".into());
        }
        let own = page.link.iter().find(|l| l.relation == "self").and_then(|l| Url::parse(&l.url).ok());
        if own.as_ref().is_some_and(|own| own.query_pairs().all(|(name, _)| !name.starts_with(self.ways.patient))) {
            return Err("it did not search by patient, though it was asked to".into());
        }
        let new = self.count(&page)?;
        if let Some(next) = page.link.iter().find(|l| l.relation == "next") {
            if new == 0 {
                return Err("its pages do not end".into());
            }
            let base = self.prober.sink.peer.url.as_str();
            self.next = Some(below(base, "Observation", &next.url, own.as_ref(), &url)?);
        } else if self.totals.is_some_and(|(least, most)| !(least..=most).contains(&(self.seen.len() as u64))) {
            return Err("its total is not what it showed".into());
        }
        let ours = &self.prober.gateway;
        Ok(Some(page.entry.into_iter().filter(Entry::counts).filter_map(|e| e.find(ours)).collect()))
    }

    /// It says how many there are.
    pub fn is_counted(&self) -> bool {
        self.totals.is_some()
    }

    /// Answers how many resources of this page are new.
    fn count(&mut self, page: &Page) -> Result<usize, Reason> {
        if let Some(total) = page.total {
            let (least, most) = self.totals.unwrap_or((total, total));
            // Readings arrive there while it is read.
            self.totals = Some((least.min(total), most.max(total)));
        }
        let before = self.seen.len();
        for entry in page.entry.iter().filter(|e| e.counts()) {
            let id = entry.resource.id.as_deref().ok_or("its resources have no ids")?;
            let mut hasher = DefaultHasher::new();
            id.hash(&mut hasher);
            self.seen.insert(hasher.finish());
        }
        Ok(self.seen.len() - before)
    }
}

/// Where the next page of a search for such resources is, below the base that is configured. What a server takes for its
/// own address need not be the one that it is reached by: of its links only what stands behind that address is used, and
/// nobody else is asked.
pub(super) fn below(base: &str, kind: &str, next: &str, own: Option<&Url>, asked: &Url) -> Result<Url, Reason> {
    let elsewhere = "its next page is at another address";
    let base = base.trim_end_matches('/');
    let next = asked.join(next).map_err(|_| elsewhere)?;
    let named = own.and_then(|own| own.as_str().split_once(&format!("/{kind}?")).map(|(base, _)| base.to_owned()));
    let rest = [Some(base.to_owned()), named].into_iter().flatten().find_map(|base| {
        let rest = next.as_str().strip_prefix(&base)?;
        rest.starts_with(['/', '?']).then(|| rest.to_owned())
    });
    let url = Url::parse(&format!("{base}{}", rest.ok_or(elsewhere)?)).map_err(|_| elsewhere)?;
    if url.origin() == asked.origin() { Ok(url) } else { Err(elsewhere.into()) }
}

/// What of a page is looked at.
#[derive(Deserialize)]
struct Page {
    #[serde(rename = "resourceType")]
    kind: String,
    #[serde(rename = "type")]
    of: Option<String>,
    total: Option<u64>,
    #[serde(default)]
    link: Vec<Link>,
    #[serde(default)]
    entry: Vec<Entry>,
}

#[derive(Deserialize)]
struct Link {
    #[serde(default)]
    relation: String,
    #[serde(default)]
    url: String,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    search: Mode,
    #[serde(default)]
    resource: Resource,
}

#[derive(Default, Deserialize)]
struct Mode {
    #[serde(default)]
    mode: String,
}

#[derive(Default, Deserialize)]
struct Resource {
    #[serde(rename = "resourceType", default)]
    kind: String,
    id: Option<String>,
    #[serde(default)]
    status: String,
    #[serde(default)]
    meta: Meta,
    #[serde(default)]
    extension: Vec<Extension>,
    #[serde(default)]
    identifier: Vec<Identifier>,
}

#[derive(Default, Deserialize)]
struct Meta {
    #[serde(rename = "lastUpdated")]
    updated: Option<String>,
}

#[derive(Deserialize)]
struct Extension {
    #[serde(default)]
    url: String,
    #[serde(rename = "valueReference", default)]
    value: Reference,
}

#[derive(Default, Deserialize)]
struct Reference {
    #[serde(default)]
    identifier: Identifier,
}

#[derive(Default, Deserialize)]
struct Identifier {
    #[serde(default)]
    system: String,
    #[serde(default)]
    value: String,
}

impl Entry {
    /// It was searched for: not something said beside it.
    fn counts(&self) -> bool {
        self.resource.kind == "Observation" && matches!(&*self.search.mode, "" | "match")
    }

    fn find(self, ours: &str) -> Option<Find> {
        let Resource { id, status, meta, extension, identifier, .. } = self.resource;
        let value = identifier.into_iter().find(|i| i.system == Identity::system())?.value;
        let mut named = extension.iter().filter(|e| e.url == GATEWAY_EXTENSION).map(|e| &e.value.identifier);
        let bearer = match named.next() {
            Some(by) if by.system == GATEWAY_SYSTEM && by.value == ours => Bearer::Ours,
            Some(_) => Bearer::Another,
            None => Bearer::Nobody,
        };
        // An id of FHIR's grammar, or none: it is shown to a person.
        let id: String = id?.chars().filter(|c| c.is_ascii_alphanumeric() || "-.".contains(*c)).take(64).collect();
        let updated = meta.updated.and_then(|text| text.parse::<jiff::Timestamp>().ok());
        Some(Find {
            place: format!("Observation/{id}"),
            value,
            bearer,
            void: status == "entered-in-error",
            updated_ms: updated.map(jiff::Timestamp::as_millisecond),
        })
    }
}
