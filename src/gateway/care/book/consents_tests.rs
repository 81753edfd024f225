//! Consents of a centre through their life: what is recorded, and when.

use super::consents::Codes;
use super::*;
use crate::consent::{ALL, GENERAL, GENERALS, History, Said as Word};
use crate::fhir::inbound::Provision;
use crate::gateway::care::consents::{deeds, kept_back, word};

const CATEGORY: &str = "http://terminology.hl7.org/CodeSystem/observation-category|";

struct Desk {
    book: Book,
    /// What is recorded.
    history: History,
    apply: Apply,
    now_ms: i64,
    trusted: bool,
}

fn patient() -> PatientId {
    PatientId::new("Patient/p")
}

fn said(permitted: bool, of: &[&str]) -> Provision {
    let of = of.iter().map(|c| if c.contains('|') { (*c).to_owned() } else { format!("{CATEGORY}{c}") }).collect();
    Provision { permitted, of, except: vec![], unclear: false, from_ms: None, until_ms: None }
}

fn heard(id: &str, said: Result<Provision, &'static str>) -> Heard {
    Heard {
        resource: format!("Consent/{id}"),
        version: Some("1".into()),
        updated_ms: Some(1),
        patient: Some(patient()),
        active: true,
        said: said.map(|said| vec![Said::Consent(said)]),
    }
}

fn permit(id: &str, of: &[&str]) -> Heard {
    heard(id, Ok(said(true, of)))
}

fn deny(id: &str, of: &[&str]) -> Heard {
    heard(id, Ok(said(false, of)))
}

fn over(id: &str) -> Heard {
    Heard { active: false, said: Ok(vec![]), ..permit(id, &[]) }
}

/// "+general", "-all", "over 17": in the order in which it is recorded.
fn told(changes: &Changes) -> Vec<String> {
    let over = changes.over.iter().map(|(resource, _)| format!("over {}", resource.rsplit('/').next().unwrap()));
    let one = |(order, on): (&Order, bool)| {
        let Some(Aim::Share { permitted, categories, .. }) = &order.aim else { panic!("{order:?}") };
        let sign = match (permitted, on) {
            (true, true) => "+",
            (true, false) => "end ",
            (false, true) => "-",
            (false, false) => "allow ",
        };
        format!("{sign}{} by {}", categories.join(","), order.by)
    };
    let obeyed = changes.obeyed.iter().map(|(order, on)| (order, *on));
    over.chain(obeyed.chain(changes.again.iter().map(|order| (order, true))).map(one)).collect()
}

impl Desk {
    fn new(apply: Apply) -> Self {
        Self { book: Book::default(), history: History::default(), apply, now_ms: 1_000, trusted: true }
    }

    fn hear(&mut self, heard: &[Heard]) -> Vec<String> {
        self.now_ms += 1_000;
        let whose = patient();
        let round = Round { destination: "centre", patient: &whose, apply: self.apply, now_ms: self.now_ms };
        let codes = Codes {
            own: [("urn:x|heart".to_owned(), "vital-signs".to_owned())].into(),
            sensitive: ["diabetes".to_owned()].into(),
            trusted: self.trusted,
        };
        let given = |c: &str| self.history.last(c).is_some_and(|said| said.given);
        let lost = self.book.unsettle(&round, given);
        let changes = self.book.hear_consents(&round, &codes, heard, |c| kept_back(&self.history, c));
        self.record(&lost);
        self.record(&changes)
    }

    fn record(&mut self, changes: &Changes) -> Vec<String> {
        for deed in deeds(changes) {
            self.history.0.extend(word(&self.history, &deed, self.now_ms).unwrap());
        }
        told(changes)
    }

    /// A person's word at the box.
    fn withdraw(&mut self, category: &str) {
        self.history.0.push(Word {
            given: false,
            categories: vec![category.into()],
            from_ms: None,
            until_ms: None,
            by: "Ada".into(),
            at_ms: self.now_ms,
            reference: None,
        });
    }

