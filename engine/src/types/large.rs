//! Values that are too large for their row: the row says how long they are and where they lie, or, in memory, has them
//! behind it once they were fetched.
//!
//! ```text
//! row     the row, its large columns empty; a flag in its head says that the rest follows (`row`)
//! values  the bytes of values that were fetched; none on disk
//! places  18 bytes a large column, by column: u16 column, u32 length, u32 number, u64 writer, LE
//!         (writer 0: the value is here, `number` is its offset from the row's first byte)
//! u16 LE  how many places
//! ```

use std::ops::Range;

/// Bytes that a row pays for a value that lies elsewhere.
pub const PLACE: usize = 18;

/// Longest value of a column, in bytes: PostgreSQL's limit.
pub const MAX_VALUE: usize = (1 << 30) - 1;

/// The name of a large value among all that its row ever had, and its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeRef {
    /// Id of the transaction that wrote it.
    pub writer: u64,
    /// Which of that one's large values it is.
    pub number: u32,
    /// Bytes.
    pub len: u32,
}

/// Where a large column's value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the table's tree.
    Elsewhere(LargeRef),
    /// Behind the row: a range of its bytes.
    Here(Range<usize>),
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Where the places start. `None` when these bytes are not such a row.
fn places_at(row: &[u8]) -> Option<usize> {
    let count = usize::from(u16::from_le_bytes(*row.last_chunk()?));
    row.len().checked_sub(2 + count * PLACE)
}

/// The large columns of a row that has some, ascending. `None` when the bytes are damaged.
#[must_use]
pub fn places(row: &[u8]) -> Option<Vec<(usize, Place)>> {
    let start = places_at(row)?;
    let entries = row[start..row.len() - 2].chunks_exact(PLACE);
    entries
        .map(|entry| {
            let column = usize::from(u16::from_le_bytes(take(entry, 0)?));
            let len = u32::from_le_bytes(take(entry, 2)?);
            let number = u32::from_le_bytes(take(entry, 6)?);
            let writer = u64::from_le_bytes(take(entry, 10)?);
            if writer != 0 {
                return Some((column, Place::Elsewhere(LargeRef { writer, number, len })));
            }
            let end = (number as usize).checked_add(len as usize).filter(|end| *end <= start)?;
            Some((column, Place::Here(number as usize..end)))
        })
        .collect()
}

/// The values that a row refers to. `None` when the bytes are damaged.
#[must_use]
pub fn refs(row: &[u8]) -> Option<Vec<LargeRef>> {
    let elsewhere = |(_, place)| match place {
        Place::Elsewhere(at) => Some(at),
        Place::Here(_) => None,
    };
    Some(places(row)?.into_iter().filter_map(elsewhere).collect())
}

/// Appends the places of a row's large columns, which ascend.
pub(super) fn put_places(places: &[(usize, LargeRef)], out: &mut Vec<u8>) {
    for (column, at) in places {
        put_place(*column, at.writer, at.number, at.len, out);
    }
    out.extend_from_slice(&(places.len() as u16).to_le_bytes());
}

fn put_place(column: usize, writer: u64, number: u32, len: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&(column as u16).to_le_bytes());
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&writer.to_le_bytes());
}

/// A row whose large values are being put behind it.
pub(crate) struct Filling {
    bytes: Vec<u8>,
    places: Vec<(usize, Place)>,
}

impl Filling {
    /// Starts with a row that has large columns. `None` when its bytes are damaged.
    pub(crate) fn new(row: &[u8]) -> Option<Filling> {
        let places = places(row)?;
        let bytes = row[..places_at(row)?].to_vec();
        Some(Filling { bytes, places })
    }

    /// The columns that lie elsewhere.
    pub(crate) fn missing(&self) -> Vec<(usize, LargeRef)> {
        let elsewhere = |(column, place): &(usize, Place)| match place {
            Place::Elsewhere(at) => Some((*column, *at)),
            Place::Here(_) => None,
        };
        self.places.iter().filter_map(elsewhere).collect()
    }

    /// The bytes, to append a value to; [`Filling::filled`] says whose it was.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What is behind `start` is the column's value.
    pub(crate) fn filled(&mut self, column: usize, start: usize) {
        if let Some((_, place)) = self.places.iter_mut().find(|(c, _)| *c == column) {
            *place = Place::Here(start..self.bytes.len());
        }
    }

    /// The row with what was put here.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        for (column, place) in &self.places {
            match place {
                Place::Elsewhere(at) => put_place(*column, at.writer, at.number, at.len, &mut self.bytes),
                Place::Here(range) => {
                    put_place(*column, 0, range.start as u32, range.len() as u32, &mut self.bytes)
                }
            }
        }
        self.bytes.extend_from_slice(&(self.places.len() as u16).to_le_bytes());
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT: LargeRef = LargeRef { writer: 9, number: 3, len: 4 };

    #[test]
    fn a_value_is_put_behind_its_row() {
        let mut row = b"row".to_vec();
        let other = LargeRef { number: 4, ..AT };
        put_places(&[(2, AT), (7, other)], &mut row);
        assert_eq!(row.len(), 3 + 2 * PLACE + 2);
        assert_eq!(refs(&row).unwrap(), [AT, other]);
        let mut filling = Filling::new(&row).unwrap();
        assert_eq!(filling.missing(), [(2, AT), (7, other)]);
        let start = filling.bytes().len();
        filling.bytes().extend_from_slice(b"text");
        filling.filled(7, start);
        let row = filling.finish();
        assert_eq!(places(&row).unwrap(), [(2, Place::Elsewhere(AT)), (7, Place::Here(3..7))]);
        assert_eq!(&row[3..7], b"text");
        let again = Filling::new(&row).unwrap();
        assert_eq!(again.missing(), [(2, AT)]);
        assert_eq!(again.finish(), row);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            if let Some(places) = places(&bytes) {
                for (_, place) in places {
                    if let Place::Here(range) = place {
                        prop_assert!(bytes.get(range).is_some());
                    }
                }
            }
            if let Some(filling) = Filling::new(&bytes) {
                prop_assert!(refs(&filling.finish()).is_some());
            }
        }
    }
}
