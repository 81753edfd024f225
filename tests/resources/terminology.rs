//! The base table against the project's list of codes: each measurement of confidence A or B is there, coded the same.

use std::path::PathBuf;

use wardline::mapping::is_loinc;
use wardline::unit::Unit;
use wardline::vital::status::{EXERCISE, STATUSES};
use wardline::vital::{Role, Site, VITALS, Vital};

const TABLE: &str = include_str!("../terminology.csv");
const DOCUMENT: &str = include_str!("../../docs/fhir.md");

/// Rows that are no Observation of a patient, each with the reason: all of them, in one place. `docs/fhir.md` has them too.
const NOT_SENT: [(&str, &str); 8] = [
    ("Intermediate cuff pressure", "progress of a measurement: no result"),
    ("Plethysmogram", "samples: read by no codec"),
    ("ECG recording", "samples: read by no codec"),
    ("Glucose control solution", "never a result of the patient: sent as a test, under the code of an unknown sample"),
    ("CGM summary report", "computed at the centre"),
    ("Battery level", "of the device: status and metrics of the gateway"),
    ("Device time at connection", "of the device: src/fhir/coincident.rs"),
    ("Time synchronisation property", "of the device: src/fhir/device_resource.rs"),
];

/// A line's fields; a field with a comma stands in quotes.
fn fields(line: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => out.push(String::new()),
            c => out.last_mut().unwrap().push(c),
        }
    }
    out
}

/// A status: bits of it have codes.
fn status(name: &str, mdc: &str, mdc_ref: &str) -> Vec<String> {
    // Exercise has numbers only.
    let fields = STATUSES.iter().map(|row| row.of).chain([EXERCISE]);
    let known = fields.into_iter().any(|of| of.0.to_string() == mdc && of.1 == mdc_ref);
    if known { Vec::new() } else { vec![format!("{name}: no status {mdc}")] }
}

/// Where a sample was taken: `bodySite`, for the places that have a code.
fn location(name: &str) -> Vec<String> {
    let coded = [("finger", "7569003"), ("ear-lobe", "48800003")];
    let wrong = coded.iter().filter(|(id, code)| Site::parse(id).and_then(|s| s.snomed).map(|s| s.0) != Some(*code));
    wrong.map(|(id, _)| format!("{name}: {id}")).collect()
}

/// What is wrong with one line of the list; nothing.
fn wrong(line: &str) -> Vec<String> {
    let f = fields(line);
    let [name, what, mdc, mdc_ref, loinc, ucum, us_core, _confidence] = &f[..] else { panic!("{line}") };
    let not_sent = NOT_SENT.iter().any(|(row, _)| row == name);
    match what.as_str() {
        "-" if not_sent => return Vec::new(),
        "-" => return vec![format!("{name}: neither mapped nor listed with a reason")],
        "status" => return status(name, mdc, mdc_ref),
        "location" => return location(name),
        _ => {}
    }
    let (id, moles) = what.strip_suffix("#moles").map_or((what.as_str(), false), |id| (id, true));
    let (id, site) = id.split_once('@').map_or((id, None), |(id, site)| (id, Site::parse(site)));
    let (id, role) = id.split_once('/').map_or((id, None), |(id, role)| (id, Some(role)));
    let Some(vital) = Vital::parse(id) else { return vec![format!("{name}: no vital sign {id}")] };
    let role = role.map(|role| serde_json::from_value::<Role>(role.into()).unwrap());
    let component = role.map(|role| vital.component(role).unwrap());
    let mut coded: Vec<&str> = match (component, moles) {
        (Some(component), _) => component.loinc.iter().map(|l| l.0).collect(),
        (None, true) => vital.loinc_moles.iter().map(|l| l.0).collect(),
        (None, false) => vital.loinc.iter().map(|l| l.0).collect(),
    };
    coded.extend(site.and_then(|s| s.temperature_loinc).map(|l| l.0));
    let own = component.map_or(vital.mdc, |c| c.mdc);
    let own = site.and_then(|s| s.temperature_mdc).or(own);
    let mut wrong = Vec::new();
    let mut hold = |holds: bool, what: &str| {
        if !holds {
            wrong.push(format!("{name}: {what}"))
        }
    };
    for code in loinc.split_whitespace() {
        hold(coded.contains(&code) && is_loinc(code), code);
    }
    hold(mdc.is_empty() || own.is_some_and(|m| m.0.to_string() == *mdc && m.1 == mdc_ref), mdc);
    hold(ucum.is_empty() || vital.units.contains(&ucum.as_str()) && Unit::parse(ucum).is_some(), ucum);
    hold(us_core.is_empty() || vital.us_core == Some(us_core), us_core);
    wrong
}

