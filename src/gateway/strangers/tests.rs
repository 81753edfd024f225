//! Nights at the lab's endpoint, in one process: the clock is the test's.

use std::time::Duration;

use tokio::sync::mpsc;

use super::*;
use crate::amendment::{self, Order};
use crate::clock::Clock;
use crate::config::{Config, DestinationSettings, FhirSettings, JournalSettings};
use crate::consent::{Rule, Said, Terms};
use crate::custody::{Creditor, Item, ItemId, Lane, Outcome, Payload};
use crate::fhir::fixtures::nth;
use crate::gateway::pipeline::Technical;
use crate::gateway::taken_back::Looks;
use crate::journal::{Act, Correction, Group, Journal};
use crate::lab::endpoint::{Endpoint, Manners, Settings};
use crate::reading::{Arrival, Frame};
use crate::sink::fhir::FhirSink;
use crate::sink::http::Peer;
use crate::sink::{Destination, Sink};
use std::sync::Arc;

const DAY: Duration = Duration::from_secs(24 * 3_600);

struct Night {
    _folder: tempfile::TempDir,
    endpoint: Endpoint,
    journal: Journal,
    clock: Clock,
    settings: FhirSettings,
}

impl Night {
    fn new() -> Self {
        Self::with(Terms::open())
    }

    fn with(terms: Terms) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = Endpoint::start(Settings { keep: true, ..Settings::default() }).unwrap();
        let clock = Clock::manual(Clock::system().now());
        let creditors = [Creditor { name: "centre".into(), readings: true, alerts: true, evidence: true, terms }];
        let (journal, _) =
            Journal::open(folder.path(), &JournalSettings::default(), &creditors, clock.clone()).unwrap();
        let text = format!("name='centre'\nurl='{}'\nidempotency='update'\ntimeout_s=20", endpoint.url());
        Self { _folder: folder, endpoint, journal, clock, settings: toml::from_str(&text).unwrap() }
    }

    fn sink(&self) -> FhirSink {
        FhirSink::new(&self.settings, &"box".into()).unwrap()
    }

    /// Readings that the journal takes and the destination gets.
    async fn deliver(&self, numbers: std::ops::Range<u64>) {
        let arrivals = numbers.map(|n| {
            let frame = Frame::new("home", "", self.clock.now());
            Arrival { frame, undated: false, outcome: Ok(vec![nth("heart-rate", n)]) }
        });
        self.journal.commit(Arc::new(Group { arrivals: arrivals.collect(), events: vec![] })).await.unwrap();
        self.send().await;
    }

    /// What is owed.
    async fn send(&self) {
        let items = self.journal.lease("centre", Lane::Fresh, 100).await.unwrap();
        let outcomes = self.sink().deliver(&items, &[]).await;
        let settled = items.iter().map(|i| i.id).zip(outcomes).collect();
        self.journal.settle("centre", settled).await.unwrap();
        self.clock.advance(Duration::from_secs(120));
    }

    /// A reading was wrong, and is taken back there.
    async fn take_back(&self, row: i64, n: u64) {
        let order = Order { by: "Ada".into(), at_ms: 1, reason: "the other watch".into() };
        let withdrawal = amendment::withdrawal(&nth("heart-rate", n), &order);
        let corrections = vec![Correction { row, withdrawal, replacement: None }];
        let act = Act::Correct { by: "Ada".into(), corrections };
        assert_eq!(self.journal.redress(act).await.unwrap(), 1);
        self.send().await;
    }

    /// How many Observations of this status there are.
    fn status(&self, status: &str) -> usize {
        let status = format!("\"status\":\"{status}\"");
        self.endpoint.bodies("Observation").iter().filter(|body| body.contains(&status)).count()
    }

    /// One that the destination gets and the journal never saw.
    async fn strange(&self, n: u64) {
        let what = Payload::Reading(Arc::new(nth("heart-rate", n)));
        let outcomes = self.sink().deliver(&[Item { id: ItemId::Reading(1), what, attempts: 0 }], &[]).await;
        assert!(matches!(outcomes[0], Outcome::Delivered(_)), "{outcomes:?}");
    }

    fn surveys(&self) -> (Arc<Surveys>, mpsc::Receiver<Technical>) {
        let mut config: Config = toml::from_str("[gateway]\nid = 'box'\nstate = '/x'\n").unwrap();
        config.destinations = vec![DestinationSettings::Fhir(self.settings.clone())];
        let (told, said) = mpsc::channel(9);
        let sinks = [("centre".into(), Sink::Fhir(Box::new(self.sink())))];
        (Surveys::new(&config, &sinks, &self.clock, &self.journal, told), said)
    }

    /// What a night says: what was found, and the sentence if the alert stands.
    async fn ask(&self) -> (Option<u64>, Option<String>) {
        let (surveys, mut said) = self.surveys();
        self.clock.advance(Duration::from_secs(1));
        let found = surveys.reconcile_by_name("centre").await;
        let told = said.try_recv().unwrap();
        assert_eq!(&*told.name, "destination-differs:centre");
        (found.strangers.map(|s| s.found), told.active.then_some(told.text))
    }
}

