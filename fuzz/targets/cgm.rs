#![no_main]
wardline_fuzz::target!("cgm");
