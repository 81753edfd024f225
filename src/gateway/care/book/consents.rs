//! Consents of a centre in the book of orders: what a patient lets go to that centre, or does not.
//!
//! Promises: what ends, refuses or narrows one is in force at once; a refusal stands before every permission; what permits
//! more waits for a person, where the policy says so. Must never: permit by what is not understood whole.

use std::collections::{BTreeMap, BTreeSet};

use super::{Book, Changes, Deny, Hand, Round, id, proposed};
use crate::alert::target::TargetError;
use crate::careplan::{Aim, Order, State};
use crate::config::Apply;
use crate::consent::{ALL, GENERAL, GENERALS};
use crate::fhir::inbound::{Heard, Provision, Said, Unclear};
use crate::reading::PatientId;

/// Consents of one patient at one destination that may permit something; more are not looked at.
const PERMISSIONS_MAX: usize = 64;
const CATEGORIES: &str = "http://terminology.hl7.org/CodeSystem/observation-category|";
const OURS: &str = "urn:wardline:consent|";

/// What codes of a Consent mean here.
pub(in crate::gateway) struct Codes {
    /// As the configuration has it: `system|code` to a category.
    pub(in crate::gateway) own: BTreeMap<String, String>,
    /// Names of sensitive categories.
    pub(in crate::gateway) sensitive: BTreeSet<String>,
    /// The clock can be believed: without, no refusal is over because of its time.
    pub(in crate::gateway) trusted: bool,
}

impl Codes {
    fn category(&self, code: &str) -> Option<&str> {
        if let Some(own) = self.own.get(code) {
            return Some(own);
        }
        if let Some(word) = code.strip_prefix(CATEGORIES) {
            return GENERALS.into_iter().find(|c| *c == word);
        }
        let name = code.strip_prefix(OURS)?;
        let general = || GENERALS.into_iter().chain([GENERAL]).find(|c| *c == name);
        self.sensitive.get(name).map(String::as_str).or_else(general)
    }

    /// What a Consent comes to here. `Ok(None)`: it is over.
    fn aim(&self, said: &Provision, now_ms: i64) -> Result<Option<Aim>, Unclear> {
        if said.until_ms.is_some_and(|until| until <= now_ms && (said.permitted || self.trusted)) {
            return Ok(None);
        }
        let all = |codes: &[String]| codes.iter().map(|c| self.category(c)).collect::<Option<BTreeSet<_>>>();
        let of = all(&said.of);
        if !said.permitted {
            let named = of.filter(|of| !of.is_empty() && !said.unclear);
            return Ok(Some(denial(named.map(|of| of.into_iter().map(str::to_owned).collect()))));
        }
        let mut of = wide(of.ok_or("it permits something that is no category here: `consent_codes`")?);
        if said.of.is_empty() {
            of = wide([GENERAL].into());
        }
        // Who refuses what cannot be told refuses everything.
        let Some(except) = all(&said.except) else { return Ok(Some(denial(None))) };
        let except = wide(except);
        if !except.is_empty() {
            of.retain(|c| !except.contains(c) && *c != GENERAL);
        }
        if of.is_empty() {
            return Err("it permits nothing that there is here");
        }
        let whole = of.contains(GENERAL);
        let named = of.into_iter().filter(|c| !whole || *c == GENERAL || !GENERALS.contains(c));
        Ok(Some(Aim::Share {
            permitted: true,
            categories: named.map(str::to_owned).collect(),
            from_ms: said.from_ms,
            until_ms: said.until_ms,
        }))
    }
}

fn denial(categories: Option<Vec<String>>) -> Aim {
    let categories = categories.unwrap_or_else(|| vec![ALL.to_owned()]);
    Aim::Share { permitted: false, categories, from_ms: None, until_ms: None }
}

fn permits(aim: &Aim) -> bool {
    matches!(aim, Aim::Share { permitted: true, .. })
}

/// Pages of one answer may show two versions of a resource: what ends or refuses counts, else the newest.
fn newest_copies(taken: &mut Vec<(&Heard, Aim)>, closed: &BTreeSet<&str>) {
    let mut newest: BTreeMap<String, Option<i64>> = BTreeMap::new();
    for (one, _) in taken.iter() {
        let at = newest.entry(one.resource.clone()).or_default();
        *at = one.updated_ms.max(*at);
    }
    let is_newest = |one: &Heard| newest.get(&one.resource).is_some_and(|at| one.updated_ms == *at);
    taken.retain(|(one, aim)| !permits(aim) || (!closed.contains(&*one.resource) && is_newest(one)));
}

