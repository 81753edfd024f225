//! Rules of the Personal Health Device guide 2.0.0 as checks of our own, each with its clause: no validator at hand reads
//! the guide's profiles.

use serde_json::Value as Json;
use wardline::fhir::{Clocks, Facts, UsCore, coincident, sensor_device};
use wardline::reading::Quality;
use wardline::vital::VITALS;

use super::{forms, golden};

const GUIDE: &str = "http://hl7.org/fhir/uv/phd/StructureDefinition/";
const MDC: &str = "urn:iso:std:iso:11073:10101";

fn list(json: &Json) -> &[Json] {
    json.as_array().map_or(&[], Vec::as_slice)
}

fn coded(concept: &Json, system: &str) -> usize {
    list(&concept["coding"]).iter().filter(|c| c["system"] == system && c["code"].is_string()).count()
}

fn claims(json: &Json, name: &str) -> bool {
    list(&json["meta"]["profile"]).iter().any(|p| p.as_str() == Some(&format!("{GUIDE}{name}")))
}

fn quantity_is_whole(q: &Json) -> bool {
    q["value"].is_number()
        && q["code"].is_string()
        && (q["system"] == "http://unitsofmeasure.org" || q["system"] == MDC)
}

/// Clauses that an Observation breaks.
fn broken(o: &Json) -> Vec<&'static str> {
    let mut out = Vec::new();
    let mut hold = |holds: bool, clause: &'static str| {
        if !holds {
            out.push(clause)
        }
    };
    let gateway = "http://hl7.org/fhir/StructureDefinition/observation-gatewayDevice";
    let gateways: Vec<_> = list(&o["extension"]).iter().filter(|e| e["url"] == gateway).collect();
    hold(
        gateways.len() == 1 && gateways[0]["valueReference"]["reference"].is_string(),
        "PhdBaseObservation.extension(gatewayDevice) 1..1",
    );
    let phd = "http://hl7.org/fhir/uv/phd/CodeSystem/PhdObservationCategories";
    hold(
        list(&o["category"]).iter().filter(|c| coded(c, phd) == 1).count() == 1,
        "PhdBaseObservation.category:PHD-Observation 1..1",
    );
    hold(coded(&o["code"], MDC) == 1, "PhdBaseObservation.code.coding:MDCType 1..1");
    hold(o["subject"]["reference"].is_string(), "PhdBaseObservation.subject.reference 1..1");
    hold(
        o["effectiveDateTime"].is_string() ^ o["effectivePeriod"].is_object(),
        "PhdBaseObservation.effective[x] 1..1, dateTime or Period",
    );
    hold(o["device"]["reference"].is_string(), "PhdBaseObservation.device.reference 1..1");
    let status = "http://hl7.org/fhir/uv/pocd/CodeSystem/measurement-status";
    hold(
        list(&o["interpretation"]).iter().all(|i| coded(i, status) == 1),
        "PhdBaseObservation.interpretation.coding:MsmtStatusInterpretation 1..1",
    );
    hold(["final", "preliminary", "entered-in-error"].iter().any(|s| o["status"] == *s), "PhdBaseObservation.status");
    let valued = o["valueQuantity"].is_object();
    if claims(o, "PhdNumericObservation") {
        hold(valued ^ o["dataAbsentReason"].is_object(), "PhdNumericObservation.valueQuantity or dataAbsentReason");
        hold(
            !valued || quantity_is_whole(&o["valueQuantity"]),
            "PhdNumericObservation.valueQuantity system-is-mdc-or-ucum",
        );
    }
    if claims(o, "PhdCompoundNumericObservation") {
        hold(!valued, "PhdCompoundNumericObservation.value[x] ..0");
        for c in list(&o["component"]) {
            hold(
                coded(&c["code"], MDC) == 1,
                "PhdCompoundNumericObservation.component:compound.code.coding:MdcType 1..1",
            );
            let given = c["valueQuantity"].is_object();
            hold(
                given ^ c["dataAbsentReason"].is_object(),
                "PhdCompoundNumericObservation.component value or dataAbsentReason",
            );
            hold(
                !given || quantity_is_whole(&c["valueQuantity"]),
                "PhdCompoundNumericObservation.component system-is-mdc-or-ucum",
            );
        }
    }
    out
}

