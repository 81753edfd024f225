//! The profiles that come with the binary. A test proves that no file of `firmware-profiles/` is forgotten.

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$((concat!($name, ".toml"), include_str!(concat!("../../firmware-profiles/", $name, ".toml")))),*]
    };
}

/// File name and text of each.
pub const FILES: &[(&str, &str)] = files![
    "and-ua-651ble",
    "and-uc-352ble",
    "and-ut-201ble",
    "ascensia-contour-next-one",
    "beurer-bf105",
    "beurer-bm59",
    "beurer-bm85",
    "biot-mqtt",
    "bthome-v2",
    "esphome-mr60bha2",
    "flat-json-vitals",
    "isens-caresens",
    "jumper-jpd-500f",
    "medisana-bs430",
    "medisana-bs444",
    "medisana-bu570",
    "nonin-3230",
    "omron-blesmart",
    "omron-hn-300t2",
    "omron-hpo-300t",
    "omron-mc-6810t2",
    "polar-heart-rate",
    "roche-accu-chek",
    "senml-cbor",
    "silvercrest-sbm69",
    "standard-blood-pressure",
    "standard-body-composition",
    "standard-cgm",
    "standard-common",
    "standard-glucose",
    "standard-health-thermometer",
    "standard-heart-rate",
    "standard-pulse-oximeter",
    "standard-weight-scale",
    "taidoc-glucose",
    "taidoc-ir42",
    "taidoc-td3128",
    "tasmota-mlx90614",
    "theengs-mqtt",
    "viatom-o2ring",
    "viatom-pc-60fw",
    "wahoo-tickr",
    "wardline-batch-json",
    "wardline-cbor",
    "wardline-json",
    "xiaomi-mi-scale-1",
    "xiaomi-mi-scale-2",
];