#[tokio::test]
async fn a_night_that_did_not_ask_ends_no_alert_and_neither_does_a_restart() {
    let night = Night::new();
    night.deliver(0..3).await;
    assert_eq!(night.ask().await, (Some(0), None));
    night.strange(77).await;
    let (found, said) = night.ask().await;
    assert!(found == Some(1) && said.as_ref().is_some_and(|s| s.ends_with("does not know (WL-F020)")), "{said:?}");
    night.endpoint.behave(Manners { unsearchable: true, ..Manners::default() });
    for _ in 0..2 {
        let (found, said) = night.ask().await;
        assert!(found.is_none() && said.is_some_and(|s| s.ends_with("when it was last asked (WL-F020)")));
    }
    // A gateway that starts says it again, before it asks anybody.
    let (surveys, mut said) = night.surveys();
    let run = surveys.run();
    tokio::pin!(run);
    let told = async {
        tokio::select! { () = &mut run => None, told = said.recv() => told }
    };
    let told = tokio::time::timeout(Duration::from_secs(20), told).await.ok().flatten().expect("a reminder");
    assert!(told.active && told.text.contains("(WL-F020)"), "{told:?}");

    // What nobody removed is looked for as long as it is there.
    night.endpoint.behave(Manners::default());
    night.clock.advance(5 * DAY);
    assert_eq!(night.ask().await.0, Some(1));
    night.journal.close().await;
}

#[tokio::test]
async fn what_is_lost_doubled_and_strange_is_said_in_one_alert() {
    let night = Night::new();
    night.endpoint.behave(Manners { forget: 1, ..Manners::default() });
    night.deliver(0..3).await;
    night.strange(77).await;
    night.ask().await;
    // Sent again, and forgotten again.
    night.deliver(3..4).await;
    let (_, said) = night.ask().await;
    let said = said.unwrap();
    assert!(said.contains("does not hold 1 readings") && said.contains("holds 1 Observations"), "{said}");
    night.journal.close().await;
}

/// A server that hung at the reading until its sender gave up stores it after the withdrawal.
#[tokio::test]
async fn what_was_taken_back_and_stands_again_is_taken_back_again() {
    let night = Night::new();
    night.deliver(0..3).await;
    night.take_back(2, 1).await;
    assert_eq!((night.status("final"), night.status("entered-in-error")), (2, 1));
    let (surveys, mut said) = night.surveys();
    let found = surveys.reconcile_by_name("centre").await;
    assert_eq!((found.checked, found.missing, found.stood, said.try_recv().unwrap().active), (3, 0, 0, false));

    night.strange(1).await;
    assert_eq!(night.status("entered-in-error"), 0);
    let found = surveys.reconcile_by_name("centre").await;
    assert_eq!((found.missing, found.stood, found.stays), (1, 1, 0));
    assert_eq!(found.strangers.map(|s| s.found), Some(0));
    night.send().await;
    assert_eq!((night.status("final"), night.status("entered-in-error")), (2, 1));

    // Where it is at none of its places any more, nobody has it in a chart.
    let id = crate::fhir::Identity::of(&nth("heart-rate", 1)).unwrap().resource_id();
    let peer = Peer::new(&night.settings.url, crate::tls::Files::default(), DAY).unwrap();
    peer.client.delete(peer.below(&format!("Observation/{id}"))).send().await.unwrap();
    assert_eq!((night.status("final"), night.status("entered-in-error")), (2, 0));
    let found = surveys.reconcile_by_name("centre").await;
    assert_eq!((found.missing, found.not_asked), (0, None));
    night.journal.close().await;
}

/// In between, each withdrawal is looked at once, when the destination has had time to finish what it hung at.
#[tokio::test]
async fn a_withdrawal_is_looked_at_once_more_before_the_night() {
    let night = Night::new();
    night.deliver(0..3).await;
    night.take_back(2, 1).await;
    let (surveys, _said) = night.surveys();
    let mut looks = Looks::default();
    assert_eq!(surveys.look_back_by_name("centre", &mut looks).await, (0, 0));
    night.strange(1).await;
    assert_eq!(surveys.look_back_by_name("centre", &mut looks).await, (1, 1));
    night.send().await;
    assert_eq!((night.status("final"), night.status("entered-in-error")), (2, 1));
    // Sent again, it is looked at again; and then no more.
    assert_eq!(surveys.look_back_by_name("centre", &mut looks).await, (0, 0));
    assert_eq!(surveys.look_back_by_name("centre", &mut looks).await, (1, 0));
    assert_eq!(surveys.look_back_by_name("centre", &mut looks).await, (0, 0));
    night.journal.close().await;
}

