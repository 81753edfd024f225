//! What a probe found out about a destination: said by its sink, kept by the journal, shown to people, obeyed by the sink.
//!
//! Must never: hold anything of a patient. What was not tried is `None`, never a guess.

use serde::{Deserialize, Serialize};

/// Whether something works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// It does.
    Works,
    /// It does not: what happened instead.
    Fails(String),
}

impl Finding {
    /// Whether it works.
    pub fn works(&self) -> bool {
        *self == Self::Works
    }

    /// Works, or fails for this reason.
    pub fn of(works: bool, otherwise: impl Into<String>) -> Self {
        if works { Self::Works } else { Self::Fails(otherwise.into()) }
    }
}

/// What the destination says of itself: its CapabilityStatement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stated {
    /// Name and version of its software.
    pub software: Option<String>,
    /// `4.0.1`.
    pub fhir_version: Option<String>,
    /// `batch`.
    pub batch: Option<bool>,
    /// `transaction`.
    pub transaction: Option<bool>,
    /// An update may create an Observation.
    pub update_create: Option<bool>,
    /// Conditional create of an Observation.
    pub conditional_create: Option<bool>,
    /// `$validate` of an Observation.
    pub validate: Option<bool>,
    /// Of `patient`, `subject`, `_lastUpdated` and `date`: by which Observations can be searched. `None`: it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub searches: Option<Vec<String>>,
}

impl Stated {
    /// Whether Observations can be searched by this parameter, as far as it says.
    pub fn searches_by(&self, name: &str) -> bool {
        self.searches.as_ref().is_none_or(|all| all.iter().any(|one| one == name))
    }
}

/// How the gateway is let in by a destination that wants a token of a token server. Holds no secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// The key in use, by its thumbprint.
    pub kid: String,
    /// `ES384`, `RS384`.
    pub alg: String,
    /// The key that shall take its place.
    pub new_kid: Option<String>,
    /// Where tokens are given, as far as it is known.
    pub token_url: Option<String>,
    /// Until when the token is good.
    pub until_ms: Option<i64>,
    /// Of the scopes that were asked for: granted.
    pub granted: Vec<String>,
    /// And not granted.
    pub missing: Vec<String>,
    /// The token server did not say.
    pub unsaid: bool,
    /// Why there is none: code, sentence, remedy.
    pub trouble: Option<(String, String, String)>,
}

/// What was found by writing to it, with its owner's consent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Who consented, as stated.
    pub consent: String,
    /// The marked test patient.
    pub patient: String,
    /// `PUT` with an id of ours creates, and the same again changes nothing.
    pub put_create: Option<Finding>,
    /// `ifNoneExist` creates, and the same again finds it.
    pub conditional_create: Option<Finding>,
    /// How many resources eight parallel conditional creates of one reading left; 1 is right.
    pub parallel_creates: Option<usize>,
    /// Eight parallel updates of one reading.
    pub parallel_updates: Option<Finding>,
    /// A batch.
    pub batch: Option<Finding>,
    /// A transaction.
    pub transaction: Option<Finding>,
    /// One refused entry of a batch does not refuse the others.
    pub per_entry: Option<Finding>,
    /// The largest Bundle that was taken, up to what is configured.
    pub bundle_max: Option<usize>,
    /// `$validate`.
    pub validate: Option<Finding>,
    /// What a 429 looked like; none: none was seen.
    pub throttled: Option<String>,
    /// Units in which we send: vital sign, unit, and whether they were taken.
    pub units: Vec<(String, String, Finding)>,
    /// Test resources that it left there.
    pub left: usize,
}

/// All that is known of a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// When it last stated what it can, and what.
    pub stated: Option<(i64, Stated)>,
    /// When it was last written to, and what came of it.
    pub written: Option<(i64, Written)>,
}

impl Known {
    /// Whether the destination can be asked about a resource before it is sent.
    pub fn validates(&self) -> bool {
        let tried = self.written.as_ref().and_then(|(_, w)| w.validate.as_ref()).map(Finding::works);
        tried.or(self.stated.as_ref().and_then(|(_, s)| s.validate)).unwrap_or(false)
    }

    /// Entries in a Bundle at most.
    pub fn bundle_max(&self) -> Option<usize> {
        self.written.as_ref()?.1.bundle_max
    }

    /// `Some(false)`: it takes transactions only.
    pub fn batch_works(&self) -> Option<bool> {
        let written = &self.written.as_ref()?.1;
        let works = |f: &Option<Finding>| f.as_ref().map(Finding::works);
        match (works(&written.batch), works(&written.transaction)) {
            (Some(false), Some(true)) => Some(false),
            (Some(true), _) => Some(true),
            _ => None,
        }
    }
}
