//! The centre: a FHIR server behind a bad network. It knows a resource by what is asked before it is created, or by its
//! id; it loses answers, is away, unwell or slow, refuses what it does not like, and holds each Observation against the
//! fact that it must have come from.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Duration, sleep};
use wardline::sink::Trouble;
use wardline::sink::http::{Answer, Ask, Wire};
use wardline_disk::Random;

use super::link::DOWN_SAID_MS;
use super::world::{Flaw, State, World};

pub struct Centre {
    /// Version of each resource, by what it is known by.
    held: HashMap<String, u64>,
    /// Alerts: patients with the rules they were found by.
    pub issues: Vec<(Option<String>, String)>,
    /// Until then nobody answers.
    pub absent_until: i64,
    /// Until then it is unwell in this way.
    pub unwell: (i64, u16),
    /// Until then one of so many answers is lost.
    pub flaky: (i64, usize),
    /// Refuses a Bundle whole for one entry.
    whole: bool,
    /// The gateway could not reach it since then, in this life.
    pub failing_since_ms: Option<i64>,
    pub refusals: u64,
    dropped: bool,
}

/// What becomes of an exchange.
enum Fate {
    Absent,
    Status(u16),
    /// Nothing arrives.
    LostBefore,
    /// So many entries are taken, and nobody hears of it.
    LostAfter(usize),
    Taken,
}

#[derive(Deserialize)]
struct Bundle<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    entry: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    resource: &'a RawValue,
    #[serde(borrow)]
    request: Request<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    url: &'a str,
    #[serde(borrow, default)]
    if_none_exist: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource<'a> {
    resource_type: &'a str,
    #[serde(borrow, default)]
    identifier: Vec<Identifier<'a>>,
    #[serde(borrow, default)]
    subject: Option<Reference<'a>>,
    #[serde(borrow, default)]
    patient: Option<Reference<'a>>,
    #[serde(borrow, default)]
    device: Option<Reference<'a>>,
    #[serde(default)]
    effective_date_time: &'a str,
    #[serde(borrow, default)]
    value_quantity: Option<Quantity<'a>>,
    #[serde(borrow, default)]
    component: Vec<Component<'a>>,
    #[serde(borrow, default)]
    code: Option<Concept<'a>>,
}

#[derive(Deserialize)]
struct Identifier<'a> {
    value: &'a str,
}

#[derive(Deserialize)]
struct Reference<'a> {
    #[serde(default)]
    reference: Option<&'a str>,
    #[serde(borrow, default)]
    identifier: Option<Identifier<'a>>,
}

#[derive(Deserialize)]
struct Quantity<'a> {
    #[serde(borrow)]
    value: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Component<'a> {
    #[serde(borrow, default)]
    value_quantity: Option<Quantity<'a>>,
}

#[derive(Deserialize)]
struct Concept<'a> {
    #[serde(borrow, default)]
    coding: Vec<Coding<'a>>,
}

#[derive(Deserialize)]
struct Coding<'a> {
    #[serde(default)]
    code: &'a str,
}

impl Centre {
    pub fn new(random: &mut Random) -> Self {
        Self {
            held: HashMap::new(),
            issues: Vec::new(),
            absent_until: 0,
            unwell: (0, 503),
            flaky: (0, 1),
            whole: random.one_in(3),
            failing_since_ms: None,
            refusals: 0,
            dropped: false,
        }
    }

    /// It is well from now on.
    pub fn heal(&mut self) {
        (self.absent_until, self.unwell.0, self.flaky.0) = (0, 0, 0);
    }
}

/// The way to the centre.
pub struct Way(pub Arc<World>);

impl Wire for Way {
    fn exchange(&self, ask: Ask) -> BoxFuture<'_, Result<Answer, Trouble>> {
        self.run(ask).boxed()
    }
}

impl Way {
    async fn run(&self, ask: Ask) -> Result<Answer, Trouble> {
        let (fate, there, back) = self.0.lock().fate();
        sleep(there).await;
        if self.0.lock().frozen {
            std::future::pending::<()>().await;
        }
        match fate {
            Fate::Absent => Err(Trouble::Unreachable("refused")),
            Fate::Status(status) => Ok(answer(status, Vec::new())),
            Fate::LostBefore => {
                sleep(back * 20).await;
                Err(Trouble::NoAnswer("it takes too long"))
            }
            Fate::LostAfter(most) => {
                self.0.lock().take(&ask, most);
                sleep(back).await;
                Err(Trouble::NoAnswer("the connection broke"))
            }
            Fate::Taken => {
                let taken = self.0.lock().take(&ask, usize::MAX);
                sleep(back).await;
                Ok(taken)
            }
        }
    }
}

