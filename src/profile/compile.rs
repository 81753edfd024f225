//! From what is written to what can be run: every key checked for sense, so that decoding need not ask again.
//!
//! Must never: accept a rule that could make a vital in a unit that does not measure it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::binary::{BinaryPart, BinaryTable, BinaryVital};
use super::error::ProfileError;
use super::schema::{
    Condition, Format, Link, Meaning, NumberType, OneOrMany, PartRule, ProfileFile, Rule, UnitRule, VitalRule,
};
use super::table::{PartField, Scaling, SpecialKey, Table, Test, TimeField, UnitField, VitalFields};
use super::topic::Pattern;
use super::tree::Paths;
use crate::codec::{self, Codec, Quirk};
use crate::decimal::Decimal;
use crate::unit::Unit;
use crate::vital::{Role, Vital};

/// A profile that can be run.
pub struct Profile {
    /// Its id.
    pub id: Arc<str>,
    /// What is written.
    pub file: ProfileFile,
    pub(super) rules: Vec<Compiled>,
    pub(super) bounds: Vec<Bound>,
}

/// A rule that can be run.
pub(super) struct Compiled {
    pub(super) way: Way,
    pub(super) bytes: Bytes,
    /// The same readings again within this time are the same broadcast.
    pub(super) repeats: Option<Duration>,
    /// Values of a stream.
    pub(super) stream: bool,
}

/// Which bytes a rule is for.
pub(super) enum Way {
    Characteristic(String),
    Advertisement(String),
    Topic(Pattern),
}

/// What they mean.
pub(super) enum Bytes {
    Codec { codec: &'static Codec, quirk: Quirk, hold_for_context: bool },
    Message(Box<Table>),
    Binary(BinaryTable),
}

/// Bounds of a profile.
pub(super) struct Bound {
    pub(super) vital: Vital,
    pub(super) role: Role,
    pub(super) min: Decimal,
    pub(super) max: Decimal,
    pub(super) unit: Unit,
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Profile({})", self.id)
    }
}

/// Key and reason.
type Wrong = (String, String);

fn wrong<T>(key: &str, reason: impl Into<String>) -> Result<T, Wrong> {
    Err((key.into(), reason.into()))
}

/// Puts the key that an error lies under before it.
fn under<T>(key: &str, result: Result<T, Wrong>) -> Result<T, Wrong> {
    result.map_err(|(inner, reason)| (format!("{key}.{inner}"), reason))
}

impl Profile {
    /// Parses and checks a profile; `file` is named in errors, and its stem must be the id.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ProfileError> {
        let malformed =
            |e: toml::de::Error| ProfileError::Malformed { file: file.into(), reason: e.to_string().trim_end().into() };
        let written: ProfileFile = toml::from_str(text).map_err(malformed)?;
        let meaningless = |(key, reason)| ProfileError::Meaningless { file: file.into(), key, reason };
        if file.file_stem().is_some_and(|stem| *stem != *written.id) {
            return Err(meaningless(("id".into(), "differs from the name of the file".into())));
        }
        compile(written).map_err(meaningless)
    }

    /// Whether it is for devices of any name that offer its characteristics.
    pub fn is_standard(&self) -> bool {
        self.file.matching.names.is_empty()
    }
}

pub(super) fn compile(file: ProfileFile) -> Result<Profile, Wrong> {
    if file.id.is_empty() || !file.id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return wrong("id", "may hold a-z, 0-9 and - only");
    }
    if file.sources.is_empty() {
        return wrong("sources", "names no public document");
    }
    if file.experimental && file.note.is_none() {
        return wrong("note", "an experimental profile says what is unproven");
    }
    if file.rules.is_empty() {
        return wrong("decode", "there is no rule");
    }
    super::session::check(&file)?;
    let rules = file.rules.iter().enumerate().map(|(i, r)| under(&format!("decode[{i}]"), rule(r, file.link)));
    let rules = rules.collect::<Result<_, _>>()?;
    let bounds = file.plausible.iter().enumerate().map(|(i, p)| {
        let unit = under(&format!("plausible[{i}]"), unit_of(p.vital, &p.unit))?;
        if p.vital.component(p.role).is_none() || p.min.0 > p.max.0 {
            return wrong(&format!("plausible[{i}]"), "no such number of this vital, or the bounds are reversed");
        }
        Ok(Bound { vital: p.vital, role: p.role, min: p.min.0, max: p.max.0, unit })
    });
    let bounds = bounds.collect::<Result<_, _>>()?;
    Ok(Profile { id: Arc::from(file.id.as_str()), rules, bounds, file })
}

