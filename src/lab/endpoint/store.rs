//! What the endpoint holds: per resource an id, its identifiers as hashes, a version and a hash of its content.
//!
//! Promises: it, and not the gateway, says what was stored, what was stored twice, and what was stored under one
//! identifier with another content. Memory grows by about 100 bytes a resource; bodies are kept only on request.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde::Serialize;

use super::record::Record;
use super::resource::{Observation, Refusal, Resource};
use crate::lab::rng::Rng;
use crate::lab::tally::{Mark, Tally};
use crate::limits::LAB_BODIES_MAX;

/// What happened at the endpoint so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// HTTP requests with resources in them.
    pub requests: u64,
    /// Resources in them.
    pub entries: u64,
    /// Resources stored for the first time.
    pub created: u64,
    /// Resources that were there already, with the same content.
    pub known: u64,
    /// Resources whose content an update changed.
    pub updated: u64,
    /// Observations held now.
    pub observations: u64,
    /// Resources held now, by type.
    pub held: BTreeMap<String, u64>,
    /// Resources that share an identifier with another resource of their type.
    pub duplicates: u64,
    /// Observations sent again under a known identifier with another content.
    pub conflicts: u64,
    /// Observations without an identifier: nobody can tell whether they are there twice.
    pub unidentified: u64,
    /// Entries refused because of what they are (4xx).
    pub invalid: u64,
    /// Requests or entries refused although they were good (5xx, 429, resets).
    pub rudeness: u64,
    /// Answers lost or broken after the resources were stored.
    pub lost_answers: u64,
    /// Observations answered 201 and not stored.
    pub forgotten: u64,
    /// New Observations out of order: older, of the same patient and code, than what came before them in both lanes (a
    /// backlog that fresh ones overtake is two sequences in order, whose mixture is free).
    pub out_of_order: u64,
    /// Bytes of request bodies, as they came over the wire.
    pub bytes: u64,
}

/// One write, understood and checked, not yet done.
pub(super) struct Plan<'a> {
    kind: Cow<'a, str>,
    action: Action<'a>,
    body: &'a str,
    observation: Option<Observation<'a>>,
    identifiers: Vec<u64>,
}

enum Action<'a> {
    Create { unless: Option<u64> },
    Update { id: Cow<'a, str> },
    UpdateWhere { is: u64 },
}

/// A write that was done.
pub(super) struct Done {
    pub status: u16,
    pub kind: String,
    pub id: Arc<str>,
    pub version: u32,
}

struct Stored {
    id: Arc<str>,
    version: u32,
    content: u64,
    mark: Option<Mark>,
    updated_ms: i64,
}

/// A resource whose body is kept.
pub(super) struct Kept {
    pub id: Arc<str>,
    pub body: Arc<str>,
    pub updated_ms: i64,
}

/// All resources.
#[derive(Default)]
pub(super) struct Store {
    by_id: HashMap<u64, Stored>,
    by_identifier: HashMap<u64, u64>,
    bodies: Option<HashMap<u64, Arc<str>>>,
    /// Of these, the Observations of each patient in the order in which they came.
    by_patient: HashMap<u64, Vec<u64>>,
    /// Now.
    pub now_ms: i64,
    /// Identifiers of what was answered and not stored.
    forgotten: HashSet<u64>,
    issued: u64,
    ages_ms: Vec<u32>,
    /// By patient and code: the times of the newest two that can each be the end of a lane, the later first, milliseconds.
    lanes_ms: HashMap<u64, [i64; 2]>,
    /// Where it is written what came.
    pub record: Option<Record>,
    pub tally: Tally,
    pub counts: Counts,
}

fn hash(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

fn token(kind: &str, system: &str, value: &str) -> u64 {
    hash((kind, system, value))
}

const fn refusal(status: u16, code: &'static str, text: &'static str) -> Refusal {
    Refusal { status, code, text }
}

/// Whether a FHIR id: letters, digits, `-` and `.`, at most 64.
fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}

