//! Topic filters: those that another one covers are left out, for where filters overlap a broker may send a message
//! twice, and without an id of its own the second would count as a new reading.

/// The filters without those that another one covers.
pub(super) fn minimal(filters: Vec<String>) -> Vec<String> {
    let mut kept: Vec<String> = vec![];
    for filter in filters {
        if kept.iter().any(|k| covers(k, &filter)) {
            continue;
        }
        kept.retain(|k| !covers(&filter, k));
        kept.push(filter);
    }
    kept
}

/// Every topic that `narrow` matches is matched by `wide`.
fn covers(wide: &str, narrow: &str) -> bool {
    let (mut wide, mut narrow) = (wide.split('/'), narrow.split('/'));
    loop {
        match (wide.next(), narrow.next()) {
            // `#` covers its parent level too, but no topic of the broker's own (`$…`), which we never subscribe to.
            (Some("#"), _) => return true,
            (None, None) => return true,
            (Some("+"), Some(n)) if n != "#" => {}
            (Some(w), Some(n)) if w == n => {}
            _ => return false,
        }
    }
}

/// Whether some topic could match both: then a broker may send its messages twice.
pub(super) fn overlap(a: &str, b: &str) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(filters: &[&str], expected: &[&str]) {
        assert_eq!(minimal(filters.iter().map(|f| (*f).into()).collect()), expected, "{filters:?}");
    }

    #[test]
    fn a_filter_that_another_covers_is_left_out() {
        check(&["a/b", "a/b"], &["a/b"]);
        check(&["a/b", "a/+"], &["a/+"]);
        check(&["a/+/c", "a/#", "b"], &["a/#", "b"]);
        check(&["a/#", "a"], &["a/#"]);
        check(&["a/+", "a/#"], &["a/#"]);
        check(&["a/#", "a/+"], &["a/#"]);
        check(&["a/+/c", "a/b/+"], &["a/+/c", "a/b/+"]);
        check(&["+", "a"], &["+"]);
        check(&["a/b/c", "a/b"], &["a/b/c", "a/b"]);
    }

    #[test]
    fn filters_that_share_a_topic_overlap() {
        assert!(overlap("a/+/c", "a/b/+"));
        assert!(overlap("a/#", "a"));
        assert!(!overlap("a/+/c", "a/b"));
        assert!(!overlap("a/b", "a/c"));
    }
}