/// The general word with what it stands for.
fn wide(mut categories: BTreeSet<&str>) -> BTreeSet<&str> {
    if categories.contains(GENERAL) {
        categories.extend(GENERALS);
    }
    categories
}

/// A consent of an order, as it is compared.
struct Share<'a> {
    permitted: bool,
    categories: BTreeSet<&'a str>,
    from_ms: Option<i64>,
    until_ms: Option<i64>,
}

impl<'a> Share<'a> {
    fn of(order: &'a Order) -> Option<Self> {
        let Some(Aim::Share { permitted, categories, from_ms, until_ms }) = &order.aim else { return None };
        let categories = wide(categories.iter().map(String::as_str).collect());
        Some(Self { permitted: *permitted, categories, from_ms: *from_ms, until_ms: *until_ms })
    }

    /// All that the other one permits, and as long.
    fn covers(&self, other: &Self) -> bool {
        let begins = self.from_ms.is_none() || other.from_ms.is_some_and(|other| self.from_ms <= Some(other));
        let ends = self.until_ms.is_none_or(|until| other.until_ms.is_some_and(|other| other <= until));
        other.categories.is_subset(&self.categories) && begins && ends
    }

    fn meets(&self, other: &Self) -> bool {
        let all = |share: &Self| share.categories.contains(ALL);
        all(self) || all(other) || !self.categories.is_disjoint(&other.categories)
    }

    fn holds(&self, wanted: &impl Fn(&str) -> bool) -> bool {
        self.categories.iter().any(|category| wanted(category))
    }

    /// Refuses all that the other one permits.
    fn overrules(&self, other: &Self) -> bool {
        !self.permitted && (self.categories.contains(ALL) || other.categories.is_subset(&self.categories))
    }
}

impl Book {
    /// What a destination shows of a patient's Consents: what ends first, then what refuses, then what permits. `kept_back`:
    /// categories that a person took back here, which only a person gives again.
    pub(in crate::gateway::care) fn hear_consents(
        &mut self,
        round: &Round<'_>,
        codes: &Codes,
        heard: &[Heard],
        kept_back: impl Fn(&str) -> bool,
    ) -> Changes {
        let mut changes = Changes::default();
        let mut taken: Vec<(&Heard, Aim)> = Vec::new();
        let mut closed: BTreeSet<&str> = BTreeSet::new();
        for one in heard {
            let known = self.of(round, &one.resource).next().is_some();
            let elses = one.patient.as_ref().is_some_and(|p| p != round.patient);
            if elses && !known {
                continue;
            }
            if !one.active || elses {
                closed.insert(&one.resource);
                self.end(round, one, &mut changes);
                continue;
            }
            let said = one.said.as_ref().map_err(|why| *why).and_then(|said| match said.as_slice() {
                // Whose it is must be certain; what refuses, refuses for whom it was shown.
                [Said::Consent(said)] if said.permitted && one.patient.is_none() => Err("it names no patient"),
                [Said::Consent(said)] => codes.aim(said, round.now_ms),
                _ => Err("it is no Consent"),
            });
            match said {
                Ok(None) => {
                    closed.insert(&one.resource);
                    self.end(round, one, &mut changes);
                }
                Ok(Some(aim)) => {
                    if !permits(&aim) {
                        closed.insert(&one.resource);
                    }
                    taken.push((one, aim));
                }
                Err(why) => {
                    let id = id(round, &one.resource, why);
                    self.refuse(round, one, id, &TargetError::Unclear(why), &mut changes);
                }
            }
        }
        newest_copies(&mut taken, &closed);
        // What is in force is looked at before the bound is reached: it may have been narrowed.
        let in_force = |one: &Heard| self.of(round, &one.resource).any(|o| o.state == State::InForce);
        taken.sort_by_cached_key(|(one, aim)| (permits(aim), permits(aim) && !in_force(one)));
        let mut permissions = 0;
        for (one, aim) in taken {
            permissions += usize::from(permits(&aim));
            if permissions > PERMISSIONS_MAX {
                // One reason is enough.
                self.beyond(round, one, permissions == PERMISSIONS_MAX + 1, &mut changes);
                continue;
            }
            let aim = if permits(&aim) { self.less(round, one, aim) } else { aim };
            self.take(round, one, aim, &kept_back, &mut changes);
        }
        self.settle(round, &kept_back, &mut changes);
        self.forget(round.patient, &mut changes);
        changes
    }

