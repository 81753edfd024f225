//! Record Access Control Point, 2A52: the way to a device's stored records (dossier §1.4).
//!
//! Response 6 to request 1 means "no records", which is success.
//! Must never: be asked by this gateway to delete (2); the device's memory is the patient's last copy.

use super::reader::read;
use super::record::{Record, hex};
use super::reject;
use crate::reading::Reject;

/// 2A52, requests and responses.
pub(super) fn decode(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        let (opcode, operator) = (r.u8("opcode")?, r.u8("operator")?);
        record.put("opcode", opcode);
        record.put("operator", operator);
        if matches!(opcode, 5 | 6) && operator != 0 {
            return Err(reject::illegal("operator"));
        }
        match opcode {
            // Some services answer with a shorter or longer count than the glucose service's 16 bit.
            5 => match r.left() {
                1 => record.put("count", r.u8("count")?),
                4 => record.put("count", r.u32("count")?),
                _ => record.put("count", r.u16("count")?),
            },
            6 => {
                record.put("request_opcode", r.u8("request opcode")?);
                record.put("response_code", r.u8("response code")?);
            }
            _ => record.put("operand", hex(r.rest())),
        }
        Ok(())
    })
}

/// Request all stored records.
pub const REPORT_ALL: [u8; 2] = [1, 1];
/// Request the number of all stored records.
pub const COUNT_ALL: [u8; 2] = [4, 1];
/// Stop sending.
pub const ABORT: [u8; 2] = [3, 0];

/// Request the records from this sequence number on: report, ≥, by sequence number (dossier §1.4).
pub fn report_from(sequence: u16) -> [u8; 5] {
    let [low, high] = sequence.to_le_bytes();
    [1, 3, 1, low, high]
}

/// Request the number of records from this sequence number on.
pub fn count_from(sequence: u16) -> [u8; 5] {
    let [low, high] = sequence.to_le_bytes();
    [4, 3, 1, low, high]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::*;

    #[test]
    fn requests_are_what_they_decode_to() {
        let text = |bytes: &[u8]| decode(bytes).unwrap().to_json();
        assert_eq!(text(&REPORT_ALL), r#"{"opcode":1,"operator":1,"operand":""}"#);
        assert_eq!(text(&ABORT), r#"{"opcode":3,"operator":0,"operand":""}"#);
        assert_eq!(text(&report_from(0x1234)), r#"{"opcode":1,"operator":3,"operand":"013412"}"#);
        assert_eq!(text(&COUNT_ALL), r#"{"opcode":4,"operator":1,"operand":""}"#);
        assert_eq!(text(&count_from(0x1234)), r#"{"opcode":4,"operator":3,"operand":"013412"}"#);
    }

    #[test]
    fn responses_have_no_operator() {
        assert_eq!(rejected("2A52", "06010106"), "WL-D003");
        assert_eq!(rejected("2A52", "05010100"), "WL-D003");
        assert_eq!(rejected("2A52", "0600010600"), "WL-D002");
        assert_eq!(json("2A52", "050001020304"), r#"{"opcode":5,"operator":0,"count":67305985}"#);
    }
}
