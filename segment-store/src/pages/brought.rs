//! Records of one page that were read back to be put into its image. They lie all over the log; here they lie side by side in
//! the order in which they are applied, so that the processor finds each behind the one before.

use bytes::Bytes;

use crate::core::{LogAddress, PendingRecord};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct PageRecords {
    bytes: Bytes,
    /// Where each lies in the log, ascending, and where in `bytes`.
    places: Vec<(LogAddress, u32)>,
}

impl PageRecords {
    /// The record, if it is here: looked for at `next` first, which becomes the place behind it.
    pub(super) fn get(&self, record: &PendingRecord, next: &mut usize) -> Option<Bytes> {
        let at = record.at();
        let found = match self.places.get(*next) {
            Some(place) if place.0 == at => *next,
            _ => self.places.binary_search_by_key(&at, |place| place.0).ok()?,
        };
        *next = found + 1;
        let start = self.places[found].1 as usize;
        let end = start + record.len as usize;
        (end <= self.bytes.len()).then(|| self.bytes.slice(start..end))
    }
}

/// Gathers them.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    bytes: Vec<u8>,
    places: Vec<(LogAddress, u32)>,
}

impl Gathering {
    /// Room for so many records and bytes.
    pub(super) fn with_capacity(records: usize, bytes: usize) -> Gathering {
        Gathering { bytes: Vec::with_capacity(bytes), places: Vec::with_capacity(records) }
    }

    /// Adds one that lies behind the others in the log.
    pub(super) fn push(&mut self, at: LogAddress, record: &[u8]) {
        debug_assert!(self.places.last().is_none_or(|last| last.0 < at));
        self.places.push((at, self.bytes.len() as u32));
        self.bytes.extend_from_slice(record);
    }

    pub(super) fn finish(self) -> PageRecords {
        PageRecords { bytes: Bytes::from(self.bytes), places: self.places }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::record_at as record;

    #[test]
    fn each_is_found_whatever_was_asked_for_before() {
        let records = [record(1, 100, 3), record(1, 700, 0), record(2, 50, 2), record(3, 60, 4)];
        let mut gathering = Gathering::with_capacity(4, 9);
        for (record, bytes) in records.iter().zip(["abc", "", "de", "fghi"]) {
            gathering.push(record.at(), bytes.as_bytes());
        }
        let page = gathering.finish();
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 1, 3, 0]] {
            let mut next = 0;
            let found = order.map(|n| page.get(&records[n], &mut next).expect("it is here"));
            assert_eq!(found, order.map(|n| ["abc", "", "de", "fghi"][n]));
        }
        let mut next = 4;
        assert_eq!(page.get(&record(1, 101, 1), &mut next), None);
        assert_eq!(page.get(&record(3, 60, 5), &mut next), None, "no more than there is");
        assert_eq!(page.get(&records[2], &mut next), Some(Bytes::from_static(b"de")));
    }
}
