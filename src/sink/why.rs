//! What can go wrong at a destination: code, sentence, remedy; and how soon it is worth another try.
//!
//! Must never: hold what the destination said in its own words, which may be patient data; only codes and paths.

use std::time::Duration;

use super::smart::AuthTrouble;
use crate::custody::{Outcome, Why};
use crate::fault::Explain;
use crate::fhir::Unmappable;
use crate::limits;

/// A trouble with a destination or with one item.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Try again soon: nothing was sent.
    #[error("no connection: {0}")]
    Unreachable(&'static str),
    /// Try again soon: it is not known whether it was stored.
    #[error("no answer: {0}")]
    NoAnswer(&'static str),
    /// A person must look: nothing was sent.
    #[error("its certificate is not accepted: {0}")]
    Certificate(String),
    /// Try again soon.
    #[error("not available (HTTP {0})")]
    Unavailable(u16),
    /// Try again later.
    #[error("it failed (HTTP {0})")]
    ServerError(u16),
    /// Try again when it says.
    #[error("too many requests (HTTP {0})")]
    Throttled(u16),
    /// Correct the credential: nothing is rejected for it.
    #[error("the credential is refused (HTTP {0})")]
    Credential(u16),
    /// Correct the URL or the kind of destination.
    #[error("nothing here takes it (HTTP {0})")]
    NotHere(u16),
    /// Send less at once.
    #[error("too large for it (HTTP 413)")]
    TooLarge,
    /// Send again: it is not known whether it was stored.
    #[error("its answer is not understood: {0}")]
    Unclear(&'static str),
    /// A person must look at the item.
    #[error("refused (HTTP {status}{detail})")]
    Refused {
        /// Status of the request or of the entry.
        status: u16,
        /// Issue code and path, or nothing.
        detail: String,
    },
    /// Clean up at the destination: it is there more than once.
    #[error("the destination holds more than one with this identifier (HTTP 412)")]
    Doubled,
    /// Try again: somebody else wrote at the same time.
    #[error("conflict (HTTP 409)")]
    Conflict,
    /// Correct the profile.
    #[error("{0}")]
    Unmappable(Unmappable),
    /// A person must look at the item.
    #[error("the receiver found an error in it (AE{0})")]
    Hl7Error(String),
    /// Try again: the reason may be its own.
    #[error("the receiver does not take it (AR{0})")]
    Hl7Refused(String),
    /// Send again: it is not known whether it was stored.
    #[error("its acknowledgement is not understood: {0}")]
    Hl7Unclear(&'static str),
    /// Correct the profile.
    #[error("{0}")]
    Hl7Unmappable(crate::hl7v2::Unmappable),
    /// Give the patient's match fields.
    #[error("what the receiver finds this patient by is not given")]
    Hl7Nameless,
    /// There is no credential: nothing was sent, or it is not allowed.
    #[error("{0}")]
    Auth(AuthTrouble),
    /// Free space, or correct the folder.
    #[error("the file cannot be written: {0}")]
    File(std::io::ErrorKind),
    /// See the bus's own remedy.
    #[error(transparent)]
    Bus(crate::nats::NatsError),
}

impl Explain for Trouble {
    fn code(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "WL-F001",
            Self::NoAnswer(_) => "WL-F002",
            Self::Certificate(_) => "WL-F003",
            Self::Unavailable(_) => "WL-F004",
            Self::ServerError(_) => "WL-F005",
            Self::Throttled(_) => "WL-F006",
            Self::Credential(_) => "WL-F007",
            Self::NotHere(_) => "WL-F008",
            Self::TooLarge => "WL-F009",
            Self::Unclear(_) => "WL-F010",
            Self::Refused { .. } => "WL-F011",
            Self::Doubled => "WL-F012",
            Self::Conflict => "WL-F013",
            Self::Unmappable(Unmappable::Uncoded) => "WL-T006",
            Self::Unmappable(_) => "WL-F014",
            Self::Auth(e) => e.code(),
            Self::File(_) => "WL-F015",
            Self::Hl7Error(_) => "WL-H001",
            Self::Hl7Refused(_) => "WL-H002",
            Self::Hl7Unclear(_) => "WL-H003",
            Self::Hl7Unmappable(_) => "WL-H004",
            Self::Hl7Nameless => "WL-H005",
            Self::Bus(e) => e.code(),
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "Check the network and the destination's address.",
            Self::NoAnswer(_) => "Check the destination's load; raise `timeout_s` if it is slow by nature.",
            Self::Certificate(_) => "Give the authority that signed it as `ca_file`, or renew the certificate.",
            Self::Unavailable(_) | Self::ServerError(_) | Self::Conflict => {
                "Nothing to do here; ask the destination's owner if it lasts."
            }
            Self::Throttled(_) => "Nothing to do here; lower `bundle_max` or raise `linger_ms` if it lasts.",
            Self::Credential(_) => "Renew the token in `token_file`, and ask for the right to write.",
            Self::NotHere(_) => "Correct `url`, and `idempotency` if the server takes no ids of clients.",
            Self::TooLarge => "Lower `bundle_max`.",
            Self::Unclear(_) => "Check that `url` is the base of a FHIR R4 server and that no proxy answers for it.",
            Self::Refused { .. } => "See `wardline explain` for what was sent; correct the cause and send it again.",
            Self::Doubled => "Remove the double at the destination.",
            Self::Unmappable(Unmappable::Uncoded) => {
                "Give this vital sign a code in the destination's `mapping_file`, or set `uncoded = \"text\"`."
            }
            Self::Unmappable(_) | Self::Hl7Unmappable(_) => "Correct the device's profile, patient or clock.",
            Self::Hl7Error(_) => "Ask the receiver's owner what the code means; correct the cause and send it again.",
            Self::Hl7Refused(_) => {
                "Ask the receiver's owner whether it is down, and whether it takes this kind of message."
            }
            Self::Hl7Nameless => "Give the patient's match fields: `wardline patient identify`.",
            Self::Hl7Unclear(_) => "Check that `url` is an MLLP receiver that answers in the application's name.",
            Self::Bus(e) => e.remedy(),
            Self::Auth(e) => e.remedy(),
            Self::File(_) => "Free space, and check that the gateway's user may write the folder.",
        }
    }
}

impl Trouble {
    /// For the journal.
    pub fn why(&self) -> Why {
        Why::new(self.code(), self.to_string())
    }

    /// The whole destination is unwell.
    pub fn destination(&self, after: Option<Duration>) -> Outcome {
        Outcome::Retry { after, why: self.why(), destination: true }
    }

    /// The next question would meet it too, whatever it is about.
    pub fn lasts(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_)
                | Self::NoAnswer(_)
                | Self::Certificate(_)
                | Self::Unavailable(_)
                | Self::Throttled(_)
                | Self::Credential(_)
                | Self::Auth(_)
        )
    }

    /// This item alone waits.
    pub fn item(&self, after: Duration) -> Outcome {
        Outcome::Retry { after: Some(after), why: self.why(), destination: false }
    }

    /// Of a reading that has no Observation.
    pub(super) fn unmappable(why: Unmappable) -> Outcome {
        match why {
            // What may still get its time is not leased before.
            Unmappable::Unit | Unmappable::Undated | Unmappable::Uncoded => Self::Unmappable(why).reject(),
            // It may get a patient yet.
            Unmappable::Unassigned => Self::Unmappable(why).item(limits::ITEM_RETRY.1),
        }
    }

    /// This item is refused for good.
    pub fn reject(&self) -> Outcome {
        Outcome::Reject(self.why())
    }
}

/// Whether the destination's return is best found by asking often: asking costs it nothing while it is away.
pub(super) fn is_absence(why: &Why) -> bool {
    let away = [Trouble::Unreachable("").code(), Trouble::Unavailable(0).code()];
    is_silence(why) || away.contains(&&*why.code)
}

/// Whether it heard and did not answer: it may be lost in thought over what it was sent.
pub(super) fn is_silence(why: &Why) -> bool {
    *why.code == *Trouble::NoAnswer("").code()
}
