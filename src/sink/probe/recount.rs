//! Asks a destination how often it holds each of some readings as it was sent, by their identifiers.
//!
//! Promises: reads only, within the destination's stated rate; what was taken back and stands there again is told. Must
//! never: take an answer that it does not understand for "not there".

use std::collections::HashMap;

use serde::Deserialize;

use super::Prober;
use crate::fhir::Identity;
use crate::reading::Reading;
use crate::sink::answer::{Whole, whole};
use crate::sink::why::Trouble;

/// What of a searchset is looked at.
#[derive(Deserialize)]
struct Searchset<'a> {
    #[serde(rename = "resourceType")]
    kind: &'a str,
    total: Option<u64>,
    #[serde(default)]
    entry: Vec<Entry>,
}

impl Searchset<'_> {
    /// Resources with an identifier of ours.
    fn ours(&self) -> impl Iterator<Item = (&str, &Resource)> {
        self.entry.iter().filter_map(|Entry { resource }| {
            let ours = resource.identifier.iter().find(|i| i.system == Identity::system())?;
            Some((&*ours.value, resource))
        })
    }
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    resource: Resource,
}

#[derive(Default, Deserialize)]
struct Resource {
    #[serde(default)]
    status: String,
    #[serde(default)]
    identifier: Vec<Identifier>,
}

#[derive(Deserialize)]
struct Identifier {
    #[serde(default)]
    system: String,
    #[serde(default)]
    value: String,
}

/// Observations of one reading.
#[derive(Clone, Copy, Default)]
struct Held {
    times: u64,
    /// Of these, not entered in error.
    standing: u64,
}

impl Held {
    fn note(&mut self, resource: &Resource) {
        self.times += 1;
        // Every Observation has a status: of one that shows none nothing is known.
        self.standing += u64::from(!matches!(&*resource.status, "" | ERROR));
    }

    /// How often it is there as it was sent.
    fn as_sent(self, withdrawn: bool) -> u64 {
        match withdrawn {
            false => self.times,
            true if self.standing > 0 => 0,
            // Where it is not, nobody has it in a chart.
            true => self.times.max(1),
        }
    }
}

const ERROR: &str = "entered-in-error";

impl Prober {
    /// How many Observations there are of each reading as it was sent, in order: of one that was taken back, and stands there
    /// all the same, none. A reading without an identity was never sent: 1.
    pub async fn holds(&self, readings: &[Reading]) -> Result<Vec<u64>, Trouble> {
        let values: Vec<Option<String>> =
            readings.iter().map(|r| Identity::of(r).ok().map(|i| i.value().to_owned())).collect();
        let known: Vec<&str> = values.iter().flatten().map(String::as_str).collect();
        if known.is_empty() {
            return Ok(vec![1; readings.len()]);
        }
        let all = known.iter().map(|v| token(v)).collect::<Vec<_>>().join(",");
        let body = self.search(&format!("Observation?identifier={all}&_elements=identifier,status&_count=200")).await?;
        let found = searchset(&body)?;
        let mut held: HashMap<&str, Held> = HashMap::new();
        for (identifier, resource) in found.ours() {
            held.entry(identifier).or_default().note(resource);
        }
        // It tells of all it has, by name: else each is asked for alone.
        let named: u64 = held.values().map(|h| h.times).sum();
        let told = found.total.unwrap_or(named) == named && named == found.entry.len() as u64;
        let told = told && known.iter().all(|v| held.contains_key(v));
        let mut each = Vec::with_capacity(values.len());
        for (reading, value) in readings.iter().zip(&values) {
            let withdrawn = reading.is_withdrawal();
            each.push(match value.as_deref() {
                Some(value) if told => held.get(value).copied().unwrap_or_default().as_sent(withdrawn),
                Some(value) if withdrawn => self.one_by_one(value).await?.as_sent(true),
                Some(value) => self.count(value).await?,
                None => 1,
            });
        }
        Ok(each)
    }

    async fn count(&self, value: &str) -> Result<u64, Trouble> {
        let body = self.search(&format!("Observation?identifier={}&_summary=count", token(value))).await?;
        searchset(&body)?.total.ok_or(Trouble::Unclear("it does not count what it found"))
    }

    async fn one_by_one(&self, value: &str) -> Result<Held, Trouble> {
        let one = format!("Observation?identifier={}&_elements=identifier,status&_count=20", token(value));
        let body = self.search(&one).await?;
        let found = searchset(&body)?;
        let mut held = Held::default();
        found.ours().filter(|(of, _)| *of == value).for_each(|(_, resource)| held.note(resource));
        match found.total {
            Some(total) if total > 0 && held.times == 0 => Err(Trouble::Unclear("it does not show what it found")),
            _ => Ok(held),
        }
    }

    async fn search(&self, path: &str) -> Result<Vec<u8>, Trouble> {
        self.sink.turn().await;
        let answer = self.sink.look(path).await?;
        match whole(&answer) {
            Whole::Taken => Ok(answer.body),
            Whole::Destination(trouble) => Err(trouble),
            _ => Err(Trouble::Unclear("it does not search by identifier")),
        }
    }
}

/// Nothing in an identity needs escaping.
fn token(value: &str) -> String {
    format!("{}%7C{value}", Identity::system())
}

fn searchset(body: &[u8]) -> Result<Searchset<'_>, Trouble> {
    let found: Searchset<'_> = serde_json::from_slice(body).map_err(|_| Trouble::Unclear("it is not a searchset"))?;
    if found.kind == "Bundle" { Ok(found) } else { Err(Trouble::Unclear("it is not a searchset")) }
}
