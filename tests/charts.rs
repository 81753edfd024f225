//! The right chart, through the built binary: who holds a device, readings that are nobody's, corrections downstream.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use wardline::lab::endpoint::{Endpoint, Settings};

mod support;

use support::broker::{Broker, Door};
use support::device::Device;
use support::gateway::{Gateway, until};

fn settings(broker: &Broker, destinations: &str) -> String {
    format!(
        "[journal]\nreserve_mib = 1\n\
         [[source]]\nkind = \"mqtt\"\nname = \"home\"\nurl = \"mqtt://127.0.0.1:{}\"\n{destinations}\
         [[patient]]\nreference = \"Patient/p0\"\n[[patient]]\nreference = \"Patient/p1\"\n\
         [[device]]\nid = \"mqtt:watch-0\"\npatient = \"Patient/p0\"\n",
        broker.port
    )
}

fn fhir(name: &str, url: &str, idempotency: &str) -> String {
    format!("[[destination]]\nkind = \"fhir\"\nname = \"{name}\"\nurl = \"{url}\"\nidempotency = \"{idempotency}\"\n")
}

async fn publish(device: &Device, name: &str, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let payload = format!("{{\"id\":{n},\"time\":\"2026-11-22T10:00:{n:02}Z\",\"heart_rate\":{}}}", 60 + n);
        let payload = payload.replace("2026-11-22", support::day());
        device.publish(&format!("vitals/{name}"), [payload]).await;
    }
}

/// How many Observations there are of each patient, status and value.
fn charts(endpoint: &Endpoint) -> BTreeMap<(String, String), Vec<i64>> {
    let mut charts: BTreeMap<_, Vec<i64>> = BTreeMap::new();
    for body in endpoint.bodies("Observation") {
        let o: Value = serde_json::from_str(&body).unwrap();
        let text = |v: &Value| v.as_str().unwrap().to_owned();
        let key = (text(&o["subject"]["reference"]), text(&o["status"]));
        charts.entry(key).or_default().push(o["valueQuantity"]["value"].as_i64().unwrap());
    }
    charts.values_mut().for_each(|values| values.sort_unstable());
    charts
}

fn chart(patient: &str, status: &str, values: std::ops::Range<i64>) -> ((String, String), Vec<i64>) {
    ((patient.into(), status.into()), values.collect())
}

fn settled_of(gateway: &Gateway, n: u64) -> Option<()> {
    let outbox = gateway.json(&["outbox"]);
    (outbox[0]["delivered"].as_u64() >= Some(n) && outbox[0]["waiting"] == 0).then_some(())
}

fn settled(gateway: &Gateway) -> bool {
    gateway.json(&["outbox"]).as_array().unwrap().iter().all(|o| o["waiting"] == 0)
}

