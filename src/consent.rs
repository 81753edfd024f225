//! Who consented to what: a patient's readings of a category may go to a destination, or may not.
//!
//! Promises: the last word that covers a category counts; what nobody said is no consent; a consent for a time counts only
//! while the clock can be trusted. Must never: let a general consent cover a category that is sensitive.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Stamp;
use crate::minimum::Field;
use crate::reading::PatientId;
use crate::vital::{Category, Vital};

/// All categories that are not sensitive, in a word.
pub const GENERAL: &str = "general";
/// Every category, sensitive ones too: for a withdrawal, never for a consent.
pub const ALL: &str = "all";

/// What a destination needs before it gets readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// A recorded consent of the patient for this destination.
    Recorded,
    /// The patient's contract of enrolment covers it, as the site says. Sensitive categories need a recorded one all the same.
    Enrolment,
}

/// Vital signs that need a consent of their own, by the name of their category.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sensitive(Arc<BTreeMap<&'static str, Arc<str>>>);

impl Sensitive {
    /// From each vital sign with its category.
    pub fn new(vitals: impl IntoIterator<Item = (Vital, Arc<str>)>) -> Self {
        Self(Arc::new(vitals.into_iter().map(|(vital, category)| (vital.id, category)).collect()))
    }

    /// The category of a vital sign, and whether it is sensitive.
    pub fn category<'a>(&'a self, vital: &str) -> Option<&'a str> {
        self.0.get(vital).map(|category| &**category)
    }

    /// Names of sensitive categories, each once.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(|name| &**name).collect::<BTreeSet<_>>().into_iter()
    }
}

/// What a destination needs, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// For what is not sensitive.
    pub rule: Rule,
    /// What is.
    pub sensitive: Sensitive,
    /// Match fields without which nothing goes; empty: the pseudonym is enough.
    pub person: Arc<[Field]>,
}

impl Terms {
    /// Everything goes.
    pub fn open() -> Self {
        Self { rule: Rule::Enrolment, sensitive: Sensitive::default(), person: Arc::default() }
    }

    /// Whether nothing is ever held back.
    pub fn is_open(&self) -> bool {
        !self.asks_consent() && self.person.is_empty()
    }

    fn asks_consent(&self) -> bool {
        self.rule == Rule::Recorded || !self.sensitive.0.is_empty()
    }

    /// Whether a destination may be asked about a patient: all are enrolled there, or something of theirs may go.
    pub fn may_ask(&self, history: Option<&History>, now: Stamp) -> bool {
        let mut categories = GENERALS.into_iter().chain(self.sensitive.names());
        self.rule == Rule::Enrolment || history.is_some_and(|history| categories.any(|c| history.permits(c, now)))
    }

    /// The category in which a vital sign needs a recorded consent. `None`: it needs none. A word that is no vital sign of
    /// ours needs one for everything.
    pub fn needs<'a>(&'a self, vital: Option<&str>) -> Option<&'a str> {
        let Some(known) = vital.and_then(Vital::parse) else {
            return self.asks_consent().then_some(GENERAL);
        };
        match (self.sensitive.category(known.id), self.rule) {
            (Some(sensitive), _) => Some(sensitive),
            (None, Rule::Recorded) => Some(known.category.word()),
            (None, Rule::Enrolment) => None,
        }
    }
}

/// Categories that a general consent covers.
pub const GENERALS: [&str; 4] =
    [Category::VitalSigns.word(), Category::Laboratory.word(), Category::Activity.word(), Category::Procedure.word()];

/// What a person recorded. Never changed afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// Given, or withdrawn.
    pub given: bool,
    /// Categories: `general`, one of those, or a sensitive one; `all` for a withdrawal.
    pub categories: Vec<String>,
    /// In force from then on, milliseconds since 1970. `None`: at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_ms: Option<i64>,
    /// Up to then. `None`: until it is withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
    /// Who recorded it.
    pub by: String,
    /// When.
    pub at_ms: i64,
    /// The record at the centre: `Consent/…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

impl Said {
    fn covers(&self, category: &str) -> bool {
        self.categories.iter().any(|said| match said.as_str() {
            ALL => !self.given,
            // What an alert without a vital sign needs.
            GENERAL => category == GENERAL || GENERALS.contains(&category),
            said => said == category,
        })
    }

    fn is_in_force(&self, now: Stamp) -> bool {
        let timed = self.from_ms.is_some() || self.until_ms.is_some();
        self.given
            && (now.trusted || !timed)
            && self.from_ms.is_none_or(|from| from <= now.wall_ms)
            && self.until_ms.is_none_or(|until| now.wall_ms < until)
    }
}

/// All that was recorded of one patient and destination, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct History(pub Vec<Said>);

impl History {
    /// What counts for a category.
    pub fn last(&self, category: &str) -> Option<&Said> {
        self.0.iter().rev().find(|said| said.covers(category))
    }