/// `%7C` and `+` as they are meant in a query.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(b) = rest.next() {
        out.push(match b {
            b'+' => b' ',
            b'%' => {
                let pair = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
                std::str::from_utf8(&pair).ok().and_then(|p| u8::from_str_radix(p, 16).ok()).unwrap_or(b'?')
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The value of a parameter of a query.
pub(super) fn parameter(query: &str, name: &str) -> Option<String> {
    query.split('&').filter_map(|p| p.split_once('=')).find(|(n, _)| *n == name).map(|(_, v)| unescape(v))
}

/// `identifier=system|value` as the hash it is looked up by. Anything else is no condition this server knows.
fn condition(kind: &str, query: &str) -> Result<u64, Refusal> {
    const UNKNOWN: Refusal = refusal(412, "not-supported", "only identifier=system|value is a condition here");
    let query = query.split_once('?').map_or(query, |(_, q)| q);
    let identifier = parameter(query, "identifier").ok_or(UNKNOWN)?;
    let (system, value) = identifier.split_once('|').ok_or(UNKNOWN)?;
    if value.is_empty() || query.contains('&') { Err(UNKNOWN) } else { Ok(token(kind, system, value)) }
}

/// Reads and checks one write; nothing is changed yet.
pub(super) fn plan<'a>(
    method: &str,
    url: &'a str,
    if_none_exist: Option<&str>,
    body: &'a str,
) -> Result<Plan<'a>, Refusal> {
    let malformed = |_| refusal(400, "structure", "the resource cannot be read");
    let resource: Resource = serde_json::from_str(body).map_err(malformed)?;
    let kind = resource.resource_type;
    let (path, query) =
        url.trim_start_matches('/').split_once('?').map_or((url.trim_start_matches('/'), None), |(p, q)| (p, Some(q)));
    let (of, id) = path.split_once('/').map_or((path, None), |(k, id)| (k, Some(id)));
    if *of != *kind {
        return Err(refusal(400, "invalid", "the URL names another type than the resource"));
    }
    let action = match (method, id, query) {
        ("POST", None, None) => Action::Create { unless: if_none_exist.map(|c| condition(&kind, c)).transpose()? },
        ("PUT", Some(id), None) if is_id(id) && resource.id.as_deref() == Some(id) => Action::Update { id: id.into() },
        ("PUT", Some(_), None) => {
            return Err(refusal(400, "invalid", "the URL's id and the resource's must be one FHIR id"));
        }
        ("PUT", None, Some(query)) => Action::UpdateWhere { is: condition(&kind, query)? },
        _ => return Err(refusal(405, "not-supported", "only create, update and their conditional forms")),
    };
    let identifiers = resource.identifier.iter().filter(|i| !i.value.is_empty());
    let identifiers = identifiers.map(|i| token(&kind, &i.system, &i.value)).collect();
    let observation = if kind == "Observation" {
        let observation: Observation = serde_json::from_str(body).map_err(malformed)?;
        observation.check()?;
        Some(observation)
    } else {
        None
    };
    Ok(Plan { kind, action, body, observation, identifiers })
}

impl Plan<'_> {
    /// A number that is the same whenever this resource comes.
    pub fn chance(&self) -> f64 {
        Rng::new(self.identifiers.first().copied().unwrap_or_else(|| hash(self.body))).unit()
    }
}

impl Store {
    /// Keeps bodies from now on, so that they can be read again.
    pub fn keep_bodies(&mut self) {
        self.bodies.get_or_insert_default();
    }

