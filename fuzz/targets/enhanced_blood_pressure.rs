#![no_main]
wardline_fuzz::target!("enhanced_blood_pressure");
