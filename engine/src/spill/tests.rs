//! Sorting at any size against sorting in memory, and a disk that is full.

use proptest::prelude::*;

use super::*;
use crate::types::{SqlResult, sqlstate};

#[derive(Debug, Clone, PartialEq)]
struct Number(u64, usize);

impl Payload for Number {
    fn held(&self) -> usize {
        self.1
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_le_bytes());
        out.resize(out.len() + self.1, 7);
    }

    fn decode(bytes: &[u8]) -> SqlResult<Number> {
        Ok(Number(u64::from_le_bytes(*bytes.first_chunk().unwrap()), bytes.len() - 8))
    }
}

async fn sorted(spill: &Arc<Spill>, limit: usize, keep: usize, keys: &[Vec<u8>], size: usize) -> Vec<u64> {
    let mut sorter = Sorter::new(Budget::new(spill, limit), keep);
    for (n, key) in keys.iter().enumerate() {
        if sorter.push(key.clone(), Number(n as u64, size)) {
            sorter.make_room().await.unwrap();
        }
    }
    let (mut sorted, mut found) = (sorter.finish().await.unwrap(), Vec::new());
    while let Some((key, Number(n, len))) = sorted.next().await.unwrap() {
        assert_eq!((&key, len), (&keys[n as usize], size));
        found.push(n);
    }
    found
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn runs_that_are_merged_are_sorted(
        keys in proptest::collection::vec(proptest::collection::vec(0u8..4, 0..6), 0..3000),
        limit in 1_000usize..100_000,
        keep in prop_oneof![Just(usize::MAX), 1usize..2000],
    ) {
        let spill = Spill::new(std::env::temp_dir());
        let mut wanted: Vec<u64> = (0..keys.len() as u64).collect();
        wanted.sort_by_key(|n| &keys[*n as usize]);
        let mut found = runtime().block_on(sorted(&spill, limit, keep, &keys, 50));
        prop_assert!(found.len() >= keep.min(wanted.len()));
        found.truncate(keep);
        wanted.truncate(keep);
        prop_assert_eq!(found, wanted);
    }
}

async fn set_of(spill: &Arc<Spill>, limit: usize, keys: &[Vec<u8>]) -> KeySet {
    let mut set = SetBuilder::new(Budget::new(spill, limit));
    for key in keys {
        set.insert(key.clone()).await.unwrap();
    }
    set.finish().await.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_set_has_what_was_put_into_it(
        keys in proptest::collection::vec(proptest::collection::vec(0u8..6, 0..7), 0..3000),
        others in proptest::collection::vec(proptest::collection::vec(0u8..6, 0..7), 300),
        limit in 8_000usize..200_000,
    ) {
        let spill = Spill::new(std::env::temp_dir());
        let set = runtime().block_on(set_of(&spill, limit, &keys));
        prop_assert_eq!(set.is_empty(), keys.is_empty());
        for key in keys.iter().chain(&others) {
            prop_assert_eq!(set.contains(key).unwrap(), keys.contains(key), "{:?}", key);
        }
        drop(set);
        prop_assert_eq!(spill.now(), (0, 0));
        prop_assert!(spill.peak() <= limit + 200, "{} bytes held of {}", spill.peak(), limit);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_set_is_asked_on_disk() {
    let spill = Spill::new(std::env::temp_dir());
    // Some are larger than a block, and all come twice.
    let key = |n: u32| {
        let mut key = n.wrapping_mul(2_654_435_761).to_be_bytes().to_vec();
        key.resize(if n.is_multiple_of(1000) { 10_000 } else { 20 }, 1);
        key
    };
    let keys: Vec<Vec<u8>> = (0..40_000).chain(0..40_000).map(key).collect();
    let limit = 64 << 10;
    let set = set_of(&spill, limit, &keys).await;
    assert!(matches!(set, KeySet::File(_)) && !set.is_empty());
    for n in 0..80_000 {
        assert_eq!(set.contains(&key(n)).unwrap(), n < 40_000, "{n}");
    }
    drop(set);
    assert_eq!(spill.now(), (0, 0));
    assert!(spill.peak() <= limit + 11_000, "{} bytes held", spill.peak());
}

#[test]
fn memory_is_bounded_over_several_passes() {
    let spill = Spill::new(std::env::temp_dir());
    let keys: Vec<Vec<u8>> =
        (0..60_000u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes().to_vec()).collect();
    let limit = 64 << 10;
    let found = runtime().block_on(sorted(&spill, limit, usize::MAX, &keys, 100));
    assert!(found.is_sorted_by_key(|n| &keys[*n as usize]) && found.len() == keys.len());
    let once = 60_000 * (100 + 8 + 4 + 8);
    assert!(spill.bytes() >= 2 * once, "{} bytes: runs were merged more than once", spill.bytes());
    assert!(spill.peak() <= limit + 1000, "{} bytes held", spill.peak());
}

#[tokio::test]
async fn a_full_disk_is_an_error_with_its_code() {
    let full = failed("write", &std::io::Error::from(std::io::ErrorKind::StorageFull));
    assert_eq!(full.sqlstate, sqlstate::DISK_FULL);
    assert!(full.hint.is_some());
    let nowhere = Spill::new("/does/not/exist".into());
    let refused = Budget::new(&nowhere, 1).file().unwrap_err();
    assert_eq!(refused.sqlstate, sqlstate::IO_ERROR);
}