fn answer(status: u16, body: Vec<u8>) -> Answer {
    let retry_after = (status == 429).then(|| Duration::from_secs(40));
    Answer { status, location: None, versioned: false, retry_after, body }
}

const REFUSAL: &str = r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"invalid","expression":["Observation.value"]}]}"#;

impl State {
    fn fate(&mut self) -> (Fate, Duration, Duration) {
        let now = self.now();
        let mut ms = |most: i64| Duration::from_millis(self.between(1, most).unsigned_abs());
        let (there, back) = (ms(80), ms(200));
        let lost = self.centre.flaky.0 > now && self.random.one_in(self.centre.flaky.1);
        let fate = if self.centre.absent_until > now {
            Fate::Absent
        } else if self.centre.unwell.0 > now {
            Fate::Status(self.centre.unwell.1)
        } else if lost {
            match self.random.below(3) {
                0 => Fate::LostBefore,
                1 => Fate::LostAfter(usize::MAX),
                _ => Fate::LostAfter(self.random.below(8)),
            }
        } else {
            Fate::Taken
        };
        self.check_destination(matches!(fate, Fate::Absent | Fate::Status(_)));
        (fate, there, back)
    }

    /// A destination that is away for a minute is an alert.
    fn check_destination(&mut self, failing: bool) {
        let now = self.now();
        if !failing {
            self.centre.failing_since_ms = None;
            return;
        }
        let since = *self.centre.failing_since_ms.get_or_insert(now);
        let said = self.conditions.iter().any(|c| c == "destination-down:centre");
        if now - since > DOWN_SAID_MS && !said {
            self.wrong(format!("liveness: the centre is away since {since}, and nobody says so"));
        }
    }