    /// What is in force and is not recorded any more (a person took it back here, a backup was put back) waits for a person.
    pub(in crate::gateway::care) fn unsettle(&mut self, round: &Round<'_>, given: impl Fn(&str) -> bool) -> Changes {
        let mut changes = Changes::default();
        let lost = |o: &&Order| {
            let share = Share::of(o).filter(|share| share.permitted && o.state == State::InForce);
            share.is_some_and(|share| !share.categories.iter().any(|c| given(c)))
        };
        for order in self.consents(round).filter(lost).cloned().collect::<Vec<_>>() {
            self.put(order, State::Proposed, Hand { by: "gateway", at_ms: round.now_ms }, &mut changes);
        }
        changes
    }

    /// A Consent is not there any more.
    pub(in crate::gateway::care) fn lose_consent(&mut self, round: &Round<'_>, resource: &str) -> Changes {
        let mut changes = Changes::default();
        let heard = Heard {
            resource: resource.to_owned(),
            version: None,
            updated_ms: None,
            patient: None,
            active: false,
            said: Ok(Vec::new()),
        };
        self.end(round, &heard, &mut changes);
        changes
    }

    /// More permissions than are looked at: this one permits nothing.
    fn beyond(&mut self, round: &Round<'_>, heard: &Heard, said: bool, changes: &mut Changes) {
        if self.of(round, &heard.resource).any(|o| o.state.is_live()) {
            self.end(round, heard, changes);
        }
        if said {
            let why = "there are more Consents of this patient that permit something than are looked at";
            let id = id(round, &heard.resource, why);
            self.refuse(round, heard, id, &TargetError::Unclear(why), changes);
        }
    }

    /// What is left of a permission beside what other Consents refuse; where nothing is, as it is.
    fn less(&self, round: &Round<'_>, heard: &Heard, aim: Aim) -> Aim {
        let Aim::Share { categories, from_ms, until_ms, .. } = &aim else { return aim };
        let others = self.consents(round).filter(|o| o.state == State::InForce && o.resource != heard.resource);
        let denials = others.filter_map(Share::of).filter(|share| !share.permitted);
        let denied: BTreeSet<&str> = denials.flat_map(|share| share.categories).collect();
        let mut left = wide(categories.iter().map(String::as_str).collect());
        let before = left.len();
        left.retain(|c| !denied.contains(c));
        if left.len() == before || denied.contains(ALL) || left.iter().all(|c| *c == GENERAL) {
            return aim;
        }
        left.remove(GENERAL);
        let categories = left.into_iter().map(str::to_owned).collect();
        Aim::Share { permitted: true, categories, from_ms: *from_ms, until_ms: *until_ms }
    }

    fn take(
        &mut self,
        round: &Round<'_>,
        heard: &Heard,
        aim: Aim,
        kept_back: &impl Fn(&str) -> bool,
        changes: &mut Changes,
    ) {
        let centre = Hand { by: "centre", at_ms: round.now_ms };
        let order = proposed(round, heard, id(round, &heard.resource, &format!("{aim:?}")), aim);
        let known_ms = self.of(round, &heard.resource).filter_map(|o| o.updated_ms).max();
        let order = Order { updated_ms: heard.updated_ms.max(known_ms), ..order };
        let Some(new) = Share::of(&order) else { return };
        let before = self.orders.get(&order.id).map(|o| o.state.clone());
        if new.permitted && heard.updated_ms.is_some() && heard.updated_ms < known_ms && !self.narrows(&order, &new) {
            // A copy that is behind. It may only narrow: the centre's clock may have been set back.
            return;
        }
        self.newest(round, heard, changes);
        let undated = heard.updated_ms.is_none() && known_ms.is_some();
        let waits = undated || new.holds(kept_back);
        let narrowed = self.outdate(round, &order, &new, changes);
        let in_force = before == Some(State::InForce);
        if !new.permitted {
            if !in_force {
                self.bring(order.clone(), centre, changes);
            }
            let overruled = self.consents(round).filter(|o| o.state.is_live() && o.id != order.id);
            let overruled = overruled.filter(|o| Share::of(o).is_some_and(|o| o.permitted && new.overrules(&o)));
            for permit in overruled.cloned().collect::<Vec<_>>() {
                self.put(permit, State::Superseded, centre, changes);
            }
            return;
        }
        let denied = self.denies(round.destination, round.patient, &new);
        match before {
            Some(State::InForce | State::Declined { .. }) => {}
            Some(State::Superseded) if denied => {}
            _ if denied => self.put(order, State::Superseded, centre, changes),
            Some(State::Proposed) if waits => {}
            _ if waits => self.put(order, State::Proposed, centre, changes),
            // It permits nothing that was not permitted.
            _ if narrowed => self.bring(order, centre, changes),
            Some(State::Proposed) => {}
            _ => match round.apply {
                Apply::Automatic => self.bring(order, Hand { by: "policy", ..centre }, changes),
                Apply::SignOff => self.put(order, State::Proposed, centre, changes),
            },
        }
    }