/// X11: half of the readings were of somebody else. They leave the chart at every destination, and enter the other's, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x11_readings_in_the_wrong_chart_are_taken_back_everywhere_and_sent_for_the_right_patient() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let kept = || Endpoint::start(Settings { keep: true, ..Settings::default() }).unwrap();
    let (created, updated, late) = (kept(), kept(), kept());
    let destinations = fhir("created", &created.url(), "conditional-create")
        + &fhir("updated", &updated.url(), "update")
        + &fhir("late", &format!("http://127.0.0.1:{}/fhir", support::free_port()), "update");
    let mut gateway = Gateway::new(&settings(&broker, &destinations));
    let files = gateway.path("files");
    gateway.reword(|text| {
        let files = files.display();
        text.replacen(
            "[[patient]]",
            &format!("[[destination]]\nkind = \"ndjson\"\nname = \"files\"\nfolder = \"{files}\"\n[[patient]]"),
            1,
        )
    });
    gateway.start();
    let device = Device::connect(broker.device_port);
    publish(&device, "watch-0", 0..10).await;
    until("delivery", &gateway, || (created.counts().observations + updated.counts().observations == 20).then_some(()))
        .await;

    let fifth = format!("{}T10:00:05Z", support::day());
    let since = ["--since", &fifth, "--by", "Ada", "--reason", "the other watch"];
    let correct = [&["correct", "--device", "mqtt:watch-0", "--to", "Patient/p1"][..], &since].concat();
    let tried = gateway.json(&[&correct[..], &["--dry-run"]].concat());
    assert_eq!(tried["corrected"].as_array().unwrap().len(), 5, "{tried}");
    until("receipts", &gateway, || (gateway.json(&["outbox"])[0]["waiting"] == 0).then_some(())).await;
    assert_eq!(gateway.json(&["readings"]).as_array().unwrap().len(), 10, "a dry run changes nothing");
    let done = gateway.json(&correct);
    assert_eq!((done["corrected"].as_array().unwrap().len(), &done["left"]), (5, &Value::from(0)), "{done}");
    let right = BTreeMap::from([
        chart("Patient/p0", "entered-in-error", 65..70),
        chart("Patient/p0", "final", 60..65),
        chart("Patient/p1", "final", 65..70),
    ]);
    for endpoint in [&created, &updated] {
        until("the correction", &gateway, || (charts(endpoint) == right).then_some(())).await;
        assert_eq!(endpoint.counts().duplicates, 0);
    }
    // Said again: nothing is left to correct. The device sends its memory again: it is known.
    let (_, _, code) = gateway.cli(&correct);
    assert_eq!(code, Some(1));
    gateway.kill();
    // What never reached a destination need not be taken back there: it gets the right ones only.
    gateway.reword(|text| {
        let nobody = text.lines().rfind(|l| l.starts_with("url = \"http")).unwrap().to_owned();
        text.replace(&nobody, &format!("url = \"{}\"", late.url()))
    });
    gateway.start();
    publish(&device, "watch-0", 0..11).await;
    let mut more = right.clone();
    more.get_mut(&("Patient/p0".into(), "final".into())).unwrap().push(70);
    for endpoint in [&created, &updated] {
        until("what came after", &gateway, || (charts(endpoint) == more).then_some(())).await;
        assert_eq!(endpoint.counts().duplicates, 0);
    }
    until("the end", &gateway, || settled(&gateway).then_some(())).await;
    more.remove(&("Patient/p0".into(), "entered-in-error".into()));
    assert_eq!(charts(&late), more, "{}", gateway.log());
    // The files hold each state as a line of its own.
    let text = std::fs::read_to_string(files.join("Observation-000001.ndjson")).unwrap();
    let status = |s: &str| text.lines().filter(|l| l.contains(&format!("\"status\":\"{s}\""))).count();
    assert_eq!((status("final"), status("entered-in-error")), (16, 5));
    assert_eq!(gateway.json(&["custody", "verify"])["intact"], true);
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// The server hung at readings until the gateway gave up, took them from a second request, was told that they are wrong, and
/// only then finishes the first one: they are taken out of that chart again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_ends_after_the_withdrawal_leaves_nothing_in_the_wrong_chart() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let centre = Endpoint::start(Settings { keep: true, ..Settings::default() }).unwrap();
    let mut gateway = Gateway::new(&settings(&broker, &fhir("centre", &centre.url(), "update")));
    gateway.start();
    let device = Device::connect(broker.device_port);
    publish(&device, "watch-0", 0..4).await;
    until("delivery", &gateway, || settled_of(&gateway, 4)).await;
    let late = centre.bodies("Observation");
    let correct = [
        "correct",
        "--device",
        "mqtt:watch-0",
        "--to",
        "Patient/p1",
        "--since",
        &support::dated("2026-11-22T10:00:02Z"),
    ];
    gateway.json(&[&correct[..], &["--by", "Ada", "--reason", "the other watch"]].concat());
    let right = BTreeMap::from([
        chart("Patient/p0", "entered-in-error", 62..64),
        chart("Patient/p0", "final", 60..62),
        chart("Patient/p1", "final", 62..64),
    ]);
    until("the correction", &gateway, || (charts(&centre) == right).then_some(())).await;
    until("receipts", &gateway, || settled(&gateway).then_some(())).await;
    let reconcile = ["custody", "reconcile", "centre"];
    let found = gateway.json(&reconcile);
    assert_eq!((&found["checked"], &found["missing"], &found["stood"]), (&6.into(), &0.into(), &0.into()), "{found}");

    let late: Vec<Value> = late.iter().map(|body| serde_json::from_str(body).unwrap()).collect();
    for observation in late.iter().filter(|o| o["valueQuantity"]["value"].as_i64() >= Some(62)) {
        support::centre::put(&centre.url(), observation).await;
    }
    assert_ne!(charts(&centre), right);
    let (text, _, code) = gateway.cli(&reconcile);
    assert!(code == Some(1) && text.contains("standing there again: 2."), "{text}");
    until("the withdrawal", &gateway, || (charts(&centre) == right).then_some(())).await;
    until("receipts", &gateway, || settled(&gateway).then_some(())).await;
    assert_eq!(gateway.json(&reconcile)["missing"], 0);
    assert_eq!(gateway.json(&["custody", "verify"])["intact"], true);
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// A scale of two people: what names no user, or the wrong one, waits for a person; a model suggests and never binds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_shared_scale_a_model_suggests_and_a_person_binds() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let endpoint = Endpoint::start(Settings { keep: true, ..Settings::default() }).unwrap();
    let mut gateway = Gateway::new(&settings(&broker, &fhir("centre", &endpoint.url(), "update")));
    gateway.start();
    for (slot, patient) in [("1", "Patient/p0"), ("2", "Patient/p1")] {
        let said = ["assign", "mqtt:scale", patient, "--slot", slot, "--since", "ever", "--by", "Ada"];
        assert_eq!(gateway.json(&said)["done"], true);
    }
    let device = Device::connect(broker.device_port);
    let weigh = |n: u64, user: Option<u8>, kg: f64| {
        let user = user.map_or_else(String::new, |u| format!("\"user\":{u},"));
        format!("{{\"id\":{n},\"time\":\"2026-11-22T10:{n:02}:00Z\",{user}\"weight\":{kg:.1},\"weight_unit\":\"kg\"}}")
            .replace("2026-11-22", support::day())
    };
    let first = [weigh(1, Some(1), 82.4), weigh(2, Some(2), 61.0), weigh(3, None, 61.3), weigh(4, Some(1), 61.2)];
    device.publish("vitals/scale", first).await;
    until("delivery", &gateway, || (endpoint.counts().observations == 2).then_some(())).await;
    let waiting = until("two for a person", &gateway, || {
        let all = gateway.json(&["unassigned"]);
        (all.as_array().unwrap().len() == 2).then_some(all)
    });
    let waiting = waiting.await;
    let word = |n: usize, field: &str| waiting[n][field].as_str().unwrap_or_default().to_owned();
    assert_eq!((word(0, "why"), word(0, "suggestion")), ("no-slot".into(), "Patient/p1".into()), "{waiting}");
    assert_eq!((word(1, "why"), word(1, "suggestion")), ("unlike-holder".into(), "Patient/p1".into()), "{waiting}");
    let (text, _, _) = gateway.cli(&["unassigned"]);
    assert!(text.contains("which proves nothing") && text.contains("Only a person binds"), "{text}");
    let id = |n: usize| waiting[n]["reading"]["key"].as_str().unwrap().to_owned();
    // Who may not know it cannot say it.
    let (_, said, code) = gateway.cli(&["unassigned", &id(0), "--patient", "Patient/stranger", "--by", "Ada"]);
    assert!(code == Some(1) && said.contains("not one of this box"), "{said}");
    gateway.kill();
    gateway.start();
    assert_eq!(
        gateway.json(&["unassigned", &id(0)[..8], &id(1), "--patient", "Patient/p1", "--by", "Ada"])["items"],
        2
    );
    until("delivery", &gateway, || (endpoint.counts().observations == 4).then_some(())).await;
    let of = |patient: &str| charts(&endpoint_decimals(&endpoint), patient);
    assert_eq!((of("Patient/p0"), of("Patient/p1")), (1, 3));
    let held = gateway.json(&["assign", "mqtt:scale"]);
    assert_eq!(
        (&held[1]["patient"], &held[1]["slot"], &held[1]["by"]),
        (&"Patient/p1".into(), &2.into(), &"Ada".into())
    );
    // The second person gives the scale up: what comes under that button is nobody's.
    assert_eq!(
        gateway.json(&["assign", "mqtt:scale", "--slot", "2", "--return", "--since", "10m", "--by", "Ada"])["done"],
        true
    );
    let now = jiff::Timestamp::now();
    let last = format!("{{\"id\":9,\"time\":\"{now}\",\"user\":2,\"weight\":61.0,\"weight_unit\":\"kg\"}}");
    device.publish("vitals/scale", [last]).await;
    until("the last", &gateway, || (gateway.json(&["unassigned"])[0]["why"] == "slot-unknown").then_some(())).await;
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
    return;

    fn endpoint_decimals(endpoint: &Endpoint) -> Vec<Value> {
        endpoint.bodies("Observation").iter().map(|body| serde_json::from_str(body).unwrap()).collect()
    }
    fn charts(all: &[Value], patient: &str) -> usize {
        all.iter().filter(|o| o["subject"]["reference"] == patient && o["status"] == "final").count()
    }
}