    /// Takes a request, or its first entries.
    fn take(&mut self, ask: &Ask, most: usize) -> Answer {
        let below = ask.url.trim_start_matches("http://centre").trim_start_matches('/');
        if !below.is_empty() {
            let resource: &RawValue = serde_json::from_slice(&ask.body).unwrap();
            let (status, place) = self.resource(below, ask.condition.as_deref(), resource);
            let body = if status < 300 { Vec::new() } else { REFUSAL.into() };
            return Answer { location: place, versioned: status < 300, ..answer(status, body) };
        }
        let bundle: Bundle<'_> = serde_json::from_slice(&ask.body).unwrap();
        let entries = bundle.entry.len();
        let refused = bundle.entry.iter().any(|e| self.dislikes(e.resource));
        if refused && (self.centre.whole || bundle.kind == "transaction") {
            return answer(422, REFUSAL.into());
        }
        // A transaction is taken whole, or not at all.
        let most = if bundle.kind == "transaction" && most < entries { 0 } else { most };
        let mut body = br#"{"resourceType":"Bundle","type":"batch-response","entry":["#.to_vec();
        for (n, entry) in bundle.entry.iter().take(most).enumerate() {
            let (status, place) = self.resource(entry.request.url, entry.request.if_none_exist, entry.resource);
            let comma = if n == 0 { "" } else { "," };
            let response = match place {
                Some(place) => format!(r#"{comma}{{"response":{{"status":"{status}","location":"{place}"}}}}"#),
                None => format!(r#"{comma}{{"response":{{"status":"{status}","outcome":{REFUSAL}}}}}"#),
            };
            body.extend_from_slice(response.as_bytes());
        }
        body.extend_from_slice(b"]}");
        answer(200, body)
    }

    fn dislikes(&self, resource: &RawValue) -> bool {
        let resource: Resource<'_> = serde_json::from_str(resource.get()).unwrap();
        resource.resource_type == "Observation" && self.fact_of(&resource).is_some_and(|f| self.facts[f].poison)
    }

    /// One resource: status, and where it is.
    fn resource(&mut self, url: &str, condition: Option<&str>, raw: &RawValue) -> (u16, Option<String>) {
        let resource: Resource<'_> = serde_json::from_str(raw.get()).unwrap();
        let kind = resource.resource_type;
        if kind == "Observation" {
            let Some(fact) = self.fact_of(&resource) else {
                self.wrong(format!("safety: an Observation that nobody sent: {}", raw.get()));
                return (422, None);
            };
            if self.facts[fact].poison {
                self.centre.refusals += u64::from(!self.facts[fact].refused);
                self.facts[fact].refused = true;
                self.note("refused", fact as u64, 0);
                return (422, None);
            }
            if self.flaw == Flaw::LostReceipt && !std::mem::replace(&mut self.centre.dropped, true) {
                return (201, Some(format!("{kind}/lost/_history/1")));
            }
            self.observation(fact, &resource);
        } else if kind == "DetectedIssue" {
            let patient = resource.patient.as_ref().and_then(|p| p.reference).map(str::to_owned);
            let rule = resource.code.as_ref().and_then(|c| c.coding.first()).map_or("", |c| c.code).to_owned();
            self.centre.issues.push((patient, rule));
        }
        let known_by = condition.map_or_else(|| url.replace("%7C", "|"), |c| format!("{kind}?{c}"));
        let n = self.centre.held.len();
        let version = self.centre.held.entry(known_by).or_insert(0);
        let status = if *version == 0 { 201 } else { 200 };
        *version += 1;
        let id = url.split_once('/').map_or_else(|| n.to_string(), |(_, id)| id.to_owned());
        let version = *version;
        self.note(kind_name(kind), n as u64, version);
        (status, Some(format!("{kind}/{id}/_history/{version}")))
    }

    /// The fact that an Observation came from.
    fn fact_of(&self, resource: &Resource<'_>) -> Option<usize> {
        let device = resource.device.as_ref()?.identifier.as_ref()?.value;
        let is = |id: &str| id == device || id.strip_prefix("ble:").is_some_and(|a| a.replace(':', "-") == device);
        let device = self.devices.iter().position(|d| is(&d.id))?;
        let mark = match &resource.value_quantity {
            Some(quantity) => quantity.value.get().to_owned(),
            // Of a cuff: its own time, as the identifier says it.
            None => {
                let mut fields = resource.identifier.first()?.value.rsplit('-').skip(1);
                let seconds: i64 = fields.next()?.strip_prefix('L')?.parse().ok()?;
                (946_684_800_000 + seconds * 1_000).to_string()
            }
        };
        self.known.get(&(device, mark)).copied()
    }

    /// Holds an Observation against its fact.
    fn observation(&mut self, fact: usize, resource: &Resource<'_>) {
        let number = |q: &Option<Quantity<'_>>| q.as_ref().map_or("none", |q| q.value.get()).to_owned();
        let mut values: Vec<String> = match resource.component.as_slice() {
            [] => vec![number(&resource.value_quantity)],
            components => components.iter().take(2).map(|c| number(&c.value_quantity)).collect(),
        };
        let mut subject = resource.subject.as_ref().and_then(|s| s.reference).unwrap_or("nobody");
        let mut identifier = resource.identifier.first().map_or("", |i| i.value).to_owned();
        match self.flaw {
            Flaw::WrongDigit => values[0].push('1'),
            Flaw::WrongPatient => subject = "Patient/p9",
            Flaw::NoIdentity => identifier = format!("{identifier}-{}", self.events),
            _ => {}
        }
        let (device, expected) = (&self.devices[self.facts[fact].device], &self.facts[fact]);
        let mut wrong = Vec::new();
        if values != expected.values {
            wrong.push(format!("value {values:?}, sent was {:?}", expected.values));
        }
        if device.patient != Some(subject) {
            wrong.push(format!("patient {subject}, it is of {:?}", device.patient));
        }
        if expected.stored.as_ref().is_some_and(|known| *known != identifier) {
            wrong.push(format!("it is there twice: {identifier} and {:?}", expected.stored));
        }
        if !self.may_be(fact, resource.effective_date_time) {
            wrong.push(format!("time {}, handed over {:?}", resource.effective_date_time, expected.handed));
        }
        for what in wrong {
            self.wrong(format!("safety: fact {fact}: {what}"));
        }
        self.facts[fact].stored = Some(identifier);
    }

    /// Whether a fact may have been taken at this time: the device said so, or a clock that could be trusted showed it
    /// when it came, or showed later in the same boot how long ago that was.
    fn may_be(&self, fact: usize, time: &str) -> bool {
        let Ok(time) = time.parse::<jiff::Timestamp>() else { return false };
        let (time, fact) = (time.as_millisecond(), &self.facts[fact]);
        let near = |ms: i64| (ms - time).abs() <= 1_000;
        if fact.stated_ms == Some(time) {
            return true;
        }
        fact.handed.iter().any(|(at, boot)| {
            let then = self.wall.iter().rev().find(|(from, _, b)| from <= at && b == boot);
            let later = self.wall.iter().filter(|(from, _, b)| from > at && b == boot);
            match then {
                Some((_, offset, _)) if is_trusted(at + offset) => near(at + offset),
                _ => {
                    later.filter(|(from, offset, _)| is_trusted(from + offset)).any(|(_, offset, _)| near(at + offset))
                }
            }
        })
    }
}

/// 2026-01-01: earlier, the gateway must not believe its clock.
pub fn is_trusted(wall_ms: i64) -> bool {
    wall_ms >= 1_767_225_600_000
}

fn kind_name(kind: &str) -> &'static str {
    match kind {
        "Observation" => "observation",
        "DetectedIssue" => "issue",
        _ => "task",
    }
}