/// Clauses that a pair of clocks breaks.
pub fn broken_pair(o: &Json) -> Vec<&'static str> {
    let mut out = Vec::new();
    let mut hold = |holds: bool, clause: &'static str| {
        if !holds {
            out.push(clause)
        }
    };
    let to_device = |r: &Json| r["reference"].as_str().is_some_and(|place| place.starts_with("Device/"));
    hold(claims(o, "PhdCoincidentTimeStampObservation"), "meta.profile");
    hold(o["status"] == "final", "PhdCoincidentTimeStampObservation.status");
    let coding = list(&o["code"]["coding"]);
    hold(
        coding.iter().any(|c| c["system"] == MDC && c["code"] == "67975"),
        "PhdCoincidentTimeStampObservation.code 67975",
    );
    hold(to_device(&o["subject"]), "PhdCoincidentTimeStampObservation.subject the PhdDevice");
    hold(to_device(&o["device"]), "PhdCoincidentTimeStampObservation.device the PhgDevice");
    hold(o["subject"]["reference"] != o["device"]["reference"], "PhdCoincidentTimeStampObservation.device another one");
    hold(o["effectiveDateTime"].is_string(), "PhdCoincidentTimeStampObservation.effectiveDateTime 1..1");
    hold(
        o["valueDateTime"].is_string() ^ o["dataAbsentReason"].is_object(),
        "PhdCoincidentTimeStampObservation.valueDateTime or dataAbsentReason",
    );
    // R4: a time of day has a zone.
    let zoned =
        |t: &Json| t.as_str().is_none_or(|t| t.ends_with('Z') || t.len() == 25 && ["+", "-"].contains(&&t[19..20]));
    hold(zoned(&o["valueDateTime"]) && zoned(&o["effectiveDateTime"]), "R4 dateTime");
    hold(!o.to_string().contains("Patient"), "it is nobody's");
    out
}

#[test]
fn a_pair_of_clocks_keeps_the_guides_rules_and_the_checks_see_each_broken() {
    let good = coincident(&Clocks::of(&forms::clocked("blood-pressure")).unwrap(), &forms::placed()).unwrap();
    assert_eq!(broken_pair(&good), Vec::<&str>::new(), "{good:#}");
    for (at, wrong) in [
        ("/meta/profile/0", Json::Null),
        ("/status", "preliminary".into()),
        ("/code/coding/0/code", "67976".into()),
        ("/subject/reference", "Patient/p".into()),
        ("/device/reference", Json::Null),
        ("/device/reference", good["subject"]["reference"].clone()),
        ("/effectiveDateTime", Json::Null),
        ("/valueDateTime", Json::Null),
        ("/valueDateTime", "2026-01-01T06:12:34".into()),
    ] {
        let mut broken = good.clone();
        *broken.pointer_mut(at).unwrap() = wrong;
        assert!(!broken_pair(&broken).is_empty(), "{at}");
    }
    // Devices that cannot be found: no claim.
    let named = coincident(&Clocks::of(&forms::clocked("spo2")).unwrap(), &forms::scope(UsCore::Any)).unwrap();
    assert!(!claims(&named, "PhdCoincidentTimeStampObservation"));
}

/// Years and zones at the edges; what FHIR cannot say is not said.
#[test]
fn what_a_clock_shows_is_told_as_it_is_shown() {
    let told = |face: &str, minutes: i16| {
        let theirs = Some((face.parse().unwrap(), minutes));
        let clocks = Clocks { device: "ble:C0:26:DF:00:11:22", theirs, ours_ms: 0 };
        coincident(&clocks, &forms::placed()).map(|o| o["valueDateTime"].as_str().unwrap().to_owned())
    };
    assert_eq!(told("2026-01-01T00:00:07", 345).as_deref(), Some("2026-01-01T00:00:07+05:45"));
    assert_eq!(told("2026-01-01T00:00:07.5", -150).as_deref(), Some("2026-01-01T00:00:07-02:30"));
    assert_eq!(told("0007-01-01T00:00:07", 0).as_deref(), Some("0007-01-01T00:00:07+00:00"));
    assert_eq!(told("9999-12-31T23:59:59", -840).as_deref(), Some("9999-12-31T23:59:59-14:00"));
    assert_eq!((told("0000-01-01T00:00:07", 0), told("-000001-01-01T00:00:07", 0)), (None, None));
    assert_eq!((told("2026-01-01T00:00:07", 841), told("2026-01-01T00:00:07", i16::MIN)), (None, None));
}

