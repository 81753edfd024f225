//! The profiles that come with the binary. A test proves that no file of `firmware-profiles/` is forgotten.

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$((concat!($name, ".toml"), include_str!(concat!("../../firmware-profiles/", $name, ".toml")))),*]
    };
}

/// File name and text of each.
pub const FILES: &[(&str, &str)] = files![
    "and-ua-651ble",
    "beurer-bm85",
    "biot-mqtt",
    "bthome-v2",
    "esphome-mr60bha2",
    "flat-json-vitals",
    "isens-caresens",
    "jumper-jpd-500f",
    "nonin-3230",
    "omron-blesmart",
    "senml-cbor",
    "standard-blood-pressure",
    "standard-body-composition",
    "standard-cgm",
    "standard-common",
    "standard-glucose",
    "standard-health-thermometer",
    "standard-heart-rate",
    "standard-pulse-oximeter",
    "standard-weight-scale",
    "tasmota-mlx90614",
    "theengs-mqtt",
    "wardline-batch-json",
    "wardline-cbor",
    "wardline-json",
    "xiaomi-mi-scale-1",
    "xiaomi-mi-scale-2",
];