    /// Categories that may go, by what is recorded.
    fn given(&self) -> Vec<&str> {
        let all = GENERALS.into_iter().chain([GENERAL, "diabetes"]);
        all.filter(|c| self.history.last(c).is_some_and(|said| said.given)).collect()
    }

    /// Categories that may go, by what the book has in force.
    fn in_force(&self) -> Vec<&str> {
        let shares = |wanted: bool, category: &str| {
            self.book.orders.values().filter(|o| o.state == State::InForce).any(|o| {
                let Some(Aim::Share { permitted, categories, .. }) = &o.aim else { return false };
                let whole = |c: &String| c == ALL || (c == GENERAL && GENERALS.contains(&category));
                *permitted == wanted && categories.iter().any(|c| c == category || whole(c))
            })
        };
        let all = GENERALS.into_iter().chain([GENERAL, "diabetes"]);
        all.filter(|c| shares(true, c) && !shares(false, c)).collect()
    }

    fn states(&self) -> Vec<(String, &'static str)> {
        let mut states: Vec<_> = self.book.orders.values().map(|o| (o.words(), o.state.word())).collect();
        states.sort();
        states
    }

    fn accept(&mut self) -> Result<Vec<String>, Deny> {
        let id = self.book.orders.values().find(|o| o.state == State::Proposed).unwrap().id.clone();
        let rules = Rules::parse(&[], &[]).unwrap();
        let changes = self.book.accept(&rules, &id, Hand { by: "Ada", at_ms: 9_000 })?;
        Ok(self.record(&changes))
    }
}

const NONE: [&str; 0] = [];

#[test]
fn what_is_permitted_waits_for_a_person_and_what_ends_does_not() {
    let mut desk = Desk::new(Apply::SignOff);
    assert_eq!(desk.hear(&[permit("17", &[])]), NONE);
    assert_eq!(desk.hear(&[permit("17", &[])]), NONE, "said again, it is the same");
    assert_eq!(desk.states(), [("consent to general".into(), "waits")]);
    assert_eq!(desk.accept().unwrap(), ["+general by Ada"]);
    assert_eq!(desk.hear(&[permit("17", &[])]), NONE);
    assert_eq!(desk.hear(&[over("17")]), ["over 17"]);
    assert_eq!(desk.states(), [("consent to general".into(), "withdrawn")]);
    // Said again, it waits again.
    assert_eq!(desk.hear(&[permit("17", &[])]), NONE);
    assert_eq!(desk.states(), [("consent to general".into(), "waits")]);
    assert_eq!(desk.hear(&[Heard { patient: Some(PatientId::new("Patient/q")), ..permit("17", &[]) }]), ["over 17"]);
    // By the policy, at once.
    assert_eq!(Desk::new(Apply::Automatic).hear(&[permit("17", &["activity"])]), ["+activity by policy"]);
}

#[test]
fn what_is_not_understood_changes_nothing() {
    let mut desk = Desk::new(Apply::Automatic);
    desk.hear(&[permit("17", &["vital-signs"])]);
    for unclear in [
        heard("17", Err("a reason")),
        permit("17", &["urn:nobody|knows"]),
        permit("17", &["vital-signs", "imaging"]),
        Heard { patient: None, ..permit("17", &["activity"]) },
    ] {
        assert_eq!(desk.hear(&[unclear]), NONE);
        assert!(desk.states().contains(&("consent to vital-signs".into(), "in force")));
    }
    assert!(desk.states().iter().any(|(_, state)| *state == "refused"));
    // Codes of the configuration, and ours of a sensitive category, which nothing general covers.
    assert_eq!(
        desk.hear(&[permit("18", &["urn:x|heart", "urn:wardline:consent|diabetes"])]),
        ["+diabetes,vital-signs by policy"]
    );
}

