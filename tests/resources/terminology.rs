//! The base table against the project's list of codes: each measurement of confidence A or B is there, coded the same.

use wardline::mapping::is_loinc;
use wardline::unit::Unit;
use wardline::vital::{Role, Site, VITALS, Vital};

const TABLE: &str = include_str!("../terminology.csv");

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

/// What is wrong with one line of the list; nothing.
fn wrong(line: &str) -> Vec<String> {
    let f = fields(line);
    let [name, what, mdc, mdc_ref, loinc, ucum, us_core, _confidence] = &f[..] else { panic!("{line}") };
    if what.starts_with('-') {
        return Vec::new();
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
    // The profile of clinical results is not claimed: its list of categories is not at hand.
    let claimed =
        us_core.is_empty() || us_core == "us-core-observation-clinical-result" || vital.us_core == Some(us_core);
    hold(claimed, us_core);
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
    ] {
        assert_eq!(wrong(bad).len(), 1, "{bad}");
    }
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
        ("base-2", "12061d733b70a0f9"),
        "raise BASE_VERSION in src/vital/table.rs, and write the new fingerprint here"
    );
}