    /// Within what the same resource has in force, and less.
    fn narrows(&self, order: &Order, new: &Share<'_>) -> bool {
        let same = |o: &&Order| {
            o.destination == order.destination && o.patient == order.patient && o.resource == order.resource
        };
        let in_force = self.orders.values().filter(same).filter(|o| o.state == State::InForce && o.id != order.id);
        in_force.filter_map(Share::of).any(|share| share.permitted && share.covers(new))
    }

    /// Keeps how new the newest word of a resource is that was ever heard, with an order of it, whatever it says.
    fn newest(&mut self, round: &Round<'_>, heard: &Heard, changes: &mut Changes) {
        let Some(newest) = self.of(round, &heard.resource).max_by_key(|o| o.updated_ms) else { return };
        if heard.updated_ms <= newest.updated_ms {
            return;
        }
        let order = Order { updated_ms: heard.updated_ms, ..newest.clone() };
        changes.orders.retain(|o| o.id != order.id);
        changes.orders.push(order.clone());
        self.orders.insert(order.id.clone(), order);
    }

    /// What the same resource said before. What goes beyond the new word ends at once. Whether the new word lies within one that was in force.
    fn outdate(&mut self, round: &Round<'_>, order: &Order, new: &Share<'_>, changes: &mut Changes) -> bool {
        let hand = Hand { by: "centre", at_ms: round.now_ms };
        // Who left and came back: what was recorded then stayed.
        let stayed = |o: &Order| o.state == State::Withdrawn && o.by == "configuration";
        let old: Vec<Order> =
            self.of(round, &order.resource).filter(|o| o.state.is_live() || stayed(o)).cloned().collect();
        let within = |share: &Share<'_>| share.permitted && new.permitted && new.covers(share);
        let stays = old.iter().any(|o| o.state == State::InForce && Share::of(o).is_some_and(|share| within(&share)));
        let mut narrowed = false;
        for old in old.into_iter().filter(|o| o.id != order.id) {
            let Some(share) = Share::of(&old) else { continue };
            let in_force = old.state == State::InForce;
            if in_force && within(&share) {
                // It stays in force until the new one is.
                continue;
            }
            narrowed |= in_force && share.permitted && share.covers(new);
            // What waits may have been in force once, and still be recorded.
            if share.permitted && (in_force || !stays) {
                let ended = Order { version: order.version.clone(), by: "centre".into(), ..old.clone() };
                changes.obeyed.push((ended, false));
            }
            self.put(old.clone(), State::Superseded, hand, changes);
            if in_force {
                self.beside(round, &old, changes);
            }
        }
        narrowed
    }

    /// What another Consent permits of what has ended: it does not go on by itself, and comes back as it came.
    fn beside(&mut self, round: &Round<'_>, ended: &Order, changes: &mut Changes) {
        let hand = Hand { by: "centre", at_ms: round.now_ms };
        let others = self.consents(round).filter(|o| o.state == State::InForce && o.resource != ended.resource);
        for other in others.cloned().collect::<Vec<_>>() {
            let Some((share, was)) = Share::of(&other).zip(Share::of(ended)) else { continue };
            if !share.permitted || !share.meets(&was) {
                continue;
            }
            let denied = self.denies(round.destination, round.patient, &share);
            match round.apply {
                Apply::Automatic if !denied => changes.again.push(other),
                _ => self.put(other, State::Proposed, hand, changes),
            }
        }
    }