#[test]
fn a_narrower_word_counts_at_once_and_a_wider_one_waits() {
    let mut desk = Desk::new(Apply::SignOff);
    desk.hear(&[permit("17", &["vital-signs", "activity"])]);
    desk.accept().unwrap();
    assert_eq!(
        desk.hear(&[permit("17", &["activity"])]),
        ["end activity,vital-signs by centre", "+activity by centre"]
    );
    // Wider: the old one stays until a person accepts.
    assert_eq!(desk.hear(&[permit("17", &["activity", "laboratory"])]), NONE);
    assert!(desk.states().contains(&("consent to activity".into(), "in force")));
    assert_eq!(desk.accept().unwrap(), ["+activity,laboratory by Ada"]);
    assert!(desk.states().contains(&("consent to activity".into(), "superseded")));
    // Something else: the old ends, the new one waits.
    assert_eq!(desk.hear(&[permit("17", &["activity", "procedure"])]), ["end activity,laboratory by centre"]);
    assert!(desk.states().contains(&("consent to activity, procedure".into(), "waits")));
    // For a time: shorter at once, and over when it is over.
    desk.accept().unwrap();
    let timed = Provision { until_ms: Some(50_000), ..said(true, &["activity", "procedure"]) };
    assert_eq!(desk.hear(&[heard("17", Ok(timed.clone()))]).len(), 2);
    desk.now_ms = 60_000;
    assert_eq!(desk.hear(&[heard("17", Ok(timed))]), ["over 17"]);
}

#[test]
fn a_refusal_counts_at_once_and_before_every_permission() {
    let mut desk = Desk::new(Apply::SignOff);
    desk.hear(&[permit("17", &[])]);
    desk.accept().unwrap();
    // What it leaves of a permission goes on.
    let left = ["-laboratory by centre", "end general by centre", "+activity,procedure,vital-signs by centre"];
    assert_eq!(desk.hear(&[permit("17", &[]), deny("18", &["laboratory"])]), left);
    assert_eq!(desk.hear(&[permit("17", &[]), deny("18", &["laboratory"])]), NONE);
    // What nobody can map is everything.
    assert_eq!(desk.hear(&[deny("19", &["urn:nobody|knows"])]), ["-all by centre"]);
    assert!(desk.states().contains(&("consent to activity, procedure, vital-signs".into(), "superseded")));
    // While it is refused, no permission waits, and none is accepted.
    desk.hear(&[permit("20", &["activity"])]);
    assert!(desk.states().contains(&("consent to activity".into(), "superseded")));
    // The refusals end: what was permitted is proposed, and does not come back by itself.
    assert_eq!(desk.hear(&[over("18"), over("19"), permit("17", &[])]), ["over 18", "over 19"]);
    assert!(desk.states().contains(&("consent to general".into(), "waits")));
    // The same Consent turns around.
    assert_eq!(desk.accept().unwrap(), ["+general by Ada"]);
    assert_eq!(desk.hear(&[deny("17", &["activity"])]), ["end general by centre", "-activity by centre"]);
}

#[test]
fn who_refuses_a_part_permits_the_rest_and_nothing_that_has_no_category() {
    let mut desk = Desk::new(Apply::Automatic);
    let except = |codes: &[&str]| Provision { except: said(true, codes).of, ..said(true, &[]) };
    assert_eq!(desk.hear(&[heard("17", Ok(except(&["laboratory"])))]), ["+activity,procedure,vital-signs by policy"]);
    assert_eq!(desk.hear(&[heard("18", Ok(except(&["urn:nobody|knows"])))]), ["-all by centre"]);
}

#[test]
fn a_refusal_and_a_permission_come_to_the_same_in_whatever_order_they_are_heard() {
    for order in [["17", "18"], ["18", "17"]] {
        let mut desk = Desk::new(Apply::Automatic);
        for id in order {
            desk.hear(&[if id == "17" { permit(id, &[]) } else { deny(id, &["laboratory"]) }]);
        }
        desk.hear(&[permit("17", &[]), deny("18", &["laboratory"])]);
        let states = desk.states();
        let in_force: Vec<_> =
            states.iter().filter(|(_, state)| *state == "in force").map(|(words, _)| &**words).collect();
        assert_eq!(in_force, ["consent to activity, procedure, vital-signs", "no consent to laboratory"], "{order:?}");
        // The refusal ends: what is wider is permitted as ever.
        assert_eq!(desk.hear(&[permit("17", &[]), over("18")]), ["over 18", "+general by policy"]);
    }
}

