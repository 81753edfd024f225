//! Destinations, one file each; [`deliver`] is the one loop for all of them.
//!
//! A sink gets a batch and answers for each item. Leasing, lanes, back-off, `Retry-After`, the breaker live in `deliver.rs` only.
//! Must never: answer Delivered without the destination's own word.
