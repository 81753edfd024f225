//! The field table of a frame of fixed octets, for devices whose bytes need no codec of their own.
//!
//! Length, first octets, then fields (style of every codec). Must never: read a frame that is longer or shorter than stated.

use super::reject;
use super::schema::{Meaning, NumberType};
use super::table::Scaling;
use crate::decimal::Decimal;
use crate::reading::{Absence, Draft, Part, Quality, Reject, Value};
use crate::unit::Unit;
use crate::vital::{Role, Site, Vital};

/// A table, ready to read frames.
#[derive(Clone, Debug)]
pub(super) struct BinaryTable {
    pub(super) length: usize,
    pub(super) prefix: Vec<u8>,
    /// Frames that hold no reading begin like this.
    pub(super) ignore: Vec<Vec<u8>>,
    pub(super) vitals: Vec<BinaryVital>,
}

#[derive(Clone, Debug)]
pub(super) struct BinaryVital {
    pub(super) vital: Vital,
    /// Octet and mask of the flag that says it is there.
    pub(super) flag: Option<(usize, u8)>,
    pub(super) parts: Vec<BinaryPart>,
    pub(super) site: Option<Site>,
    pub(super) quality: Vec<Quality>,
}

#[derive(Clone, Debug)]
pub(super) struct BinaryPart {
    pub(super) role: Role,
    pub(super) at: usize,
    pub(super) kind: NumberType,
    pub(super) unit: Unit,
    pub(super) scaling: Scaling,
    pub(super) special: Vec<(Decimal, Meaning)>,
}

impl NumberType {
    /// How many octets it has; 0 for the numbers of messages.
    pub(super) fn octets(self) -> usize {
        match self {
            Self::Number | Self::Text => 0,
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::U16be | Self::I16be => 2,
            Self::U24 => 3,
            Self::U32 | Self::U32be => 4,
        }
    }

    fn read(self, octets: &[u8]) -> Option<i64> {
        let big_endian = matches!(self, Self::U16be | Self::I16be | Self::U32be);
        let fold = |n: i64, b: &u8| n << 8 | i64::from(*b);
        let octets = octets.get(..self.octets())?;
        let n = if big_endian { octets.iter().fold(0, fold) } else { octets.iter().rev().fold(0, fold) };
        Some(match self {
            Self::I8 if n > 0x7f => n - 0x100,
            Self::I16 | Self::I16be if n > 0x7fff => n - 0x1_0000,
            _ => n,
        })
    }
}

impl BinaryTable {
    /// The readings of a frame.
    pub(super) fn drafts(&self, bytes: &[u8]) -> Result<Vec<Draft>, Reject> {
        if self.ignore.iter().any(|prefix| bytes.starts_with(prefix)) {
            return Ok(Vec::new());
        }
        if bytes.len() != self.length || !bytes.starts_with(&self.prefix) {
            return Err(reject::OTHER_FRAME);
        }
        let there = |v: &&BinaryVital| v.flag.is_none_or(|(at, mask)| bytes.get(at).is_some_and(|b| b & mask != 0));
        self.vitals.iter().filter(there).map(|v| v.draft(bytes)).collect()
    }
}

impl BinaryVital {
    fn draft(&self, bytes: &[u8]) -> Result<Draft, Reject> {
        let mut quality = self.quality.clone();
        let mut parts = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let raw =
                bytes.get(part.at..).and_then(|b| part.kind.read(b)).map(Decimal::from).ok_or(reject::OTHER_FRAME)?;
            let special = part.special.iter().find(|(n, _)| *n == raw).map(|(_, meaning)| meaning.absence());
            let value = match special {
                Some(absence) => {
                    let (why, label) = absence.unwrap_or((Absence::Unknown, None));
                    quality.extend(label.filter(|l| !self.quality.contains(l)));
                    Value::Absent(why)
                }
                None => Value::Number(part.scaling.apply(raw).ok_or(reject::OTHER_FRAME)?),
            };
            parts.push(Part { role: part.role, value, unit: part.unit });
        }
        Ok(Draft {
            vital: self.vital,
            parts,
            slot: None,
            sequence: None,
            device_time: None,
            quality,
            site: self.site,
            stored: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_width_sign_and_order() {
        use NumberType::*;
        let bytes = [0xff, 0x01, 0x80, 0x02];
        for (kind, expected) in [
            (U8, 255),
            (I8, -1),
            (U16, 0x01ff),
            (I16, 0x01ff),
            (U16be, 0xff01),
            (I16be, 0xff01 - 0x1_0000),
            (U24, 0x80_01ff),
            (U32, 0x0280_01ff),
            (U32be, 0xff01_8002),
        ] {
            assert_eq!(kind.read(&bytes), Some(expected), "{kind:?}");
        }
        assert_eq!(U32.read(&bytes[..3]), None);
    }
}
