//! Consents: nothing leaves without one, nothing is lost while it is lacking, and what is damaged is none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use wardline::amendment::{self, Order};
use wardline::clock::{Clock, Stamp};
use wardline::consent::{ALL, GENERAL, Rule, Said, Sensitive, Terms};
use wardline::custody::{Creditor, Item, Lane, Outcome, Payload};
use wardline::journal::reader::Reader;
use wardline::journal::{Act, Correction, Group, Journal, Withheld};
use wardline::reading::{PatientId, Reading, Value};
use wardline::vital::Vital;

use super::support::*;

const GLUCOSE: &str = "glucose-capillary-whole-blood";

fn terms(rule: Rule) -> Terms {
    let glucose = Vital::parse(GLUCOSE).unwrap();
    Terms { rule, sensitive: Sensitive::new([(glucose, "sugar".into())]), person: Arc::default() }
}

fn recorded(names: &[&str]) -> Vec<Creditor> {
    creditors(names).into_iter().map(|c| Creditor { terms: terms(Rule::Recorded), ..c }).collect()
}

fn open_at(folder: &Path, clock: &Clock) -> Journal {
    Journal::open(folder, &settings(), &recorded(&["centre"]), clock.clone()).unwrap().0
}

fn of(n: u64, patient: &str, vital: &str) -> Reading {
    Reading {
        patient: Some(PatientId::new(&format!("Patient/{patient}"))),
        vital: Vital::parse(vital).unwrap(),
        ..reading(n, &format!("device-{n}"))
    }
}

fn hr(n: u64, patient: &str) -> Reading {
    of(n, patient, "heart-rate")
}

fn said(given: bool, category: &str) -> Said {
    let categories = vec![category.to_owned()];
    Said { given, categories, from_ms: None, until_ms: None, by: "Ada".into(), at_ms: NOW_MS, reference: None }
}

async fn say_to(journal: &Journal, to: &str, patient: &str, said: Said) -> u64 {
    let (patient, destination) = (PatientId::new(&format!("Patient/{patient}")), to.to_owned());
    journal.redress(Act::Consent { patient, destination, said }).await.unwrap()
}

async fn say(journal: &Journal, patient: &str, given: bool, category: &str) -> u64 {
    say_to(journal, "centre", patient, said(given, category)).await
}

/// All that is due, of both lanes.
async fn due(journal: &Journal) -> Vec<Item> {
    let mut all = lease(journal, Lane::Backlog, 1_000).await;
    all.extend(lease(journal, Lane::Fresh, 1_000).await);
    all
}

async fn due_numbers(journal: &Journal) -> Vec<u64> {
    let mut found = numbers(&due(journal).await);
    found.sort_unstable();
    found
}

fn withheld(journal: &Journal, folder: &Path) -> Vec<(String, String, u64, u64)> {
    let all = Reader::new(folder).withheld(&journal.consents(), Stamp::at_ms(NOW_MS)).unwrap();
    let shown =
        |w: Withheld| (w.patient.map_or_else(String::new, |p| p.reveal().to_owned()), w.category, w.readings, w.alerts);
    all.into_iter().map(shown).collect()
}

