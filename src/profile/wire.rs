//! JSON and CBOR into the slots of a field table, in one pass: what the table does not name is skipped, not kept.
//!
//! Numbers of JSON keep their text's decimals; floats of CBOR become the shortest decimal at their wire width
//! (a half-precision one that of the `f32` it widens to). Must never: choose between two fields of one name.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::reject;
use crate::decimal::Decimal;
use crate::limits::{PAYLOAD_DEPTH_MAX, READINGS_PER_FRAME_MAX, TEXT_CHARS_MAX};
use crate::reading::Reject;

/// A field's content.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Scalar<'m> {
    /// It is not there.
    #[default]
    Missing,
    /// It is there and empty.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A number.
    Number(Decimal),
    /// A text of at most `TEXT_CHARS_MAX` octets.
    Text(Cow<'m, str>),
    /// A number of more digits than a decimal holds: no measurement, but perhaps an id.
    Digits(&'m str),
    /// An object, an array, octets, a longer text.
    Other,
}

/// What a table wants of a message: a tree of the keys it names. Each node has a slot in its scope.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Key in its object.
    pub(super) key: Box<str>,
    /// The same key as CBOR may number it.
    pub(super) number: Option<i64>,
    /// Where its content goes.
    pub(super) slot: usize,
    /// What it is.
    pub(super) kind: Kind,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// A scalar.
    Leaf,
    /// An object with these keys.
    Branch(Vec<Node>),
    /// The array of readings; slots below it are counted per element.
    Each(Box<Node>),
}

/// What was found.
#[derive(Debug)]
pub(super) struct Slots<'m> {
    /// Of the message, by slot.
    pub(super) message: Vec<Scalar<'m>>,
    /// Of the elements, one after the other, `stride` slots each.
    pub(super) elements: Vec<Scalar<'m>>,
    stride: usize,
    rejected: Option<Reject>,
}

impl<'m> Slots<'m> {
    fn new(slots: usize, stride: usize) -> Self {
        Self { message: vec![Scalar::Missing; slots], elements: Vec::new(), stride, rejected: None }
    }

    /// Puts content into a slot; `false` if there is some already.
    fn put(&mut self, slot: usize, base: Option<usize>, content: Scalar<'m>) -> bool {
        let place = match base {
            Some(base) => self.elements.get_mut(base + slot),
            None => self.message.get_mut(slot),
        };
        match place {
            Some(place @ Scalar::Missing) => {
                *place = content;
                true
            }
            _ => false,
        }
    }
}

/// Reads JSON.
pub(super) fn json<'m>(bytes: &'m [u8], root: &Node, slots: usize, stride: usize) -> Result<Slots<'m>, Reject> {
    let text = std::str::from_utf8(bytes).map_err(|_| reject::MALFORMED)?;
    if too_deep(bytes) {
        return Err(reject::TOO_DEEP);
    }
    let mut found = Slots::new(slots, stride);
    let mut from = serde_json::Deserializer::from_str(text);
    let read = Fill::<Json> { node: root, slots: &mut found, base: None, wire: Json }.deserialize(&mut from);
    finish(read.is_ok() && from.end().is_ok(), found)
}

/// Reads CBOR.
pub(super) fn cbor<'m>(bytes: &'m [u8], root: &Node, slots: usize, stride: usize) -> Result<Slots<'m>, Reject> {
    let mut found = Slots::new(slots, stride);
    let mut from = serde_cbor::Deserializer::from_slice(bytes);
    let read = Fill { node: root, slots: &mut found, base: None, wire: Cbor { depth: 0 } }.deserialize(&mut from);
    finish(read.is_ok() && from.end().is_ok(), found)
}