#[test]
fn a_refusal_for_a_time_is_over_only_by_a_clock_that_is_right() {
    let mut desk = Desk::new(Apply::Automatic);
    desk.hear(&[permit("17", &[])]);
    let timed = heard("18", Ok(Provision { until_ms: Some(50_000), ..said(false, &["activity"]) }));
    assert_eq!(desk.hear(std::slice::from_ref(&timed)), ["-activity by centre"]);
    (desk.now_ms, desk.trusted) = (60_000, false);
    assert_eq!(desk.hear(std::slice::from_ref(&timed)), NONE);
    desk.trusted = true;
    assert_eq!(desk.hear(&[timed])[0], "over 18");
}

#[test]
fn more_permissions_than_anybody_has_are_not_all_kept() {
    let mut desk = Desk::new(Apply::SignOff);
    let many: Vec<Heard> = (0..500).map(|n| permit(&n.to_string(), &[])).collect();
    desk.hear(&many);
    assert_eq!(desk.states().len(), 65, "and a reason");
    assert_eq!(desk.hear(&[many[499].clone(), deny("500", &[])]), ["-all by centre"]);
}

#[test]
fn what_two_consents_permit_ends_with_one_and_comes_back_as_it_came() {
    for (apply, again) in [(Apply::Automatic, Some("+laboratory,vital-signs by policy")), (Apply::SignOff, None)] {
        let mut desk = Desk::new(apply);
        for one in [permit("17", &["vital-signs", "laboratory"]), permit("18", &["laboratory", "activity"])] {
            desk.hear(&[one]);
            if apply == Apply::SignOff {
                desk.accept().unwrap();
            }
        }
        let mut expected = vec!["over 18"];
        expected.extend(again);
        assert_eq!(desk.hear(&[over("18")]), expected);
        let state = if again.is_some() { "in force" } else { "waits" };
        assert!(desk.states().contains(&("consent to laboratory, vital-signs".into(), state)));
    }
}

#[test]
fn a_person_may_decline_and_take_it_back() {
    let mut desk = Desk::new(Apply::SignOff);
    desk.hear(&[permit("17", &["activity"])]);
    let id = desk.book.orders.keys().next().unwrap().clone();
    let hand = Hand { by: "Ada", at_ms: 9_000 };
    let changes = desk.book.decline(&id, "no", hand).unwrap();
    assert_eq!(
        (told(&changes), desk.given()),
        (vec!["end activity by Ada".to_owned()], vec![]),
        "nothing refers to it"
    );
    assert_eq!(desk.hear(&[permit("17", &["activity"])]), NONE);
    assert_eq!(desk.states(), [("consent to activity".into(), "declined")]);
    let rules = Rules::parse(&[], &[]).unwrap();
    desk.book.accept(&rules, &id, hand).unwrap();
    assert_eq!(told(&desk.book.decline(&id, "no", hand).unwrap()), ["end activity by Ada"]);
}

