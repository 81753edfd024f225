#![no_main]
wardline_fuzz::target!("hl7_ack");
