//! Consents that centres may send: whole where they are understood, nothing permitted where they are not, and a refusal heard
//! through anything else that is wrong.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const CATEGORY: &str = "http://terminology.hl7.org/CodeSystem/observation-category";

fn coded(system: &str, code: &str) -> Value {
    json!({"coding": [{"system": system, "code": code}]})
}

fn consent(provision: &Value) -> Value {
    json!({"resourceType": "Consent", "id": "17", "status": "active",
        "meta": {"versionId": "3", "lastUpdated": "2026-11-28T10:00:00Z"},
        "scope": coded("http://terminology.hl7.org/CodeSystem/consentscope", "patient-privacy"),
        "category": [coded("http://loinc.org", "59284-0")],
        "patient": {"reference": "Patient/8f2c"}, "provision": provision})
}

fn permit() -> Value {
    json!({"type": "permit", "code": [coded(CATEGORY, "vital-signs")]})
}

fn with(mut object: Value, at: &str, value: &Value) -> Value {
    let (path, key) = at.rsplit_once('/').unwrap();
    object.pointer_mut(path).unwrap()[key] = value.clone();
    object
}

fn heard(resource: &Value) -> Heard {
    super::resource(resource.to_string().as_bytes(), "Consent").unwrap()
}

/// `None`: it is over; else what it says, or why it is not understood.
fn read(resource: &Value) -> Option<Result<Provision, Unclear>> {
    let heard = heard(resource);
    heard.active.then(|| {
        heard.said.map(|mut said| match said.pop() {
            Some(Said::Consent(said)) => said,
            other => panic!("{other:?}"),
        })
    })
}

fn permits(resource: &Value) -> bool {
    matches!(read(resource), Some(Ok(said)) if said.permitted)
}

fn refuses(resource: &Value) -> bool {
    matches!(read(resource), Some(Ok(said)) if !said.permitted)
}

#[test]
fn what_is_permitted_is_said_by_codes_and_for_a_time() {
    let all = heard(&consent(&permit()));
    assert_eq!((all.resource.as_str(), all.version.as_deref()), ("Consent/17", Some("3")));
    assert_eq!(all.patient.unwrap().reveal(), "Patient/8f2c");
    let said = read(&consent(&permit())).unwrap().unwrap();
    assert_eq!((said.permitted, said.of), (true, vec![format!("{CATEGORY}|vital-signs")]));
    let observation = json!([{"system": "http://hl7.org/fhir/resource-types", "code": "Observation"}]);
    let everything = json!({"type": "permit", "class": observation});
    assert_eq!(read(&consent(&everything)).unwrap().unwrap().of, Vec::<String>::new());
    // What is within it refused goes along.
    let nested = json!([{"type": "deny", "code": [coded(CATEGORY, "laboratory")]}]);
    let said = read(&consent(&with(permit(), "/provision", &nested))).unwrap().unwrap();
    assert_eq!((said.permitted, said.except), (true, vec![format!("{CATEGORY}|laboratory")]));
    // A day without a zone: from when it has begun everywhere, until it may be over anywhere.
    let period = json!({"start": "2026-12-01", "end": "2027-12-31"});
    let said = read(&consent(&with(permit(), "/period", &period))).unwrap().unwrap();
    let at = |text: &str| Some(text.parse::<jiff::Timestamp>().unwrap().as_millisecond());
    assert_eq!((said.from_ms, said.until_ms), (at("2026-12-01T12:00:00Z"), at("2027-12-31T10:00:00Z")));
    let period = json!({"start": "2026-12-01T08:00:00+01:00"});
    let said = read(&consent(&with(permit(), "/period", &period))).unwrap().unwrap();
    assert_eq!((said.from_ms, said.until_ms), (at("2026-12-01T07:00:00Z"), None));
    // By a policy rule alone.
    let mut opted = consent(&json!(null));
    opted.as_object_mut().unwrap().remove("provision");
    opted["policyRule"] = coded("http://terminology.hl7.org/CodeSystem/v3-ActCode", "OPTIN");
    assert!(permits(&opted));
    opted["policyRule"] = coded("http://terminology.hl7.org/CodeSystem/v3-ActCode", "OPTOUT");
    assert!(refuses(&opted));
}

#[test]
fn what_is_not_active_or_about_something_else_is_over() {
    for status in ["inactive", "rejected", "entered-in-error", "draft", "proposed", "cheerful"] {
        assert_eq!(read(&with(consent(&permit()), "/status", &json!(status))), None, "{status}");
        // However broken the rest is.
        let broken = with(consent(&json!("nonsense")), "/status", &json!(status));
        assert_eq!(read(&with(broken, "/modifierExtension", &json!([{"url": "x"}]))), None, "{status}");
    }
    let research = coded("http://terminology.hl7.org/CodeSystem/consentscope", "research");
    assert_eq!(read(&with(consent(&permit()), "/scope", &research)), None);
    assert_eq!(read(&with(consent(&permit()), "/scope", &json!(7))), None);
    assert_eq!(read(&with(consent(&permit()), "/status", &json!(7))), None);
}