#[test]
fn what_ends_or_is_refused_is_not_given_again_in_the_same_round() {
    let rest = ["vital-signs", "activity", "procedure"];
    for (what, heard, left) in [
        ("turned", vec![deny("17", &[]), permit("18", &[])], &[][..]),
        ("ended and refused", vec![over("17"), permit("18", &[]), deny("19", &[])], &[]),
        ("both ended", vec![over("17"), over("18")], &[]),
        ("a part refused", vec![deny("17", &["laboratory"]), permit("18", &[])], &rest),
    ] {
        let mut desk = Desk::new(Apply::Automatic);
        desk.hear(&[permit("17", &[]), permit("18", &[])]);
        assert_eq!(desk.given(), desk.in_force());
        assert_eq!(desk.given().len(), 5);
        // The other way round as well: whose word was the last one must not matter.
        let mut other = Desk::new(Apply::Automatic);
        other.hear(&[permit("18", &[]), permit("17", &[])]);
        for desk in [&mut desk, &mut other] {
            let said = desk.hear(&heard);
            assert_eq!((desk.given(), desk.in_force()), (left.to_vec(), left.to_vec()), "{what}: {said:?}");
            desk.hear(&heard);
            assert_eq!((desk.given(), desk.in_force()), (left.to_vec(), left.to_vec()), "{what}, again");
        }
    }
    // The other one is shown by itself, later: nothing of the refused part meanwhile, the rest then.
    let mut desk = Desk::new(Apply::Automatic);
    desk.hear(&[permit("18", &[]), permit("17", &[])]);
    desk.hear(&[deny("17", &["laboratory"])]);
    assert!(!desk.given().contains(&"laboratory"), "{:?}", desk.history);
    desk.hear(&[permit("18", &[])]);
    assert_eq!((desk.given(), desk.in_force()), (rest.to_vec(), rest.to_vec()));
}

#[test]
fn what_a_person_took_back_here_waits_for_a_person() {
    let waits =
        |desk: &Desk, words: &str| assert!(desk.states().contains(&(words.into(), "waits")), "{:?}", desk.states());
    for apply in [Apply::Automatic, Apply::SignOff] {
        // A part: a narrower word of the centre does not bring it back with the rest.
        let mut desk = Desk::new(apply);
        desk.hear(&[permit("17", &[])]);
        if apply == Apply::SignOff {
            desk.accept().unwrap();
        }
        desk.withdraw("laboratory");
        assert_eq!(desk.hear(&[permit("17", &[])]), NONE);
        let timed = Provision { until_ms: Some(900_000), ..said(true, &[]) };
        desk.hear(&[heard("17", Ok(timed.clone()))]);
        assert!(!desk.given().contains(&"laboratory"), "{apply:?} {:?}", desk.history);
        waits(&desk, &desk.states()[1].0.clone());
        assert_eq!(desk.hear(&[heard("17", Ok(timed))]), NONE, "it waits without a new line each time");
        desk.accept().unwrap();
        assert!(desk.given().contains(&"laboratory"), "a person says so");
        // What is left of it without that part goes on.
        desk.withdraw("activity");
        desk.hear(&[permit("17", &["vital-signs"])]);
    }
    // All of it, and the centre changes something.
    let mut desk = Desk::new(Apply::Automatic);
    desk.hear(&[permit("17", &["activity"])]);
    desk.withdraw(ALL);
    desk.hear(&[permit("17", &["activity"])]);
    waits(&desk, "consent to activity");
    desk.hear(&[permit("17", &["activity", "vital-signs"])]);
    assert_eq!(desk.given(), NONE);
    waits(&desk, "consent to activity, vital-signs");
    // What has nothing of it comes into force.
    desk.history = History::default();
    desk.withdraw("laboratory");
    desk.hear(&[permit("18", &["procedure"])]);
    assert_eq!(desk.given(), ["procedure"]);
    // What another one's end leaves is not given again with it.
    let mut desk = Desk::new(Apply::Automatic);
    desk.hear(&[permit("17", &[]), permit("18", &[]), permit("19", &["vital-signs"])]);
    desk.withdraw("laboratory");
    desk.hear(&[permit("17", &[]), permit("18", &[]), over("19")]);
    assert!(!desk.given().contains(&"laboratory"), "{:?}", desk.history);
}

