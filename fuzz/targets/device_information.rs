#![no_main]
wardline_fuzz::target!("device_information");