#[test]
fn what_is_not_understood_whole_permits_nothing() {
    let whole = consent(&permit());
    assert!(permits(&whole));
    for (at, value) in [
        ("/modifierExtension", json!([{"url": "http://x/not"}])),
        ("/implicitRules", json!("http://x/rules")),
        ("/status_", json!("active")),
        ("/_status", json!({"extension": []})),
        ("/category", json!([])),
        ("/category", json!([{"text": "research only"}])),
        ("/category", json!([coded("http://loinc.org", "59284-0"), {"text": "research only"}])),
        ("/category", json!([coded("http://loinc.org", "59284-0"), {"coding": []}])),
        ("/category", json!([coded("http://loinc.org", "59284-0"), "research only"])),
        ("/category", json!([coded("http://terminology.hl7.org/CodeSystem/v3-ActCode", "EMRGONLY")])),
        ("/policyRule", coded("http://terminology.hl7.org/CodeSystem/v3-ActCode", "EMRGONLY")),
        ("/policyRule", json!({"text": "by our own rules"})),
        ("/verification", json!([{"verified": false}])),
        ("/verification", json!([{}])),
        ("/provision/modifierExtension", json!([{"url": "http://x/not"}])),
        ("/provision/actor", json!([{"role": {}, "reference": {"reference": "Organization/1"}}])),
        ("/provision/purpose", json!([{"system": "x", "code": "HRESCH"}])),
        ("/provision/securityLabel", json!([{"system": "x", "code": "R"}])),
        ("/provision/dataPeriod", json!({"start": "2026-01-01"})),
        ("/provision/data", json!([{"meaning": "instance", "reference": {"reference": "Observation/1"}}])),
        ("/provision/action", json!([coded("http://terminology.hl7.org/CodeSystem/consentaction", "collect")])),
        ("/provision/type", json!("maybe")),
        ("/provision/type", json!(null)),
        ("/provision/period", json!({"end": "2027"})),
        ("/provision/period", json!({"end": "tomorrow"})),
        ("/provision/period", json!({"ends": "2027-01-01"})),
        ("/provision/code", json!([{"text": "everything"}])),
        ("/provision/code", json!([{"coding": [{"code": "vital-signs"}]}])),
        ("/provision/class", json!([{"system": "http://hl7.org/fhir/resource-types", "code": "MedicationRequest"}])),
        ("/provision/provision", json!([{"type": "permit", "code": [coded(CATEGORY, "activity")]}])),
        ("/provision", json!([])),
        ("/provision", json!(7)),
    ] {
        let resource = with(whole.clone(), at, &value);
        assert!(matches!(read(&resource), Some(Err(_))), "{at} {value}: {:?}", read(&resource));
    }
    // An element twice: which of the two counts?
    let twice = whole.to_string().replace("\"type\":\"permit\"", "\"type\":\"deny\",\"type\":\"permit\"");
    assert!(super::resource(twice.as_bytes(), "Consent").unwrap().said.is_err());
}

#[test]
fn a_refusal_is_heard_through_everything_else() {
    let deny = with(consent(&permit()), "/provision/type", &json!("deny"));
    let said = read(&deny).unwrap().unwrap();
    assert_eq!((said.permitted, said.of), (false, vec![format!("{CATEGORY}|vital-signs")]));
    for (at, value) in [
        ("/modifierExtension", json!([{"url": "http://x/not"}])),
        ("/category", json!("x")),
        ("/provision/actor", json!([{"reference": {"reference": "Organization/1"}}])),
        ("/provision/code", json!([{"text": "what I said"}])),
        ("/provision/code", json!("x")),
        ("/provision/period", json!("x")),
        ("/provision/provision", json!([{"type": "permit"}])),
    ] {
        assert!(refuses(&with(deny.clone(), at, &value)), "{at} {value}");
    }
    // What cannot be told is everything.
    let said = read(&with(deny.clone(), "/provision/code", &json!([{"text": "what I said"}]))).unwrap().unwrap();
    assert!(said.unclear && said.of.is_empty());
    // Within a permission as well.
    for nested in [
        json!([{"type": "deny"}]),
        json!([{"type": "deny", "code": [{"text": "x"}]}]),
        json!([{"code": [coded(CATEGORY, "laboratory")], "provision": [{"type": "permit"}]}]),
        json!("x"),
    ] {
        assert!(refuses(&with(consent(&permit()), "/provision/provision", &nested)), "{nested}");
    }
    let nested = json!([{"type": "deny", "code": [coded(CATEGORY, "laboratory")]}]);
    let odd = with(consent(&permit()), "/provision/provision", &nested);
    let said = read(&with(odd, "/modifierExtension", &json!([{"url": "x"}]))).unwrap().unwrap();
    assert_eq!((said.permitted, said.of), (false, vec![format!("{CATEGORY}|laboratory")]));
    // It lasts as long as its last day may last anywhere; what is no date lasts.
    let period = |end: &str| read(&with(deny.clone(), "/provision/period", &json!({"end": end}))).unwrap().unwrap();
    assert_eq!(period("2026-12-31").until_ms, Some(1_798_804_800_000));
    assert_eq!(period("2026").until_ms, None);
}

proptest! {
    /// Whatever is done to a Consent that permits: it permits what it said, or less, or nothing.
    #[test]
    fn no_octet_that_changes_makes_it_wider(at in 0_usize..700, octet in any::<u8>()) {
        let mut body = consent(&permit()).to_string().into_bytes();
        let at = at % body.len();
        body[at] = octet;
        if let Ok(Heard { active: true, said: Ok(said), .. }) = super::resource(&body, "Consent") {
            for one in said {
                let Said::Consent(said) = one else { panic!("{one:?}") };
                prop_assert!(!said.permitted || !said.of.is_empty());
            }
        }
    }

    #[test]
    fn nothing_that_comes_ends_the_gateway(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = super::resource(&body, "Consent");
    }
}
