//! What centres may send: exact where it is understood, a reason where it is not, never a guess.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::careplan::Edge;

fn goal(targets: &Value) -> Value {
    json!({"resourceType": "Goal", "id": "17", "meta": {"lastUpdated": "2026-11-28T10:00:00Z"}, "lifecycleStatus": "active",
        "subject": {"reference": "https://x/fhir/Patient/8f2c"}, "target": targets})
}

fn measure(code: &str) -> Value {
    json!({"coding": [{"system": "http://loinc.org", "code": code}]})
}

fn amount(value: &str, code: &str) -> Value {
    json!({"value": serde_json::from_str::<Value>(value).unwrap(), "system": "http://unitsofmeasure.org", "code": code})
}

fn with(mut object: Value, key: &str, value: &Value) -> Value {
    object[key] = value.clone();
    object
}

fn read(resource: &Value) -> Heard {
    super::resource(resource.to_string().as_bytes(), resource["resourceType"].as_str().unwrap()).unwrap()
}

#[track_caller]
fn unclear(resource: &Value, part: &str) {
    let said = read(resource).said;
    assert!(said.as_ref().is_err_and(|why| why.contains(part)), "{said:?} {resource}");
}

#[test]
fn comparators_and_ranges_say_which_way_is_out() {
    let below = with(amount("140", "mm[Hg]"), "comparator", &json!("<"));
    let heard = read(&goal(&json!([
        {"measure": measure("8480-6"), "detailQuantity": below},
        {"measure": measure("29463-7"), "detailRange": {"low": amount("71.50", "kg"), "high": amount("80", "kg")}},
        {"measure": measure("8310-5"), "detailString": "no fever"},
        {"measure": {"text": "walk"}, "detailQuantity": amount("30", "min")},
    ])));
    assert_eq!((&*heard.resource, heard.active), ("Goal/17", true));
    assert_eq!(heard.patient.unwrap().reveal(), "Patient/8f2c");
    assert_eq!(heard.updated_ms, Some(1_795_860_000_000));
    let said: Vec<_> = heard.said.unwrap().into_iter().collect();
    let target = |s: &Said| match s {
        Said::Target(t) => (t.loinc.clone(), t.edge, t.inclusive, t.value.to_string(), t.unit.clone()),
        Said::Expect { .. } | Said::Consent(_) => unreachable!(),
    };
    let expected = [
        ("8480-6", Edge::High, true, "140", "mm[Hg]"),
        ("29463-7", Edge::Low, false, "71.5", "kg"),
        ("29463-7", Edge::High, false, "80", "kg"),
    ];
    let expected = expected.map(|(l, e, i, v, u)| (l.to_owned(), e, i, v.to_owned(), u.to_owned()));
    assert_eq!(said.iter().map(target).collect::<Vec<_>>(), expected);
}

#[test]
fn decimals_of_a_target_are_kept_as_written() {
    let text = r#"{"resourceType":"Goal","id":"1","lifecycleStatus":"active","target":[{"measure":{"coding":[{"system":
        "http://loinc.org","code":"8310-5"}]},"detailQuantity":{"value":38.00,"comparator":">=","system":
        "http://unitsofmeasure.org","code":"Cel"}}]}"#;
    let Ok(said) = super::resource(text.as_bytes(), "Goal").unwrap().said else { panic!() };
    assert!(matches!(&said[0], Said::Target(t) if t.value.to_string() == "38.00"), "{said:?}");
}