/// A scale of the site, whose weights are in this unit; with the path of the user's slot and what its example has there.
fn site_scale(unit: &str, slot: Option<(&str, u8)>) -> String {
    let path = slot.map_or_else(String::new, |(path, _)| format!("slot = \"{path}\"\n"));
    let of = slot.map_or_else(String::new, |(_, of)| format!("slot = {of}, "));
    format!(
        "id = \"site-scale\"\ntitle = \"Scale of the site\"\nmanufacturer = \"site\"\nmodels = [\"scale\"]\n\
         confidence = \"A\"\nsources = [\"the site\"]\nlink = \"mqtt\"\n\
         [[decode]]\ntopic = \"site/{{device}}\"\nformat = \"json\"\nid = {{ path = \"n\", unique = true }}\n{path}\
         time = {{ path = \"t\", form = \"iso8601\" }}\n\
         [[decode.vital]]\nvital = \"body-weight\"\nvalue = {{ path = \"w\", unit = \"{unit}\" }}\n\
         [[example]]\nname = \"one\"\norigin = \"constructed\"\ndevice = \"mqtt:s1\"\n\
         frame = {{ topic = \"site/s1\", text = '{{\"n\":1,\"t\":\"2026-11-22T10:00:00Z\",\"w\":71.5,\"u\":1,\"v\":2}}' }}\n\
         readings = [{{ vital = \"body-weight\", value = \"71.5\", unit = \"{unit}\", {of}\
         time = \"2026-11-22T10:00:00Z\", sequence = 1 }}]\n\
         [[example]]\nname = \"no weight\"\norigin = \"constructed\"\ndevice = \"mqtt:s1\"\n\
         frame = {{ topic = \"site/s1\", text = '{{\"n\":1}}' }}\nreject = \"WL-D104\"\n"
    )
}