#[tokio::test]
async fn without_a_consent_nothing_goes_and_with_one_everything() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_at(folder.path(), &clock());
    journal.commit(group([hr(1, "a"), hr(2, "b"), of(3, "a", GLUCOSE), hr(4, "a")])).await.unwrap();
    assert_eq!(due_numbers(&journal).await, [0; 0]);
    let waits = withheld(&journal, folder.path());
    let line = |patient: &str, category: &str, n| (format!("Patient/{patient}"), category.to_owned(), n, 0);
    assert_eq!(waits, [line("a", "sugar", 1), line("a", "vital-signs", 2), line("b", "vital-signs", 1)]);
    let mut changed = journal.changed();
    changed.mark_unchanged();
    say(&journal, "a", true, GENERAL).await;
    assert!(changed.has_changed().unwrap(), "whoever waits is told");
    assert_eq!(due_numbers(&journal).await, [1, 4], "a general consent does not cover what is sensitive");
    say(&journal, "a", true, "sugar").await;
    assert_eq!(due_numbers(&journal).await, [3]);
    // Also what comes later, by rows and by memory.
    journal.commit(group([hr(5, "b"), of(6, "a", GLUCOSE)])).await.unwrap();
    assert_eq!(due_numbers(&journal).await, [6]);
    journal.close().await;
    drop(journal);
    let journal = open_at(folder.path(), &clock());
    assert_eq!(due_numbers(&journal).await, [1, 3, 4, 6], "after a restart by the rows");
    assert_eq!(withheld(&journal, folder.path()), [line("b", "vital-signs", 2)]);
    say(&journal, "b", true, "vital-signs").await;
    assert_eq!(due_numbers(&journal).await, [2, 5]);
}

#[tokio::test]
async fn the_enrolment_covers_all_but_what_is_sensitive() {
    let folder = tempfile::tempdir().unwrap();
    let creditors: Vec<_> =
        creditors(&["centre"]).into_iter().map(|c| Creditor { terms: terms(Rule::Enrolment), ..c }).collect();
    let journal = Journal::open(folder.path(), &settings(), &creditors, clock()).unwrap().0;
    journal.commit(group([hr(1, "a"), of(2, "a", GLUCOSE)])).await.unwrap();
    assert_eq!(due_numbers(&journal).await, [1]);
    say(&journal, "a", true, "sugar").await;
    assert_eq!(due_numbers(&journal).await, [2]);
}

#[tokio::test]
async fn from_a_withdrawal_on_nothing_more_goes_also_not_what_was_leased() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_at(folder.path(), &clock());
    for patient in ["a", "b"] {
        say(&journal, patient, true, GENERAL).await;
    }
    journal.commit(group((1..=10).map(|n| hr(n, if n % 2 == 0 { "a" } else { "b" })))).await.unwrap();
    let leased = lease(&journal, Lane::Fresh, 6).await;
    assert_eq!(numbers(&leased), [1, 2, 3, 4, 5, 6]);
    assert_eq!(say(&journal, "a", false, ALL).await, 3, "so many of them are in somebody's hands");
    // Whoever holds them asks again before each request.
    let (gates, now) = (journal.consents(), Stamp::at_ms(NOW_MS));
    let gate = gates.gate("centre").unwrap();
    let (go, back): (Vec<Item>, Vec<Item>) = leased.into_iter().partition(|i| gate.admit(i.clone(), now).is_some());
    assert_eq!((numbers(&go), numbers(&back)), (vec![1, 3, 5], vec![2, 4, 6]));
    journal.give_back("centre", back.iter().map(|i| i.id).collect()).await.unwrap();
    settle(&journal, go.iter().map(delivered).collect()).await;
    assert_eq!(due_numbers(&journal).await, [7, 9]);
    say(&journal, "a", true, GENERAL).await;
    let again = due(&journal).await;
    assert_eq!(numbers(&again).into_iter().collect::<BTreeSet<_>>(), [2, 4, 6, 8, 10].into());
    assert!(again.iter().all(|i| i.attempts == 0), "what was given back was not tried");
}

