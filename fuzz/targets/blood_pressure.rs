#![no_main]
wardline_fuzz::target!("blood_pressure");
