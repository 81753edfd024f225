//! The orders of all patients as they stand, and what changes when a centre or a person speaks. Pure.
//!
//! Promises: what is refused, or not understood, leaves what was before in force; of two orders for one place the newer one
//! counts; what a centre takes back ends. Must never: bring into force what the policy leaves to a person.

mod consents;

use std::collections::{BTreeMap, BTreeSet};

use ring::digest::{SHA256, digest};

use crate::alert::ruleset::Rules;
use crate::alert::target::TargetError;
use crate::careplan::{Aim, Event, Order, State};
use crate::config::Apply;
use crate::fault::Explain;
use crate::fhir::inbound::{Heard, Said};
use crate::limits::CARE_ORDERS_MAX;
use crate::reading::PatientId;

pub(super) use consents::Codes;

/// Declined orders kept for one patient: one that is forgotten would be offered again, or come into force by policy. Each took a
/// person's word, so nobody fills it from outside.
const DECLINED_MAX: usize = 2_000;

/// What was heard of one patient at one destination.
pub(super) struct Round<'a> {
    pub(super) destination: &'a str,
    pub(super) patient: &'a PatientId,
    pub(super) apply: Apply,
    pub(super) now_ms: i64,
}

/// What a step changes: to be kept first, then obeyed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) orders: Vec<Order>,
    pub(super) events: Vec<Event>,
    pub(super) gone: Vec<String>,
    /// In force by now (`true`), or not any more.
    pub(super) obeyed: Vec<(Order, bool)>,
    /// Consents that are over, by resource and version, also those that nobody took from there.
    pub(super) over: Vec<(String, Option<String>)>,
    /// Consents that stay in force, and are to be recorded again after what ended.
    pub(super) again: Vec<Order>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.orders.is_empty() && self.gone.is_empty()
    }
}

/// All orders, by id.
#[derive(Clone, Default)]
pub(super) struct Book {
    pub(super) orders: BTreeMap<String, Order>,
}

/// Who did it, and when.
#[derive(Clone, Copy)]
pub(super) struct Hand<'a> {
    pub(super) by: &'a str,
    pub(super) at_ms: i64,
}

/// What the centre says, before anything is decided about it.
fn proposed(round: &Round<'_>, heard: &Heard, id: String, aim: Aim) -> Order {
    Order {
        id,
        destination: round.destination.into(),
        resource: heard.resource.clone(),
        version: heard.version.clone(),
        patient: round.patient.clone(),
        aim: Some(aim),
        updated_ms: heard.updated_ms,
        seen_ms: round.now_ms,
        state: State::Proposed,
        by: "centre".into(),
        at_ms: round.now_ms,
    }
}

impl Book {
    /// What a destination shows of a patient's orders.
    pub(super) fn hear(&mut self, round: &Round<'_>, rules: &Rules, heard: &[Heard]) -> Changes {
        let mut changes = Changes::default();
        for one in heard {
            // A server may show everybody's, whomever it is asked for: what was never this patient's is not looked at.
            let elses = one.patient.as_ref().is_some_and(|p| p != round.patient);
            if elses && self.of(round, &one.resource).next().is_none() {
                continue;
            }
            if one.active {
                self.follow(round, rules, one, &mut changes);
            } else {
                self.withdraw(round, &one.resource, &BTreeSet::new(), &mut changes);
            }
        }
        self.forget(round.patient, &mut changes);
        changes
    }

    /// Resources of this patient, at this destination, of which something is in force or waits.
    pub(super) fn live(&self, destination: &str, patient: &PatientId) -> BTreeSet<String> {
        let live = self.orders.values().filter(|o| o.state.is_live());
        live.filter(|o| o.destination == destination && o.patient == *patient).map(|o| o.resource.clone()).collect()
    }

    /// A resource is not there any more.
    pub(super) fn lose(&mut self, round: &Round<'_>, resource: &str) -> Changes {
        let mut changes = Changes::default();
        self.withdraw(round, resource, &BTreeSet::new(), &mut changes);
        changes
    }

