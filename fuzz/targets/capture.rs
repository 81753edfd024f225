#![no_main]
wardline_fuzz::target!("capture");
