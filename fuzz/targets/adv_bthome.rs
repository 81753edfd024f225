#![no_main]
wardline_fuzz::target!("adv_bthome");
