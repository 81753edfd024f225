//! Whose reading is it, when was it taken, is it plausible: [`Draft`](crate::reading::Draft) to
//! [`Reading`](crate::reading::Reading). Pure.