/// An answer for a batch may say of each part that it was not sent: of a reading, and of an alert.
#[tokio::test]
async fn what_was_not_sent_is_owed_as_if_it_had_not_been_leased() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_at(folder.path(), &clock());
    say(&journal, "a", true, GENERAL).await;
    let of_a = wardline::alarm::Alert { patient: Some(PatientId::new("Patient/a")), ..alert("a1", vec![]) };
    journal.commit(group((1..=4).map(|n| hr(n, "a")))).await.unwrap();
    journal.commit(Group { arrivals: vec![], events: vec![raised(of_a)] }.into()).await.unwrap();
    let leased = due(&journal).await;
    let alerts = journal.lease("centre", Lane::Alert, 10).await.unwrap();
    assert_eq!((leased.len(), alerts.len()), (4, 1));
    say(&journal, "a", false, ALL).await;
    let left_out = |item: &Item| (item.id, Outcome::Withheld);
    let outcomes = leased.iter().map(|i| if i.id == leased[0].id { delivered(i) } else { left_out(i) });
    settle(&journal, outcomes.chain(alerts.iter().map(left_out)).collect()).await;
    assert_eq!(due_numbers(&journal).await, [0; 0]);
    assert!(journal.lease("centre", Lane::Alert, 10).await.unwrap().is_empty());
    assert_eq!(
        withheld(&journal, folder.path()).iter().map(|w| (w.2, w.3)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1)),
        (3, 1)
    );
    say(&journal, "a", true, GENERAL).await;
    let again = [due(&journal).await, journal.lease("centre", Lane::Alert, 10).await.unwrap()].concat();
    assert_eq!((again.len(), again.iter().map(|i| i.attempts).sum::<u32>()), (4, 0), "no attempt was counted");
    journal.close().await;
    sound(folder.path());
}

#[tokio::test]
async fn a_consent_for_a_time_begins_and_ends_by_the_clock() {
    let folder = tempfile::tempdir().unwrap();
    let clock = clock();
    let journal = open_at(folder.path(), &clock);
    journal.commit(group([hr(1, "a"), hr(2, "a")])).await.unwrap();
    let timed = Said { from_ms: Some(NOW_MS + 5_000), until_ms: Some(NOW_MS + 9_000), ..said(true, GENERAL) };
    say_to(&journal, "centre", "a", timed).await;
    assert_eq!(due_numbers(&journal).await, [0; 0]);
    clock.advance(Duration::from_secs(6));
    // Any turn of the writer sees it.
    journal.commit(group([])).await.unwrap();
    let first = lease(&journal, Lane::Fresh, 1).await;
    assert_eq!(numbers(&first), [1]);
    clock.advance(Duration::from_secs(4));
    assert_eq!(due_numbers(&journal).await, [0; 0], "it has ended");
}

/// A flipped bit anywhere in what was recorded is as if nothing had been; nothing is sent, nothing lost.
#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "another program damages the file")]
async fn a_damaged_consent_is_none() {
    for change in [
        "UPDATE consent SET history = replace(history, 'general', 'activity')",
        "UPDATE consent SET history = 'x'",
        "UPDATE consent SET patient = 'Patient/b'",
        "UPDATE consent SET destination = 'other'",
        "UPDATE consent SET seal = seal + 1",
        "UPDATE consent SET seal = 'x'",
        "DELETE FROM consent",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let journal = open_at(folder.path(), &clock());
        say(&journal, "a", true, GENERAL).await;
        journal.commit(group([hr(1, "a"), hr(2, "b")])).await.unwrap();
        journal.close().await;
        drop(journal);
        let conn = rusqlite::Connection::open(folder.path().join("journal.sqlite3")).unwrap();
        assert_eq!(conn.execute(change, []).unwrap(), 1);
        drop(conn);
        let journal = open_at(folder.path(), &clock());
        assert_eq!(due_numbers(&journal).await, [0; 0], "{change}");
        say(&journal, "a", true, GENERAL).await;
        assert_eq!(due_numbers(&journal).await, [1], "recorded again after {change}");
        journal.close().await;
    }
}

