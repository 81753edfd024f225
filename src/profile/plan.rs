//! The plan of a session, made before the device wakes: which profiles fit it, and their steps in one order.
//!
//! A vendor's profile that fits by name stands alone; else the profiles of all standard services that the device offers
//! are joined. Must never: guess between two vendors' profiles, or plan anything for a device that no profile fits.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::schema::{Link, PairingMethod, Session, Step};
use super::session::{name_fits, uuid};
use super::{Catalogue, Profile, reject};
use crate::reading::Reject;

/// What to do while connected with one device.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Ids of the profiles it is made of.
    pub profiles: Vec<Arc<str>>,
    /// How the device bonds: the strictest of its profiles.
    pub pairing: PairingMethod,
    /// What the patient does to pair it, step by step.
    pub instructions: Vec<String>,
    /// Steps, with UUIDs in the spelling of frames.
    pub steps: Vec<Step>,
}

impl Catalogue {
    /// The plan for a device that told this (its name, or [`told`](super::told)) and offers these services (UUIDs in the
    /// spelling of frames).
    pub fn plan(&self, told: Option<&str>, services: &BTreeSet<String>) -> Result<Plan, Reject> {
        let connected = self.profiles().into_iter().filter(|p| p.file.link == Link::Ble && p.file.session.is_some());
        let (standard, vendor): (Vec<_>, Vec<_>) = connected.partition(|p| p.is_standard());
        let mut named: Vec<_> = vendor.iter().filter_map(|p| Some((p.file.matching.fit(told)?, *p))).collect();
        named.sort_by_key(|(fit, _)| std::cmp::Reverse(*fit));
        match named.as_slice() {
            [(a, _), (b, _), ..] if a == b => return Err(reject::SEVERAL_PROFILES),
            [(_, profile), ..] => return Ok(of(&[profile])),
            [] => {}
        }
        let offered =
            |p: &&Profile| p.file.matching.services.iter().any(|s| uuid("", s).is_ok_and(|s| services.contains(&s)));
        let fitting: Vec<_> = standard.into_iter().filter(offered).collect();
        if fitting.is_empty() { Err(reject::NO_PROFILE) } else { Ok(of(&fitting)) }
    }

    /// How much of a device's name is its model, as the profiles that fit it know; the rest tells it from its sisters.
    pub fn model_part(&self, name: &str) -> Option<usize> {
        let patterns = self.profiles().into_iter().flat_map(|p| &p.file.matching.names);
        let head = |pattern: &String| pattern.find('*').unwrap_or(pattern.len());
        patterns.filter(|p| name_fits(p, name)).map(head).filter(|n| *n > 0).max()
    }

    /// The firmware revision of a device of this name decides between profiles.
    pub fn asks_firmware(&self, name: &str) -> bool {
        self.profiles().iter().any(|p| p.file.matching.asks_firmware(name))
    }

    /// Whether the profile that decodes this service's broadcasts is for devices of this name.
    pub fn broadcasts(&self, name: Option<&str>, service: &str) -> bool {
        let found = self.by_advertisement(service).ok().and_then(|at| self.rule(at));
        found.is_some_and(|(profile, _)| profile.file.matching.fit(name).is_some())
    }

    /// Whether some profile decodes what a device broadcasts for this service.
    pub fn hears(&self, service: &str) -> bool {
        self.by_advertisement(service).is_ok()
    }
}

fn of(profiles: &[&Profile]) -> Plan {
    let sessions = profiles.iter().filter_map(|p| p.file.session.as_ref());
    let mut steps: Vec<Step> = Vec::new();
    for step in sessions.flat_map(|s: &Session| &s.steps).map(spelled) {
        if !steps.contains(&step) && !steps.iter().any(|s| one_memory(s, &step)) {
            steps.push(step);
        }
    }
    if profiles.len() > 1 {
        steps.sort_by_key(stage);
    }
    let strictest = profiles.iter().max_by_key(|p| p.file.pairing.method);
    Plan {
        profiles: profiles.iter().map(|p| p.id.clone()).collect(),
        pairing: strictest.map_or(PairingMethod::None, |p| p.file.pairing.method),
        instructions: strictest.map(|p| p.file.pairing.steps.clone()).unwrap_or_default(),
        steps,
    }
}

impl Plan {
    /// It fetches stored records and moves a cursor only after the commit.
    pub fn has_history(&self) -> bool {
        self.steps.iter().any(|s| matches!(s, Step::History { .. }))
    }
}

/// Both ask the same control point: the first profile's way stands.
fn one_memory(a: &Step, b: &Step) -> bool {
    matches!((a, b), (Step::History { characteristic: a, .. }, Step::History { characteristic: b, .. }) if a == b)
}

/// The order of steps that come from several profiles.
fn stage(step: &Step) -> u8 {
    match step {
        Step::Bond {} => 0,
        Step::Read { .. } => 1,
        Step::Write { .. } => 2,
        Step::WriteClock { .. } => 3,
        Step::Subscribe { .. } => 4,
        Step::UserConsent { .. } => 5,
        Step::Ask { .. } => 6,
        Step::History { .. } => 7,
        Step::AwaitDisconnect {} => 8,
    }
}

/// With UUIDs in one spelling; the profile's check has proved that they are UUIDs.
fn spelled(step: &Step) -> Step {
    let one = |text: &String| uuid("", text).unwrap_or_else(|_| text.clone());
    let mut step = step.clone();
    match &mut step {
        Step::Bond {} | Step::AwaitDisconnect {} => {}
        Step::Read { characteristic }
        | Step::Subscribe { characteristic, .. }
        | Step::Write { characteristic, .. }
        | Step::Ask { characteristic, .. }
        | Step::UserConsent { characteristic }
        | Step::History { characteristic, .. } => *characteristic = one(characteristic),
        Step::WriteClock { characteristic, service, .. } => {
            *characteristic = one(characteristic);
            *service = service.as_ref().map(one);
        }
    }
    step
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(name: Option<&str>, services: &[&str]) -> Result<Plan, Reject> {
        Catalogue::built_in().plan(name, &services.iter().map(|s| (*s).into()).collect())
    }

    #[test]
    fn a_vendors_profile_stands_alone() {
        let plan = plan(Some("A&D_UA-651BLE_1A2B3C"), &["1810", "180F"]).unwrap();
        assert_eq!(*plan.profiles, ["and-ua-651ble".into()]);
        assert!(matches!(plan.steps[0], Step::Bond {}));
    }

    #[test]
    fn standard_services_are_joined_in_one_order() {
        let plan = plan(Some("Any scale"), &["181B", "181D", "180A"]).unwrap();
        assert_eq!(*plan.profiles, ["standard-body-composition".into(), "standard-weight-scale".into()]);
        assert_eq!(plan.steps.iter().filter(|s| matches!(s, Step::Bond {})).count(), 1);
        assert_eq!(plan.steps.iter().filter(|s| matches!(s, Step::WriteClock { .. })).count(), 1);
        assert!(plan.steps.is_sorted_by_key(stage));
    }

    #[test]
    fn the_strictest_pairing_holds() {
        assert_eq!(plan(None, &["1808", "1810"]).unwrap().pairing, PairingMethod::Passkey);
    }

    #[test]
    fn what_no_profile_fits_gets_no_plan() {
        assert_eq!(plan(Some("Telly"), &["180A", "FE9F"]).unwrap_err(), reject::NO_PROFILE);
    }
}
