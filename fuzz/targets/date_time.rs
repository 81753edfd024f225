#![no_main]
wardline_fuzz::target!("date_time");
