#![no_main]
wardline_fuzz::target!("heart_rate");
