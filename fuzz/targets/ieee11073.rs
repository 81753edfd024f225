#![no_main]
wardline_fuzz::target!("ieee11073");