fn rule(rule: &Rule, link: Link) -> Result<Compiled, Wrong> {
    let way = match (link, &rule.characteristic, &rule.service, &rule.topic) {
        (Link::Ble, Some(uuid), None, None) => Way::Characteristic(super::session::uuid("characteristic", uuid)?),
        (Link::Advertisement, None, Some(uuid), None) => Way::Advertisement(super::session::uuid("service", uuid)?),
        (Link::Mqtt, None, None, Some(topic)) => {
            Way::Topic(Pattern::parse(topic).map_err(|why| ("topic".into(), why.into()))?)
        }
        _ => {
            return wrong(
                "",
                "needs a characteristic (ble), a service (advertisement) or a topic (mqtt), and only that",
            );
        }
    };
    if let Way::Topic(pattern) = &way
        && pattern.names_device() == rule.device.is_some()
    {
        return wrong(
            "device",
            "the id of the device must come from the topic or from a path, and from one of them only",
        );
    }
    let bytes = match (&rule.codec, rule.format) {
        (Some(name), None) => codec_rule(rule, name)?,
        (None, Some(Format::Binary)) => Bytes::Binary(binary(rule)?),
        (None, Some(format)) => Bytes::Message(Box::new(message(rule, format)?)),
        _ => return wrong("codec", "a rule has a codec or a format"),
    };
    let repeats = rule.repeats_s.map(|s| Duration::from_secs(s.into()));
    if rule.stream && !matches!(way, Way::Characteristic(_)) {
        return wrong("stream", "only values that no device sends again are gathered: those of a characteristic");
    }
    Ok(Compiled { way, bytes, repeats, stream: rule.stream })
}

fn codec_rule(rule: &Rule, name: &str) -> Result<Bytes, Wrong> {
    let Some(codec) = codec::find(name) else { return wrong("codec", format!("there is no codec \"{name}\"")) };
    let table = rule.each.is_some()
        || rule.id.is_some()
        || rule.time.is_some()
        || rule.slot.is_some()
        || !rule.vitals.is_empty()
        || !rule.refuse.is_empty()
        || !rule.labels.is_empty();
    if table || has_binary_keys(rule) {
        return wrong("codec", "a rule with a codec has no field table");
    }
    Ok(Bytes::Codec { codec, quirk: rule.quirk, hold_for_context: rule.hold_for_context })
}

fn has_binary_keys(rule: &Rule) -> bool {
    rule.length.is_some() || rule.prefix.is_some() || !rule.ignore_prefixes.is_empty()
}

fn message(rule: &Rule, format: Format) -> Result<Table, Wrong> {
    if has_binary_keys(rule) || rule.quirk != Quirk::None || rule.hold_for_context {
        return wrong("format", "length, prefix, quirk and context are not for messages");
    }
    if rule.vitals.is_empty() {
        return wrong("vital", "there is none");
    }
    let mut paths = Paths::new(rule.each.as_deref());
    let mut place = |key: &str, path: &str| paths.place(path).map_err(|why| (format!("{key} \"{path}\""), why.into()));
    if rule.device.as_ref().is_some_and(|p| rule.each.is_some() && !p.starts_with("$.")) {
        return wrong("device", "belongs to the message: begin its path with `$.`");
    }
    let device = rule.device.as_ref().map(|p| place("device", p)).transpose()?;
    let id = rule.id.as_ref().map(|r| Ok::<_, Wrong>((place("id", &r.path)?, r.unique))).transpose()?;
    let time = rule
        .time
        .as_ref()
        .map(|t| Ok::<_, Wrong>(TimeField { place: place("time", &t.path)?, form: t.form, required: t.required }));
    let time = time.transpose()?;
    let slot = rule.slot.as_ref().map(|p| place("slot", p)).transpose()?;
    let refuse = rule.refuse.iter().map(|p| place("refuse", p)).collect::<Result<_, _>>()?;
    let labels = rule.labels.iter().map(|l| Ok((test(place("labels", &l.path)?, &l.is), l.label)));
    let labels = labels.collect::<Result<_, Wrong>>()?;
    let vitals = rule.vitals.iter().enumerate();
    let vitals = vitals.map(|(i, v)| under(&format!("vital[{i}]"), vital(v, &mut place)));
    let vitals = vitals.collect::<Result<_, _>>()?;
    let grown = paths.grow().map_err(|why| ("each".into(), why.into()))?;
    Ok(Table {
        format,
        root: grown.root,
        slots: grown.slots,
        stride: grown.stride,
        each: grown.each,
        device,
        id,
        time,
        slot,
        refuse,
        shared: rule.shared,
        labels,
        vitals,
        paths: grown.names,
    })
}

