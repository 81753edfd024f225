//! Topic filters without overlap: where two of them match one topic, an MQTT 5 broker sends the message twice, and
//! without an id of its own the second would count as a new reading.

use rumqttc::matches;

/// What is subscribed to, and what of it was asked for.
pub(super) struct Filters {
    /// No two of them match one topic.
    pub(super) subscribed: Vec<String>,
    /// Left of the wish where overlapping filters had to be widened into one; empty: all that comes is wanted.
    narrower: Vec<String>,
}

impl Filters {
    /// Widens filters that overlap into one that matches what either does.
    pub(super) fn new(wish: Vec<String>) -> Self {
        let mut subscribed: Vec<String> = vec![];
        for filter in &wish {
            let mut filter = filter.clone();
            // Widened, it may overlap with one that it did not before.
            while let Some(other) = subscribed.iter().position(|s| overlap(s, &filter)) {
                filter = union(&subscribed.swap_remove(other), &filter);
            }
            subscribed.push(filter);
        }
        let narrower = if subscribed.iter().all(|s| wish.contains(s)) { vec![] } else { wish };
        Self { subscribed, narrower }
    }

    /// Whether a topic was asked for, rather than caught by a widened filter.
    pub(super) fn want(&self, topic: &str) -> bool {
        self.narrower.is_empty() || self.narrower.iter().any(|f| matches(topic, f))
    }
}

/// Whether some topic could match both.
fn overlap(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a.split('/'), b.split('/'));
    loop {
        match (a.next(), b.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(x), Some(y)) if x == y => {}
            _ => return false,
        }
    }
}

/// The narrowest filter that matches whatever two overlapping ones do.
fn union(a: &str, b: &str) -> String {
    let (mut a, mut b) = (a.split('/'), b.split('/'));
    let mut levels = vec![];
    loop {
        match (a.next(), b.next()) {
            (None, None) => break,
            (Some(x), Some(y)) if x == y => levels.push(x),
            (Some(x), Some(y)) if x != "#" && y != "#" => levels.push("+"),
            _ => {
                levels.push("#");
                break;
            }
        }
    }
    levels.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(wish: &[&str], expected: &[&str]) -> Filters {
        let filters = Filters::new(wish.iter().map(|f| (*f).into()).collect());
        let mut subscribed = filters.subscribed.clone();
        subscribed.sort();
        assert_eq!(subscribed, expected, "{wish:?}");
        filters
    }

    #[test]
    fn a_filter_that_another_covers_is_left_out() {
        check(&["a/b", "a/b"], &["a/b"]);
        check(&["a/b", "a/+"], &["a/+"]);
        check(&["a/+/c", "a/#", "b"], &["a/#", "b"]);
        check(&["a/#", "a"], &["a/#"]);
        check(&["a", "a/#"], &["a/#"]);
        check(&["a/b/c", "a/b"], &["a/b", "a/b/c"]);
        assert!(check(&["a/+/c", "a/#"], &["a/#"]).want("a/x"));
    }

    #[test]
    fn filters_that_overlap_become_one_and_what_it_catches_beside_is_not_wanted() {
        let filters = check(&["a/+/c", "a/b/+", "z"], &["a/+/+", "z"]);
        assert!(filters.want("a/x/c") && filters.want("a/b/x") && filters.want("z"));
        assert!(!filters.want("a/x/x"));
        check(&["a/+/c", "x/+", "a/b/#"], &["a/+/#", "x/+"]);
        check(&["a/b/+", "+/b/c", "a/+/c"], &["+/+/+"]);
    }

    proptest::proptest! {
        #[test]
        fn every_wanted_topic_matches_exactly_one_subscription(
            wish in proptest::collection::vec("[ab+](/[ab+]){0,2}(/#)?", 1..5),
            topic in "[ab](/[ab]){0,3}",
        ) {
            let filters = Filters::new(wish.clone());
            let wanted = wish.iter().any(|f| matches(&topic, f));
            let hits = filters.subscribed.iter().filter(|f| matches(&topic, f)).count();
            proptest::prop_assert!(hits <= 1);
            if wanted {
                proptest::prop_assert_eq!((hits, filters.want(&topic)), (1, true));
            }
        }
    }
}
