//! What the resources of one destination have in common: who sends, which guides they claim, how devices are named,
//! whose codes they bear.
//!
//! Must never: claim a profile for a resource that does not keep its rules.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::coincident::Clocks;
use super::identity::escaped;
use super::types::Identifier;
use crate::mapping::Mapping;
use crate::reading::Reading;
use crate::vital::VitalRow;

/// Which US Core profiles are claimed in `meta.profile`, and whose reading of FHIR R4 the resource keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UsCore {
    /// None.
    None,
    /// Whichever version the server knows.
    #[default]
    Any,
    /// 6.1.0, with R4's constraint vs-1 to the letter: no period for a vital sign.
    V6,
    /// 8.0.0.
    V8,
}

impl UsCore {
    /// The profile of this vital sign in this version: the last part of its canonical.
    pub(super) fn profile(self, vital: &VitalRow) -> Option<&'static str> {
        match (self, vital.us_core?) {
            (Self::None, _) | (Self::V6, "us-core-average-blood-pressure") => None,
            (_, profile) => Some(profile),
        }
    }

    /// Whether a vital sign may last for a period.
    pub(super) fn allows_periods(self) -> bool {
        self != Self::V6
    }
}

/// How the devices of an Observation are named.
#[derive(Clone, Debug, Default)]
pub enum Devices {
    /// By identifier: nothing has to be there.
    #[default]
    Reference,
    /// Within the Observation.
    Contained,
    /// By where they are at the server; what is not in it by identifier.
    Placed(Arc<HashMap<String, String>>),
}

/// What the resources of one destination have in common.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The gateway's name at the centre.
    pub gateway: Arc<str>,
    /// Claims of US Core.
    pub us_core: UsCore,
    /// Claim the profiles of the Personal Health Device guide where they hold.
    pub phd: bool,
    /// How devices are named.
    pub devices: Devices,
    /// Where pairs of clocks are at the server, by [`super::Clocks::name`].
    pub clocks: Arc<HashMap<String, String>>,
    /// Devices, the gateway among them, that may be named by a search for them: the server resolves it (only in a transaction).
    pub searched: Arc<BTreeSet<String>>,
    /// A vital sign that no code system has goes out with its name alone; else it is refused here.
    pub uncoded: bool,
    /// Codes and units.
    pub mapping: Option<Arc<Mapping>>,
}

impl Scope {
    /// The defaults.
    pub fn new(gateway: impl Into<Arc<str>>) -> Self {
        Self {
            gateway: gateway.into(),
            us_core: UsCore::Any,
            phd: false,
            devices: Devices::Reference,
            clocks: Arc::default(),
            searched: Arc::default(),
            uncoded: true,
            mapping: None,
        }
    }

    /// Codes and units.
    pub fn mapping(&self) -> &Mapping {
        self.mapping.as_deref().unwrap_or(Mapping::base())
    }

    /// Where a device is, or the gateway; where that is not known and a search may stand for it, that.
    pub(super) fn reference<'a>(&'a self, device: &str, known: &Identifier<'_>) -> Option<Cow<'a, str>> {
        let search = || format!("Device?identifier={}|{}", known.system, escaped(known.value)).into();
        let may = matches!(self.devices, Devices::Reference | Devices::Placed(_)) && self.searched.contains(device);
        self.place(device).map(Cow::Borrowed).or_else(|| may.then(search))
    }

    /// Where a device is, or the gateway.
    pub fn place(&self, device: &str) -> Option<&str> {
        match &self.devices {
            Devices::Placed(places) => places.get(device).map(String::as_str),
            Devices::Reference | Devices::Contained => None,
        }
    }

    /// Where the pair of clocks is that a reading was dated by.
    pub(super) fn clock(&self, reading: &Reading) -> Option<&str> {
        let known = (!self.clocks.is_empty()).then(|| Clocks::of(reading)).flatten()?;
        self.clocks.get(&known.name(self)).map(String::as_str)
    }

    /// Whether both devices can be found from the Observation: the guide asks for literal references.
    pub fn reaches(&self, reading: &Reading) -> bool {
        match &self.devices {
            Devices::Reference => false,
            Devices::Contained => true,
            Devices::Placed(places) => places.contains_key(&*reading.device.0) && places.contains_key(&*self.gateway),
        }
    }
}