    /// A person brings an order into force.
    pub(super) fn accept(&mut self, rules: &Rules, id: &str, hand: Hand<'_>) -> Result<Changes, Deny> {
        let order = self.orders.get(id).cloned().ok_or(Deny::Unknown)?;
        let aim = order.aim.as_ref().ok_or(Deny::NotWaiting)?;
        if !matches!(order.state, State::Proposed | State::Declined { .. }) {
            return Err(Deny::NotWaiting);
        }
        if matches!(aim, Aim::Share { .. }) {
            return self.accept_consent(order, hand);
        }
        rules.still(&order.patient, aim).map_err(Deny::Wrong)?;
        let mut changes = Changes::default();
        self.enforce(order, hand, &mut changes);
        Ok(changes)
    }

    /// A person does not want an order, or has seen why it was refused.
    pub(super) fn decline(&mut self, id: &str, why: &str, hand: Hand<'_>) -> Result<Changes, Deny> {
        let order = self.orders.get(id).cloned().ok_or(Deny::Unknown)?;
        let ends = self.ends_with(&order);
        if !order.state.is_live() && !matches!(order.state, State::Refused { .. }) {
            return Err(Deny::NotWaiting);
        }
        let mut changes = Changes::default();
        self.put(order.clone(), State::Declined { why: why.into() }, hand, &mut changes);
        if ends {
            changes.obeyed.push((Order { by: hand.by.into(), ..order }, false));
        }
        Ok(changes)
    }

    /// After a start: what is in force and makes no sense under these rules is refused; what is not `asked` for any more is over.
    pub(super) fn review(&mut self, rules: &Rules, asked: impl Fn(&Order) -> bool, now_ms: i64) -> Changes {
        let mut changes = Changes::default();
        let hand = Hand { by: "configuration", at_ms: now_ms };
        let live: Vec<Order> = self.orders.values().filter(|o| o.state.is_live()).cloned().collect();
        for order in live {
            if !asked(&order) {
                self.put(order, State::Withdrawn, hand, &mut changes);
                continue;
            }
            let still = order.aim.as_ref().filter(|_| order.state == State::InForce);
            let Some(Err(e)) = still.map(|aim| rules.still(&order.patient, aim)) else { continue };
            self.put(order, State::Refused { code: e.code().into(), why: e.to_string() }, hand, &mut changes);
        }
        changes
    }

    fn follow(&mut self, round: &Round<'_>, rules: &Rules, heard: &Heard, changes: &mut Changes) {
        let theirs = heard.patient.as_ref() == Some(round.patient);
        let said = match (&heard.said, theirs) {
            (_, false) => {
                let id = id(round, &heard.resource, "not theirs");
                return self.refuse(round, heard, id, &TargetError::NotTheirs, changes);
            }
            (Err(why), true) => {
                return self.refuse(round, heard, id(round, &heard.resource, why), &TargetError::Unclear(why), changes);
            }
            (Ok(said), true) => said,
        };
        let aims = aims(round, rules, heard, said);
        let mut kept: BTreeSet<String> = aims.keys().cloned().collect();
        let mut places = Vec::new();
        for (id, aim) in aims {
            match aim {
                Err(e) => self.refuse(round, heard, id, &e, changes),
                Ok(aim) => {
                    places.push(aim.clone());
                    self.propose(round, heard, (id, aim), &kept, changes);
                }
            }
        }
        // A new number in the same place: the old one stays in force until the new one is, whoever decides that.
        let refused = self
            .orders
            .values()
            .any(|o| o.resource == heard.resource && kept.contains(&o.id) && matches!(o.state, State::Refused { .. }));
        let old = self.of(round, &heard.resource).filter(|o| o.state == State::InForce);
        let stays = old.filter(|o| refused || o.aim.as_ref().is_some_and(|a| places.iter().any(|p| p.competes(a))));
        kept.extend(stays.map(|o| o.id.clone()).collect::<Vec<_>>());
        self.withdraw(round, &heard.resource, &kept, changes);
    }

    fn of(&self, round: &Round<'_>, resource: &str) -> impl Iterator<Item = &Order> {
        let (destination, patient, resource) =
            (round.destination.to_owned(), round.patient.clone(), resource.to_owned());
        self.orders
            .values()
            .filter(move |o| o.destination == destination && o.patient == patient && o.resource == resource)
    }