#[test]
fn whatever_claims_the_guide_keeps_its_rules() {
    let mut claimed = 0;
    for (name, reading, _) in forms::all() {
        let o = forms::resource(&reading, &forms::guided());
        if claims(&o, "PhdNumericObservation") || claims(&o, "PhdCompoundNumericObservation") {
            assert_eq!(broken(&o), Vec::<&str>::new(), "{name}");
            claimed += 1;
        }
    }
    assert!(claimed > 60, "{claimed}");
    // A vital sign without an MDC code, and an off-scale label that the guide has no word for: no claim.
    for reading in [forms::plain("sdnn"), forms::labelled("glucose-plasma", Quality::AboveRange)] {
        let o = forms::resource(&reading, &forms::guided());
        assert!(!claims(&o, "PhdNumericObservation"), "{o}");
    }
    // Devices that cannot be found: none of all.
    let named = wardline::fhir::Scope { phd: true, ..forms::scope(wardline::fhir::UsCore::Any) };
    assert!(VITALS.iter().all(|row| !claims(&forms::resource(&forms::plain(row.id), &named), "PhdNumericObservation")));
}

#[test]
fn the_checks_see_each_rule_broken() {
    let good = forms::resource(&forms::plain("spo2"), &forms::guided());
    let panel = forms::resource(&forms::plain("blood-pressure"), &forms::guided());
    let without = |json: &Json, at: &str, clause: &str| {
        let mut json = json.clone();
        let (parent, key) = at.rsplit_once('/').unwrap();
        let parent = json.pointer_mut(parent).unwrap();
        match key.parse::<usize>() {
            Ok(n) => drop(parent.as_array_mut().unwrap().remove(n)),
            Err(_) => drop(parent.as_object_mut().unwrap().remove(key).unwrap()),
        }
        assert!(broken(&json).iter().any(|b| b.starts_with(clause)), "{at}: {:?}", broken(&json));
    };
    without(&good, "/extension", "PhdBaseObservation.extension");
    without(&good, "/category/1", "PhdBaseObservation.category");
    without(&good, "/code/coding/2", "PhdBaseObservation.code");
    without(&good, "/subject/reference", "PhdBaseObservation.subject");
    without(&good, "/effectiveDateTime", "PhdBaseObservation.effective");
    without(&good, "/device/reference", "PhdBaseObservation.device");
    without(&good, "/valueQuantity", "PhdNumericObservation.valueQuantity");
    without(&good, "/valueQuantity/system", "PhdNumericObservation.valueQuantity");
    without(&panel, "/component/0/code/coding/1", "PhdCompoundNumericObservation.component:compound.code");
    without(&panel, "/component/1/valueQuantity", "PhdCompoundNumericObservation.component value");
}

/// PhdDevice: system id, maker, model, type and specialization 1..; else no claim.
#[test]
fn a_device_claims_the_guide_only_when_it_says_all_that_the_guide_asks_for() {
    let whole = sensor_device("ble:C0:26:DF:00:11:22", &golden::cuff(), None);
    assert!(claims(&whole, "PhdDevice"));
    assert_eq!(coded(&whole["type"], MDC), 1);
    assert!(
        list(&whole["specialization"]).iter().all(|s| coded(&s["systemType"], MDC) == 1 && s["version"].is_string())
    );
    assert!(list(&whole["version"]).iter().all(|v| coded(&v["type"], MDC) == 1 && v["value"].is_string()));
    for i in list(&whole["identifier"]) {
        assert_eq!(list(&i["type"]["coding"]).len(), 1, "{i}");
    }
    type Loss = fn(&mut Facts);
    let losses: [Loss; 4] =
        [|f| f.plate.system_id = None, |f| f.plate.manufacturer = None, |f| f.plate.model = None, |f| f.vitals.clear()];
    for lose in losses {
        let mut facts = golden::cuff();
        lose(&mut facts);
        assert!(!claims(&sensor_device("ble:C0:26:DF:00:11:22", &facts, None), "PhdDevice"), "{facts:?}");
    }
}

#[test]
fn a_certificate_is_read_as_its_standard_writes_it() {
    use wardline::nameplate::Certification;
    let parsed = golden::cuff().plate.certification.unwrap();
    // 32775: a blood pressure monitor over Bluetooth LE.
    assert_eq!(
        (parsed.version, parsed.interfaces.as_slice(), parsed.regulated),
        (Some((5, 0)), &[32_775][..], Some(false))
    );
    for broken in [&[][..], &[0, 1, 0], &[0, 1, 0, 9, 2, 1], &[0, 1, 0, 4, 2, 1, 0, 8], &[0, 1, 0, 4, 2, 2, 0, 0]] {
        assert_eq!(Certification::parse(broken), None, "{broken:?}");
    }
    assert_eq!(Certification::parse(&[0, 0, 0, 0]), Some(Certification::default()));
}
