//! All profiles, and which of them a frame belongs to: by topic, characteristic and name, or advertised service.
//!
//! The most specific one wins, a vendor's before the standard service. Must never: guess between two that match equally.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::compile::{Bytes, Compiled, Profile, Way};
use super::error::ProfileError;
use super::{built_in, examples, reject};
use crate::reading::Reject;

/// All profiles: the built-in ones and those of a folder.
#[derive(Debug, Default)]
pub struct Catalogue {
    profiles: Vec<Profile>,
    /// Topic rules by the number of levels: topics of another length cannot match.
    topics: HashMap<usize, Vec<Rule>>,
    characteristics: HashMap<String, Vec<Rule>>,
    advertisements: HashMap<String, Vec<Rule>>,
}

/// Where a rule is found: profile, then rule in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    profile: usize,
    rule: usize,
}

impl Catalogue {
    /// The profiles compiled into the binary.
    pub fn built_in() -> Self {
        // A test proves that none of them is refused.
        let parsed = built_in::FILES.iter().filter_map(|(name, text)| Profile::parse(text, Path::new(name)).ok());
        Self::new(parsed.map(|p| (PathBuf::from(&*p.id), p)).collect()).unwrap_or_default()
    }

    /// The built-in profiles and those of a folder; one with the id of a built-in profile replaces it.
    /// Every profile of the folder must hold its examples.
    pub fn with_folder(folder: &Path) -> Result<Self, ProfileError> {
        let mut all: Vec<(PathBuf, Profile)> =
            Self::built_in().profiles.into_iter().map(|p| (PathBuf::from(&*p.id), p)).collect();
        let unreadable = |source| ProfileError::Unreadable { file: folder.into(), source };
        let entries = std::fs::read_dir(folder).map_err(unreadable)?;
        let files = entries.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
        let mut files: Vec<_> = files.into_iter().filter(|f| f.extension().is_some_and(|e| e == "toml")).collect();
        files.sort();
        for file in files {
            let profile = Self::load(&file)?;
            // File names differ, so no id can come twice from one folder.
            all.retain(|(_, p)| p.id != profile.id);
            all.push((file, profile));
        }
        Self::new(all)
    }

    /// Reads one profile and proves its examples.
    pub fn load(file: &Path) -> Result<Profile, ProfileError> {
        let unreadable = |source| ProfileError::Unreadable { file: file.into(), source };
        let profile = Profile::parse(&std::fs::read_to_string(file).map_err(unreadable)?, file)?;
        examples::check(&profile, file)?;
        Ok(profile)
    }

    /// A catalogue of these profiles, each with the file that is named in errors.
    pub(super) fn new(files: Vec<(PathBuf, Profile)>) -> Result<Self, ProfileError> {
        let mut all = Self::default();
        for (i, (file, profile)) in files.iter().enumerate() {
            for (rule, compiled) in profile.rules.iter().enumerate() {
                if let Some(other) = files.iter().take(i).find_map(|(_, p)| p.clash(profile, compiled)) {
                    let what = compiled.way.to_string();
                    return Err(ProfileError::Conflict { file: file.clone(), what, other: other.to_string() });
                }
                let here = Rule { profile: i, rule };
                match &compiled.way {
                    Way::Topic(p) => all.topics.entry(p.len()).or_default().push(here),
                    Way::Characteristic(uuid) => all.characteristics.entry(uuid.clone()).or_default().push(here),
                    Way::Advertisement(uuid) => all.advertisements.entry(uuid.clone()).or_default().push(here),
                }
            }
        }
        all.profiles = files.into_iter().map(|(_, p)| p).collect();
        Ok(all)
    }