    /// `kept`: all that the resource says by now.
    fn propose(
        &mut self,
        round: &Round<'_>,
        heard: &Heard,
        (id, aim): (String, Aim),
        kept: &BTreeSet<String>,
        changes: &mut Changes,
    ) {
        let rivals: Vec<Order> = self.rivals(round.patient, &id, &aim).cloned().collect();
        let same = |o: &Order| o.destination == round.destination && o.resource == heard.resource;
        let before = self.orders.get(&id).map(|o| o.state.clone());
        match before {
            // Superseded: what stood in its place may have ended, or its resource says the old number again.
            Some(State::Superseded) if rivals.is_empty() || rivals.iter().any(|o| same(o) && !kept.contains(&o.id)) => {
            }
            Some(State::Withdrawn) | None => {}
            // The rules may be others by now.
            Some(State::Refused { .. }) => {}
            Some(_) => return,
        }
        let order = proposed(round, heard, id, aim);
        let newer = |o: &Order| !same(o) && o.updated_ms > order.updated_ms;
        let hand = Hand { by: "centre", at_ms: round.now_ms };
        if rivals.iter().any(newer) {
            if before != Some(State::Superseded) {
                self.put(order, State::Superseded, hand, changes);
            }
            return;
        }
        match round.apply {
            Apply::Automatic => self.enforce(order, Hand { by: "policy", ..hand }, changes),
            Apply::SignOff => {
                for waiting in rivals.into_iter().filter(|o| o.state == State::Proposed) {
                    self.put(waiting, State::Superseded, hand, changes);
                }
                self.put(order, State::Proposed, hand, changes);
            }
        }
    }

    /// Live orders for the same place of the same patient.
    fn rivals(&self, patient: &PatientId, id: &str, aim: &Aim) -> impl Iterator<Item = &Order> {
        let competes = move |o: &&Order| o.aim.as_ref().is_some_and(|a| a.competes(aim));
        self.orders.values().filter(move |o| o.patient == *patient && o.id != id && o.state.is_live()).filter(competes)
    }

    fn enforce(&mut self, order: Order, hand: Hand<'_>, changes: &mut Changes) {
        let Some(aim) = &order.aim else { return };
        let rivals: Vec<Order> = self.rivals(&order.patient, &order.id, aim).cloned().collect();
        let old = rivals.iter().find(|o| o.state == State::InForce).map(Order::words).unwrap_or_default();
        for rival in rivals {
            self.put(rival, State::Superseded, hand, changes);
        }
        changes.obeyed.push((Order { at_ms: hand.at_ms, ..order.clone() }, true));
        self.put(order, State::InForce, hand, changes);
        // Both lines in one: from what to what.
        if let Some(event) = changes.events.last_mut() {
            event.old = old;
        }
    }

    fn withdraw(&mut self, round: &Round<'_>, resource: &str, kept: &BTreeSet<String>, changes: &mut Changes) {
        let over: Vec<Order> =
            self.of(round, resource).filter(|o| o.state.is_live() && !kept.contains(&o.id)).cloned().collect();
        for order in over {
            if order.state == State::InForce {
                changes.obeyed.push((order.clone(), false));
            }
            self.put(order, State::Withdrawn, Hand { by: "centre", at_ms: round.now_ms }, changes);
        }
    }

    fn refuse(&mut self, round: &Round<'_>, heard: &Heard, id: String, e: &TargetError, changes: &mut Changes) {
        // A person has seen it, or it is in force under the rules of before: `review` says that at the start.
        let said = |s: &State| {
            matches!(s, State::Declined { .. }) || matches!(s, State::Refused { code, .. } if *code == e.code())
        };
        if self.orders.get(&id).is_some_and(|o| said(&o.state) || o.state == State::InForce) {
            return;
        }
        let order = Order {
            id,
            destination: round.destination.into(),
            resource: heard.resource.clone(),
            version: heard.version.clone(),
            patient: round.patient.clone(),
            aim: None,
            updated_ms: heard.updated_ms,
            seen_ms: round.now_ms,
            state: State::Proposed,
            by: "centre".into(),
            at_ms: round.now_ms,
        };
        let state = State::Refused { code: e.code().into(), why: e.to_string() };
        self.put(order, state, Hand { by: "gateway", at_ms: round.now_ms }, changes);
    }