/// A profile named the wrong unit: what was sent is taken back, and the stored bytes give what is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrected_profile_reads_the_stored_bytes_again() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let endpoint = Endpoint::start(Settings { keep: true, ..Settings::default() }).unwrap();
    let mut gateway = Gateway::new(&settings(&broker, &fhir("centre", &endpoint.url(), "conditional-create")));
    let profiles = gateway.path("profiles");
    std::fs::create_dir(&profiles).unwrap();
    let profile = |unit: &str| std::fs::write(profiles.join("site-scale.toml"), site_scale(unit, None)).unwrap();
    profile("kg");
    gateway.reword(|text| {
        let profiles = profiles.display();
        text.replacen("[gateway]\n", &format!("[gateway]\nprofiles = \"{profiles}\"\n"), 1)
            + "[[device]]\nid = \"mqtt:s1\"\npatient = \"Patient/p1\"\n"
    });
    gateway.start();
    let device = Device::connect(broker.device_port);
    let message = |n: u64| {
        format!("{{\"n\":{n},\"t\":\"2026-11-22T10:00:{n:02}Z\",\"w\":158.5}}").replace("2026-11-22", support::day())
    };
    device.publish("site/s1", [message(1), message(2)]).await;
    until("delivery", &gateway, || (endpoint.counts().observations == 2).then_some(())).await;
    let reread = ["correct", "--device", "mqtt:s1", "--reread", "--by", "Ada", "--reason", "pounds"];
    // One that waited while the gateway was away, and has no time: how it came is not in its bytes.
    gateway.stop();
    device.publish("site/s1", ["{\"n\":7,\"w\":158.5}"]).await;
    gateway.start();
    until("the late one", &gateway, || (endpoint.counts().observations == 3).then_some(())).await;
    let late = gateway.json(&["readings", "--device", "mqtt:s1"])[0]["reading"].clone();
    assert_eq!(late["quality"], serde_json::json!(["time-doubtful"]), "{late}");
    let (text, _, code) = gateway.cli(&reread);
    assert_eq!(code, Some(1), "nothing would change: {text}");
    gateway.stop();
    profile("[lb_av]");
    gateway.start();
    assert_eq!(gateway.json(&reread)["corrected"].as_array().unwrap().len(), 3);
    // The device says it again, before and after: it is known under what it means now.
    device.publish("site/s1", [message(1), message(3)]).await;
    let seen = |status: &str, unit: &str| {
        let all = endpoint.bodies("Observation");
        let has = |o: &Value| o["status"] == status && o["valueQuantity"]["code"] == unit;
        all.iter().filter(|body| has(&serde_json::from_str(body).unwrap())).count()
    };
    until("the correction", &gateway, || {
        ((seen("entered-in-error", "kg"), seen("final", "kg"), seen("final", "[lb_av]")) == (3, 0, 4)).then_some(())
    })
    .await;
    // A visitor stood on it: taken back, and nothing in its place.
    let key = gateway.json(&["readings", "--device", "mqtt:s1"])[0]["reading"]["key"].as_str().unwrap().to_owned();
    assert_eq!(gateway.json(&["correct", &key[..9], "--void", "--by", "Ada", "--reason", "a visitor"])["left"], 0);
    until("the visitor's", &gateway, || {
        ((seen("entered-in-error", "[lb_av]"), seen("final", "[lb_av]")) == (1, 3)).then_some(())
    })
    .await;
    // Whose another was is not known after all: taken back, and for a person to say.
    let all = gateway.json(&["readings", "--device", "mqtt:s1"]);
    let open = |r: &&Value| r["reading"]["amendment"]["kind"] == "replacement";
    let key = all.as_array().unwrap().iter().find(open).unwrap()["reading"]["key"].as_str().unwrap().to_owned();
    assert_eq!(gateway.json(&["correct", &key, "--nobody", "--by", "Ada", "--reason", "who?"])["left"], 0);
    until("nobody's", &gateway, || (gateway.json(&["unassigned"])[0]["why"] == "taken-back").then_some(())).await;
    until("the doubt", &gateway, || {
        ((seen("entered-in-error", "[lb_av]"), seen("final", "[lb_av]")) == (2, 2)).then_some(())
    })
    .await;
    assert_eq!(endpoint.counts().duplicates, 0);
    assert_eq!(gateway.json(&["custody", "verify"])["intact"], true);
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// A profile took the wrong number for the user's: whose a reading is follows from the right one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrected_slot_gives_the_reading_to_whoever_has_that_slot() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let endpoint = Endpoint::start(Settings { keep: true, ..Settings::default() }).unwrap();
    let mut gateway = Gateway::new(&settings(&broker, &fhir("centre", &endpoint.url(), "update")));
    let profiles = gateway.path("profiles");
    std::fs::create_dir(&profiles).unwrap();
    let profile = |slot: &str, of: u8| {
        std::fs::write(profiles.join("site-scale.toml"), site_scale("kg", Some((slot, of)))).unwrap();
    };
    profile("u", 1);
    gateway.reword(|text| {
        let profiles = profiles.display();
        text.replacen("[gateway]\n", &format!("[gateway]\nprofiles = \"{profiles}\"\n"), 1)
            + "[[device]]\nid = \"mqtt:s1\"\nslots = { \"1\" = \"Patient/p0\", \"2\" = \"Patient/p1\" }\n"
    });
    gateway.start();
    let device = Device::connect(broker.device_port);
    // Of the second one nobody knows who has slot 3.
    let message =
        |n: u64, v: u8| format!("{{\"n\":{n},\"t\":\"{}T10:00:{n:02}Z\",\"w\":71,\"u\":1,\"v\":{v}}}", support::day());
    device.publish("site/s1", [message(1, 2), message(2, 3), message(3, 1)]).await;
    until("delivery", &gateway, || (endpoint.counts().observations == 3).then_some(())).await;
    gateway.stop();
    profile("v", 2);
    gateway.start();
    let said = ["correct", "--device", "mqtt:s1", "--reread", "--by", "Ada", "--reason", "the other number"];
    // The third one stays as it is.
    let (text, why, code) = gateway.cli(&[&said[..], &["--json"]].concat());
    assert_eq!(code, Some(1), "{text}{why}");
    let done: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((done["corrected"].as_array().unwrap().len(), &done["left"]), (2, &1.into()), "{text}");
    let right = BTreeMap::from([
        (("Patient/p0".to_owned(), "entered-in-error".to_owned()), vec![71, 71]),
        (("Patient/p0".to_owned(), "final".to_owned()), vec![71]),
        (("Patient/p1".to_owned(), "final".to_owned()), vec![71]),
    ]);
    until("the correction", &gateway, || (charts(&endpoint) == right).then_some(())).await;
    assert_eq!(gateway.json(&["unassigned"])[0]["why"], "taken-back");
    // A hand-out that is still to come would leave the time until then without a holder.
    let tomorrow = (jiff::Timestamp::now() + Duration::from_secs(86_400)).to_string();
    let early = ["assign", "mqtt:watch-0", "Patient/p1", "--since", &tomorrow, "--by", "Ada"];
    let (_, why, code) = gateway.cli(&early);
    assert!(code == Some(1) && why.contains("later than now"), "{why}");
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// Who had a device before is lost with its row: whoever has it now had it since now, and not ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_that_is_damaged_gives_nobody_the_past() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let endpoint = Endpoint::start(Settings { keep: true, ..Settings::default() }).unwrap();
    let mut gateway = Gateway::new(&settings(&broker, &fhir("centre", &endpoint.url(), "update")));
    gateway.start();
    let device = Device::connect(broker.device_port);
    publish(&device, "watch-0", 0..2).await;
    until("delivery", &gateway, || (endpoint.counts().observations == 2).then_some(())).await;
    gateway.stop();
    // The second holder's name is put in the place of the first.
    {
        let conn = rusqlite::Connection::open(gateway.path("state/journal.sqlite3")).unwrap();
        conn.execute_batch(&format!("PRAGMA key = \"x'{}'\"", support::gateway::KEY)).unwrap();
        let forged = "UPDATE held SET history = replace(history, 'Patient/p0', 'Patient/p1')";
        assert_eq!(conn.execute(forged, []).unwrap(), 1);
    }
    gateway.start();
    publish(&device, "watch-0", 2..4).await;
    let two = |all: &Value| all.as_array().unwrap().iter().all(|n| n["why"] == "before-hand-out");
    until("two for a person", &gateway, || {
        let all = gateway.json(&["unassigned"]);
        (all.as_array().unwrap().len() == 2 && two(&all)).then_some(())
    })
    .await;
    let alerts = gateway.json(&["alerts"]);
    assert!(alerts.to_string().contains("WL-J061"), "{alerts}");
    let held = gateway.json(&["assign", "mqtt:watch-0"]);
    assert_eq!(held[0]["patient"], "Patient/p0", "{held}");
    assert!(held[0]["from_ms"].is_i64(), "{held}");
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
    // Who holds it was written anew.
    gateway.start();
    let over = || !gateway.json(&["alerts"]).to_string().contains("WL-J061");
    until("the end of the alert", &gateway, || over().then_some(())).await;
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// A cuff that is known at two boxes, of two rooms or of home and clinic: each reading once at the centre, whoever sends it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_boxes_that_hear_one_device_leave_each_reading_once() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let kept = || Endpoint::start(Settings { keep: true, ..Settings::default() }).unwrap();
    let (created, updated) = (kept(), kept());
    let destinations =
        fhir("created", &created.url(), "conditional-create") + &fhir("updated", &updated.url(), "update");
    let mut boxes = [(); 2].map(|()| Gateway::new(&settings(&broker, &destinations)));
    for (n, gateway) in boxes.iter_mut().enumerate() {
        gateway.reword(|text| text.replacen("\"test-box\"", &format!("\"box-{n}\""), 1));
        gateway.start();
    }
    let device = Device::connect(broker.device_port);
    publish(&device, "watch-0", 0..10).await;
    for gateway in &boxes {
        let took = || gateway.json(&["readings"]).as_array().unwrap().len() == 10 && settled(gateway);
        until("delivery", gateway, || took().then_some(())).await;
    }
    let once = BTreeMap::from([chart("Patient/p0", "final", 60..70)]);
    assert_eq!((charts(&created), charts(&updated)), (once.clone(), once));
    assert_eq!((created.counts().duplicates, updated.counts().duplicates), (0, 0));
    boxes.iter_mut().for_each(|gateway| assert_eq!(gateway.stop(), Some(0)));
}

