//! Finds out what a FHIR server can: by its own statement, and, with its owner's consent, by writing test resources.
//!
//! Promises: without consent it reads the CapabilityStatement and nothing else; what it writes is marked HTEST and belongs
//! to a test patient of its own. Must never: touch another patient's resources, or believe a statement over a try.

pub mod care;
pub mod patient;
mod recount;
pub mod shelf;
mod tasks;

use std::sync::Arc;

use futures_util::future::join_all;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::Value;

use super::SinkError;
use super::answer::{self, Whole, whole};
use super::fhir::FhirSink;
use super::why::Trouble;
use crate::clock::{Clock, Stamp};
use crate::config::FhirSettings;
use crate::custody::{Outcome, Receipt};
use crate::fhir::{Bundle, Identity, Kind, Single, Write, single};
use crate::limits;
use crate::probed::{Credential, Finding, Stated, Written};
use crate::reading::{DeviceId, Part, PatientId, Quality, Reading, ReadingKey, Taken, TimeMethod, Value as Number};
use crate::unit::Unit;
use crate::vital::{Role, Vital};

/// Asks one FHIR server; beside the sink that delivers to it, with a connection of its own.
pub struct Prober {
    pub(super) sink: FhirSink,
    bundle_max: usize,
    gateway: Arc<str>,
    clock: Clock,
}

/// What a resource would meet at the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opinion {
    /// It finds nothing wrong.
    Fine,
    /// It would refuse it: an issue code and a path.
    Wrong(String),
    /// It cannot be asked.
    Silent(String),
}

/// Vital signs in the units that our codecs give them.
const UNITS: [(&str, &[&str], &str); 9] = [
    ("heart-rate", &["/min"], "72"),
    ("spo2", &["%"], "97"),
    ("body-temperature", &["Cel", "[degF]"], "37"),
    ("body-weight", &["kg", "[lb_av]"], "80"),
    ("blood-pressure", &["mm[Hg]", "kPa"], "16"),
    ("glucose-capillary-whole-blood", &["mg/dL", "mmol/L"], "6"),
    ("respiratory-rate", &["/min"], "16"),
    ("body-fat", &["%"], "20"),
    ("perfusion-index", &["%"], "5"),
];

impl Prober {
    /// From settings; sends nothing.
    pub fn new(settings: &FhirSettings, gateway: &Arc<str>, clock: &Clock) -> Result<Self, SinkError> {
        let sink = FhirSink::timed(settings, gateway, clock)?;
        Ok(Self { sink, bundle_max: settings.bundle_max.max(1), gateway: gateway.clone(), clock: clock.clone() })
    }

    /// With the token of the sink that delivers there: one is asked for at a time.
    pub fn sharing(self, sink: &FhirSink) -> Self {
        Self { sink: self.sink.sharing(sink.smart()), ..self }
    }

    /// How the gateway is let in, where it gets a token.
    pub fn credential(&self) -> Option<Credential> {
        self.sink.smart().map(|smart| smart.shown())
    }

    /// Gets a token, where the gateway gets one, so that what is shown is of now.
    pub async fn admission(&self) -> Option<Credential> {
        let smart = self.sink.smart()?;
        // What fails is shown.
        let _ = smart.bearer().await;
        Some(smart.shown())
    }

    /// What the server says of itself. Reads only.
    pub async fn state(&self) -> Result<Stated, Trouble> {
        let answer = self.sink.look("metadata").await?;
        match whole(&answer) {
            Whole::Taken => {}
            Whole::Destination(trouble) => return Err(trouble),
            _ => return Err(Trouble::NotHere(answer.status)),
        }
        let statement: Value =
            serde_json::from_slice(&answer.body).map_err(|_| Trouble::Unclear("its statement is not JSON"))?;
        stated(&statement).ok_or(Trouble::Unclear("it is not a CapabilityStatement"))
    }

    /// What the server makes of a resource, without storing it.
    pub async fn opinion(&self, reading: &Reading) -> Opinion {
        let Ok(Single { body, .. }) = single(reading, &self.sink.scope, Write::ConditionalCreate) else {
            return Opinion::Wrong("it cannot be expressed".into());
        };
        let url = self.sink.peer.below("Observation/$validate");
        self.sink.turn().await;
        let answer = match self.sink.send("POST", &url, None, body).await {
            Ok(answer) => answer,
            Err(trouble) => return Opinion::Silent(trouble.to_string()),
        };
        match (answer.status, answer::verdict(&answer.body)) {
            (200..=299 | 400 | 422, Some(Some(detail))) => Opinion::Wrong(detail),
            (200..=299, Some(None)) => Opinion::Fine,
            (status, _) => Opinion::Silent(format!("it does not validate (HTTP {status})")),
        }
    }

