//! Randomness from one seed: xoshiro256** (Blackman and Vigna, public domain algorithm), seeded through SplitMix64. Our
//! own, so that a seed means the same run for ever, whatever a library changes.

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub struct Rng {
    state: [u64; 4],
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Rng {
    /// The stream of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Rng {
        let mut state = seed;
        Rng { state: std::array::from_fn(|_| split_mix(&mut state)) }
    }

    /// Another stream, independent of how this one goes on.
    pub fn fork(&mut self) -> Rng {
        Rng::new(self.bits())
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Below `n`; 0 when `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        // The bias of 2^-64 * n changes no test.
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }

    /// In `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// An index of a list of `len` items, which is not empty.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// True so many times in a million.
    pub fn ppm(&mut self, millionths: u64) -> bool {
        millionths > 0 && self.below(1_000_000) < millionths
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, hundredths: u64) -> bool {
        self.below(100) < hundredths
    }

    /// Exponentially distributed around `mean`, at most 20 times it. Built from integers alone: floating point
    /// logarithms differ between machines.
    pub fn exponential(&mut self, mean: u64) -> u64 {
        // Halve for each leading coin, then a linear step inside the octave: -ln(u) within 6 %.
        let bits = self.bits();
        let octaves = u64::from((bits >> 32).leading_zeros().saturating_sub(32)).min(20);
        let inside = bits & 0xffff;
        let ln2_per_mille = 693;
        (mean * (octaves * 0x1_0000 + inside) / 0x1_0000) * ln2_per_mille / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_of_a_seed_never_changes() {
        let mut rng = Rng::new(42);
        let first: Vec<u64> = (0..3).map(|_| rng.bits()).collect();
        assert_eq!(first, [0x15780b2e0c2ec716, 0x6104d9866d113a7e, 0xae17533239e499a1]);
    }

    #[test]
    fn exponential_has_its_mean() {
        let mut rng = Rng::new(7);
        let sum: u64 = (0..100_000).map(|_| rng.exponential(1000)).sum();
        let mean = sum / 100_000;
        assert!((850..1150).contains(&mean), "{mean}");
    }
}
