//! The end-to-end checksum of the Bluetooth health services: CRC-16/MCRF4XX (dossier §1.2).
//!
//! Must never: be skipped where a record carries it.

use super::record::Record;
use super::{Reader, reject};
use crate::reading::Reject;

/// Initial value 0xFFFF, reflected polynomial 0x8408, no final exclusive-or.
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x8408 } else { crc >> 1 })
    })
}

/// Reads the checksum that ends a record, if two octets are left for it, and says whether it holds.
pub(super) fn trailer(whole: &[u8], r: &mut Reader<'_>, record: &mut Record) -> Result<(), Reject> {
    if r.left() == 0 {
        return Ok(());
    }
    if r.left() > 2 {
        return Err(reject::TRAILING);
    }
    let covered = whole.len().saturating_sub(r.left());
    let crc = r.u16("checksum")?;
    record.put("crc", crc);
    record.put("crc_ok", whole.get(..covered).is_some_and(|bytes| crc16(bytes) == crc));
    Ok(())
}

/// The checksum of the given octets.
pub(super) fn decode(bytes: &[u8]) -> Result<Record, Reject> {
    let mut record = Record::default();
    record.put("crc", crc16(bytes));
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_s_check_value() {
        assert_eq!(crc16(b"123456789"), 0x6F91);
    }

    #[test]
    fn a_record_and_its_checksum_leave_no_remainder() {
        let mut bytes = vec![0x06, 0x00, 0x0c, 0x10, 0x06, 0x00];
        bytes.extend(crc16(&bytes).to_le_bytes());
        assert_eq!(crc16(&bytes), 0);
    }
}
