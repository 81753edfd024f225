//! Asks a destination how often it holds each of some readings, by their identifiers.
//!
//! Promises: reads only, within the destination's stated rate. Must never: take an answer that it does not understand
//! for "not there".

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

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    resource: Resource,
}

#[derive(Default, Deserialize)]
struct Resource {
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

impl Prober {
    /// How many Observations there are of each reading, in order. A reading without an identity was never sent: 1.
    pub async fn holds(&self, readings: &[Reading]) -> Result<Vec<u64>, Trouble> {
        let values: Vec<Option<String>> =
            readings.iter().map(|r| Identity::of(r).ok().map(|i| i.value().to_owned())).collect();
        let known: Vec<&str> = values.iter().flatten().map(String::as_str).collect();
        if known.is_empty() {
            return Ok(vec![1; readings.len()]);
        }
        let all = known.iter().map(|v| token(v)).collect::<Vec<_>>().join(",");
        let body = self.search(&format!("Observation?identifier={all}&_elements=identifier&_count=200")).await?;
        let found = searchset(&body)?;
        let mut counts: HashMap<&str, u64> = HashMap::new();
        let ours = |i: &&Identifier| i.system == Identity::system();
        for identifier in found.entry.iter().filter_map(|e| e.resource.identifier.iter().find(ours)) {
            *counts.entry(&identifier.value).or_default() += 1;
        }
        // It tells of all it has, by name: else each is asked for alone.
        let named: u64 = counts.values().sum();
        let told = found.total.unwrap_or(named) == named && named == found.entry.len() as u64;
        if told && known.iter().all(|v| counts.contains_key(v)) {
            return Ok(values
                .iter()
                .map(|v| v.as_deref().map_or(1, |v| counts.get(v).copied().unwrap_or(0)))
                .collect());
        }
        let mut each = Vec::with_capacity(values.len());
        for value in &values {
            each.push(match value {
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