    /// Does a write. `blind`: its condition is not looked at. `forget`: answer 201 and keep nothing.
    pub fn apply(&mut self, plan: &Plan<'_>, blind: bool, forget: &mut u32) -> Done {
        if let (Some(record), Some(_)) = (&mut self.record, &plan.observation) {
            record.note(plan.body);
        }
        let (id, fresh) = match &plan.action {
            Action::Create { unless } => match unless.filter(|_| !blind).and_then(|t| self.by_identifier.get(&t)) {
                Some(key) => return self.known(*key, plan),
                None => (self.issue(), true),
            },
            Action::Update { id } => (Arc::from(&**id), false),
            Action::UpdateWhere { is } => match self.by_identifier.get(is).and_then(|key| self.by_id.get(key)) {
                Some(stored) => (stored.id.clone(), false),
                None => (self.issue(), true),
            },
        };
        let key = hash((&*plan.kind, &*id));
        let is_new = fresh || !self.by_id.contains_key(&key);
        if is_new && self.forgets(plan, forget) {
            return Done { status: 201, kind: plan.kind.to_string(), id, version: 1 };
        }
        if is_new { self.create(key, id, plan) } else { self.update(key, plan) }
    }

    /// Whether this one is not stored. Once forgotten, always forgotten: it may be sent again after a lost answer.
    fn forgets(&mut self, plan: &Plan<'_>, forget: &mut u32) -> bool {
        let (Some(_), Some(token)) = (&plan.observation, plan.identifiers.first()) else { return false };
        if *forget > 0 && !self.forgotten.contains(token) {
            *forget -= 1;
            self.forgotten.insert(*token);
            self.counts.forgotten += 1;
        }
        self.forgotten.contains(token)
    }

    fn issue(&mut self) -> Arc<str> {
        self.issued += 1;
        format!("{:x}", self.issued).into()
    }

    fn mark(&mut self, plan: &Plan<'_>) -> Option<Mark> {
        let o = plan.observation.as_ref()?;
        let (subject, code) = o.group();
        Some(self.tally.mark(subject, code, o.numbers()))
    }

    fn create(&mut self, key: u64, id: Arc<str>, plan: &Plan<'_>) -> Done {
        let mark = self.mark(plan);
        if let Some(mark) = mark {
            self.tally.add(mark);
            self.counts.observations += 1;
            self.counts.unidentified += u64::from(plan.identifiers.is_empty());
        }
        self.counts.created += 1;
        match self.counts.held.get_mut(&*plan.kind) {
            Some(n) => *n += 1,
            None => drop(self.counts.held.insert(plan.kind.to_string(), 1)),
        }
        let taken = plan.identifiers.iter().any(|t| *self.by_identifier.entry(*t).or_insert(key) != key);
        self.counts.duplicates += u64::from(taken);
        self.by_id.insert(
            key,
            Stored { id: id.clone(), version: 1, content: hash(plan.body), mark, updated_ms: self.now_ms },
        );
        self.keep(key, plan.body);
        if let (Some(o), true) = (&plan.observation, self.bodies.as_ref().is_some_and(|b| b.contains_key(&key))) {
            self.by_patient.entry(hash(o.group().0)).or_default().push(key);
        }
        Done { status: 201, kind: plan.kind.to_string(), id, version: 1 }
    }

    fn update(&mut self, key: u64, plan: &Plan<'_>) -> Done {
        let mark = self.mark(plan);
        let content = hash(plan.body);
        let mut version = 0;
        let mut id = Arc::from("");
        if let Some(stored) = self.by_id.get_mut(&key) {
            if stored.content == content {
                self.counts.known += 1;
            } else {
                self.counts.updated += 1;
                stored.version += 1;
                stored.content = content;
                stored.updated_ms = self.now_ms;
                if let Some(old) = std::mem::replace(&mut stored.mark, mark) {
                    self.tally.remove(old);
                }
                if let Some(new) = mark {
                    self.tally.add(new);
                }
            }
            (version, id) = (stored.version, stored.id.clone());
        }
        self.keep(key, plan.body);
        Done { status: 200, kind: plan.kind.to_string(), id, version }
    }

