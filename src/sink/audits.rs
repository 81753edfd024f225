//! One AuditEvent to a FHIR server, beside the sink that delivers readings there.
//!
//! Promises: told only at the server's own word for this one event. Must never: wait in the way of a reading.

use std::time::Duration;

use super::fhir::Unwell;
use super::probe::Prober;
use super::smart::AuthTrouble;
use super::why::Trouble;
use crate::custody::{Outcome, Why};
use crate::fhir::Audit;

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is there.
    Told,
    /// The server does not take this one, or none at all.
    Refused(Why),
    /// Not now; it may have arrived.
    Later(Why, Option<Duration>),
}

impl Prober {
    /// Tells it, in the configured way.
    pub async fn tell(&self, audit: &Audit<'_>) -> Heard {
        self.sink.turn().await;
        let scope = self.sink.scope();
        heard(self.sink.one(audit.single(&scope, self.sink.write)).await)
    }
}

fn heard(outcome: Result<Outcome, Unwell>) -> Heard {
    match outcome {
        Ok(Outcome::Delivered(_)) => Heard::Told,
        Ok(Outcome::Reject(why)) => Heard::Refused(why),
        // Servers say in many ways that they have no such resource, or none for us.
        Err((trouble, _)) if is_refusal(&trouble) => Heard::Refused(trouble.why()),
        Ok(Outcome::Retry { why, after, .. }) => Heard::Later(why, after),
        // It holds no reading that a consent could keep back.
        Ok(Outcome::Withheld) => Heard::Later(Trouble::Unclear("nothing is known of this event").why(), None),
        Err((trouble, after)) => Heard::Later(trouble.why(), after),
    }
}

fn is_refusal(trouble: &Trouble) -> bool {
    let no_right = matches!(trouble, Trouble::Credential(403) | Trouble::Auth(AuthTrouble::Forbidden(_)));
    no_right || matches!(trouble, Trouble::NotHere(_) | Trouble::Refused { .. } | Trouble::ServerError(501))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_does_not_have_is_refused_and_what_fails_is_for_later() {
        let refused = |t: Trouble| matches!(heard(Err((t, None))), Heard::Refused(_));
        assert!([405, 404].into_iter().all(|s| refused(Trouble::NotHere(s))) && refused(Trouble::ServerError(501)));
        assert!(refused(Trouble::Auth(AuthTrouble::Forbidden(String::new()))));
        assert!(refused(Trouble::Credential(403)) && !refused(Trouble::Credential(401)));
        for trouble in [Trouble::Unreachable("x"), Trouble::ServerError(500), Trouble::Throttled(429)] {
            assert!(!refused(trouble));
        }
        assert!(!refused(Trouble::Auth(AuthTrouble::TokenRefused)));
        assert!(matches!(heard(Ok(Trouble::Doubled.reject())), Heard::Refused(_)));
    }
}