/// A destination is not told of people whose readings may not go there: not even by a question.
#[tokio::test]
async fn a_patient_without_consent_is_not_named_in_the_search() {
    let recorded = Terms { rule: Rule::Recorded, ..Terms::open() };
    let night = Night::with(recorded);
    night.deliver(0..3).await;
    assert_eq!(night.status("final"), 0);
    night.strange(77).await;
    let (surveys, _said) = night.surveys();
    night.clock.advance(Duration::from_secs(1));
    let found = surveys.reconcile_by_name("centre").await;
    assert_eq!(found.strangers.map(|s| (s.found, s.seen)), Some((0, 0)));
    let said = Said {
        given: true,
        categories: vec!["general".into()],
        from_ms: None,
        until_ms: None,
        by: "Ada".into(),
        at_ms: 1,
        reference: None,
    };
    let patient = nth("heart-rate", 0).patient.unwrap();
    night.journal.redress(Act::Consent { patient, destination: "centre".into(), said }).await.unwrap();
    night.clock.advance(Duration::from_secs(1));
    let found = surveys.reconcile_by_name("centre").await;
    assert_eq!(found.strangers.map(|s| (s.found, s.seen)), Some((1, 1)));
    night.journal.close().await;
}

fn find(n: u64, at_ms: i64, bearer: Bearer) -> (Find, Option<Clue>) {
    let value = format!("d-p-1-Z{}-{n:016x}", at_ms / 1_000 - 946_684_800);
    let clue = Clue::of(&value);
    let place = format!("Observation/{n}");
    (Find { place, value, bearer, void: false, updated_ms: Some(at_ms) }, clue)
}

fn judged(horizon: Option<Horizon>, find: (Find, Option<Clue>)) -> (u64, u64) {
    let mut judge = Judge::new(horizon);
    judge.take(vec![Judged::Unknown(find.0, find.1)], 0);
    (judge.strangers, judge.unjudged)
}

#[test]
fn what_retention_may_have_removed_is_not_judged() {
    const T: i64 = 1_795_000_000_000;
    let whole = Some(Horizon { complete_ms: T, removed: false });
    let cut = Some(Horizon { complete_ms: T, removed: true });
    let old = |updated_ms| {
        let (find, clue) = find(1, T - 30 * DAY_MS, Bearer::Ours);
        (Find { updated_ms, ..find }, clue)
    };
    // Stored there since, measured before: ours if nothing was removed, else perhaps a removed one that went out late.
    assert_eq!(judged(whole, old(Some(T))), (1, 0));
    assert_eq!(judged(cut, old(Some(T))), (0, 1));
    assert_eq!(judged(whole, old(Some(T - 1))), (0, 1));
    assert_eq!(judged(whole, old(None)), (0, 1));
    assert_eq!(judged(None, old(Some(T))), (0, 1));
    assert_eq!(judged(cut, find(1, T + 2 * DAY_MS, Bearer::Ours)), (1, 0));
    let mut foreign = find(1, T, Bearer::Ours);
    (foreign.0.value, foreign.1) = ("no grammar of ours".into(), None);
    assert_eq!((judged(whole, foreign.clone()), judged(cut, foreign)), ((1, 0), (0, 1)));
    assert_eq!(judged(whole, find(1, T, Bearer::Another)), (0, 0));
    let (mut probe, clue) = find(1, T, Bearer::Ours);
    probe.value.insert_str(0, PROBES);
    assert_eq!(judged(whole, (probe, clue)), (0, 0));
}

#[test]
fn an_answer_that_does_not_fit_what_is_known_is_not_trusted() {
    let trusted = |bearer, known, counted, expected| {
        let mut judge = Judge::new(None);
        judge.take((0..known).map(|n| Judged::Known(find(n, 0, bearer).0)).collect(), 0);
        judge.expected.push(expected);
        judge.trust(&[Shown { known, counted }]).is_ok()
    };
    assert!(
        trusted(Bearer::Ours, 3, false, 3)
            && trusted(Bearer::Another, 3, false, 0)
            && trusted(Bearer::Ours, 0, true, 0)
    );
    // It says that there are no more, and the others may have been stored long ago.
    assert!(trusted(Bearer::Ours, 2, true, 3));
    assert!(!trusted(Bearer::Ours, 2, false, 3));
    assert!(!trusted(Bearer::Ours, 0, true, 1));
    assert!(!trusted(Bearer::Nobody, 3, true, 3));
}

#[test]
fn what_a_destination_states_decides_how_it_is_asked() {
    use crate::probed::Stated;
    let of = |names: &[&str]| {
        let searches = Some(names.iter().map(|n| (*n).to_owned()).collect());
        Ways::of(Some(&Stated { searches, ..Stated::default() })).map(|ways| ways.by_date())
    };
    assert_eq!(of(&["patient", "_lastUpdated", "date"]), Ok(false));
    assert_eq!(of(&["subject", "date"]), Ok(true));
    assert_eq!(of(&["patient"]), Ok(false));
    assert!(of(&["date"]).is_err());
    assert!(Ways::of(Some(&Stated::default())).is_ok() && Ways::of(None).is_ok());
}