#[tokio::test]
async fn an_alert_about_a_person_waits_and_one_about_the_box_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_at(folder.path(), &clock());
    let of_a = wardline::alarm::Alert { patient: Some(PatientId::new("Patient/a")), ..alert("a1", vec![]) };
    let of_box = wardline::alarm::Alert {
        patient: None,
        condition: wardline::alarm::Condition::Technical,
        ..alert("t1", vec![])
    };
    // That a measurement which was ordered does not come tells of a person as well.
    let stays_out = wardline::alarm::Alert {
        patient: Some(PatientId::new("Patient/b")),
        ..wardline::alarm::Alert { id: wardline::alarm::AlertId("t2".into()), ..of_box.clone() }
    };
    let nobodys = wardline::alarm::Alert { patient: None, ..alert("n1", vec![]) };
    let events = vec![raised(of_a.clone()), raised(of_box.clone()), raised(nobodys), raised(stays_out), resolved(of_a)];
    journal.commit(Group { arrivals: vec![], events }.into()).await.unwrap();
    let ids = |items: &[Item]| -> Vec<String> {
        let id = |i: &Item| match &i.what {
            Payload::Alert(e) => format!("{}-{:?}", e.alert.id, e.happened),
            Payload::Reading(_) => panic!("a reading"),
        };
        items.iter().map(id).collect()
    };
    let items = journal.lease("centre", Lane::Alert, 100).await.unwrap();
    assert_eq!(ids(&items), ["t1-Raised"]);
    settle(&journal, items.iter().map(delivered).collect()).await;
    let waits = withheld(&journal, folder.path());
    assert_eq!(waits.iter().map(|w| w.3).sum::<u64>(), 4, "{waits:?}");
    // They wait through a restart, whatever the accounts say.
    journal.close().await;
    drop(journal);
    let journal = open_at(folder.path(), &clock());
    assert!(journal.lease("centre", Lane::Alert, 100).await.unwrap().is_empty());
    say(&journal, "a", true, GENERAL).await;
    let mut got = Vec::new();
    loop {
        let items = journal.lease("centre", Lane::Alert, 100).await.unwrap();
        if items.is_empty() {
            break;
        }
        got.extend(ids(&items));
        settle(&journal, items.iter().map(delivered).collect()).await;
    }
    assert_eq!(got, ["a1-Raised", "a1-Resolved"]);
}

fn taken_back(old: &Reading, row: i64) -> Correction {
    let order = Order { by: "Ada".into(), at_ms: NOW_MS, reason: "wrong".into() };
    let replacement = Some(amendment::replacement(old, PatientId::new("Patient/b"), &order));
    Correction { row, withdrawal: amendment::withdrawal(old, &order), replacement }
}

/// What a destination has and is wrong is taken back also without consent, and shows no value; what never went is not.
#[tokio::test]
async fn an_error_can_be_corrected_where_the_consent_is_withdrawn() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_at(folder.path(), &clock());
    say(&journal, "a", true, GENERAL).await;
    journal.commit(group([hr(1, "a")])).await.unwrap();
    let sent = due(&journal).await;
    settle(&journal, sent.iter().map(delivered).collect()).await;
    say_to(&journal, "centre", "a", Said { at_ms: NOW_MS - 1, ..said(false, ALL) }).await;
    // Taken in after the withdrawal, and never sent; the restart forgets nothing of that.
    journal.commit(group([hr(2, "a")])).await.unwrap();
    assert_eq!(due_numbers(&journal).await, [0; 0]);
    journal.close().await;
    drop(journal);
    let journal = open_at(folder.path(), &clock());
    let corrections = vec![taken_back(&hr(1, "a"), 1), taken_back(&hr(2, "a"), 2)];
    let done = journal.redress(Act::Correct { by: "Ada".into(), corrections }).await.unwrap();
    assert_eq!(done, 2);
    let items = due(&journal).await;
    let [Item { what: Payload::Reading(back), .. }] = &items[..] else { panic!("{} items", items.len()) };
    assert!(back.is_withdrawal() && *back.known_as() == key(1));
    assert!(back.parts.iter().all(|p| matches!(p.value, Value::Absent(_))), "no value without consent");
    settle(&journal, items.iter().map(delivered).collect()).await;
    // What stands in its place is another patient's, and waits for that one's consent.
    say(&journal, "b", true, GENERAL).await;
    assert_eq!(due(&journal).await.len(), 2);
}

