//! What the control plane refuses, and how it says so: `{code, cause, remedy}` with a fitting HTTP status.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::Unreadable;
use crate::fault::Explain;

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Correct the request.
    #[error("the request is not understood: {0}")]
    Malformed(String),
    /// Look again: ids come from the lists.
    #[error("there is no such {0}")]
    Missing(&'static str),
    /// Ask somebody who may.
    #[error("this user may not do that")]
    Forbidden,
    /// Try again soon.
    #[error("the gateway did not answer in time: it is starting, busy or stopping")]
    Busy,
    /// Correct what was given.
    #[error("refused: {0}")]
    Refused(String),
    /// What the code's runbook says.
    #[error("{cause}")]
    Told {
        /// Stable code.
        code: &'static str,
        /// One sentence.
        cause: String,
        /// What to do now.
        remedy: &'static str,
    },
    /// Look at the log.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

impl Explain for Fault {
    fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "WL-O003",
            Self::Missing(_) => "WL-O004",
            Self::Busy => "WL-O005",
            Self::Unreadable(_) => "WL-O008",
            Self::Forbidden => "WL-O009",
            Self::Refused(_) => "WL-O010",
            Self::Told { code, .. } => code,
        }
    }
    fn remedy(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "Correct the request; `wardline help` shows the commands.",
            Self::Missing(_) => "List what there is and take the id from there.",
            Self::Busy => "Try again; if it stays so, look at `wardline status` and the log.",
            Self::Unreadable(_) => "Look at the log for the journal's own message.",
            Self::Forbidden => "Run the command as root or as the gateway's own user.",
            Self::Refused(_) => "Correct what was given and try again.",
            Self::Told { remedy, .. } => remedy,
        }
    }
}

impl Fault {
    /// A refusal of another part, with its own code and remedy.
    pub fn told(e: &dyn Explain) -> Self {
        Self::Told { code: e.code(), cause: e.to_string(), remedy: e.remedy() }
    }
}

/// A refusal as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Stable code.
    pub code: String,
    /// One sentence.
    pub cause: String,
    /// One sentence: what to do now.
    pub remedy: String,
}

impl From<&dyn Explain> for Problem {
    fn from(e: &dyn Explain) -> Self {
        Self { code: e.code().into(), cause: e.to_string(), remedy: e.remedy().into() }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Missing(_) => StatusCode::NOT_FOUND,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Refused(_) | Self::Told { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unreadable(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(Problem::from(&self as &dyn Explain))).into_response()
    }
}
