//! What the reader tells, and what other programs see.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use wardline::config::DeviceSettings;
use wardline::custody::{Lane, Outcome, Payload};
use wardline::journal::reader::{Of, Reader, Standing};
use wardline::journal::{Group, Journal};
use wardline::reading::{Absence, DeviceTime, Part, Quality, Value};
use wardline::unit::Unit;
use wardline::vital::{Role, Site, Status};

use super::support::*;

fn read(folder: &Path) -> Reader {
    Reader::new(folder)
}

#[tokio::test]
async fn what_was_stored_is_read_back_equal() {
    let folder = tempfile::tempdir().unwrap();
    let mut full = reading(1, "d");
    full.slot = Some(2);
    full.taken.device = Some(DeviceTime::Civil("2026-11-22T10:00:00.25".parse().unwrap()));
    full.quality =
        vec![Quality::Questionable, Quality::Status(Status::parse("irregular-pulse").unwrap()), Quality::Early];
    full.site = Site::parse("finger");
    full.stored = true;
    full.clocks = Some(Arc::new(pair(7)));
    full.parts = vec![
        Part {
            role: Role::Systolic,
            value: Value::Number("120.0".parse().unwrap()),
            unit: Unit::parse("mm[Hg]").unwrap(),
        },
        Part { role: Role::Diastolic, value: Value::Absent(Absence::NotANumber), unit: Unit::parse("mm[Hg]").unwrap() },
    ];
    let mut bare = reading(2, "nobody");
    bare.clocks = None;
    bare.sequence = None;
    bare.taken.at_ms = None;
    bare.taken.device = Some(DeviceTime::Instant("2026-11-22T10:00:00Z".parse().unwrap()));
    let (journal, _) = open(folder.path());
    journal.commit(group([full.clone(), bare.clone()])).await.unwrap();
    let listed = read(folder.path()).readings(None, None, 10).unwrap();
    assert_eq!(listed.iter().map(|l| l.reading.clone()).collect::<Vec<_>>(), [bare, full.clone()]);
    let Value::Number(systolic) = listed[1].reading.parts[0].value else { panic!("no number") };
    assert_eq!(systolic.to_string(), "120.0");
    journal.close().await;

    // Not from memory: after a restart.
    let (journal, recovered) = open(folder.path());
    assert_eq!(recovered.recent[0], full);
    let items = lease(&journal, Lane::Backlog, 10).await;
    let Payload::Reading(leased) = &items[0].what else { panic!("not a reading") };
    assert_eq!(**leased, full);
}

#[tokio::test]
async fn explain_tells_the_whole_life() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    let two = Group {
        arrivals: vec![arrival(vec![reading(1, "d"), reading(2, "d")])],
        events: vec![raised(alert("a1", vec![key(2)]))],
    };
    journal.commit(Arc::new(two)).await.unwrap();
    let items = lease(&journal, Lane::Fresh, 10).await;
    settle(&journal, vec![delivered(&items[0]), retry(&items[1], None, false)]).await;
    let again = lease(&journal, Lane::Fresh, 10).await;
    settle(&journal, vec![rejected(&again[0])]).await;

    let reader = read(folder.path());
    let centre: Arc<str> = "centre".into();
    let bytes = |life: &wardline::journal::Life| life.bytes.clone().unwrap();
    let life = reader.explain(key(1)).unwrap().unwrap();
    assert_eq!(bytes(&life).octets.as_deref(), Some(&b"{\"n\":1}{\"n\":2}"[..]));
    assert_eq!((&*bytes(&life).source, &*bytes(&life).channel), ("home", "vitals/cuff"));
    assert_eq!(life.standings, [(centre.clone(), Standing::Delivered(Some("Observation/1/_history/1".into())))]);
    let life = reader.explain(key(2)).unwrap().unwrap();
    assert_eq!(bytes(&life).octets.as_deref(), Some(&b"{\"n\":1}{\"n\":2}"[..]));
    assert_eq!(life.standings, [(centre, Standing::Rejected("WL-F011".into(), "it answered 422".into()))]);
    let attempts: Vec<_> = life.attempts.iter().map(|a| (a.number, &*a.code, a.rejected)).collect();
    assert_eq!(attempts, [(1, "WL-F003", false), (2, "WL-F011", true)]);
    assert_eq!(life.alerts.len(), 1);
    assert!(life.told);
    assert!(reader.explain(key(3)).unwrap().is_none());
    assert_eq!(reader.with_keys(&[key(2), key(9), key(1)]).unwrap().len(), 2);
}

