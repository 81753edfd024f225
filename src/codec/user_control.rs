//! User Control Point, 2A9F: how a shared scale learns whose data it may hand out (dossier §2.8).
//!
//! Must never: log a consent code.

use super::reader::read;
use super::record::Record;
use super::reject;
use crate::reading::Reject;

/// 2A9F, requests and responses.
pub(super) fn decode(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        let opcode = r.u8("opcode")?;
        record.put("opcode", opcode);
        match opcode {
            0x01 => record.put("consent_code", r.u16("consent code")?),
            0x02 => {
                record.put("user_id", r.u8("user id")?);
                record.put("consent_code", r.u16("consent code")?);
            }
            0x03 => {}
            0x20 => {
                record.put("request_opcode", r.u8("request opcode")?);
                record.put("response_code", r.u8("response code")?);
                if r.left() > 0 {
                    record.put("user_id", r.u8("user id")?);
                }
            }
            _ => return Err(reject::illegal("opcode")),
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use crate::codec::tests::*;

    #[test]
    fn requests_and_responses_decode() {
        assert_eq!(json("2A9F", "013412"), r#"{"opcode":1,"consent_code":4660}"#);
        assert_eq!(json("2A9F", "02020100"), r#"{"opcode":2,"user_id":2,"consent_code":1}"#);
        assert_eq!(json("2A9F", "20010102"), r#"{"opcode":32,"request_opcode":1,"response_code":1,"user_id":2}"#);
        assert_eq!(rejected("2A9F", "07"), "WL-D003");
    }
}