    /// Writes test resources and sees what becomes of them. An error: the server is not well, or does not let us.
    pub async fn write(&self, consent: &str) -> Result<Written, Trouble> {
        let patient = self.patient().await?;
        let mut found = Written { consent: consent.into(), patient: patient.clone(), left: 1, ..Written::default() };
        let new = || self.reading(&patient, "heart-rate", "/min", "72");
        found.put_create = Some(self.twice(&new()?, Write::Update).await?);
        found.conditional_create = Some(self.twice(&new()?, Write::ConditionalCreate).await?);
        found.left += 2;
        found.parallel_creates = Some(self.race(&new()?, Write::ConditionalCreate).await?.0);
        found.left += found.parallel_creates.unwrap_or(0);
        let (_, refused) = self.race(&new()?, Write::Update).await?;
        let otherwise = refused.clone().unwrap_or_default();
        found.parallel_updates = Some(Finding::of(refused.is_none(), otherwise));
        found.left += 1;
        for (kind, finding) in [(Kind::Batch, &mut found.batch), (Kind::Transaction, &mut found.transaction)] {
            // One entry that is refused for a reason of its own refuses a whole transaction: so not once only.
            for _ in 0..limits::PROBE_TRIES {
                let three = [new()?, new()?, new()?];
                *finding = Some(self.bundle(kind, &three, &mut found.throttled).await?.taken());
                found.left += 3;
                if finding.as_ref().is_some_and(Finding::works) {
                    break;
                }
            }
        }
        if found.batch.as_ref().is_some_and(Finding::works) {
            let outcomes =
                self.bundle(Kind::Batch, &[new()?, impossible(new()?), new()?], &mut found.throttled).await?;
            found.per_entry = outcomes.per_entry();
            found.left += if found.per_entry.is_none() { 3 } else { 2 };
        }
        let works = |f: &Option<Finding>| f.as_ref().is_some_and(Finding::works);
        let kind = if works(&found.batch) || !works(&found.transaction) { Kind::Batch } else { Kind::Transaction };
        found.bundle_max = self.largest(kind, &patient, &mut found).await?;
        found.units = self.units(&patient, &mut found).await?;
        found.validate = Some(match self.opinion(&new()?).await {
            // Whatever it thinks of this one: it has an opinion.
            Opinion::Fine | Opinion::Wrong(_) => Finding::Works,
            Opinion::Silent(why) => Finding::Fails(why),
        });
        Ok(found)
    }

