//! Medians and what lies around them.

/// A set of values in short.
#[derive(Clone, Copy)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
    pub n: usize,
}

impl Spread {
    /// Of no value, it is all NaN.
    pub fn of(values: &[f64]) -> Self {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let n = values.len();
        let median = f64::midpoint(at(n.saturating_sub(1) / 2), at(n / 2));
        Self { median, least: at(0), most: at(n.saturating_sub(1)), n }
    }
}

/// A value of each run.
pub fn column<R>(runs: &[R], value: impl Fn(&R) -> f64) -> Vec<f64> {
    runs.iter().map(value).collect()
}

/// The ratios of pairs that ran in the same rounds.
pub fn ratios(ours: &[f64], theirs: &[f64]) -> Vec<f64> {
    ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect()
}

/// The value below which this share of the values lies.
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let index = (share * values.len() as f64).ceil() as usize;
    values.get(index.max(1) - 1).copied().unwrap_or(f64::NAN)
}