#[test]
fn what_waits_while_its_grant_counts_ends_when_it_is_refused_or_narrowed() {
    // Two in force; the end of one lets the other wait, and only what both permitted ends.
    let waiting = || {
        let mut desk = Desk::new(Apply::SignOff);
        for one in [permit("17", &["vital-signs", "laboratory"]), permit("18", &["laboratory", "activity"])] {
            desk.hear(&[one]);
            desk.accept().unwrap();
        }
        desk.hear(&[over("18")]);
        assert!(desk.states().contains(&("consent to laboratory, vital-signs".into(), "waits")));
        assert_eq!(desk.given(), ["vital-signs"]);
        desk
    };
    let mut desk = waiting();
    let id = desk.book.orders.values().find(|o| o.state == State::Proposed).unwrap().id.clone();
    let changes = desk.book.decline(&id, "no", Hand { by: "Ada", at_ms: 9_000 }).unwrap();
    desk.record(&changes);
    assert_eq!(desk.given(), NONE);
    let mut desk = waiting();
    desk.hear(&[permit("17", &["laboratory"])]);
    assert_eq!(desk.given(), NONE);
    // It left the roster and came back narrower.
    for apply in [Apply::Automatic, Apply::SignOff] {
        let mut desk = Desk::new(apply);
        desk.hear(&[permit("17", &["vital-signs", "laboratory"])]);
        if apply == Apply::SignOff {
            desk.accept().unwrap();
        }
        desk.book.review(&Rules::parse(&[], &[]).unwrap(), |_| false, 5_000);
        desk.hear(&[permit("17", &["vital-signs"])]);
        assert_eq!(desk.given(), if apply == Apply::SignOff { &[][..] } else { &["vital-signs"] });
    }
    // What waits beside what is in force ends nothing.
    let mut desk = Desk::new(Apply::SignOff);
    desk.hear(&[permit("17", &["activity"])]);
    desk.accept().unwrap();
    desk.hear(&[permit("17", &["activity", "laboratory"])]);
    desk.hear(&[permit("17", &["activity"])]);
    assert_eq!(desk.given(), ["activity"]);
    // A person goes back to a word that was declined, which is narrower.
    let mut desk = Desk::new(Apply::SignOff);
    desk.hear(&[permit("17", &["activity"])]);
    let id = desk.book.orders.keys().next().unwrap().clone();
    let hand = Hand { by: "Ada", at_ms: 9_000 };
    desk.book.decline(&id, "no", hand).unwrap();
    desk.hear(&[permit("17", &["activity", "laboratory"])]);
    desk.accept().unwrap();
    let changes = desk.book.accept(&Rules::parse(&[], &[]).unwrap(), &id, hand).unwrap();
    desk.record(&changes);
    assert_eq!(desk.given(), ["activity"]);
}

#[test]
fn an_older_version_brings_nothing_back() {
    let at = |updated_ms: i64, heard: Heard| Heard { updated_ms: Some(updated_ms), ..heard };
    let mut desk = Desk::new(Apply::Automatic);
    desk.hear(&[at(3, permit("17", &["activity"]))]);
    desk.hear(&[at(4, over("17"))]);
    assert_eq!(desk.hear(&[at(3, permit("17", &["activity"]))]), NONE, "a copy that is behind");
    assert_eq!((desk.given(), desk.in_force()), (vec![], vec![]));
    // Over twice, seen twice.
    desk.hear(&[at(6, over("17"))]);
    desk.hear(&[at(5, permit("17", &["activity"]))]);
    assert_eq!(desk.given(), NONE);
    // Without a time nobody can tell: it waits.
    desk.hear(&[Heard { updated_ms: None, ..permit("17", &["activity"]) }]);
    assert_eq!((desk.given(), desk.states()), (vec![], vec![("consent to activity".into(), "waits")]));
    assert_eq!(desk.hear(&[at(5, permit("17", &["laboratory"]))]), NONE, "that it had none changes nothing of that");
    desk.hear(&[at(7, permit("17", &["activity", "procedure"]))]);
    assert_eq!(desk.given(), ["activity", "procedure"]);
    // A refusal, said twice.
    desk.hear(&[at(8, deny("17", &[]))]);
    desk.hear(&[at(10, deny("17", &[]))]);
    desk.hear(&[at(9, permit("17", &["activity", "procedure"]))]);
    assert_eq!(desk.given(), NONE);
    // An older word may still be a narrower one: the centre's clock may have been set back.
    let mut desk = Desk::new(Apply::Automatic);
    desk.hear(&[at(9, permit("17", &["activity", "procedure"]))]);
    desk.hear(&[at(8, permit("17", &["activity", "laboratory"]))]);
    assert_eq!(desk.given(), ["activity", "procedure"]);
    desk.hear(&[at(8, permit("17", &["activity"]))]);
    assert_eq!(desk.given(), ["activity"]);
}