#[test]
fn a_goal_that_is_not_clear_is_not_followed() {
    let of = |target: &Value| goal(&json!([target]));
    let pulse = |detail: &Value| of(&json!({"measure": measure("8867-4"), "detailQuantity": detail}));
    unclear(&pulse(&amount("100", "/min")), "single value");
    unclear(&pulse(&with(amount("100", "/min"), "comparator", &json!("~"))), "comparator");
    let high = || with(amount("100", "/min"), "comparator", &json!("<"));
    unclear(&pulse(&with(high(), "system", &json!("http://x"))), "UCUM");
    unclear(&pulse(&with(high(), "code", &json!(""))), "UCUM");
    unclear(&pulse(&with(high(), "value", &Value::Null)), "number");
    unclear(&pulse(&with(high(), "value", &json!("a lot"))), "read");
    unclear(&pulse(&with(high(), "value", &json!(1e300))), "read");
    unclear(&of(&json!({"measure": measure("8867-4"), "detailRange": {}})), "neither end");
    unclear(&of(&json!({"measure": measure("8867-4"), "detailRange": {"low": high()}})), "comparator");
    let both = json!({"measure": measure("8867-4"), "detailRange": {}, "detailQuantity": high()});
    unclear(&of(&both), "a quantity and a range");
    let codes = json!({"coding": [{"system": "http://loinc.org", "code": "8867-4"}, {"system": "http://loinc.org", "code": "8480-6"}]});
    unclear(&of(&json!({"measure": codes, "detailQuantity": high()})), "several");
    let modified = with(
        json!({"measure": measure("8867-4"), "detailQuantity": high()}),
        "modifierExtension",
        &json!([{"url": "x"}]),
    );
    unclear(&of(&modified), "modifierExtension");
    unclear(&with(of(&json!({})), "modifierExtension", &json!([{"url": "x"}])), "modifierExtension");
    unclear(&with(of(&json!({})), "target", &json!("none")), "read");
    unclear(&goal(&Value::Array(vec![json!({}); 21])), "more parts");
    // What is over need not be understood.
    for status in ["completed", "cancelled", "entered-in-error", "on-hold", "proposed"] {
        let heard = read(&with(with(of(&json!({})), "target", &json!(3)), "lifecycleStatus", &json!(status)));
        assert_eq!((heard.active, heard.said), (false, Ok(vec![])), "{status}");
    }
}

fn order(repeat: &Value) -> Value {
    json!({"resourceType": "ServiceRequest", "id": "o1", "status": "active", "intent": "order", "code": measure("29463-7"),
        "subject": {"reference": "Patient/8f2c"}, "occurrenceTiming": {"repeat": repeat}})
}

#[test]
fn an_order_says_how_often() {
    for (repeat, every_s) in [
        (json!({"frequency": 1, "period": 1, "periodUnit": "d"}), 86_400),
        (json!({"frequency": 3, "period": 1, "periodUnit": "d"}), 28_800),
        (json!({"period": 1.5, "periodUnit": "h"}), 5_400),
        (json!({"frequency": 2, "period": 1, "periodUnit": "wk"}), 302_400),
    ] {
        assert_eq!(
            read(&order(&repeat)).said,
            Ok(vec![Said::Expect { loinc: "29463-7".into(), every_s, until_ms: None }])
        );
    }
    let bounded = json!({"period": 1, "periodUnit": "d", "boundsPeriod": {"end": "2026-11-30"}});
    assert_eq!(ends(read(&order(&bounded))), [Some(1_796_083_199_000)]);
    for repeat in [
        json!({"period": 1, "periodUnit": "mo"}),
        json!({"period": 1}),
        json!({"periodUnit": "d"}),
        json!({"frequency": 0, "period": 1, "periodUnit": "d"}),
        json!({"frequency": 4_000_000_000_u32, "period": 1, "periodUnit": "d"}),
        json!({"period": -1, "periodUnit": "d"}),
        json!({"period": 1, "periodUnit": "d", "timeOfDay": ["08:00:00"]}),
        json!({"period": 1, "periodUnit": "d", "dayOfWeek": ["mon"]}),
        json!({"period": 1, "periodUnit": "d", "count": 3}),
        json!({"period": 1, "periodMax": 3, "periodUnit": "d"}),
        json!({"period": 1, "periodUnit": "d", "boundsPeriod": {"end": "soon"}}),
    ] {
        assert!(read(&order(&repeat)).said.is_err(), "{repeat}");
    }
    let daily = || order(&json!({"period": 1, "periodUnit": "d"}));
    unclear(&with(daily(), "doNotPerform", &json!(true)), "forbids");
    unclear(&with(daily(), "asNeededBoolean", &json!(true)), "leaves open");
    let mut once = daily();
    once["occurrenceTiming"]["event"] = json!(["2026-11-30T08:00:00Z"]);
    unclear(&once, "more than a frequency");
    // A proposal is no order.
    assert_eq!(read(&with(daily(), "intent", &json!("proposal"))).said, Ok(vec![]));
    for status in ["revoked", "completed", "entered-in-error", "on-hold"] {
        assert!(!read(&with(daily(), "status", &json!(status))).active);
    }
}