/// An absent destination holds a reading, to ask for its return with: that one can be corrected too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_absent_destination_is_asked_with_is_corrected_with_the_rest() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let away = fhir("away", &format!("http://127.0.0.1:{}/fhir", support::free_port()), "update");
    let mut gateway = Gateway::new(&settings(&broker, &away));
    gateway.start();
    let device = Device::connect(broker.device_port);
    publish(&device, "watch-0", 0..5).await;
    until("the outage", &gateway, || gateway.log().contains("destination is down").then_some(())).await;
    // By then the first one is held to ask with (ABSENCE_RETRY).
    tokio::time::sleep(Duration::from_secs(2)).await;
    let order = ["correct", "--device", "mqtt:watch-0", "--to", "Patient/p1", "--since"];
    let since = format!("{}T10:00:00Z", support::day());
    let done = gateway.json(&[&order[..], &[&since, "--by", "Ada", "--reason", "the other watch"]].concat());
    assert_eq!((done["corrected"].as_array().unwrap().len(), &done["left"]), (5, &Value::from(0)), "{done}");
    // What never left has nothing to take back: the new ones are owed, and they alone.
    let account = gateway.json(&["custody"]);
    assert_eq!((account.as_array().unwrap().len(), &account[0]["patient"]), (1, &"Patient/p1".into()), "{account}");
    assert_eq!((&account[0]["waiting"], &account[0]["delivered"]), (&5.into(), &0.into()), "{account}");
    assert_eq!(gateway.stop(), Some(0));
}