fn test(place: super::table::Place, is: &OneOrMany) -> Test {
    let any_of = match is {
        OneOrMany::One(literal) => vec![literal.clone()],
        OneOrMany::Many(literals) => literals.clone(),
    };
    Test { place, any_of }
}

type PlaceOf<'p> = dyn FnMut(&str, &str) -> Result<super::table::Place, Wrong> + 'p;

/// The numbers of a vital that its rule names.
fn parts(rule: &VitalRule) -> Result<Vec<(Role, &PartRule)>, Wrong> {
    let all = [
        (Role::Value, &rule.value),
        (Role::Systolic, &rule.systolic),
        (Role::Diastolic, &rule.diastolic),
        (Role::Mean, &rule.mean),
    ];
    let named: Vec<_> = all.into_iter().filter_map(|(role, part)| Some((role, part.as_ref()?))).collect();
    if named.is_empty() {
        return wrong("value", "there is none");
    }
    match named.iter().find(|(role, _)| rule.vital.component(*role).is_none()) {
        Some((role, _)) => wrong(name(*role), format!("is no number of {}", rule.vital.id)),
        None => Ok(named),
    }
}

pub(super) fn name(role: Role) -> &'static str {
    match role {
        Role::Value => "value",
        Role::Systolic => "systolic",
        Role::Diastolic => "diastolic",
        Role::Mean => "mean",
        // No rule names these.
        Role::Minimum => "minimum",
        Role::Maximum => "maximum",
        Role::Count => "count",
        Role::Duration => "duration",
        Role::Carbohydrate => "carbohydrate",
        Role::Medication => "medication",
        Role::Exercise => "exercise",
        Role::Exercised => "exercised",
    }
}

fn vital(rule: &VitalRule, place: &mut PlaceOf<'_>) -> Result<VitalFields, Wrong> {
    let when = match &rule.when {
        None => None,
        Some(Condition { path: Some(path), is: Some(is), at: None, bit: None }) => Some(test(place("when", path)?, is)),
        Some(_) => return wrong("when", "needs `path` and `is`"),
    };
    let fields = parts(rule)?.into_iter().map(|(role, p)| under(name(role), part(rule.vital, role, p, place)));
    let fields = fields.collect::<Result<_, _>>()?;
    let errors = match &rule.errors {
        None => None,
        Some(e) => {
            let codes = e.codes.iter().map(|(text, meaning)| (SpecialKey::new(text), *meaning)).collect();
            Some((place("errors", &e.path)?, codes))
        }
    };
    Ok(VitalFields {
        vital: rule.vital,
        when,
        parts: fields,
        required: rule.required,
        site: rule.site,
        quality: rule.quality.clone(),
        errors,
    })
}

fn part(vital: Vital, role: Role, rule: &PartRule, place: &mut PlaceOf<'_>) -> Result<PartField, Wrong> {
    let (Some(path), None) = (&rule.path, rule.at) else { return wrong("path", "needs a path, and no `at`") };
    let in_text = match rule.kind {
        None | Some(NumberType::Number) => false,
        Some(NumberType::Text) => true,
        Some(_) => return wrong("type", "a message has `number` or `text`"),
    };
    let field_place = place("path", path)?;
    let unit = match &rule.unit {
        UnitRule::Fixed(ucum) => UnitField::Fixed(unit_of(vital, ucum)?),
        UnitRule::Told(told) => {
            let map = told.map.iter().map(|(text, ucum)| Ok((text.as_str().into(), unit_of(vital, ucum)?)));
            UnitField::Told(place("unit", &told.path)?, map.collect::<Result<_, Wrong>>()?)
        }
    };
    let special = rule.special.iter().map(|(text, meaning)| Ok((SpecialKey::new(text), absence(*meaning)?)));
    let special = special.collect::<Result<_, Wrong>>()?;
    let wanted = vital.component(role).is_some_and(|c| c.required);
    Ok(PartField { role, place: field_place, in_text, unit, scaling: scaling(rule)?, special, wanted })
}