#[test]
fn every_measurement_of_the_list_is_in_the_base_table_with_its_codes() {
    let lines: Vec<&str> = TABLE.lines().skip(1).collect();
    assert!(lines.len() > 70, "{}", lines.len());
    let all: Vec<String> = lines.iter().flat_map(|line| wrong(line)).collect();
    assert!(all.is_empty(), "{all:#?}");
    // It sees what is wrong.
    for bad in [
        "x,inr,160260,MDC_RATIO_INR_COAG,6301-6,{INR},us-core-observation-lab,A",
        "x,inr,160261,MDC_RATIO_INR_COAG,34714-6,{INR},us-core-observation-lab,A",
        "x,inr,160260,MDC_RATIO_INR_COAG,34714-6,%,us-core-observation-lab,A",
        "x,inr,160260,MDC_RATIO_INR_COAG,34714-6,{INR},us-core-heart-rate,A",
        "x,mood,,,,,,A",
        "Mood,-,,,,,,A",
        "BP measurement status,status,8410609,MDC_BLOOD_PRESSURE_MEASUREMENT_STATUS,,,,A",
    ] {
        assert_eq!(wrong(bad).len(), 1, "{bad}");
    }
}

/// Nobody has to compare two lists to know what is missing.
#[test]
fn what_is_not_sent_is_listed_once_and_said_in_the_document() {
    let lines: Vec<Vec<String>> = TABLE.lines().skip(1).map(fields).collect();
    let (_, not_yet) = DOCUMENT.split_once("## Not yet").unwrap();
    for (name, reason) in NOT_SENT {
        let row = lines.iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("{name}: no such row"));
        assert_eq!(row[1], "-", "{name}: it is mapped");
        let said = not_yet.to_lowercase();
        assert!(!reason.is_empty() && said.contains(&name.to_lowercase()), "{name}: not in docs/fhir.md");
    }
}

/// The list of the project, where it is at hand: each row of confidence A or B is in ours.
#[test]
fn no_row_of_the_project_s_list_is_missing_here() {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let shared = std::env::var_os("WARDLINE_SHARED").map_or_else(beside, PathBuf::from);
    let Ok(text) = std::fs::read_to_string(shared.join("standards/terminology.csv")) else {
        std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("SKIPPED: the list of codes is not there; set WARDLINE_SHARED\n"),
        )
        .unwrap();
        return;
    };
    let ours: Vec<String> = TABLE.lines().map(|line| fields(line)[0].clone()).collect();
    let theirs: Vec<Vec<String>> = text.lines().skip(1).map(fields).collect();
    let sure = theirs.iter().filter(|row| row.last().is_some_and(|c| c == "A" || c == "B"));
    let missing: Vec<&String> = sure.map(|row| &row[0]).filter(|name| !ours.contains(name)).collect();
    assert!(theirs.len() > 80 && missing.is_empty(), "{missing:?}");
}

#[test]
fn no_code_is_in_the_base_table_that_the_list_does_not_have() {
    let listed: Vec<String> = TABLE
        .lines()
        .flat_map(fields)
        .flat_map(|f| f.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    // In the project's list as a note on a row: by moles, and the two halves of an average.
    let noted = ["15074-8", "96608-5", "96609-3"];
    for row in VITALS {
        let components = row.components.iter().flat_map(|c| c.loinc);
        for code in row.loinc.iter().chain(row.loinc_moles).chain(components).map(|l| l.0) {
            assert!(listed.iter().any(|l| l == code) || noted.contains(&code), "{}: {code}", row.id);
        }
    }
}

/// A destination must be able to tell a changed base from the one before: what is sent is fingerprinted with its version.
#[test]
fn a_change_of_the_base_table_raises_its_version() {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut eat = |text: &str| text.bytes().for_each(|b| hash = (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    for row in VITALS {
        let codes = row.loinc.iter().chain(row.loinc_moles).chain(row.components.iter().flat_map(|c| c.loinc));
        eat(row.id);
        codes.for_each(|l| eat(l.0));
        row.mdc.iter().chain(row.components.iter().filter_map(|c| c.mdc.as_ref())).for_each(|m| eat(&m.0.to_string()));
        row.units.iter().for_each(|u| eat(u));
        eat(row.us_core.unwrap_or("-"));
    }
    assert_eq!(
        (wardline::vital::BASE_VERSION, format!("{hash:016x}").as_str()),
        ("base-3", "0e7fdbc69f57f8a9"),
        "raise BASE_VERSION in src/vital/table.rs, and write the new fingerprint here"
    );
}
