//! The profiles that come with the binary. A test proves that no file of `firmware-profiles/` is forgotten.

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$((concat!($name, ".toml"), include_str!(concat!("../../firmware-profiles/", $name, ".toml")))),*]
    };
}

/// File name and text of each.
pub const FILES: &[(&str, &str)] = files![
    "biot-mqtt",
    "esphome-mr60bha2",
    "flat-json-vitals",
    "senml-cbor",
    "tasmota-mlx90614",
    "theengs-mqtt",
    "wardline-batch-json",
    "wardline-cbor",
    "wardline-json",
];
