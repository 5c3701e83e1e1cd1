//! What was measured, as people read it: medians with their spread, and each figure against its limit.

use std::fmt;

/// Several measurements of one thing.
#[derive(Clone, Debug)]
pub(super) struct Spread(Vec<f64>);

impl Spread {
    /// Of these values.
    ///
    /// # Panics
    /// When there are none.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        assert!(!values.is_empty(), "something was measured");
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// The one in the middle, or between the two in the middle.
    pub(super) fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        if self.0.len() % 2 == 1 { self.0[middle] } else { f64::midpoint(self.0[middle - 1], self.0[middle]) }
    }

    /// The largest.
    pub(super) fn max(&self) -> f64 {
        self.0[self.0.len() - 1]
    }

    /// The value that a share of all (0 to 1) does not exceed.
    pub(super) fn percentile(&self, share: f64) -> f64 {
        let last = self.0.len() - 1;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let at = (share * last as f64).ceil() as usize;
        self.0[at.min(last)]
    }
}

/// `median (min–max)`
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}–{})", short(self.median()), short(self.0[0]), short(self.max()))
    }
}

/// A number with as many places as say something.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 0.1 => format!("{value:.3}"),
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// The figures so far; each is printed as soon as it is known.
#[derive(Debug, Default)]
pub(super) struct Figures {
    missed: Vec<String>,
}

impl Figures {
    /// `value` must not be larger than `limit`.
    pub(super) fn at_most(&mut self, what: &str, value: f64, limit: f64) {
        self.note(value <= limit, &format!("{what}: {}, at most {}", short(value), short(limit)));
    }

    /// `value` must not be smaller than `limit`.
    pub(super) fn at_least(&mut self, what: &str, value: f64, limit: f64) {
        self.note(value >= limit, &format!("{what}: {}, at least {}", short(value), short(limit)));
    }

    /// Those that were missed.
    pub(super) fn missed(&self) -> &[String] {
        &self.missed
    }

    fn note(&mut self, met: bool, line: &str) {
        println!("  {}  {line}", if met { "ok    " } else { "MISSED" });
        if !met {
            self.missed.push(line.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_tail() {
        let spread = Spread::of([3.0, 1.0, 2.0, 10.0]);
        assert_eq!(spread.median(), 2.5);
        assert_eq!(spread.percentile(0.99), 10.0);
        assert_eq!(Spread::of((1..=100).map(f64::from)).percentile(0.5), 51.0);
        assert_eq!(spread.to_string(), "2.50 (1.00–10.0)");
    }
}