fn ends(heard: Heard) -> Vec<Option<i64>> {
    let end = |said| if let Said::Expect { until_ms, .. } = said { until_ms } else { None };
    heard.said.unwrap().into_iter().map(end).collect()
}

#[test]
fn the_activities_of_a_plan_are_orders() {
    let timing = json!({"repeat": {"frequency": 2, "period": 1, "periodUnit": "d"}});
    let detail =
        |status: &str| json!({"detail": {"status": status, "code": measure("85354-9"), "scheduledTiming": timing}});
    let sooner = json!({"repeat": {"period": 1, "periodUnit": "d", "boundsPeriod": {"end": "2026-12-01T00:00:00Z"}}});
    let weight = json!({"detail": {"status": "scheduled", "code": measure("29463-7"), "scheduledTiming": sooner}});
    let plan = json!({"resourceType": "CarePlan", "id": "c", "status": "active", "intent": "plan",
        "subject": {"reference": "Patient/8f2c"}, "period": {"end": "2027-01-01T00:00:00Z"},
        "activity": [detail("scheduled"), detail("cancelled"), weight, {"reference": {"reference": "ServiceRequest/o1"}}]});
    let heard = read(&plan);
    let every: Vec<_> = heard.said.iter().flatten().collect();
    assert!(matches!(every[0], Said::Expect { loinc, every_s: 43_200, .. } if loinc == "85354-9"), "{every:?}");
    // Each activity ends by itself, and no later than the plan.
    assert_eq!(ends(heard), [Some(1_798_761_600_000), Some(1_796_083_200_000)]);
    unclear(&with(plan, "activity", &json!({})), "read");
}

#[test]
fn one_that_cannot_be_read_spoils_no_other() {
    let fine = goal(&json!([]));
    let entries = json!([{"resource": {"resourceType": "Goal", "id": 3}}, {"resource": 7}, {}, {"resource": fine},
        {"resource": {"resourceType": "OperationOutcome", "id": "x"}}, {"resource": with(fine.clone(), "id", &json!("a/b"))}]);
    let set = json!({"resourceType": "Bundle", "type": "searchset", "entry": entries,
        "link": [{"relation": "next", "url": "https://x/next"}]});
    let page = super::page(set.to_string().as_bytes(), "Goal").unwrap();
    assert_eq!((page.heard.len(), page.next.as_deref()), (1, Some("https://x/next")));
    for no_set in ["", "[]", "{}", "{\"resourceType\":\"Bundle\",\"type\":\"batch\"}", "\u{feff}", "{\"resourceType\":"]
    {
        assert!(super::page(no_set.as_bytes(), "Goal").is_err(), "{no_set}");
    }
}

proptest! {
    #[test]
    fn no_bytes_end_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for kind in ["Goal", "ServiceRequest", "CarePlan"] {
            let _ = super::resource(&bytes, kind);
            let _ = super::page(&bytes, kind);
        }
    }

    #[test]
    fn no_value_in_any_place_ends_the_reader(at in 0..9_usize, value in "[0-9eE+.-]{0,24}|\"[a-z<>=]{0,4}\"|null|true|\\[\\]|\\{\\}") {
        let value: Value = serde_json::from_str(&value).unwrap_or(Value::Null);
        let mut quantity = with(amount("100", "/min"), "comparator", &json!("<"));
        let names = ["value", "comparator", "system", "code"];
        if let Some(name) = names.get(at) {
            quantity[*name] = value.clone();
        }
        let mut goal = goal(&json!([{"measure": measure("8867-4"), "detailQuantity": quantity}]));
        if let Some(name) = ["target", "subject", "meta", "lifecycleStatus", "modifierExtension"].get(at.wrapping_sub(4)) {
            goal[*name] = value.clone();
        }
        let _ = super::resource(goal.to_string().as_bytes(), "Goal");
        let mut repeat = json!({"period": 1, "periodUnit": "d", "frequency": 1});
        repeat[["period", "periodUnit", "frequency"][at % 3]] = value;
        let _ = super::resource(order(&repeat).to_string().as_bytes(), "ServiceRequest");
    }
}
