//! Keys for things that are put in order by hand: between any two keys there is another, so what is put between others gets its
//! key without theirs being changed.
//!
//! A key is a fraction in base 256 between 0 and 1 without trailing zeros, so keys are ordered as their bytes are. What is put
//! at an end gets the next of 65,535 keys of at most two bytes; only what is put between two neighbours, again and again at the
//! same place, makes keys longer: by a byte for about eight times.

const MIDDLE: u16 = 0x8000;

/// The key of what is put between two neighbours; `None` for no neighbour on that side.
#[must_use]
pub fn between(low: Option<&[u8]>, high: Option<&[u8]>) -> Vec<u8> {
    match (low, high) {
        (None, None) => short(MIDDLE),
        (Some(low), None) if head(low) < u16::MAX => short(head(low) + 1),
        (None, Some(high)) if head(high) > 1 => short(head(high) - 1),
        (low, high) => middle(low.unwrap_or_default(), high),
    }
}

/// The first two bytes.
fn head(key: &[u8]) -> u16 {
    let digit = |n: usize| key.get(n).copied().unwrap_or(0);
    u16::from_be_bytes([digit(0), digit(1)])
}

fn short(head: u16) -> Vec<u8> {
    let mut key = head.to_be_bytes().to_vec();
    if key[1] == 0 {
        key.pop();
    }
    key
}

/// A fraction between two, or between one and 1.
fn middle(low: &[u8], mut high: Option<&[u8]>) -> Vec<u8> {
    let mut key = Vec::with_capacity(low.len() + 1);
    loop {
        let n = key.len();
        let digit = |fraction: &[u8]| u16::from(fraction.get(n).copied().unwrap_or(0));
        let (from, to) = (digit(low), high.map_or(256, digit));
        if to > from + 1 {
            key.push(((from + to) / 2) as u8);
            return key;
        }
        key.push(from as u8);
        if to > from {
            // Whatever follows is below `high`.
            high = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn put(keys: &mut Vec<Vec<u8>>, at: usize) {
        let low = at.checked_sub(1).map(|n| keys[n].as_slice());
        let key = between(low, keys.get(at).map(Vec::as_slice));
        keys.insert(at, key);
    }

    #[test]
    fn ends_stay_short() {
        let mut keys = Vec::new();
        for n in 0..5000 {
            let end = if n % 2 == 0 { keys.len() } else { 0 };
            put(&mut keys, end);
        }
        assert!(keys.is_sorted_by(|a, b| a < b));
        assert!(keys.iter().all(|key| key.len() <= 2));
    }

    #[test]
    fn one_place_takes_a_byte_in_eight() {
        let mut keys = vec![vec![0x80], vec![0x80, 1]];
        for _ in 0..800 {
            put(&mut keys, 1);
        }
        assert!(keys.is_sorted_by(|a, b| a < b));
        assert!(keys.iter().all(|key| key.len() <= 103), "{:?}", keys.iter().map(Vec::len).max());
    }

    #[test]
    fn the_ends_of_the_short_keys_are_not_the_end() {
        let mut keys = vec![vec![0, 1], vec![0xff, 0xff]];
        for _ in 0..50 {
            put(&mut keys, 0);
            let last = keys.len();
            put(&mut keys, last);
        }
        assert!(keys.is_sorted_by(|a, b| a < b));
    }

    proptest! {
        #[test]
        fn keys_are_in_the_order_of_their_places(places in prop::collection::vec(0usize..1000, 1..300)) {
            let mut keys = Vec::new();
            for place in places {
                let at = place % (keys.len() + 1);
                put(&mut keys, at);
            }
            prop_assert!(keys.is_sorted_by(|a, b| a < b));
            prop_assert!(keys.iter().all(|key| key.last().is_some_and(|last| *last != 0)));
        }
    }
}
