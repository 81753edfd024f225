//! Reading or alert to an HL7 v2.6 message, and the reader of its acknowledgement; pure, one file per message.
//!
//! Promises: the same reading has the same message control id and the same order number each time it is sent; decimals stay
//! exact; the device's delimiters stay data. Must never: send a doubtful value as a plain one, a value without its unit, or a
//! reading without its patient.

mod ack;
mod alert;
mod batch;
mod charset;
mod codes;
mod envelope;
mod frame;
mod labels;
mod oru;
mod write;

pub use ack::{Ack, Answer, Verdict, read as read_ack, read_all as read_answer};
pub use alert::{Facets, write as write_alert};
pub use batch::write as write_batch;
pub use charset::Charset;
pub use envelope::{Order, Sender, alert_control_id, control_id};
pub use frame::{Deframer, Overlong, wrap};
pub use oru::write as write_readings;

/// A message ready to be framed, and the id that its acknowledgement must name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// MSH-10; of a batch, BHS-11.
    pub control_id: String,
    /// Its segments, each ended by a carriage return.
    pub text: String,
}

/// Why a reading has no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmappable {
    /// Wait: it is sent when its patient is known.
    #[error("the reading has no patient")]
    Unassigned,
    /// Wait: it is sent when its time is known.
    #[error("the reading has no resolved time")]
    Undated,
    /// A person must look: the profile gives a unit that the vital cannot have.
    #[error("the unit does not fit the vital sign")]
    Unit,
    /// A person must look: there is neither an MDC nor a LOINC code for it.
    #[error("the vital sign has no code that HL7 receivers know")]
    Uncoded,
}

#[cfg(test)]
mod tests;