fn absence(meaning: Meaning) -> Result<Meaning, Wrong> {
    if meaning == Meaning::None { wrong("special", "`none` is for error fields") } else { Ok(meaning) }
}

fn scaling(rule: &PartRule) -> Result<Scaling, Wrong> {
    match rule.scale {
        Some(s) if s.0 == Decimal::ZERO => wrong("scale", "is zero"),
        scale => Ok(Scaling { factor: scale.map(|s| s.0), offset: rule.offset.map(|o| o.0) }),
    }
}

fn unit_of(vital: Vital, ucum: &str) -> Result<Unit, Wrong> {
    vital.unit(ucum).map_or_else(|| wrong("unit", format!("\"{ucum}\" does not measure {}", vital.id)), Ok)
}

fn binary(rule: &Rule) -> Result<BinaryTable, Wrong> {
    let Some(length) = rule.length else { return wrong("length", "is missing") };
    let table = rule.each.is_some() || rule.id.is_some() || rule.time.is_some() || rule.slot.is_some();
    if table || !rule.refuse.is_empty() || !rule.labels.is_empty() || rule.quirk != Quirk::None {
        return wrong("format", "a binary table has length, prefix and vitals only");
    }
    let octets = |key: &str, hex: &str| super::session::octets(key, hex);
    let prefix = rule.prefix.as_deref().map_or(Ok(Vec::new()), |hex| octets("prefix", hex))?;
    let ignore = rule.ignore_prefixes.iter().map(|hex| octets("ignore_prefixes", hex)).collect::<Result<_, _>>()?;
    let vitals = rule.vitals.iter().enumerate();
    let vitals = vitals.map(|(i, v)| under(&format!("vital[{i}]"), binary_vital(v, length)));
    Ok(BinaryTable { length, prefix, ignore, vitals: vitals.collect::<Result<_, _>>()? })
}

fn binary_vital(rule: &VitalRule, length: usize) -> Result<BinaryVital, Wrong> {
    let flag = match &rule.when {
        None => None,
        Some(Condition { path: None, is: None, at: Some(at), bit: Some(bit) }) if *at < length && *bit < 8 => {
            Some((*at, 1u8 << bit))
        }
        Some(_) => return wrong("when", "needs `at` and `bit` of an octet of the frame"),
    };
    let fields = parts(rule)?.into_iter().map(|(role, p)| under(name(role), binary_part(rule.vital, role, p, length)));
    Ok(BinaryVital {
        vital: rule.vital,
        flag,
        parts: fields.collect::<Result<_, _>>()?,
        site: rule.site,
        quality: rule.quality.clone(),
    })
}

fn binary_part(vital: Vital, role: Role, rule: &PartRule, length: usize) -> Result<BinaryPart, Wrong> {
    let (None, Some(at), Some(kind)) = (&rule.path, rule.at, rule.kind) else {
        return wrong("at", "needs `at` and `type`, and no path");
    };
    if kind.octets() == 0 || at.saturating_add(kind.octets()) > length {
        return wrong("at", "lies outside the frame");
    }
    let UnitRule::Fixed(ucum) = &rule.unit else { return wrong("unit", "is fixed in a binary table") };
    let special = rule.special.iter().map(|(text, meaning)| match text.parse() {
        Ok(n) => Ok((n, absence(*meaning)?)),
        Err(_) => wrong("special", "is no number"),
    });
    let special = special.collect::<Result<_, _>>()?;
    Ok(BinaryPart { role, at, kind, unit: unit_of(vital, ucum)?, scaling: scaling(rule)?, special })
}
