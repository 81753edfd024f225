//! A trend as a small picture: inline SVG without styles or scripts of its own.

use std::fmt::Write as _;

const WIDTH: f64 = 200.0;
const HEIGHT: f64 = 44.0;
/// So that the line's own thickness and the last point stay inside.
const MARGIN: f64 = 4.0;

/// Lines over one time axis and one value axis; the last value of each gets a point. Empty below two points.
/// `least` is the smallest range of values shown, so that noise does not look like drama.
pub(super) fn spark(lines: &[&[(i64, f64)]], least: f64, label: &str) -> String {
    let all = || lines.iter().flat_map(|l| l.iter());
    if all().count() < 2 {
        return String::new();
    }
    let (start, end) = bounds(all().map(|(t, _)| *t as f64));
    let (low, high) = bounds(all().map(|(_, v)| *v));
    let spare = (least - (high - low)).max(0.0) / 2.0;
    let (low, high) = (low - spare, high + spare);
    let scale = |value: f64, from: f64, to: f64, size: f64| {
        MARGIN + (value - from) / (to - from).max(f64::MIN_POSITIVE) * (size - 2.0 * MARGIN)
    };
    let mut svg = format!(
        r#"<svg class="spark" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="xMinYMid" role="img" aria-label="{label}">"#
    );
    for line in lines {
        let at = |(t, v): &(i64, f64)| (scale(*t as f64, start, end, WIDTH), HEIGHT - scale(*v, low, high, HEIGHT));
        svg.push_str(r#"<polyline points=""#);
        for (n, point) in line.iter().enumerate() {
            let (x, y) = at(point);
            let _ = write!(svg, "{}{x:.1},{y:.1}", if n == 0 { "" } else { " " });
        }
        svg.push_str(r#""/>"#);
        if let Some(last) = line.last() {
            let (x, y) = at(last);
            let _ = write!(svg, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3.5"/>"#);
        }
    }
    svg.push_str("</svg>");
    svg
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_stay_inside() {
        let svg = spark(&[&[(0, 60.0), (10, 90.0), (20, 30.0)], &[(0, 40.0), (20, 41.0)]], 1.0, "x");
        assert_eq!((svg.matches("<polyline").count(), svg.matches("<circle").count()), (2, 2));
        assert!(svg.contains(r#"points="4.0,22.0 100.0,4.0 196.0,40.0""#), "{svg}");
    }

    #[test]
    fn a_flat_line_lies_in_the_middle_and_one_point_is_no_trend() {
        assert!(spark(&[&[(0, 37.0), (9, 37.0)]], 1.0, "x").contains(r#"points="4.0,22.0 196.0,22.0""#));
        assert_eq!(spark(&[&[(0, 37.0)]], 1.0, "x"), "");
        assert_eq!(spark(&[], 1.0, "x"), "");
        assert!(!spark(&[&[(5, 1.0), (5, 1.0)]], 0.0, "x").contains("NaN"));
    }
}
