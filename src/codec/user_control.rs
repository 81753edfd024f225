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

/// Register a new user under a consent code.
pub fn register(consent_code: u16) -> [u8; 3] {
    let [low, high] = consent_code.to_le_bytes();
    [0x01, low, high]
}

/// Ask for a user's data with the consent code that the person chose.
pub fn consent(user: u8, consent_code: u16) -> [u8; 4] {
    let [low, high] = consent_code.to_le_bytes();
    [0x02, user, low, high]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::*;

    #[test]
    fn requests_and_responses_decode() {
        assert_eq!(decode(&register(4660)).unwrap().to_json(), r#"{"opcode":1,"consent_code":4660}"#);
        assert_eq!(decode(&consent(2, 1)).unwrap().to_json(), r#"{"opcode":2,"user_id":2,"consent_code":1}"#);
        assert_eq!(json("2A9F", "20010102"), r#"{"opcode":32,"request_opcode":1,"response_code":1,"user_id":2}"#);
        assert_eq!(rejected("2A9F", "07"), "WL-D003");
    }
}