    /// Whether readings of this category may go now.
    pub fn permits(&self, category: &str, now: Stamp) -> bool {
        self.last(category).is_some_and(|said| said.is_in_force(now))
    }

    /// Whether there was any consent for this category at or after that moment: what came then may have gone.
    pub fn permitted_since(&self, category: &str, since_ms: i64) -> bool {
        let mut words = self.0.iter().filter(|said| said.covers(category)).peekable();
        while let Some(said) = words.next() {
            if said.given && words.peek().is_none_or(|next| next.at_ms >= since_ms) {
                return true;
            }
        }
        false
    }

    /// The first moment after `now_ms` at which a consent begins.
    pub fn next_begin(&self, now_ms: i64) -> Option<i64> {
        self.0.iter().filter(|said| said.given).filter_map(|said| said.from_ms).filter(|from| *from > now_ms).min()
    }
}

/// A patient's consents for one destination.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// Whose readings.
    pub patient: PatientId,
    /// Where to.
    pub destination: Arc<str>,
    /// What was said.
    pub history: History,
}

impl std::fmt::Debug for Consent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Consent({}, {})", self.destination, self.history.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(given: bool, categories: &[&str], at_ms: i64) -> Said {
        let categories = categories.iter().map(|c| (*c).to_owned()).collect();
        Said { given, categories, from_ms: None, until_ms: None, by: "Ada".into(), at_ms, reference: None }
    }

    fn vital(id: &str) -> Vital {
        Vital::parse(id).unwrap()
    }

    #[test]
    fn the_last_word_that_covers_a_category_counts() {
        let now = Stamp::at_ms(100);
        let mut history = History::default();
        assert!(!history.permits("vital-signs", now), "nobody said anything");
        history.0.push(said(true, &[GENERAL], 1));
        assert!(GENERALS.iter().all(|c| history.permits(c, now)) && history.permits(GENERAL, now));
        assert!(!history.permits("glucose", now), "a general consent covers nothing sensitive");
        history.0.push(said(false, &["laboratory"], 2));
        assert!(history.permits("vital-signs", now) && !history.permits("laboratory", now));
        history.0.push(said(true, &["glucose"], 3));
        assert!(history.permits("glucose", now));
        history.0.push(said(false, &[ALL], 4));
        assert!(["vital-signs", "laboratory", "activity", "glucose", GENERAL].iter().all(|c| !history.permits(c, now)));
        // Nobody can consent to everything in a word.
        history.0.push(said(true, &[ALL], 5));
        assert!(!history.permits("vital-signs", now) && !history.permits("glucose", now));
    }

    #[test]
    fn a_consent_for_a_time_counts_then_and_only_by_a_clock_that_is_right() {
        let timed = Said { from_ms: Some(10), until_ms: Some(20), ..said(true, &[GENERAL], 1) };
        let history = History(vec![timed]);
        let at = |ms| history.permits("activity", Stamp::at_ms(ms));
        assert_eq!([9, 10, 19, 20].map(at), [false, true, true, false]);
        assert!(!history.permits("activity", Stamp { trusted: false, ..Stamp::at_ms(15) }));
        assert_eq!((history.next_begin(9), history.next_begin(10)), (Some(10), None));
    }

    #[test]
    fn what_came_after_the_withdrawal_never_went() {
        let history = History(vec![said(true, &[GENERAL], 10), said(false, &[ALL], 20)]);
        assert!(history.permitted_since("vital-signs", 5) && history.permitted_since("vital-signs", 20));
        assert!(!history.permitted_since("vital-signs", 21) && !history.permitted_since("glucose", 5));
        let again = History([history.0, vec![said(true, &["vital-signs"], 30)]].concat());
        assert!(again.permitted_since("vital-signs", 25));
    }

    #[test]
    fn what_needs_a_consent() {
        let sensitive = Sensitive::new([(vital("glucose-plasma"), "glucose".into())]);
        let recorded = Terms { rule: Rule::Recorded, sensitive: sensitive.clone(), person: Arc::default() };
        let enrolment = Terms { rule: Rule::Enrolment, sensitive, person: Arc::default() };
        assert_eq!(recorded.needs(Some("heart-rate")), Some("vital-signs"));
        assert_eq!(recorded.needs(Some("glucose-plasma")), Some("glucose"));
        assert_eq!(enrolment.needs(Some("heart-rate")), None);
        assert_eq!(enrolment.needs(Some("glucose-plasma")), Some("glucose"));
        // What is not known is held to be general at the least.
        assert_eq!((recorded.needs(None), recorded.needs(Some("x"))), (Some(GENERAL), Some(GENERAL)));
        assert!(Terms::open().is_open() && !enrolment.is_open() && !recorded.is_open());
        // Match fields are no consent: who lacks them is held back for another reason.
        let person = Terms { person: [Field::Sex].into(), ..Terms::open() };
        assert_eq!((person.is_open(), person.needs(None)), (false, None));
    }
}