    /// All profiles, by id.
    pub fn profiles(&self) -> Vec<&Profile> {
        let mut all: Vec<&Profile> = self.profiles.iter().collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// The profile of this id.
    pub fn find(&self, id: &str) -> Option<&Profile> {
        self.profiles.iter().find(|p| *p.id == *id)
    }

    /// The profile of this id alone.
    pub fn take(self, id: &str) -> Option<Profile> {
        self.profiles.into_iter().find(|p| *p.id == *id)
    }

    /// MQTT topic filters of all profiles.
    pub fn topic_filters(&self) -> Vec<String> {
        let rules = self.profiles().into_iter().flat_map(|p| &p.rules);
        let mut filters: Vec<String> = rules
            .filter_map(|r| match &r.way {
                Way::Topic(pattern) => Some(pattern.filter()),
                _ => None,
            })
            .collect();
        filters.sort();
        filters.dedup();
        filters
    }

    /// In one line, which rule decodes what comes this way.
    pub fn rule_for(&self, path: &crate::reading::Path) -> Result<String, Reject> {
        use crate::reading::Path;
        let at = match path {
            Path::Topic(topic) => self.by_topic(topic)?.0,
            Path::Characteristic { uuid, name, .. } => self.by_characteristic(uuid, name.as_deref())?,
            Path::Advertisement { service, .. } => self.by_advertisement(service)?,
        };
        let (profile, rule) = self.rule(at).ok_or(reject::NO_PROFILE)?;
        let how = match &rule.bytes {
            Bytes::Codec { codec, .. } => format!("codec {} ({})", codec.name, codec.title),
            Bytes::Message(table) => format!("field table, {:?}", table.format).to_lowercase(),
            Bytes::Binary(_) => "field table, binary".into(),
        };
        Ok(format!("profile {}: {}, {how}", profile.id, rule.way))
    }

    /// The rule for a topic, and the id of the device that the topic names.
    pub(super) fn by_topic<'t>(&self, topic: &'t str) -> Result<(Rule, &'t str), Reject> {
        let candidates = self.topics.get(&(topic.matches('/').count() + 1)).map_or(&[][..], Vec::as_slice);
        let fitting = candidates.iter().filter_map(|rule| match &self.rule(*rule)?.1.way {
            Way::Topic(pattern) => Some((pattern.literals(), (*rule, pattern.matches(topic)?))),
            _ => None,
        });
        best(fitting)
    }

    /// The rule for a characteristic of a device that told this.
    pub(super) fn by_characteristic(&self, uuid: &str, told: Option<&str>) -> Result<Rule, Reject> {
        let candidates = find_uuid(&self.characteristics, uuid);
        let fitting = candidates.iter().filter_map(|rule| {
            let matching = &self.rule(*rule)?.0.file.matching;
            // A standard profile fits any name, with no letter.
            let fit = if matching.names.is_empty() { (0, false) } else { matching.fit(told)? };
            Some((2 * fit.0 + usize::from(fit.1), *rule))
        });
        best(fitting)
    }

    /// The rule for broadcast data of a service.
    pub(super) fn by_advertisement(&self, service: &str) -> Result<Rule, Reject> {
        best(find_uuid(&self.advertisements, service).iter().map(|rule| (0, *rule)))
    }

    /// What a rule says.
    pub(super) fn rule(&self, at: Rule) -> Option<(&Profile, &Compiled)> {
        let profile = self.profiles.get(at.profile)?;
        Some((profile, profile.rules.get(at.rule)?))
    }

    /// Names of the codecs that some profile uses.
    pub fn codecs_used(&self) -> Vec<&'static str> {
        let rules = self.profiles.iter().flat_map(|p| &p.rules);
        rules.filter_map(|r| if let Bytes::Codec { codec, .. } = &r.bytes { Some(codec.name) } else { None }).collect()
    }
}

fn find_uuid<'c>(map: &'c HashMap<String, Vec<Rule>>, uuid: &str) -> &'c [Rule] {
    let found = map.get(uuid).or_else(|| {
        let one_spelling = if uuid.len() == 4 { uuid.to_ascii_uppercase() } else { uuid.to_ascii_lowercase() };
        map.get(&one_spelling)
    });
    found.map_or(&[][..], Vec::as_slice)
}

/// The most specific one, if there is exactly one.
fn best<T>(candidates: impl Iterator<Item = (usize, T)>) -> Result<T, Reject> {
    let mut best: Option<(usize, T)> = None;
    let mut tie = false;
    for (specific, candidate) in candidates {
        match &best {
            Some((top, _)) if *top > specific => {}
            Some((top, _)) if *top == specific => tie = true,
            _ => {
                best = Some((specific, candidate));
                tie = false;
            }
        }
    }
    match best {
        Some(_) if tie => Err(reject::SEVERAL_PROFILES),
        Some((_, candidate)) => Ok(candidate),
        None => Err(reject::NO_PROFILE),
    }
}

impl Profile {
    /// This profile's id, if one of its rules claims the same bytes as a rule of another.
    fn clash(&self, other: &Self, rule: &Compiled) -> Option<&str> {
        let same = |mine: &Compiled| match (&mine.way, &rule.way) {
            (Way::Topic(a), Way::Topic(b)) => a.filter() == b.filter(),
            (Way::Advertisement(a), Way::Advertisement(b)) => a == b,
            (Way::Characteristic(a), Way::Characteristic(b)) => {
                a == b && self.file.matching.meets(&other.file.matching)
            }
            _ => false,
        };
        self.rules.iter().any(same).then_some(&*self.id)
    }
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Topic(pattern) => write!(f, "topic {}", pattern.filter()),
            Self::Characteristic(uuid) => write!(f, "characteristic {uuid}"),
            Self::Advertisement(uuid) => write!(f, "advertised service {uuid}"),
        }
    }
}