/// A backlog without consent is looked through once, not for each item that is tried again before it.
#[tokio::test]
async fn a_long_backlog_without_consent_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_at(folder.path(), &clock());
    say(&journal, "a", true, GENERAL).await;
    journal.commit(group([hr(1, "a")])).await.unwrap();
    for part in 0..25 {
        let theirs = |n: u64| Reading { device: hr(0, "b").device, ..hr(10 + part * 1_000 + n, "b") };
        journal.commit(group((0..1_000).map(theirs))).await.unwrap();
    }
    journal.commit(group([hr(2, "a")])).await.unwrap();
    let mut found = Vec::new();
    for _ in 0..4 {
        found.extend(lease(&journal, Lane::Fresh, 10).await);
    }
    assert_eq!(numbers(&found), [1, 2]);
    for _ in 0..3 {
        settle(&journal, found.iter().map(|i| retry(i, None, false)).collect()).await;
        found = lease(&journal, Lane::Fresh, 10).await;
        assert_eq!(numbers(&found), [1, 2], "in one look");
    }
    say(&journal, "b", true, GENERAL).await;
    assert_eq!(lease(&journal, Lane::Fresh, 10).await.len(), 10);
}

#[derive(Clone, Debug)]
enum Step {
    /// Reading by number, patient, and whether it is sensitive.
    Commit(Vec<(u8, u8, bool)>),
    Say {
        to: usize,
        patient: u8,
        given: bool,
        category: usize,
    },
    /// Leases, holds each against the gate, and delivers or not.
    Deliver {
        to: usize,
        fates: Vec<bool>,
    },
    Restart,
    Crash,
}

const NAMES: [&str; 2] = ["centre", "files"];
const CATEGORIES: [&str; 4] = [GENERAL, "vital-signs", "sugar", ALL];

fn step() -> impl Strategy<Value = Step> {
    let deliver = (0..NAMES.len(), prop::collection::vec(any::<bool>(), 1..8));
    prop_oneof![
        4 => prop::collection::vec((any::<u8>(), 0u8..3, any::<bool>()), 1..10).prop_map(Step::Commit),
        4 => (0..NAMES.len(), 0u8..3, any::<bool>(), 0..CATEGORIES.len())
            .prop_map(|(to, patient, given, category)| Step::Say { to, patient, given, category }),
        5 => deliver.prop_map(|(to, fates)| Step::Deliver { to, fates }),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
    ]
}

/// What the model knows: by its own rules, not the journal's.
#[derive(Default)]
struct Model {
    /// Patient and sensitivity of each number.
    readings: BTreeMap<u64, (u8, bool)>,
    /// For each destination: what is permitted of (patient, is sensitive).
    permitted: [BTreeSet<(u8, bool)>; 2],
    waiting: [BTreeSet<u64>; 2],
}

impl Model {
    fn say(&mut self, to: usize, patient: u8, given: bool, category: &str) {
        let meant: &[bool] = match (category, given) {
            (ALL, true) => &[],
            (ALL, false) => &[true, false],
            ("sugar", _) => &[true],
            _ => &[false],
        };
        for sensitive in meant {
            let key = (patient, *sensitive);
            if given {
                self.permitted[to].insert(key)
            } else {
                self.permitted[to].remove(&key)
            };
        }
    }

    fn may(&self, to: usize, number: u64) -> bool {
        self.permitted[to].contains(&self.readings[&number])
    }
}

struct World {
    folder: tempfile::TempDir,
    journal: Journal,
    model: Model,
}

