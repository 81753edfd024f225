#![no_main]
wardline_fuzz::target!("inbound");
