//! A cursor over the bytes of one record. Every read is bounded and names its field.
//!
//! Must never: read beyond the end, or let octets after the last field pass unseen.

use super::ieee11073::{self, Real};
use super::record::Record;
use super::reject;
use crate::reading::Reject;

/// What is left of a record.
#[derive(Clone)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// From the first octet.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `N` octets.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Reject> {
        let (head, rest) = self.0.split_first_chunk().ok_or_else(|| reject::short(field))?;
        self.0 = rest;
        Ok(*head)
    }

    /// The next `n` octets.
    pub fn take(&mut self, n: usize, field: &'static str) -> Result<&'a [u8], Reject> {
        let (head, rest) = self.0.split_at_checked(n).ok_or_else(|| reject::short(field))?;
        self.0 = rest;
        Ok(head)
    }

    /// All octets that are left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// The octets that are left, unread.
    pub fn peek(&self) -> &'a [u8] {
        self.0
    }

    /// How many octets are left.
    pub fn left(&self) -> usize {
        self.0.len()
    }

    /// Unsigned 8 bit.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, Reject> {
        self.array::<1>(field).map(|[b]| b)
    }

    /// Signed 8 bit.
    pub fn i8(&mut self, field: &'static str) -> Result<i8, Reject> {
        self.array(field).map(i8::from_le_bytes)
    }

    /// Unsigned 16 bit.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, Reject> {
        self.array(field).map(u16::from_le_bytes)
    }

    /// Signed 16 bit.
    pub fn i16(&mut self, field: &'static str) -> Result<i16, Reject> {
        self.array(field).map(i16::from_le_bytes)
    }

    /// Unsigned 24 bit.
    pub fn u24(&mut self, field: &'static str) -> Result<u32, Reject> {
        self.array(field).map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]))
    }

    /// Unsigned 32 bit.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, Reject> {
        self.array(field).map(u32::from_le_bytes)
    }

    /// Unsigned 48 bit.
    pub fn u48(&mut self, field: &'static str) -> Result<u64, Reject> {
        self.array(field).map(|[a, b, c, d, e, f]| u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }

    /// IEEE 11073 SFLOAT, 16 bit.
    pub fn sfloat(&mut self, field: &'static str) -> Result<Real, Reject> {
        self.u16(field).map(ieee11073::sfloat)
    }

    /// IEEE 11073 FLOAT, 32 bit.
    pub fn float(&mut self, field: &'static str) -> Result<Real, Reject> {
        self.u32(field).map(ieee11073::float)
    }

    /// Everything was read.
    pub fn end(&self) -> Result<(), Reject> {
        if self.0.is_empty() { Ok(()) } else { Err(reject::TRAILING) }
    }
}

/// A record from all of its bytes: what `fields` leaves over is a reason to reject it.
pub(super) fn read(
    bytes: &[u8],
    fields: impl FnOnce(&mut Reader<'_>, &mut Record) -> Result<(), Reject>,
) -> Result<Record, Reject> {
    let (mut r, mut record) = (Reader::new(bytes), Record::default());
    fields(&mut r, &mut record)?;
    r.end()?;
    Ok(record)
}