    /// The marked test patient, once for each gateway.
    async fn patient(&self) -> Result<String, Trouble> {
        let name = format!("wl-probe-{}", self.gateway);
        let id: String = name.chars().take(64).collect();
        let identifier = format!(r#"{{"system":"urn:wardline:probe","value":"{}"}}"#, self.gateway);
        let resource = |id: &str| {
            format!(
                r#"{{"resourceType":"Patient",{id}"meta":{{"security":[{{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"HTEST"}}],"tag":[{{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"HTEST"}}]}},"active":false,"identifier":[{identifier}],"name":[{{"use":"anonymous","family":"Test","given":["Wardline probe"]}}],"gender":"unknown"}}"#
            )
        };
        let put = format!("Patient/{id}");
        let body = resource(&format!(r#""id":"{id}","#)).into_bytes();
        let answer = self.sink.send("PUT", &self.sink.peer.below(&put), None, body).await?;
        if let Whole::Destination(trouble @ (Trouble::Credential(_) | Trouble::Throttled(_))) = whole(&answer) {
            return Err(trouble);
        }
        if answer.status < 300 {
            return Ok(put);
        }
        // A server that gives its own ids.
        let condition = format!("identifier=urn:wardline:probe|{}", self.gateway);
        let url = self.sink.peer.below("Patient");
        let answer = self.sink.send("POST", &url, Some(&condition), resource("").into_bytes()).await?;
        match answer::single(&answer)? {
            Outcome::Delivered(Receipt { location, .. }) if location.starts_with("Patient/") => {
                Ok(location.split("/_history/").next().unwrap_or(&location).to_owned())
            }
            Outcome::Reject(_) | Outcome::Retry { .. } | Outcome::Withheld => {
                Err(Trouble::Refused { status: answer.status, detail: ": the test patient".into() })
            }
            Outcome::Delivered(_) => Err(Trouble::Unclear("it does not say where the test patient is")),
        }
    }

    /// The same one twice: it is created, and then it is there.
    async fn twice(&self, reading: &Reading, write: Write) -> Result<Finding, Trouble> {
        let mut places = Vec::new();
        for time in 0..2 {
            match self.one(reading, write).await? {
                Outcome::Delivered(Receipt { location, known }) => {
                    if known != (time == 1) {
                        let what = if known { "the first was there already" } else { "the same was created again" };
                        return Ok(Finding::Fails(what.into()));
                    }
                    places.push(location.split("/_history/").next().unwrap_or_default().to_owned());
                }
                Outcome::Reject(why) | Outcome::Retry { why, .. } => return Ok(Finding::Fails(why.text)),
                Outcome::Withheld => return Ok(Finding::Fails("it was not sent".into())),
            }
        }
        // A server need not say where it is.
        places.retain(|place| !place.is_empty());
        places.dedup();
        Ok(Finding::of(places.len() <= 1, "the same is in two places"))
    }

    /// Eight at once: how many were created, and why one was refused other than for the race.
    async fn race(&self, reading: &Reading, write: Write) -> Result<(usize, Option<String>), Trouble> {
        let all = join_all((0..limits::PROBE_SENDERS).map(|_| self.one(reading, write))).await;
        let (mut created, mut refused) = (0, None);
        for outcome in all {
            match outcome? {
                Outcome::Delivered(receipt) => created += usize::from(!receipt.known),
                // Somebody else was first.
                Outcome::Retry { why, .. } | Outcome::Reject(why) if matches!(&*why.code, "WL-F012" | "WL-F013") => {}
                Outcome::Retry { why, .. } | Outcome::Reject(why) => refused = Some(why.text),
                Outcome::Withheld => {}
            }
        }
        Ok((created, refused))
    }

    async fn one(&self, reading: &Reading, write: Write) -> Result<Outcome, Trouble> {
        let resource = single(reading, &self.sink.scope, write).map_err(Trouble::Unmappable)?;
        match self.sink.one(resource).await {
            Ok(outcome) => Ok(outcome),
            // The server lives, and this way is none of its ways.
            Err((trouble @ (Trouble::NotHere(_) | Trouble::Refused { .. } | Trouble::ServerError(_)), _)) => {
                Ok(trouble.reject())
            }
            Err((trouble, _)) => Err(trouble),
        }
    }

    async fn bundle(&self, kind: Kind, readings: &[Reading], throttled: &mut Option<String>) -> Result<Tried, Trouble> {
        let mut bundle = Bundle::new(kind, readings.len());
        for reading in readings {
            bundle.reading(reading, &self.sink.scope, self.sink.write).map_err(Trouble::Unmappable)?;
        }
        let answer = self.sink.send("POST", self.sink.peer.url.as_str(), None, bundle.finish()).await?;
        if answer.status == 429 {
            let after = answer.retry_after.map(|d| format!("{} s", d.as_secs()));
            *throttled = Some(format!("429, Retry-After {}", after.as_deref().unwrap_or("not given")));
        }
        match whole(&answer) {
            Whole::Taken => match answer::entries(&answer.body, readings.len()) {
                Ok(outcomes) => Ok(Tried::Entries(outcomes)),
                Err(_) => Ok(Tried::Whole("its answer does not say what became of which entry".into())),
            },
            Whole::Destination(trouble @ (Trouble::Credential(_) | Trouble::Throttled(_))) => Err(trouble),
            _ => Ok(Tried::Whole(format!("refused whole (HTTP {})", answer.status))),
        }
    }

    /// Halves what is configured until it is taken.
    async fn largest(&self, kind: Kind, patient: &str, found: &mut Written) -> Result<Option<usize>, Trouble> {
        let mut size = self.bundle_max;
        while size > 1 {
            let readings: Result<Vec<_>, _> =
                (0..size).map(|_| self.reading(patient, "heart-rate", "/min", "72")).collect();
            if self.bundle(kind, &readings?, &mut found.throttled).await?.taken().works() {
                found.left += size;
                return Ok(Some(size));
            }
            size /= 2;
        }
        Ok(None)
    }

    async fn units(&self, patient: &str, found: &mut Written) -> Result<Vec<(String, String, Finding)>, Trouble> {
        let mut tried = Vec::new();
        for (vital, units, value) in UNITS {
            for unit in units {
                let Ok(reading) = self.reading(patient, vital, unit, value) else { continue };
                let finding = match self.one(&reading, self.sink.write).await? {
                    Outcome::Delivered(_) => Finding::Works,
                    Outcome::Reject(why) | Outcome::Retry { why, .. } => Finding::Fails(why.text),
                    Outcome::Withheld => Finding::Fails("it was not sent".into()),
                };
                found.left += usize::from(finding.works());
                tried.push((vital.to_owned(), (*unit).to_owned(), finding));
            }
        }
        Ok(tried)
    }

    /// A test reading that no other has the identity of.
    fn reading(&self, patient: &str, vital: &str, unit: &str, value: &str) -> Result<Reading, Trouble> {
        let broken = || Trouble::Unclear("no test reading can be made");
        let (vital, unit) = (Vital::parse(vital).ok_or_else(broken)?, Unit::parse(unit).ok_or_else(broken)?);
        let number = Number::Number(value.parse().map_err(|_| broken())?);
        let roles: &[Role] = match vital.component(Role::Systolic) {
            Some(_) => &[Role::Systolic, Role::Diastolic],
            None => &[Role::Value],
        };
        let mut key = [0; 16];
        SystemRandom::new().fill(&mut key).map_err(|_| broken())?;
        let now = self.clock.now();
        let reading = Reading {
            key: ReadingKey(key),
            device: DeviceId(format!("probe:{}", self.gateway).into()),
            profile: "probe".into(),
            slot: None,
            patient: Some(PatientId::new(patient)),
            vital,
            parts: roles.iter().map(|role| Part { role: *role, value: number, unit }).collect(),
            sequence: None,
            taken: taken(now),
            quality: vec![Quality::Test],
            site: None,
            stored: false,
            unassigned: None,
            amendment: None,
            clocks: None,
        };
        Identity::of(&reading).map_err(Trouble::Unmappable)?;
        Ok(reading)
    }
}

fn taken(now: Stamp) -> Taken {
    let at_ms = Some(now.wall_ms);
    Taken { device: None, received: now, at_ms, uncertainty_ms: 1_000, method: TimeMethod::Received }
}

/// From before the years that FHIR can write: every server refuses it.
fn impossible(reading: Reading) -> Reading {
    let taken = Taken { at_ms: Some(-70_000_000_000_000), ..reading.taken };
    Reading { taken, ..reading }
}

/// What became of a Bundle.
enum Tried {
    Entries(Vec<Outcome>),
    Whole(String),
}

impl Tried {
    /// The server takes such a Bundle: it says of each entry what became of it, whatever that is.
    fn taken(&self) -> Finding {
        match self {
            Self::Whole(why) => Finding::Fails(why.clone()),
            Self::Entries(_) => Finding::Works,
        }
    }

    /// The one in the middle is refused, the others are not. `None`: it takes even that one.
    fn per_entry(&self) -> Option<Finding> {
        Some(match self {
            Self::Whole(why) => Finding::Fails(format!("one bad entry refuses all: {why}")),
            Self::Entries(outcomes) => match outcomes.as_slice() {
                [Outcome::Delivered(_), Outcome::Reject(_) | Outcome::Retry { .. }, Outcome::Delivered(_)] => {
                    Finding::Works
                }
                [_, Outcome::Delivered(_), _] => return None,
                _ => Finding::Fails("one bad entry takes others along".into()),
            },
        })
    }
}

/// `None`: it is none.
fn stated(statement: &Value) -> Option<Stated> {
    if statement["resourceType"] != "CapabilityStatement" {
        return None;
    }
    let text =
        |at: &str| statement.pointer(at)?.as_str().map(|t| t.chars().take(limits::TEXT_CHARS_MAX).collect::<String>());
    let codes = |list: &Value, code: &str| list.as_array().map(|l| l.iter().any(|i| i["code"] == code));
    let rest = statement["rest"].as_array().and_then(|r| r.iter().find(|r| r["mode"] == "server"));
    let rest = rest.unwrap_or(&Value::Null);
    let all = rest["resource"].as_array();
    let observation = all.and_then(|r| r.iter().find(|r| r["type"] == "Observation")).unwrap_or(&Value::Null);
    let validate = |list: &Value| list.as_array().is_some_and(|l| l.iter().any(|o| o["name"] == "validate"));
    let software = text("/software/name").map(|name| {
        let version = text("/software/version").unwrap_or_default();
        format!("{name} {version}").trim_end().to_owned()
    });
    Some(Stated {
        software,
        fhir_version: text("/fhirVersion"),
        batch: codes(&rest["interaction"], "batch"),
        transaction: codes(&rest["interaction"], "transaction"),
        update_create: observation["updateCreate"].as_bool(),
        conditional_create: observation["conditionalCreate"].as_bool(),
        validate: all.map(|_| validate(&observation["operation"]) || validate(&rest["operation"])),
        searches: searches(&observation["searchParam"], &rest["searchParam"]),
    })
}

/// Those that we would search by, of the type and of all types. `None`: it lists none.
fn searches(own: &Value, common: &Value) -> Option<Vec<String>> {
    let own = own.as_array().filter(|own| !own.is_empty())?;
    let listed = own.iter().chain(common.as_array().into_iter().flatten()).filter_map(|p| p["name"].as_str());
    let listed: Vec<&str> = listed.collect();
    let ours = ["patient", "subject", "_lastUpdated", "date"].into_iter().filter(|name| listed.contains(name));
    Some(ours.map(str::to_owned).collect())
}
