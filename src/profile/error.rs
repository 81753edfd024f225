//! Why a profile is refused: file, key, reason, remedy.

use std::path::PathBuf;

use crate::fault::Explain;

/// A profile that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Make the file or folder readable.
    #[error("{file}: cannot be read: {source}")]
    Unreadable {
        /// Which file or folder.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Correct the file where it says.
    #[error("{file}: {reason}")]
    Malformed {
        /// Which file.
        file: PathBuf,
        /// Line, key and reason.
        reason: String,
    },
    /// Correct the key.
    #[error("{file}: {key}: {reason}")]
    Meaningless {
        /// Which file.
        file: PathBuf,
        /// Which key.
        key: String,
        /// Why it makes no sense.
        reason: String,
    },
    /// Correct the rule or the example.
    #[error("{file}: example \"{example}\": {reason}")]
    ExampleFails {
        /// Which file.
        file: PathBuf,
        /// Its name.
        example: String,
        /// Expected and found.
        reason: String,
    },
    /// Remove one, or let a profile of the folder replace the built-in one by the same id.
    #[error("{file}: {what} is already claimed by profile \"{other}\"")]
    Conflict {
        /// Which file.
        file: PathBuf,
        /// Id, topic pattern, characteristic or service.
        what: String,
        /// Who has it.
        other: String,
    },
}

impl Explain for ProfileError {
    fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "WL-P003",
            Self::Malformed { .. } => "WL-P004",
            Self::Meaningless { .. } => "WL-P005",
            Self::ExampleFails { .. } => "WL-P006",
            Self::Conflict { .. } => "WL-P007",
        }
    }
    fn remedy(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "Give the path of a profile that the gateway's user can read.",
            Self::Malformed { .. } | Self::Meaningless { .. } => {
                "Correct the profile and run `wardline profile test FILE`; docs/profiles.md lists the keys."
            }
            Self::ExampleFails { .. } => {
                "Correct the rule or the example; a profile is used only if all its examples hold."
            }
            Self::Conflict { .. } => {
                "Give the profile the other's id to replace it, or make its pattern more specific."
            }
        }
    }
}
