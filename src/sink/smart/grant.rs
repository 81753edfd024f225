//! Scopes: what was asked for, what was granted, and what of it is missing. Pure.
//!
//! Promises: understands SMART's first form (`system/Observation.write`) and second (`system/Observation.cu?…`); a scope of
//! any other form is granted only by itself. Must never: take a narrower scope for the one that was asked for.

/// What the interactions are: create, read, update, delete, search.
const LETTERS: &str = "cruds";

/// A scope of SMART's: who, what, which interactions, of which resources only.
struct Scope<'a> {
    who: &'a str,
    what: &'a str,
    letters: String,
    only: Option<&'a str>,
}

impl<'a> Scope<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (who, rest) = text.split_once('/')?;
        let (what, rest) = rest.split_once('.')?;
        let (how, only) = rest.split_once('?').map_or((rest, None), |(how, only)| (how, Some(only)));
        let letters = match how {
            "*" => LETTERS,
            "read" => "rs",
            "write" => "cud",
            _ if !how.is_empty() && how.chars().all(|c| LETTERS.contains(c)) => how,
            _ => return None,
        };
        Some(Self { who, what, letters: letters.into(), only })
    }

    /// Whether it allows this interaction of another scope.
    fn allows(&self, other: &Scope<'_>, letter: char) -> bool {
        self.who == other.who
            && (self.what == "*" || self.what == other.what)
            && (self.only.is_none() || self.only == other.only)
            && self.letters.contains(letter)
    }
}

/// Whether all together allow what a scope asks for.
fn covered(asked: &str, granted: &[&str]) -> bool {
    if granted.contains(&asked) {
        return true;
    }
    let Some(asked) = Scope::parse(asked) else { return false };
    let granted: Vec<_> = granted.iter().filter_map(|g| Scope::parse(g)).collect();
    asked.letters.chars().all(|letter| granted.iter().any(|g| g.allows(&asked, letter)))
}

/// What a token is good for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// Of what was asked for: granted.
    pub there: Vec<String>,
    /// Of what was asked for: not granted.
    pub missing: Vec<String>,
    /// The token server did not say; then it is as asked (RFC 6749, section 5.1).
    pub unsaid: bool,
    /// Whether it allows to store Observations.
    pub stores: bool,
}

impl Granted {
    /// `said`: the answer's `scope`.
    pub fn of(asked: &[String], said: Option<&str>) -> Self {
        let all: Vec<&str> = asked.iter().map(String::as_str).collect();
        let granted: Vec<&str> = said.map_or_else(|| all.clone(), |said| said.split_ascii_whitespace().collect());
        let (there, missing): (Vec<String>, _) = asked.iter().cloned().partition(|a| covered(a, &granted));
        let stores = granted.iter().any(|g| stores(g));
        // Scopes that we do not understand are the centre's own: it knows what they allow.
        let own = !asked.iter().any(|a| stores_or_any(a));
        Self { stores: stores || (own && missing.is_empty()), there, missing, unsaid: said.is_none() }
    }

    /// `system/Observation.c system/Task.c`, or `nothing`.
    pub fn words(scopes: &[String]) -> String {
        if scopes.is_empty() { "nothing".into() } else { scopes.join(" ") }
    }
}

/// Whether a scope lets Observations be created or updated, even if only some.
fn stores(scope: &str) -> bool {
    Scope::parse(scope).is_some_and(|s| matches!(s.what, "*" | "Observation") && s.letters.contains(['c', 'u']))
}

/// Whether what is asked for is understood to be about storing.
fn stores_or_any(scope: &str) -> bool {
    Scope::parse(scope).is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn missing(asked: &[&str], said: Option<&str>) -> (Vec<String>, bool) {
        let asked: Vec<String> = asked.iter().map(|s| (*s).to_owned()).collect();
        let granted = Granted::of(&asked, said);
        (granted.missing, granted.stores)
    }

    #[test]
    fn what_is_granted_is_compared_with_what_was_asked_for() {
        let vitals = "system/Observation.cu?category=vital-signs";
        for (asked, said, lacks, stores) in [
            ("system/Observation.cu", None, false, true),
            ("system/Observation.cu", Some(""), true, false),
            ("system/Observation.cu", Some("system/Observation.cu"), false, true),
            ("system/Observation.cu", Some("system/Observation.cruds"), false, true),
            ("system/Observation.cu", Some("system/*.*"), false, true),
            ("system/Observation.cu", Some("system/Observation.c system/Observation.u"), false, true),
            ("system/Observation.cu", Some("system/Observation.c"), true, true),
            ("system/Observation.cu", Some("system/Observation.rs"), true, false),
            ("system/Observation.cu", Some("system/Task.cu"), true, false),
            ("system/Observation.cu", Some("user/Observation.cu"), true, true),
            ("system/Observation.cu", Some(vitals), true, true),
            (vitals, Some("system/Observation.cu"), false, true),
            (vitals, Some(vitals), false, true),
            ("system/Observation.write", Some("system/Observation.write"), false, true),
            ("system/Observation.write", Some("system/Observation.cud"), false, true),
            ("system/Observation.write", Some("system/Observation.read"), true, false),
            ("readings.send", Some("readings.send"), false, true),
            ("readings.send", Some("readings"), true, false),
        ] {
            let (without, may) = missing(&[asked], said);
            assert_eq!((!without.is_empty(), may), (lacks, stores), "{asked} against {said:?}");
        }
    }

    proptest! {
        #[test]
        fn no_scope_is_granted_by_less(
            asked in proptest::sample::subsequence(vec!['c', 'r', 'u', 'd', 's'], 1..=5),
            given in proptest::sample::subsequence(vec!['c', 'r', 'u', 'd', 's'], 1..=5),
        ) {
            let scope = |letters: &[char]| format!("system/Observation.{}", letters.iter().collect::<String>());
            let (without, _) = missing(&[&scope(&asked)], Some(&scope(&given)));
            prop_assert_eq!(without.is_empty(), asked.iter().all(|c| given.contains(c)));
        }

        #[test]
        fn no_text_breaks_it(asked in "\\PC{0,40}", said in "\\PC{0,80}") {
            let granted = Granted::of(std::slice::from_ref(&asked), Some(&said));
            prop_assert_eq!(granted.there.len() + granted.missing.len(), 1);
        }
    }
}