fn name(patient: u8) -> &'static str {
    ["a", "b", "c"][usize::from(patient)]
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = Self::open(folder.path());
        Self { folder, journal, model: Model::default() }
    }

    fn open(folder: &Path) -> Journal {
        Journal::open(folder, &settings(), &recorded(&NAMES), clock()).unwrap().0
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Commit(all) => {
                let mut readings = Vec::new();
                for (n, patient, sensitive) in all {
                    let n = u64::from(n);
                    if self.model.readings.contains_key(&n) {
                        continue;
                    }
                    self.model.readings.insert(n, (patient, sensitive));
                    for waiting in &mut self.model.waiting {
                        waiting.insert(n);
                    }
                    let new = of(n, name(patient), if sensitive { GLUCOSE } else { "heart-rate" });
                    // Some devices are shared: a withheld reading must not hold up another one of its device.
                    let device = hr(u64::from(patient) % 2, name(patient)).device;
                    readings.push(Reading { device, ..new });
                }
                self.journal.commit(group(readings)).await.unwrap();
            }
            Step::Say { to, patient, given, category } => {
                let category = CATEGORIES[category];
                self.model.say(to, patient, given, category);
                say_to(&self.journal, NAMES[to], name(patient), said(given, category)).await;
            }
            Step::Deliver { to, fates } => drop(self.deliver(to, &fates).await),
            Step::Restart => {
                self.journal.close().await;
                self.journal = Self::open(self.folder.path());
            }
            Step::Crash => {
                let copy = tempfile::tempdir().unwrap();
                for file in ["journal.sqlite3", "journal.sqlite3-wal"] {
                    let _ = std::fs::copy(self.folder.path().join(file), copy.path().join(file));
                }
                self.folder = copy;
                self.journal = Self::open(self.folder.path());
            }
        }
    }

    async fn deliver(&mut self, to: usize, fates: &[bool]) -> usize {
        let mut items = self.journal.lease(NAMES[to], Lane::Backlog, 7).await.unwrap();
        items.extend(self.journal.lease(NAMES[to], Lane::Fresh, 7).await.unwrap());
        let mut outcomes: Vec<(_, Outcome)> = Vec::new();
        for (n, item) in items.iter().enumerate() {
            let number = numbers(std::slice::from_ref(item))[0];
            assert!(self.model.may(to, number), "{number} goes to {} without consent", NAMES[to]);
            assert!(self.model.waiting[to].contains(&number), "{number} is not owed");
            if fates.get(n).copied().unwrap_or(true) {
                self.model.waiting[to].remove(&number);
                outcomes.push(delivered(item));
            } else if n % 2 == 1 {
                outcomes.push((item.id, Outcome::Withheld));
            } else {
                outcomes.push(retry(item, None, n % 3 == 0));
            }
        }
        self.journal.settle(NAMES[to], outcomes).await.unwrap();
        items.len()
    }

    /// All that may go goes; the rest is there and is counted; with every consent it goes too.
    async fn finish(mut self) {
        for round in 0..2 {
            #[allow(clippy::needless_range_loop, reason = "a place in several lists")]
            for to in 0..NAMES.len() {
                for _ in 0..1_000 {
                    if self.deliver(to, &[]).await == 0 {
                        break;
                    }
                }
                let left: Vec<u64> = self.model.waiting[to].iter().copied().collect();
                assert!(left.iter().all(|n| !self.model.may(to, *n)), "permitted and never sent: {left:?}");
                let counted = Reader::new(self.folder.path())
                    .withheld(&self.journal.consents(), Stamp::at_ms(NOW_MS))
                    .unwrap()
                    .iter()
                    .filter(|w| *w.destination == *NAMES[to])
                    .map(|w| w.readings)
                    .sum::<u64>();
                assert_eq!(counted, left.len() as u64);
                assert!(round == 0 || left.is_empty(), "lost: {left:?}");
            }
            for (to, patient) in (0..NAMES.len()).flat_map(|to| (0u8..3).map(move |p| (to, p))) {
                for category in [GENERAL, "sugar"] {
                    self.model.say(to, patient, true, category);
                    say_to(&self.journal, NAMES[to], name(patient), said(true, category)).await;
                }
            }
        }
        self.journal.close().await;
        sound(self.folder.path());
    }
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").map_or(40, |n| n.parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: cases(), ..ProptestConfig::default() })]
    #[test]
    fn nothing_goes_without_consent_and_nothing_is_lost(steps in prop::collection::vec(step(), 1..50)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for step in steps {
                world.take(step).await;
            }
            world.finish().await;
        });
    }
}
