//! What can go wrong before a destination lets us in: code, sentence, remedy.
//!
//! Must never: hold a token, an assertion, or a server's own words beyond the error codes of OAuth.

use std::borrow::Cow;

use crate::fault::Explain;

/// A trouble with the credential of a destination. All of them pass: nothing is rejected for one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthTrouble {
    /// Put the key there.
    #[error("the key cannot be used: {0}")]
    Key(String),
    /// Wait for the time.
    #[error("this machine's clock is not set: no token is asked for")]
    ClockUnset,
    /// Correct the URL, or the server.
    #[error("where tokens are given is not known: {0}")]
    Discovery(Cow<'static, str>),
    /// Try again later.
    #[error("the token server: {0}")]
    Away(String),
    /// Register the key and the client.
    #[error("the token server does not accept us ({0})")]
    Client(String),
    /// Ask for less, or have it allowed.
    #[error("the token server gives none of the scopes ({0})")]
    Scope(String),
    /// Have the scopes allowed: nothing was sent.
    #[error("the token does not allow to store readings; granted {granted}, missing {missing}")]
    Narrow {
        /// Of what was asked for.
        granted: String,
        /// Of what was asked for.
        missing: String,
    },
    /// Correct the URL.
    #[error("the token server's answer is not understood: {0}")]
    Unclear(&'static str),
    /// See that both servers belong together.
    #[error("a new token is refused (HTTP 401)")]
    TokenRefused,
    /// Have the scopes allowed.
    #[error("the token does not allow this (HTTP 403): {0}")]
    Forbidden(String),
    /// Set the clock.
    #[error("the token server does not accept us ({error}); our clock is {seconds} s {direction} of its clock")]
    ClockOff {
        /// As OAuth calls it.
        error: String,
        /// How far.
        seconds: u64,
        /// `ahead` or `behind`.
        direction: &'static str,
    },
    /// Have the scopes allowed; readings go.
    #[error("the token allows less than was asked for; granted {granted}, missing {missing}")]
    Less {
        /// Of what was asked for.
        granted: String,
        /// Of what was asked for.
        missing: String,
    },
}

impl Explain for AuthTrouble {
    fn code(&self) -> &'static str {
        match self {
            Self::Key(_) => "WL-A101",
            Self::ClockUnset => "WL-A102",
            Self::Discovery(_) => "WL-A103",
            Self::Away(_) => "WL-A104",
            Self::Client(_) => "WL-A105",
            Self::Scope(_) => "WL-A106",
            Self::Narrow { .. } => "WL-A107",
            Self::Unclear(_) => "WL-A108",
            Self::TokenRefused => "WL-A109",
            Self::Forbidden(_) => "WL-A110",
            Self::ClockOff { .. } => "WL-A111",
            Self::Less { .. } => "WL-A112",
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::Key(_) => {
                "Make a key with `wardline key smart new`, in a file that only the gateway's user can read."
            }
            Self::ClockUnset => "Let the machine reach a time server; the readings wait.",
            Self::Discovery(_) => "Correct `url`, or give the token server's address as `token_url`.",
            Self::Away(_) => "Nothing to do here; the readings wait. Ask the centre if it lasts.",
            Self::Client(_) => {
                "Have the centre register `client_id` with the keys that `wardline key smart jwks` prints."
            }
            Self::Scope(_) | Self::Narrow { .. } | Self::Forbidden(_) | Self::Less { .. } => {
                "Have the centre allow the scopes of `scopes` to this client; a new token is asked for by itself."
            }
            Self::Unclear(_) => "Check that `token_url` is the token server's and that no proxy answers for it.",
            Self::TokenRefused => "Ask the centre whether its FHIR server trusts the token server of `token_url`.",
            Self::ClockOff { .. } => "Set this machine's clock: an assertion is only good for minutes.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::Trouble;

    /// A day without a token must not use up the tries of the reading that asks for its end.
    #[test]
    fn no_item_is_suspected_for_a_credential() {
        let words = || (String::from("some"), String::from("others"));
        let ((granted, missing), (less, lacking)) = (words(), words());
        for trouble in [
            AuthTrouble::Key("gone".into()),
            AuthTrouble::ClockUnset,
            AuthTrouble::Discovery("nowhere".into()),
            AuthTrouble::Away("refused".into()),
            AuthTrouble::Client("invalid_client".into()),
            AuthTrouble::Scope("invalid_scope".into()),
            AuthTrouble::Narrow { granted, missing },
            AuthTrouble::Unclear("not a token"),
            AuthTrouble::TokenRefused,
            AuthTrouble::Forbidden("none".into()),
            AuthTrouble::ClockOff { error: "invalid_client".into(), seconds: 900, direction: "ahead" },
            AuthTrouble::Less { granted: less, missing: lacking },
        ] {
            let why = Trouble::Auth(trouble).why();
            assert!(!why.may_be_the_items(), "{why:?}");
        }
        assert!(Trouble::ServerError(500).why().may_be_the_items());
    }
}