#[test]
fn of_two_copies_in_one_answer_what_ends_or_refuses_counts() {
    let at = |updated_ms: i64, heard: Heard| Heard { updated_ms: Some(updated_ms), ..heard };
    let permits = || at(3, permit("17", &["activity", "procedure"]));
    for (other, left) in
        [(over("17"), &[][..]), (deny("17", &["activity"]), &[]), (permit("17", &["activity"]), &["activity"])]
    {
        for first in [true, false] {
            let both = if first { [permits(), at(4, other.clone())] } else { [at(4, other.clone()), permits()] };
            let mut new = Desk::new(Apply::Automatic);
            let mut known = Desk::new(Apply::Automatic);
            known.hear(&[permits()]);
            for desk in [&mut new, &mut known] {
                desk.hear(&both);
                assert_eq!((desk.given(), desk.in_force()), (left.to_vec(), left.to_vec()), "{other:?} {first}");
            }
        }
    }
}

#[test]
fn where_there_is_no_room_for_a_grant_what_is_taken_back_is_recorded_all_the_same() {
    let mut desk = Desk::new(Apply::Automatic);
    desk.hear(&[permit("17", &["vital-signs", "activity"]), permit("18", &["laboratory", "procedure"])]);
    let before = desk.history.0[0].clone();
    while desk.history.0.len() < crate::limits::CONSENT_WORDS_MAX {
        desk.history.0.insert(0, before.clone());
    }
    let whose = patient();
    let round = Round { destination: "centre", patient: &whose, apply: desk.apply, now_ms: 9_000 };
    let codes = Codes { own: BTreeMap::new(), sensitive: BTreeSet::new(), trusted: true };
    let heard = [permit("17", &["activity"]), permit("18", &["procedure"])];
    let changes = desk.book.hear_consents(&round, &codes, &heard, |_| false);
    let mut full = 0;
    for deed in deeds(&changes) {
        match word(&desk.history, &deed, 9_000) {
            Ok(said) => {
                assert_eq!(full, 0, "nothing is taken back after what could not be given");
                desk.history.0.extend(said);
            }
            Err(_) => full += 1,
        }
    }
    assert_eq!((full, desk.given()), (2, vec![]), "both ended, neither is given");
}

#[test]
fn beyond_the_bound_a_permission_ends_with_a_reason_and_those_in_force_are_looked_at_first() {
    let named = |from: usize| (from..from + 64).map(move |n| permit(&n.to_string(), &["activity", "procedure"]));
    let mut desk = Desk::new(Apply::Automatic);
    desk.hear(&[permit("500", &["vital-signs", "laboratory"])]);
    // In place 65, and narrower.
    let mut many: Vec<Heard> = named(0).collect();
    many.push(permit("500", &["vital-signs"]));
    desk.hear(&many);
    assert!(desk.given().contains(&"vital-signs") && !desk.given().contains(&"laboratory"), "{:?}", desk.given());
    let refused = |desk: &Desk| desk.book.orders.values().filter(|o| o.state.word() == "refused").count();
    assert_eq!(refused(&desk), 1);
    assert_eq!(desk.hear(&many), NONE);
    // More in force than are looked at: those end.
    desk.hear(&named(100).collect::<Vec<_>>());
    let in_force = |desk: &Desk| desk.book.orders.values().filter(|o| o.state == State::InForce).count();
    assert_eq!(in_force(&desk), 128);
    many.extend(named(100));
    assert_eq!(desk.hear(&many).iter().filter(|told| told.starts_with("over")).count(), 64);
    assert_eq!((in_force(&desk), refused(&desk)), (64, 2), "one reason for each answer is enough");
}