fn finish(whole: bool, mut found: Slots<'_>) -> Result<Slots<'_>, Reject> {
    match found.rejected.take() {
        Some(reject) => Err(reject),
        None if whole => Ok(found),
        None => Err(reject::MALFORMED),
    }
}

/// Brackets are counted first: a message with few of them cannot be deep, and that is nearly all.
fn too_deep(json: &[u8]) -> bool {
    if json.iter().filter(|b| matches!(b, b'{' | b'[')).count() <= PAYLOAD_DEPTH_MAX {
        return false;
    }
    let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
    for b in json {
        match b {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => depth += 1,
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > PAYLOAD_DEPTH_MAX {
            return true;
        }
    }
    false
}

/// The differences between the two formats.
trait Wire: Copy {
    /// Reads a value that the table names.
    fn scalar<'m, D: Deserializer<'m>>(self, from: D) -> Result<Scalar<'m>, D::Error>;
    /// Reads past a value that it does not name.
    fn skip<'m, A: MapAccess<'m>>(self, map: &mut A) -> Result<(), A::Error>;
    /// One level down.
    fn deeper(self) -> Self;
}

#[derive(Clone, Copy)]
struct Json;

impl Wire for Json {
    fn scalar<'m, D: Deserializer<'m>>(self, from: D) -> Result<Scalar<'m>, D::Error> {
        let raw = <&'m RawValue as serde::Deserialize>::deserialize(from)?.get();
        Ok(match raw.as_bytes().first() {
            Some(b'"') => text(raw),
            Some(b't') => Scalar::Bool(true),
            Some(b'f') => Scalar::Bool(false),
            Some(b'n') => Scalar::Null,
            Some(b'-' | b'0'..=b'9') => raw.parse().map_or(Scalar::Digits(raw), Scalar::Number),
            _ => Scalar::Other,
        })
    }

    fn skip<'m, A: MapAccess<'m>>(self, map: &mut A) -> Result<(), A::Error> {
        map.next_value::<IgnoredAny>().map(drop)
    }

    fn deeper(self) -> Self {
        self
    }
}

/// A JSON string with its quotes.
fn text(raw: &str) -> Scalar<'_> {
    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    if inner.len() > TEXT_CHARS_MAX {
        return Scalar::Other;
    }
    if inner.contains('\\') {
        return serde_json::from_str::<String>(raw).map_or(Scalar::Other, |t| Scalar::Text(t.into()));
    }
    Scalar::Text(inner.into())
}

#[derive(Clone, Copy)]
struct Cbor {
    depth: usize,
}

impl Cbor {
    fn check<E: Error>(self) -> Result<Self, E> {
        if self.depth >= PAYLOAD_DEPTH_MAX { Err(E::custom("nested too deeply")) } else { Ok(self.deeper()) }
    }
}

impl Wire for Cbor {
    fn scalar<'m, D: Deserializer<'m>>(self, from: D) -> Result<Scalar<'m>, D::Error> {
        from.deserialize_any(self)
    }

    fn skip<'m, A: MapAccess<'m>>(self, map: &mut A) -> Result<(), A::Error> {
        map.next_value_seed(self).map(drop)
    }

    fn deeper(self) -> Self {
        Self { depth: self.depth + 1 }
    }
}

impl<'m> DeserializeSeed<'m> for Cbor {
    type Value = Scalar<'m>;
    fn deserialize<D: Deserializer<'m>>(self, from: D) -> Result<Scalar<'m>, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'m> Visitor<'m> for Cbor {
    type Value = Scalar<'m>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_bool<E>(self, v: bool) -> Result<Scalar<'m>, E> {
        Ok(Scalar::Bool(v))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Scalar<'m>, E> {
        Ok(Scalar::Number(Decimal::from(v)))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Scalar<'m>, E> {
        Ok(i64::try_from(v).map_or(Scalar::Other, |v| Scalar::Number(Decimal::from(v))))
    }
    fn visit_i128<E>(self, _: i128) -> Result<Scalar<'m>, E> {
        Ok(Scalar::Other)
    }
    fn visit_f32<E>(self, v: f32) -> Result<Scalar<'m>, E> {
        Ok(Decimal::from_f32(v).map_or(Scalar::Other, Scalar::Number))
    }
    fn visit_f64<E>(self, v: f64) -> Result<Scalar<'m>, E> {
        Ok(Decimal::from_f64(v).map_or(Scalar::Other, Scalar::Number))
    }
    fn visit_borrowed_str<E>(self, v: &'m str) -> Result<Scalar<'m>, E> {
        Ok(if v.len() > TEXT_CHARS_MAX { Scalar::Other } else { Scalar::Text(v.into()) })
    }
    fn visit_str<E>(self, v: &str) -> Result<Scalar<'m>, E> {
        Ok(if v.len() > TEXT_CHARS_MAX { Scalar::Other } else { Scalar::Text(v.to_owned().into()) })
    }
    fn visit_bytes<E>(self, _: &[u8]) -> Result<Scalar<'m>, E> {
        Ok(Scalar::Other)
    }
    fn visit_unit<E>(self) -> Result<Scalar<'m>, E> {
        Ok(Scalar::Null)
    }
    fn visit_none<E>(self) -> Result<Scalar<'m>, E> {
        Ok(Scalar::Null)
    }
    fn visit_seq<A: SeqAccess<'m>>(self, mut seq: A) -> Result<Scalar<'m>, A::Error> {
        let below = self.check()?;
        while seq.next_element_seed(below)?.is_some() {}
        Ok(Scalar::Other)
    }
    fn visit_map<A: MapAccess<'m>>(self, mut map: A) -> Result<Scalar<'m>, A::Error> {
        let below = self.check()?;
        while map.next_key_seed(below)?.is_some() {
            map.next_value_seed(below)?;
        }
        Ok(Scalar::Other)
    }
}

