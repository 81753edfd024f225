#![no_main]
wardline_fuzz::target!("crc16");
