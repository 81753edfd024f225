#![no_main]
wardline_fuzz::target!("pulse_oximeter");