/// Reads the value of one node into its slot and those below it.
struct Fill<'n, 's, 'm, W> {
    node: &'n Node,
    slots: &'s mut Slots<'m>,
    /// First slot of the element, inside one.
    base: Option<usize>,
    wire: W,
}

impl<'m, W: Wire> Fill<'_, '_, 'm, W> {
    fn put<E: Error>(&mut self, content: Scalar<'m>) -> Result<(), E> {
        if self.slots.put(self.node.slot, self.base, content) {
            return Ok(());
        }
        self.stop(reject::twice(&self.node.key))
    }

    fn stop<E: Error>(&mut self, why: Reject) -> Result<(), E> {
        self.slots.rejected.get_or_insert(why);
        Err(E::custom("rejected"))
    }
}

impl<'m, W: Wire> DeserializeSeed<'m> for Fill<'_, '_, 'm, W> {
    type Value = ();
    fn deserialize<D: Deserializer<'m>>(mut self, from: D) -> Result<(), D::Error> {
        if let Kind::Leaf = self.node.kind {
            let content = self.wire.scalar(from)?;
            return self.put(content);
        }
        from.deserialize_any(self)
    }
}

impl<'m, W: Wire> Visitor<'m> for Fill<'_, '_, 'm, W> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object, or the array of readings")
    }

    /// Nothing where an object could be: everything below it is missing.
    fn visit_unit<E: Error>(mut self) -> Result<(), E> {
        self.put(Scalar::Null)
    }

    fn visit_map<A: MapAccess<'m>>(mut self, mut map: A) -> Result<(), A::Error> {
        let Kind::Branch(children) = &self.node.kind else { return Err(A::Error::custom("an object")) };
        self.put(Scalar::Other)?;
        let wire = self.wire.deeper();
        while let Some(child) = map.next_key_seed(Key(children))? {
            match child {
                Some(node) => map.next_value_seed(Fill { node, slots: self.slots, base: self.base, wire })?,
                None => wire.skip(&mut map)?,
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'m>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let Kind::Each(node) = &self.node.kind else { return Err(A::Error::custom("an array")) };
        self.put(Scalar::Other)?;
        let (stride, wire) = (self.slots.stride, self.wire.deeper());
        loop {
            let base = self.slots.elements.len();
            self.slots.elements.resize(base + stride, Scalar::Missing);
            let more = seq.next_element_seed(Fill { node, slots: self.slots, base: Some(base), wire })?;
            if more.is_none() {
                self.slots.elements.truncate(base);
                return Ok(());
            }
            if self.slots.elements.len() > READINGS_PER_FRAME_MAX * stride {
                return self.stop(reject::TOO_MANY);
            }
        }
    }
}

/// Finds the node of a key.
struct Key<'n>(&'n [Node]);

impl<'m, 'n> DeserializeSeed<'m> for Key<'n> {
    type Value = Option<&'n Node>;
    fn deserialize<D: Deserializer<'m>>(self, from: D) -> Result<Option<&'n Node>, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'n> Visitor<'_> for Key<'n> {
    type Value = Option<&'n Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E>(self, key: &str) -> Result<Option<&'n Node>, E> {
        Ok(self.0.iter().find(|n| *n.key == *key))
    }
    fn visit_i64<E>(self, key: i64) -> Result<Option<&'n Node>, E> {
        Ok(self.0.iter().find(|n| n.number == Some(key)))
    }
    fn visit_u64<E>(self, key: u64) -> Result<Option<&'n Node>, E> {
        Ok(i64::try_from(key).ok().and_then(|key| self.0.iter().find(|n| n.number == Some(key))))
    }
    fn visit_bytes<E>(self, _: &[u8]) -> Result<Option<&'n Node>, E> {
        Ok(None)
    }
}
