//! The standard's random numbers, strings and last names (clauses 2.1.6, 4.3.2, 4.3.3).

use std::fmt::Write;

use super::size::Size;

/// Constants C of NURand. Between load and run that of last names must differ by 65 to 119, but not by 96 or 112.
const C_LAST_LOAD: i32 = 157;
const C_LAST_RUN: i32 = 223;
const C_CUSTOMER: i32 = 259;
const C_ITEM: i32 = 7911;

const SYLLABLES: [&str; 10] =
    ["BAR", "OUGHT", "ABLE", "PRI", "PRES", "ESE", "ANTI", "CALLY", "ATION", "EING"];
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// A source of numbers that gives the same ones for the same seed.
#[derive(Debug)]
pub(super) struct Dice(fastrand::Rng);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(fastrand::Rng::with_seed(seed))
    }

    /// Evenly from `low` to `high`, both included.
    pub(super) fn between(&mut self, low: i32, high: i32) -> i32 {
        self.0.i32(low..=high)
    }

    /// True in so many of a hundred cases.
    pub(super) fn percent(&mut self, of_hundred: i32) -> bool {
        self.between(1, 100) <= of_hundred
    }

    /// NURand(A, x, y) of clause 2.1.6: some numbers come up much more often than others.
    fn uneven(&mut self, a: i32, low: i32, high: i32, c: i32) -> i32 {
        let mixed = self.between(0, a) | self.between(low, high);
        (mixed + c) % (high - low + 1) + low
    }

    pub(super) fn customer(&mut self, size: Size) -> i32 {
        self.uneven(1023, 1, size.customers, C_CUSTOMER)
    }

    pub(super) fn item(&mut self, size: Size) -> i32 {
        self.uneven(8191, 1, size.items, C_ITEM)
    }

    /// A last name that some customer of each district has.
    pub(super) fn last_name(&mut self, size: Size) -> String {
        last_name(self.uneven(255, 0, 999.min(size.customers - 1), C_LAST_RUN))
    }

    /// The last name of customer `c_id` at load: every name once, then unevenly.
    pub(super) fn last_name_at_load(&mut self, c_id: i32) -> String {
        last_name(if c_id <= 1000 { c_id - 1 } else { self.uneven(255, 0, 999, C_LAST_LOAD) })
    }

    /// Letters and digits, so many at least and at most.
    pub(super) fn text(&mut self, least: i32, most: i32) -> String {
        let letter = |dice: &mut fastrand::Rng| LETTERS[dice.usize(..LETTERS.len())] as char;
        (0..self.between(least, most)).map(|_| letter(&mut self.0)).collect()
    }

    /// `text` of 26 to 50 letters, in a tenth of cases with ORIGINAL somewhere in it.
    pub(super) fn data(&mut self) -> String {
        let mut data = self.text(26, 50);
        if self.percent(10) {
            let at = self.between(0, data.len() as i32 - 8) as usize;
            data.replace_range(at..at + 8, "ORIGINAL");
        }
        data
    }

    /// A zip code: four digits and 11111.
    pub(super) fn zip(&mut self) -> String {
        format!("{:04}11111", self.between(0, 9999))
    }

    /// Sixteen digits.
    pub(super) fn phone(&mut self) -> String {
        (0..16).fold(String::new(), |mut phone, _| {
            let _ = write!(phone, "{}", self.between(0, 9));
            phone
        })
    }

    /// 1 to `n` in any order.
    pub(super) fn permutation(&mut self, n: i32) -> Vec<i32> {
        let mut numbers: Vec<i32> = (1..=n).collect();
        self.0.shuffle(&mut numbers);
        numbers
    }
}

/// Three syllables, one a digit of `number`.
fn last_name(number: i32) -> String {
    let syllable = |digit: i32| SYLLABLES[(digit % 10) as usize];
    [syllable(number / 100), syllable(number / 10), syllable(number)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Size = Size { warehouses: 1, items: 100, customers: 30 };

    #[test]
    fn last_names_are_those_of_the_standard() {
        assert_eq!((last_name(0), last_name(371)), ("BARBARBAR".into(), "PRICALLYOUGHT".into()));
    }

    #[test]
    fn uneven_numbers_stay_within_bounds_at_any_size() {
        let mut dice = Dice::new(1);
        let names: Vec<String> = (1..=30).map(|c_id| Dice::new(2).last_name_at_load(c_id)).collect();
        for _ in 0..10_000 {
            assert!((1..=30).contains(&dice.customer(SMALL)) && (1..=100).contains(&dice.item(SMALL)));
            assert!(names.contains(&dice.last_name(SMALL)), "a name that nobody has");
        }
    }

    #[test]
    fn constants_of_last_names_differ_as_the_standard_wants() {
        let apart = (C_LAST_RUN - C_LAST_LOAD).abs();
        assert!((65..=119).contains(&apart) && apart != 96 && apart != 112);
    }

    #[test]
    fn a_tenth_of_data_is_original() {
        let mut dice = Dice::new(3);
        let original = (0..10_000).filter(|_| dice.data().contains("ORIGINAL")).count();
        assert!((850..1150).contains(&original), "{original}");
    }
}
