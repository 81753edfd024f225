#![no_main]
wardline_fuzz::target!("body_composition");
