//! What a person is told when something is wrong: a stable code, a cause, a remedy.
//!
//! Every error enum that can reach a person implements [`Explain`]. Neither cause nor remedy ever
//! holds patient data or a secret. Codes never change their meaning; `docs/runbooks/` has a page for each.

/// An error with a stable code and a way out.
pub trait Explain: std::error::Error {
    /// Stable code, `WL-` and a letter for the area, then three digits: `WL-D001`.
    ///
    /// D decoding, P profiles, C configuration, J journal, S sources, F destinations, H HL7 v2, N bus, A alerts, O operation,
    /// M patients, G orders of the centre.
    fn code(&self) -> &'static str;
    /// One sentence: what to do now.
    fn remedy(&self) -> &'static str;
}

/// `WL-D001: cause. Remedy.` on one line.
pub fn sentence(error: &dyn Explain) -> String {
    format!("{}: {error}. {}", error.code(), error.remedy())
}
