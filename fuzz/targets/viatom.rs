#![no_main]
wardline_fuzz::target!("viatom");
