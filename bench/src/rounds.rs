//! Figures of several rounds: medians, how far they lie apart, ratios of neighbours.

use serde::Serialize;

/// The figures of one side, one a round.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Series {
    /// In the order measured.
    pub values: Vec<f64>,
}

impl Series {
    /// The middle figure; of two middle ones the mean. Zero when nothing was measured.
    #[must_use]
    pub fn median(&self) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => 0.0,
            n if n % 2 == 1 => sorted[n / 2],
            n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
        }
    }

    /// (highest - lowest) / median: how noisy the machine was.
    #[must_use]
    pub fn spread(&self) -> f64 {
        let low = self.values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.values.iter().copied().fold(0.0, f64::max);
        let median = self.median();
        if median > 0.0 { (high - low) / median } else { 0.0 }
    }
}

/// The median over rounds of the ratio of figures that were measured next to each other.
#[must_use]
pub fn paired_ratio(ours: &Series, theirs: &Series) -> f64 {
    let pairs = ours.values.iter().zip(&theirs.values).filter(|(_, b)| **b > 0.0);
    Series { values: pairs.map(|(a, b)| a / b).collect() }.median()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_spread_and_ratios() {
        let a = Series { values: vec![30.0, 10.0, 20.0] };
        let b = Series { values: vec![10.0, 10.0, 10.0] };
        assert_eq!(a.median(), 20.0);
        assert_eq!(a.spread(), 1.0);
        assert_eq!(paired_ratio(&a, &b), 2.0);
        assert_eq!(Series { values: vec![1.0, 3.0] }.median(), 2.0);
        assert_eq!(Series::default().median(), 0.0);
    }
}
