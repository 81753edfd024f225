//! Targets of a Goal: R4 `Goal.target`, `detailQuantity` with a comparator or `detailRange`.
//!
//! Must never: take a single value ("80 kg") for a limit.

use serde::Deserialize;

use super::{Concept, Modifiers, Said, Unclear, few, unmodified};
use crate::careplan::{Edge, Target};
use crate::decimal::Decimal;

#[derive(Deserialize)]
struct Goal {
    #[serde(rename = "modifierExtension")]
    modifiers: Modifiers,
    #[serde(default)]
    target: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "modifierExtension")]
    modifiers: Modifiers,
    measure: Option<Concept>,
    #[serde(rename = "detailQuantity")]
    quantity: Option<Quantity>,
    #[serde(rename = "detailRange")]
    range: Option<Range>,
}

#[derive(Deserialize)]
struct Range {
    low: Option<Quantity>,
    high: Option<Quantity>,
}

#[derive(Deserialize)]
struct Quantity {
    value: Option<Decimal>,
    comparator: Option<String>,
    system: Option<String>,
    code: Option<String>,
}

/// The limits that it states. A target without a LOINC measure or without a number is none for this box.
pub(super) fn targets(body: &[u8]) -> Result<Vec<Said>, Unclear> {
    let goal: Goal = serde_json::from_slice(body).map_err(|_| "its targets cannot be read")?;
    unmodified(&goal.modifiers)?;
    let mut said = Vec::new();
    for part in few(goal.target)? {
        unmodified(&part.modifiers)?;
        let Some(loinc) = part.measure.unwrap_or_default().loinc()? else { continue };
        match (part.quantity, part.range) {
            (None, None) => {}
            (Some(_), Some(_)) => return Err("a target has a quantity and a range"),
            (Some(quantity), None) => {
                let (edge, inclusive) = match quantity.comparator.as_deref() {
                    Some("<") => (Edge::High, true),
                    Some("<=") => (Edge::High, false),
                    Some(">") => (Edge::Low, true),
                    Some(">=") => (Edge::Low, false),
                    Some(_) => return Err("a comparator is not one of FHIR's"),
                    None => {
                        return Err(
                            "a target is a single value: neither a comparator nor a range says which way is out",
                        );
                    }
                };
                said.push(target(&loinc, edge, inclusive, quantity)?);
            }
            (None, Some(Range { low, high })) => {
                if low.is_none() && high.is_none() {
                    return Err("a range has neither end");
                }
                for (edge, end) in [(Edge::Low, low), (Edge::High, high)] {
                    let Some(end) = end else { continue };
                    if end.comparator.is_some() {
                        return Err("the end of a range has a comparator");
                    }
                    said.push(target(&loinc, edge, false, end)?);
                }
            }
        }
    }
    Ok(said)
}

fn target(loinc: &str, edge: Edge, inclusive: bool, quantity: Quantity) -> Result<Said, Unclear> {
    let value = quantity.value.ok_or("a quantity has no number")?;
    if quantity.system.as_deref() != Some("http://unitsofmeasure.org") {
        return Err("a quantity has no UCUM unit");
    }
    let unit = quantity.code.filter(|c| !c.is_empty() && c.len() <= 32).ok_or("a quantity has no UCUM code")?;
    Ok(Said::Target(Target { loinc: loinc.to_owned(), edge, inclusive, value, unit }))
}
