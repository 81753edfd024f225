//! Every encoding by name, one line each. A new codec is a file and a line here.

use super::draft::none;
use super::record::Record;
use super::{Codec, Head, Quirk, Read};
use super::{adv_bthome, adv_mi_scale, battery, blood_pressure, body_composition, cgm, crc16, date_time};
use super::{device_information, enhanced_blood_pressure as enhanced, glucose, heart_rate, ieee11073, pulse_oximeter};
use super::{lepu, racp, taidoc, temperature, transtek, user_control, viatom, weight};
use crate::reading::{Draft, Reject};

type Drafts = fn(&Record) -> Vec<Draft>;

const fn plain(
    name: &'static str,
    title: &'static str,
    read: fn(&[u8]) -> Result<Record, Reject>,
    drafts: Drafts,
) -> Codec {
    Codec { name, title, read: Read::Plain(read), drafts, head: None }
}

const fn quirky(
    name: &'static str,
    title: &'static str,
    read: fn(&[u8], Quirk) -> Result<Record, Reject>,
    drafts: Drafts,
) -> Codec {
    Codec { name, title, read: Read::Quirky(read), drafts, head: None }
}

/// Of a vendor's stream of frames.
const fn framed(
    name: &'static str,
    title: &'static str,
    head: fn(&[u8]) -> Head,
    read: fn(&[u8]) -> Result<Record, Reject>,
    drafts: Drafts,
) -> Codec {
    Codec { name, title, read: Read::Plain(read), drafts, head: Some(head) }
}

/// All codecs.
pub static CODECS: &[Codec] = &[
    plain("SFLOAT", "IEEE 11073 SFLOAT", ieee11073::decode_sfloat, none),
    plain("FLOAT", "IEEE 11073 FLOAT", ieee11073::decode_float, none),
    plain("CRC16", "E2E-CRC of the given octets", crc16::decode, none),
    plain("2A08", "Date Time", date_time::date_time, none),
    plain("2A0D", "DST Offset", date_time::dst_offset, none),
    plain("2A0E", "Time Zone", date_time::time_zone, none),
    plain("2A0F", "Local Time Information", date_time::local_time, none),
    plain("2A14", "Reference Time Information", date_time::reference_time, none),
    plain("2A2B", "Current Time", date_time::current_time, none),
    plain("2BF2", "Current Elapsed Time", date_time::elapsed_time, none),
    plain("2A19", "Battery Level", battery::level, none),
    plain("2BED", "Battery Level Status", battery::status, none),
    plain("2A1C", "Temperature Measurement", temperature::measurement, temperature::drafts),
    plain("2A1D", "Temperature Type", temperature::kind, none),
    plain("2A1E", "Intermediate Temperature", temperature::measurement, none),
    plain("2A21", "Measurement Interval", temperature::interval, none),
    quirky("2A35", "Blood Pressure Measurement", blood_pressure::measurement, blood_pressure::drafts),
    plain("2A36", "Intermediate Cuff Pressure", blood_pressure::intermediate, none),
    plain("2A49", "Blood Pressure Feature", blood_pressure::feature, none),
    plain("2A37", "Heart Rate Measurement", heart_rate::measurement, heart_rate::drafts),
    plain("2A38", "Body Sensor Location", heart_rate::location, none),
    plain("2A5E", "PLX Spot-Check Measurement", pulse_oximeter::spot_check, pulse_oximeter::drafts),
    plain("2A5F", "PLX Continuous Measurement", pulse_oximeter::continuous, pulse_oximeter::drafts),
    plain("2A60", "PLX Features", pulse_oximeter::features, none),
    plain("2A18", "Glucose Measurement", glucose::measurement, glucose::drafts),
    plain("2A34", "Glucose Measurement Context", glucose::context, none),
    plain("2A51", "Glucose Feature", glucose::feature, none),
    plain("2A9D", "Weight Measurement", weight::measurement, weight::drafts),
    plain("2A9E", "Weight Scale Feature", weight::feature, none),
    plain("2A9C", "Body Composition Measurement", body_composition::measurement, body_composition::drafts),
    plain("2AA7", "CGM Measurement", cgm::measurement, cgm::drafts),
    plain("2AA8", "CGM Feature", cgm::feature, none),
    plain("2AA9", "CGM Status", cgm::status, none),
    plain("2AAA", "CGM Session Start Time", cgm::session_start, none),
    plain("2AAB", "CGM Session Run Time", cgm::run_time, none),
    plain("2AAC", "CGM Specific Ops Control Point", cgm::control_point, none),
    plain("2B34", "Enhanced Blood Pressure Measurement", enhanced::measurement, enhanced::drafts),
    plain("2B35", "Enhanced Intermediate Cuff Pressure", enhanced::intermediate, none),
    plain("2B36", "Blood Pressure Record", enhanced::stored, enhanced::stored_drafts),
    plain("2A52", "Record Access Control Point", racp::decode, none),
    plain("2A9F", "User Control Point", user_control::decode, none),
    plain("2A24", "Model Number String", device_information::text, none),
    plain("2A25", "Serial Number String", device_information::text, none),
    plain("2A26", "Firmware Revision String", device_information::text, none),
    plain("2A27", "Hardware Revision String", device_information::text, none),
    plain("2A28", "Software Revision String", device_information::text, none),
    plain("2A29", "Manufacturer Name String", device_information::text, none),
    plain("2A23", "System ID", device_information::system_id, none),
    plain("2A2A", "IEEE 11073-20601 Regulatory Certification Data List", device_information::regulatory, none),
    plain("2A50", "PnP ID", device_information::pnp_id, none),
    plain("2BFF", "UDI for Medical Devices", device_information::udi, none),
    plain("ADV:FCD2", "BTHome v2 service data", adv_bthome::decode, adv_bthome::drafts),
    plain("ADV:181D", "Xiaomi Mi Scale 1 service data", adv_mi_scale::scale1, adv_mi_scale::drafts),
    plain("ADV:181B", "Xiaomi Mi Scale 2 service data", adv_mi_scale::scale2, adv_mi_scale::drafts),
    framed("LEPU:PC60", "Lepu PC-60 oximeter frame", lepu::head, lepu::frame, lepu::drafts),
    plain("TAIDOC:GLUCOSE", "TaiDoc answer of a glucose meter", taidoc::glucose, taidoc::glucose_drafts),
    plain("TAIDOC:BP", "TaiDoc answer of a blood pressure monitor", taidoc::pressure, taidoc::pressure_drafts),
    plain("TAIDOC:TEMP", "TaiDoc answer of a thermometer", taidoc::temperature, taidoc::temperature_drafts),
    plain("TRANSTEK:8A21", "Transtek weight", transtek::weight, transtek::weight_drafts),
    plain("TRANSTEK:8A22", "Transtek body composition", transtek::body, transtek::body_drafts),
    plain("TRANSTEK:8A82", "Transtek user, not read", transtek::user_record, none),
    framed("VIATOM", "Viatom ring, live values", viatom::head, viatom::frame, viatom::drafts),
];