    /// An order stands otherwise from now on, with a line in the record.
    fn put(&mut self, order: Order, state: State, hand: Hand<'_>, changes: &mut Changes) {
        let Hand { by, at_ms } = hand;
        let was = self.orders.get(&order.id).is_some_and(|o| o.state == State::InForce);
        let in_place = self.orders.values().find(|o| {
            let competes = o.aim.as_ref().zip(order.aim.as_ref()).is_some_and(|(a, b)| a.competes(b));
            o.state == State::InForce && o.patient == order.patient && competes
        });
        let old = in_place.map(Order::words).unwrap_or_default();
        let new = match (&state, was) {
            (State::InForce, _) => order.words(),
            (_, true) => String::new(),
            (_, false) => old.clone(),
        };
        let why = match &state {
            State::Refused { code, why } => format!("{code}: {why}"),
            State::Declined { why } => why.clone(),
            _ => String::new(),
        };
        let what = state.word().to_owned();
        changes.events.push(Event { at_ms, order: order.id.clone(), what, by: by.into(), old, new, why });
        let order = Order { state, by: by.into(), at_ms, ..order };
        changes.orders.retain(|o| o.id != order.id);
        changes.orders.push(order.clone());
        self.orders.insert(order.id.clone(), order);
    }

    /// Of orders without force the oldest go, when a patient has too many. What a person declined competes with its like only.
    fn forget(&mut self, patient: &PatientId, changes: &mut Changes) {
        for (declined, most) in [(false, CARE_ORDERS_MAX), (true, DECLINED_MAX)] {
            let is = |o: &&Order| matches!(o.state, State::Declined { .. }) == declined && !o.state.is_live();
            let dead = self.orders.values().filter(|o| o.patient == *patient).filter(is);
            let mut dead: Vec<(i64, String)> = dead.map(|o| (o.at_ms, o.id.clone())).collect();
            dead.sort();
            let too_many = dead.len().saturating_sub(most);
            for (_, id) in dead.into_iter().take(too_many) {
                self.orders.remove(&id);
                changes.orders.retain(|o| o.id != id);
                changes.gone.push(id);
            }
        }
    }
}

/// Why a person's word changes nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Deny {
    /// Look at the list.
    Unknown,
    /// It stands so that nothing is to be decided.
    NotWaiting,
    /// It makes no sense any more.
    Wrong(TargetError),
}

/// What a resource orders, by id; without what is over by now.
fn aims(round: &Round<'_>, rules: &Rules, heard: &Heard, said: &[Said]) -> BTreeMap<String, Result<Aim, TargetError>> {
    let mut aims = BTreeMap::new();
    for one in said {
        let (content, aim) = match one {
            Said::Expect { until_ms: Some(until), .. } if *until < round.now_ms => continue,
            Said::Target(target) => (format!("{target:?}"), rules.aim(round.patient, target)),
            Said::Expect { loinc, every_s, .. } => {
                let aim = Rules::expected(loinc).map(|vital| Aim::Expect { vital, every_s: *every_s });
                (format!("{loinc} every {every_s}"), aim)
            }
            // Heard by itself.
            Said::Consent(_) => continue,
        };
        aims.insert(id(round, &heard.resource, &content), aim);
    }
    let all: Vec<Aim> = aims.values().filter_map(|aim| aim.as_ref().ok().cloned()).collect();
    for aim in aims.values_mut() {
        // Which of the two is meant, nobody can say.
        if aim.as_ref().is_ok_and(|aim| all.iter().filter(|other| other.competes(aim)).count() > 1) {
            *aim = Err(TargetError::Unclear("it orders two things in one place"));
        }
    }
    aims
}

/// The same for the same content of the same resource.
fn id(round: &Round<'_>, resource: &str, content: &str) -> String {
    let text = [round.destination, round.patient.reveal(), resource, content].join("\n");
    digest(&SHA256, text.as_bytes()).as_ref().iter().take(6).map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod consents_tests;
#[cfg(test)]
mod tests;
