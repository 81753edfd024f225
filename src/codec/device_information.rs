//! Device information: strings 2A24–2A29, 2A23 system id, 2A2A regulatory data, 2A50 PnP id, 2BFF UDI (dossier §2.8).
//!
//! Text is trimmed of NUL and space. Must never: pass text that is not UTF-8, or that holds control characters.

use super::reader::read;
use super::record::{Record, hex};
use super::{Reader, reject};
use crate::reading::Reject;

/// 2A24 model, 2A25 serial, 2A26 firmware, 2A27 hardware, 2A28 software, 2A29 manufacturer.
pub(super) fn text(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        record.put("text", utf8(r.rest())?);
        Ok(())
    })
}

/// 2A23: the wire has the least significant octet first, people read the most significant one first.
pub(super) fn system_id(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        let octets = r.array::<8>("system id")?;
        let text: Vec<_> = octets.iter().rev().map(|b| format!("{b:02X}")).collect();
        record.put("eui64", text.join("-"));
        Ok(())
    })
}

/// 2A2A: a list of its own, kept as octets.
pub(super) fn regulatory(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        record.put("octets", hex(r.rest()));
        Ok(())
    })
}

/// 2A50.
pub(super) fn pnp_id(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        record.put("source", r.u8("vendor id source")?);
        for name in ["vendor", "product", "version"] {
            record.put(name, r.u16(name)?);
        }
        Ok(())
    })
}

/// 2BFF: up to four texts, each ended by a zero.
pub(super) fn udi(bytes: &[u8]) -> Result<Record, Reject> {
    read(bytes, |r, record| {
        let flags = r.u8("flags")?;
        for (bit, name) in [(1, "label"), (2, "di"), (4, "issuer"), (8, "authority")] {
            if flags & bit != 0 {
                record.put(name, zero_terminated(r, name)?);
            }
        }
        record.reserved(flags & 0xF0 != 0);
        Ok(())
    })
}

fn zero_terminated(r: &mut Reader<'_>, field: &'static str) -> Result<String, Reject> {
    let rest = r.clone().rest();
    let length = rest.iter().position(|b| *b == 0).ok_or_else(|| reject::short(field))?;
    let text = utf8(r.take(length, field)?)?;
    r.u8(field)?;
    Ok(text)
}

fn utf8(bytes: &[u8]) -> Result<String, Reject> {
    let text = str::from_utf8(bytes).map_err(|_| reject::illegal("text"))?;
    let text = text.trim_matches(|c: char| c == '\0' || c.is_whitespace());
    if text.chars().any(char::is_control) { Err(reject::illegal("text")) } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use crate::codec::tests::*;

    #[test]
    fn text_is_trimmed_and_must_be_text() {
        assert_eq!(json("2A29", "41264420000000"), r#"{"text":"A&D"}"#);
        assert_eq!(json("2A24", ""), r#"{"text":""}"#);
        assert_eq!(rejected("2A26", "ff31"), "WL-D003");
        assert_eq!(rejected("2A26", "311b5b32"), "WL-D003");
    }

    #[test]
    fn udi_texts_end_with_zero() {
        assert_eq!(json("2BFF", "02444900"), r#"{"di":"DI"}"#);
        assert_eq!(rejected("2BFF", "024449"), "WL-D001");
        assert_eq!(rejected("2BFF", "0244490000"), "WL-D002");
    }
}
