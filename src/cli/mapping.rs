//! `wardline destination mapping`: what a destination would be sent for each vital sign, and how that differs from the
//! base. A dry run: reads the configuration and the destination's table, and sends nothing.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::Value as Json;

use super::remote::CONFIG;
use crate::clock::Stamp;
use crate::config::{Config, DestinationSettings};
use crate::decimal::Decimal;
use crate::fault::Explain;
use crate::fhir::{Scope, Write, single};
use crate::reading::{DeviceId, Part, PatientId, Reading, ReadingKey, Taken, TimeMethod, Value};
use crate::sink::claims;
use crate::unit::Unit;
use crate::vital::{Role, VITALS, Vital};

/// Arguments of `wardline destination mapping`.
#[derive(clap::Args)]
pub struct Args {
    /// Its name in the configuration.
    name: String,
    /// Configuration file.
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    /// Every vital sign, not only those that differ from the base.
    #[arg(long)]
    all: bool,
    /// The whole resource of one vital sign, as it would be sent.
    #[arg(long, value_name = "VITAL", conflicts_with = "all")]
    example: Option<String>,
}

/// Shows it; exit code 2 where the table cannot be sent.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config)?;
    let settings = config.destinations.iter().find_map(|d| match d {
        DestinationSettings::Fhir(fhir) if fhir.name == args.name => Some(fhir),
        _ => None,
    });
    let Some(settings) = settings else { anyhow::bail!("there is no FHIR destination `{}`", args.name) };
    let gateway: Arc<str> = config.gateway.id.as_str().into();
    let scope = match claims::scope(settings, &gateway) {
        Ok(scope) => scope,
        Err(e) => {
            println!("{e}. {} [{}]", e.remedy(), e.code());
            return Ok(ExitCode::from(2));
        }
    };
    if let Some(id) = &args.example {
        let Some(vital) = Vital::parse(id) else { anyhow::bail!("there is no vital sign `{id}`") };
        let Some(unit) = vital.first_unit() else { anyhow::bail!("`{id}` has no unit") };
        println!("{}", serde_json::to_string_pretty(&resource(vital, unit, &scope)?)?);
        return Ok(ExitCode::SUCCESS);
    }
    println!("mapping {}", scope.mapping().stamp());
    let (mut same, base) = (0, Scope { mapping: None, ..scope.clone() });
    for row in VITALS {
        let Some(vital) = Vital::parse(row.id) else { continue };
        for unit in row.units.iter().filter_map(|u| Unit::parse(u)) {
            let (own, before) = (shown(vital, unit, &scope), shown(vital, unit, &base));
            match own == before {
                false => {
                    println!("{:<30} {own}\n{:<30} {before}", format!("{} ({})", row.id, unit.ucum()), "  instead of")
                }
                true if args.all => println!("{:<30} {own}", format!("{} ({})", row.id, unit.ucum())),
                true => same += 1,
            }
        }
    }
    if !args.all {
        println!("{same} others as in the base (--all shows them)");
    }
    Ok(ExitCode::SUCCESS)
}

/// `loinc.org 29463-7, MDC 188736: 80.0 kg (kg); claims us-core-body-weight`.
fn shown(vital: Vital, unit: Unit, scope: &Scope) -> String {
    match resource(vital, unit, scope) {
        Ok(json) => told(&json),
        Err(e) => format!("goes to the inbox: {e}"),
    }
}

fn told(json: &Json) -> String {
    let parts = json["component"].as_array().filter(|parts| !parts.is_empty());
    let whole = std::slice::from_ref(json);
    let mut out = vec![codes(&json["code"])];
    for part in parts.map_or(whole, |parts| parts.as_slice()) {
        let quantity = &part["valueQuantity"];
        let code = if parts.is_some() { format!("{} ", codes(&part["code"])) } else { String::new() };
        out.push(format!("{code}{} {}", text(&quantity["unit"]), text(&quantity["code"])));
    }
    let claims = json.pointer("/meta/profile").and_then(Json::as_array).map_or(&[][..], |p| p.as_slice());
    out.extend(claims.iter().map(|p| format!("claims {}", text(p).rsplit('/').next().unwrap_or_default())));
    out.join("; ")
}

fn codes(concept: &Json) -> String {
    let coding = concept["coding"].as_array().map_or(&[][..], |c| c.as_slice());
    let coded: Vec<String> =
        coding.iter().map(|c| format!("{}|{}", host(text(&c["system"])), text(&c["code"]))).collect();
    let name = text(&concept["text"]);
    if coded.is_empty() { format!("\"{name}\" without a code") } else { coded.join(" ") }
}

/// The short name of a code system.
fn host(system: &str) -> &str {
    match system {
        "http://loinc.org" => "LOINC",
        "urn:iso:std:iso:11073:10101" => "MDC",
        other => other,
    }
}

fn text(json: &Json) -> &str {
    json.as_str().unwrap_or_default()
}

/// The resource of a measurement that nobody made.
fn resource(vital: Vital, unit: Unit, scope: &Scope) -> anyhow::Result<Json> {
    let part = |role| Part {
        role,
        value: Value::Number(Decimal::new(if role == Role::Diastolic { 80 } else { 120 }, 0)),
        unit,
    };
    let reading = Reading {
        key: ReadingKey([0; 16]),
        device: DeviceId("mqtt:example".into()),
        profile: "example".into(),
        slot: None,
        patient: Some(PatientId::new("Patient/example")),
        vital,
        parts: vital.components.iter().map(|c| part(c.role)).collect(),
        sequence: None,
        taken: Taken {
            device: None,
            received: Stamp::at_ms(0),
            at_ms: Some(0),
            uncertainty_ms: 1_000,
            method: TimeMethod::Received,
        },
        quality: Vec::new(),
        site: None,
        stored: false,
        unassigned: None,
        amendment: None,
        clocks: None,
    };
    Ok(serde_json::from_slice(&single(&reading, scope, Write::ConditionalCreate)?.body)?)
}