    /// Given is only what counts when all was heard: what came later in the same answer may have ended or refused it. What a
    /// person took back is not given with the rest.
    fn settle(&mut self, round: &Round<'_>, kept_back: &impl Fn(&str) -> bool, changes: &mut Changes) {
        let hand = Hand { by: "centre", at_ms: round.now_ms };
        let counts = |o: &Order| self.orders.get(&o.id).filter(|now| now.state == State::InForce).cloned();
        let refuses = |o: &Order| Share::of(o).is_some_and(|share| !share.permitted);
        changes.obeyed.retain(|(order, on)| !on || refuses(order) || counts(order).is_some());
        let again = std::mem::take(&mut changes.again);
        let mut again: BTreeMap<String, Order> = again.iter().filter_map(counts).map(|o| (o.id.clone(), o)).collect();
        again.retain(|_, order| {
            let denied = |share: &Share<'_>| self.denies(round.destination, round.patient, share);
            let waits = Share::of(order).is_none_or(|share| share.holds(kept_back) || denied(&share));
            if waits {
                self.put(order.clone(), State::Proposed, hand, changes);
            }
            !waits
        });
        changes.again = again.into_values().collect();
    }

    /// Nothing of a Consent counts any more.
    fn end(&mut self, round: &Round<'_>, heard: &Heard, changes: &mut Changes) {
        let hand = Hand { by: "centre", at_ms: round.now_ms };
        // Also what a person recorded here with a reference to it.
        changes.over.push((heard.resource.clone(), heard.version.clone()));
        self.newest(round, heard, changes);
        let live: Vec<Order> = self.of(round, &heard.resource).filter(|o| o.state.is_live()).cloned().collect();
        for order in live {
            let in_force = order.state == State::InForce;
            self.put(order.clone(), State::Withdrawn, hand, changes);
            if in_force {
                self.beside(round, &order, changes);
            }
        }
    }

    fn bring(&mut self, order: Order, hand: Hand<'_>, changes: &mut Changes) {
        changes.obeyed.push((Order { at_ms: hand.at_ms, by: hand.by.into(), ..order.clone() }, true));
        self.put(order, State::InForce, hand, changes);
    }

    /// A person lets it count.
    pub(super) fn accept_consent(&mut self, order: Order, hand: Hand<'_>) -> Result<Changes, Deny> {
        let mut changes = Changes::default();
        let Some(new) = Share::of(&order) else { return Err(Deny::NotWaiting) };
        if new.permitted && self.denies(&order.destination, &order.patient, &new) {
            return Err(Deny::Wrong(TargetError::Unclear("another Consent of the centre refuses it")));
        }
        let same = |o: &&Order| {
            o.destination == order.destination && o.patient == order.patient && o.resource == order.resource
        };
        let older = self.orders.values().filter(same).filter(|o| o.id != order.id && o.state.is_live());
        for old in older.cloned().collect::<Vec<_>>() {
            if Share::of(&old).is_some_and(|old| old.permitted && !(new.permitted && new.covers(&old))) {
                changes.obeyed.push((Order { by: hand.by.into(), ..old.clone() }, false));
            }
            self.put(old, State::Superseded, hand, &mut changes);
        }
        self.bring(order, hand, &mut changes);
        Ok(changes)
    }

    /// Whether what is recorded of a permission, which may be in force or wait, goes when a person declines it.
    pub(super) fn ends_with(&self, order: &Order) -> bool {
        let same = |o: &Order| {
            o.destination == order.destination && o.patient == order.patient && o.resource == order.resource
        };
        let permits = |o: &Order| Share::of(o).is_some_and(|share| share.permitted);
        let others = self.orders.values().filter(|o| same(o) && o.id != order.id && o.state == State::InForce);
        let stays = others.into_iter().any(permits);
        order.state == State::InForce || (permits(order) && !stays)
    }

    fn denies(&self, destination: &str, patient: &PatientId, share: &Share<'_>) -> bool {
        let theirs = |o: &&Order| o.destination == destination && o.patient == *patient && o.state == State::InForce;
        let denials = self.orders.values().filter(theirs).filter_map(Share::of).filter(|s| !s.permitted);
        denials.into_iter().any(|denial| denial.meets(share))
    }

    fn consents(&self, round: &Round<'_>) -> impl Iterator<Item = &Order> {
        let (destination, patient) = (round.destination.to_owned(), round.patient.clone());
        let theirs = move |o: &&Order| o.destination == destination && o.patient == patient;
        self.orders.values().filter(theirs).filter(|o| matches!(o.aim, Some(Aim::Share { .. })))
    }
}
