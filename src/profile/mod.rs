//! Firmware profiles: one TOML file per device protocol version says what its bytes mean.
//!
//! Pure: frames in, drafts out. State across frames (multi-packet records, a CGM's session start) lives in [`Decoder`].
//! Must never: guess between two profiles that match, or emit a draft from a rejected record.

use std::sync::Arc;

use crate::reading::{DeviceId, Draft, Frame, Reject};

/// What a frame says.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// Which device: from the link, the topic, or the payload.
    pub device: DeviceId,
    /// Id of the profile that matched.
    pub profile: Arc<str>,
    /// Its readings to be; empty for device information and the like.
    pub drafts: Vec<Draft>,
}

/// All profiles: the built-in ones and those of a folder.
pub struct Catalogue {}

/// Decodes frames, with the memory that some encodings need.
pub struct Decoder {}

impl Catalogue {
    /// The profiles compiled into the binary.
    pub fn built_in() -> Self {
        Self {}
    }

    /// MQTT topic filters of all profiles.
    pub fn topic_filters(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Decoder {
    /// A decoder for these profiles.
    pub fn new(_catalogue: Arc<Catalogue>) -> Self {
        Self {}
    }

    /// Decodes one frame.
    pub fn decode(&mut self, _frame: &Frame) -> Result<Decoded, Reject> {
        Err(Reject::new("WL-P001", "no profile matches"))
    }
}
