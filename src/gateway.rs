//! The wiring: channels, tasks, order of shutdown.
