#![no_main]
wardline_fuzz::target!("user_control");