    /// A conditional create that found it there.
    fn known(&mut self, key: u64, plan: &Plan<'_>) -> Done {
        let (id, version, same) = match self.by_id.get(&key) {
            Some(s) => (s.id.clone(), s.version, s.content == hash(plan.body)),
            None => (Arc::from(""), 1, false),
        };
        self.counts.known += u64::from(same);
        self.counts.conflicts += u64::from(!same && plan.observation.is_some());
        Done { status: 200, kind: plan.kind.to_string(), id, version }
    }

    /// Notes how old a new Observation is, and whether it comes in order.
    pub fn date(&mut self, plan: &Plan<'_>, now_ms: i64) {
        let Some(o) = &plan.observation else { return };
        let Some(taken) = o.effective_date_time.as_deref().and_then(|t| t.parse::<jiff::Timestamp>().ok()) else {
            return;
        };
        let taken_ms = taken.as_millisecond();
        let [fresh, backlog] = self.lanes_ms.entry(hash(o.group())).or_insert([i64::MIN; 2]);
        match taken_ms {
            _ if taken_ms >= *fresh => *fresh = taken_ms,
            _ if taken_ms >= *backlog => *backlog = taken_ms,
            _ => self.counts.out_of_order += 1,
        }
        if self.ages_ms.len() < LAB_BODIES_MAX {
            self.ages_ms.push(u32::try_from(now_ms.saturating_sub(taken_ms)).unwrap_or(0));
        }
    }

    pub fn take_ages(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.ages_ms)
    }

    fn keep(&mut self, key: u64, body: &str) {
        if let Some(bodies) = &mut self.bodies
            && (bodies.len() < LAB_BODIES_MAX || bodies.contains_key(&key))
        {
            bodies.insert(key, body.into());
        }
    }

    /// The id of the resource with this identifier.
    pub fn find(&self, kind: &str, identifier: &str) -> Option<Arc<str>> {
        let (system, value) = identifier.split_once('|')?;
        let key = self.by_identifier.get(&token(kind, system, value))?;
        self.by_id.get(key).map(|s| s.id.clone())
    }

    /// A kept body.
    pub fn body(&self, kind: &str, id: &str) -> Option<Arc<str>> {
        self.bodies.as_ref()?.get(&hash((kind, id))).cloned()
    }

    /// The Observations of a patient that changed since then. `None`: bodies are not kept.
    pub fn of_patient(&self, reference: &str, since_ms: i64) -> Option<Vec<Kept>> {
        let bodies = self.bodies.as_ref()?;
        let keys = self.by_patient.get(&hash(reference)).into_iter().flatten();
        let kept = keys.filter_map(|key| {
            let stored = self.by_id.get(key).filter(|stored| stored.updated_ms >= since_ms)?;
            Some(Kept { id: stored.id.clone(), body: bodies.get(key)?.clone(), updated_ms: stored.updated_ms })
        });
        Some(kept.collect())
    }

    /// Whether bodies are not kept.
    pub fn keeps_nothing(&self) -> bool {
        self.bodies.is_none()
    }

    /// All kept resources, in the order of their ids.
    pub fn kept(&self) -> Vec<Kept> {
        let of = |(key, body): (&u64, &Arc<str>)| {
            let stored = self.by_id.get(key)?;
            Some(Kept { id: stored.id.clone(), body: body.clone(), updated_ms: stored.updated_ms })
        };
        let mut all: Vec<Kept> = self.bodies.iter().flatten().filter_map(of).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// A resource is deleted.
    pub fn remove(&mut self, kind: &str, id: &str) -> bool {
        let key = hash((kind, id));
        self.by_identifier.retain(|_, of| *of != key);
        self.bodies.as_mut().is_some_and(|bodies| bodies.remove(&key).is_some()) && self.by_id.remove(&key).is_some()
    }

    /// All kept bodies of a type.
    pub fn bodies(&self, kind: &str) -> Vec<Arc<str>> {
        let start = format!("{{\"resourceType\":\"{kind}\"");
        self.bodies.iter().flat_map(|b| b.values()).filter(|b| b.starts_with(&start)).cloned().collect()
    }
}
