#![no_main]
wardline_fuzz::target!("adv_mi_scale");