#[tokio::test]
async fn counts_add_up_and_failures_have_reasons() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(folder.path(), &settings(), &creditors(&["centre", "files"]), clock()).unwrap();
    let mut all = Group { arrivals: vec![reject("x")], events: vec![raised(alert("a1", vec![]))] };
    all.arrivals.extend((1..=6).map(|n| arrival(vec![reading(n, if n == 6 { "nobody" } else { "d" })])));
    journal.commit(Arc::new(all)).await.unwrap();
    journal.commit(group([reading(1, "d")])).await.unwrap();
    let items = lease(&journal, Lane::Fresh, 3).await;
    let alerts = lease(&journal, Lane::Alert, 3).await;
    let why_alert = retry(&alerts[0], Some(Duration::from_secs(9)), false);
    settle(&journal, vec![delivered(&items[0]), rejected(&items[1]), retry(&items[2], None, true), why_alert]).await;
    let files = journal.lease("files", Lane::Fresh, 2).await.unwrap();
    journal.settle("files", files.iter().map(delivered).collect()).await.unwrap();

    let reader = read(folder.path());
    let custody = reader.custody().unwrap();
    assert_eq!((custody.committed, custody.known, custody.unassigned, custody.frames_rejected), (6, 1, 1, 1));
    assert_eq!((custody.waiting, custody.settled), (3, 2));
    let [centre, files] = &custody.destinations[..] else { panic!("two destinations") };
    assert_eq!((centre.readings.waiting, centre.readings.delivered, centre.readings.rejected), (3, 1, 1));
    assert_eq!((files.readings.waiting, files.readings.delivered), (3, 2));
    assert_eq!((centre.alerts.waiting, files.alerts.waiting), (1, 1));
    assert_eq!(reader.accounts().unwrap()[0].oldest_ms, Some(NOW_MS));
    assert_eq!(&*centre.failed.as_ref().unwrap().1.code, "WL-F003");
    assert!(files.failed.is_none());
    let failures = reader.attempts(Of::Destination("centre"), 10).unwrap();
    let mut told: Vec<_> = failures.iter().map(|f| (number(f.key), f.rejected, f.number, &*f.code)).collect();
    told.sort_unstable();
    assert_eq!(told, [(2, true, 1, "WL-F011"), (3, false, 1, "WL-F003")]);

    // What was delivered in the end is no failure any more.
    let again = lease(&journal, Lane::Backlog, 1).await;
    settle(&journal, again.iter().map(delivered).collect()).await;
    assert_eq!(reader.attempts(Of::Destination("centre"), 10).unwrap().len(), 1);
}

#[tokio::test]
async fn alerts_are_kept_in_order_and_come_back_while_open() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    let events = vec![raised(alert("a", vec![])), raised(alert("b", vec![])), resolved(alert("a", vec![]))];
    journal.commit(Arc::new(Group { arrivals: vec![], events })).await.unwrap();
    let first = lease(&journal, Lane::Alert, 1).await;
    settle(&journal, vec![retry(&first[0], Some(Duration::from_secs(5)), false)]).await;
    let others = lease(&journal, Lane::Alert, 9).await;
    let ids: Vec<_> = others
        .iter()
        .map(|i| match &i.what {
            Payload::Alert(e) => e.alert.id.to_string(),
            Payload::Reading(_) => panic!("a reading"),
        })
        .collect();
    assert_eq!(ids, ["b"], "the end of an alert must not overtake its beginning");
    journal.close().await;
    let (journal, recovered) = open(folder.path());
    assert_eq!(recovered.open_alerts, [alert("b", vec![])]);
    assert_eq!(read(folder.path()).alerts(9).unwrap().len(), 2);
    let all = lease(&journal, Lane::Alert, 9).await;
    assert_eq!((all.len(), all[0].attempts), (3, 1));
    settle(&journal, all.iter().map(|i| (i.id, delivered(i).1)).collect::<Vec<(_, Outcome)>>()).await;
    assert!(lease(&journal, Lane::Alert, 9).await.is_empty());
}

#[tokio::test]
async fn devices_of_run_time_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    let device: DeviceSettings = toml::from_str("id='mqtt:cuff'\npatient='Patient/x'").unwrap();
    journal.save_device(device.clone()).await.unwrap();
    journal.close().await;
    let (_journal, recovered) = open(folder.path());
    assert_eq!(recovered.devices.len(), 1);
    assert_eq!(read(folder.path()).devices().unwrap()[0].id, device.id);
}

#[tokio::test]
async fn a_destination_is_owed_what_came_while_it_was_configured() {
    let folder = tempfile::tempdir().unwrap();
    let with = |names: &[&str]| Journal::open(folder.path(), &settings(), &creditors(names), clock()).unwrap().0;
    let journal = with(&["centre"]);
    journal.commit(group([reading(1, "d")])).await.unwrap();
    journal.close().await;
    let journal = with(&["centre", "files"]);
    journal.commit(group([reading(2, "d")])).await.unwrap();
    journal.close().await;
    let journal = with(&["centre"]);
    journal.commit(group([reading(3, "d")])).await.unwrap();
    journal.close().await;
    let journal = with(&["files", "centre"]);
    journal.commit(group([reading(4, "d")])).await.unwrap();
    let mut files = journal.lease("files", Lane::Backlog, 9).await.unwrap();
    files.extend(journal.lease("files", Lane::Fresh, 9).await.unwrap());
    assert_eq!(numbers(&files), [2, 4]);
    let custody = read(folder.path()).custody().unwrap();
    let waiting: Vec<_> = custody.destinations.iter().map(|d| (&*d.destination, d.readings.waiting)).collect();
    assert_eq!(waiting, [("centre", 4), ("files", 2)]);
    assert_eq!((custody.waiting, custody.settled), (4, 0));
    let reader = read(folder.path());
    let standings = reader.explain(key(1)).unwrap().unwrap().standings;
    assert_eq!(standings, [("centre".into(), Standing::Waiting)], "never owed to the other");
}

/// `PRAGMA foreign_key_check` and a full integrity check, as another program would make them.
#[tokio::test]
async fn the_tables_hold_together() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    let events = vec![raised(alert("a", vec![]))];
    let arrivals = (1..=9).map(|n| arrival(vec![reading(n, "d")])).collect();
    journal.commit(Arc::new(Group { arrivals, events })).await.unwrap();
    let items = lease(&journal, Lane::Fresh, 5).await;
    settle(&journal, items.iter().map(delivered).collect()).await;
    let items = lease(&journal, Lane::Fresh, 2).await;
    settle(&journal, vec![retry(&items[0], None, true), rejected(&items[1])]).await;
    journal.close().await;
    sound(folder.path());
}
