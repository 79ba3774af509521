//! Samples, their median and spread, and the lines a bar is reported in.
//!
//! Times are taken in turn in one run, so that what the machine does meanwhile falls on both. A ratio is the median of
//! the rounds' ratios: on a busy machine a round is either undisturbed or takes several times as long, and the medians
//! of two such mixtures say which of them met the disturbance more often. The spread is the middle half (p25 to p75).

/// Times of one thing, µs.
#[derive(Debug, Default, Clone)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, us: f64) {
        self.0.push(us);
    }

    /// 0 when there is none.
    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The median of the ratios to what was taken in the same rounds.
    pub(crate) fn ratio(&self, to: &Samples) -> f64 {
        Samples(self.0.iter().zip(&to.0).map(|(ours, theirs)| ours / theirs).collect()).median()
    }

    /// From 0, the least, to 1.
    pub(crate) fn quantile(&self, q: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1) as f64;
        sorted.get((last * q).round() as usize).copied().unwrap_or_default()
    }

    /// One human line.
    pub(crate) fn print(&self, what: &str) {
        // Of what takes some µs, tenths matter.
        let digits = usize::from(self.median() < 1000.0);
        println!(
            "  {what:<52} median {:>9.digits$} µs   p25..p75 {:>9.digits$} .. {:<9.digits$} n={}",
            self.median(),
            self.quantile(0.25),
            self.quantile(0.75),
            self.0.len()
        );
    }
}

/// Prints a bar of which less is better. The form of this line is what scripts match.
pub(crate) fn bar(name: &str, value: f64, limit: f64) {
    let verdict = if value <= limit { "ok" } else { "SHORT" };
    println!("bar: {name} value={value:.2} limit={limit:.2} {verdict}");
}

/// Prints a bar of which more is better.
pub(crate) fn bar_at_least(name: &str, value: f64, limit: f64) {
    let verdict = if value >= limit { "ok" } else { "SHORT" };
    println!("bar: {name} value={value:.2} limit={limit:.2} {verdict}");
}

/// Prints the bar of a ratio, after two other ways to take it. Where the three disagree the machine was not quiet: the
/// verdict is worth nothing then, whatever it says.
pub(crate) fn bar_of_ratio(name: &str, ours: &Samples, theirs: &Samples, limit: f64) {
    let of = |q| ours.quantile(q) / theirs.quantile(q);
    println!("  {name}: ratio of the medians {:.2}, of the lower quartiles {:.2}", of(0.5), of(0.25));
    bar(name, ours.ratio(theirs), limit);
}

/// A bar that this run could not measure.
pub(crate) fn not_measured(name: &str, why: &str) {
    println!("bar: {name} not measured: {why}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_odd_number_are_samples() {
        let samples = Samples(vec![5.0, 1.0, 3.0, 2.0, 4.0]);
        assert_eq!((samples.quantile(0.25), samples.median(), samples.quantile(0.75)), (2.0, 3.0, 4.0));
    }

    #[test]
    fn ratio_is_taken_round_by_round() {
        let (ours, theirs) = (Samples(vec![2.0, 90.0, 4.0]), Samples(vec![1.0, 45.0, 80.0]));
        assert!((ours.ratio(&theirs) - 2.0).abs() < f64::EPSILON);
    }

    #[test]
    fn median_of_nothing_is_zero() {
        assert!(Samples::default().median().abs() < f64::EPSILON);
    }
}
