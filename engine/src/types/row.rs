//! Rows as bytes. An update of a fixed-size column changes that column's bytes and nothing else, so its redo is small;
//! a column added later needs no rewrite, because a row says how many columns it has.
//!
//! ```text
//! u16 LE  columns (14 bits) | has large columns (bit 14) | wide offsets (top bit)
//! bitmap  one bit a column, set for NULL, ceil(columns / 8) bytes
//! fixed   the fixed-size columns in order, little-endian, at constant offsets (a NULL keeps its place, zeroed)
//! ends    one u16 (u32 if wide) LE a variable column: where its bytes end, counted from the start of `data`
//! data    the variable columns' bytes; char(n) without its trailing blanks
//! large   where the values are that were too large for the row (`large`), if it has such columns
//! ```

use std::borrow::Cow;
use std::cmp::Reverse;
use std::sync::Arc;

use bytes::BytesMut;

use super::large::{self, PLACE, Place};
use super::{
    Datum, EnumType, SqlError, SqlResult, SqlType, decode_binary, encode_binary, oids, text::pad_stored,
    trim_blanks,
};

const WIDE: u16 = 0x8000;
const LARGE: u16 = 0x4000;
const FLAGS: u16 = WIDE | LARGE;
/// More columns than PostgreSQL's 1600 are refused when a table is made.
const MAX_COLUMNS: usize = !FLAGS as usize;

/// Whether some of a row's values may lie elsewhere.
#[must_use]
pub fn has_large(row: &[u8]) -> bool {
    matches!(row, [a, b, ..] if u16::from_le_bytes([*a, *b]) & LARGE != 0)
}

#[derive(Debug, Clone, Copy)]
enum Slot {
    /// Offset from the start of the row.
    Fixed { at: usize },
    /// Ordinal among the variable columns.
    Var { ordinal: usize },
}

/// Where things are in a row of the first so many columns.
#[derive(Debug, Clone)]
struct Places {
    slots: Vec<Slot>,
    /// Offset of the end offsets.
    ends: usize,
    vars: usize,
}

impl Places {
    fn new(types: &[SqlType]) -> Places {
        let mut at = 2 + types.len().div_ceil(8);
        let mut vars = 0;
        let mut slots = Vec::with_capacity(types.len());
        for ty in types {
            if ty.is_fixed() {
                slots.push(Slot::Fixed { at });
                at += ty.len() as usize;
            } else {
                slots.push(Slot::Var { ordinal: vars });
                vars += 1;
            }
        }
        Places { slots, ends: at, vars }
    }
}

/// How the rows of a table are laid out. Columns are never removed from it, only added at the end.
#[derive(Debug, Clone)]
pub struct RowLayout {
    types: Vec<SqlType>,
    /// What a row that is older than a column has there.
    missing: Vec<Datum>,
    places: Places,
    /// Columns of enum types, from 0.
    enums: Vec<(usize, Arc<EnumType>)>,
}

impl RowLayout {
    /// The layout for columns with these types, and the value of each in rows that were written before it was added.
    #[must_use]
    pub fn new(columns: impl IntoIterator<Item = (SqlType, Datum)>) -> RowLayout {
        let (types, missing): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        let places = Places::new(&types);
        RowLayout { types, missing, places, enums: Vec::new() }
    }

    /// The same layout with the types of its enum columns, from 0.
    #[must_use]
    pub fn with_enums(self, enums: Vec<(usize, Arc<EnumType>)>) -> RowLayout {
        RowLayout { enums, ..self }
    }

    /// The number of columns.
    #[must_use]
    pub fn width(&self) -> usize {
        self.types.len()
    }

    /// Which columns' values have to go elsewhere for the row to take no more than `limit` bytes: the longest first, and
    /// no more than it takes.
    #[must_use]
    pub fn too_large(&self, row: &[Datum], limit: usize) -> Vec<usize> {
        let sizes = || row.iter().zip(&self.types).map(|(datum, ty)| var_size(datum, *ty));
        let mut total = 2 + self.places.ends + 4 * self.places.vars + sizes().sum::<usize>();
        total += PLACE * row.iter().filter(|datum| matches!(datum, Datum::Large(_))).count();
        if total <= limit {
            return Vec::new();
        }
        let mut longest: Vec<(usize, usize)> =
            sizes().enumerate().map(|(n, size)| (size, n)).filter(|(size, _)| *size > PLACE).collect();
        longest.sort_unstable_by_key(|(size, n)| (Reverse(*size), *n));
        let mut moved = Vec::new();
        for (size, n) in longest {
            if total <= limit {
                break;
            }
            total -= size - PLACE;
            moved.push(n);
        }
        moved
    }

    /// A variable column's bytes as a row has them.
    #[must_use]
    pub fn bytes_of<'d>(&self, column: usize, datum: &'d Datum) -> Cow<'d, [u8]> {
        match datum {
            Datum::Text(s) if self.types[column].oid == oids::BPCHAR => trim_blanks(s).as_bytes().into(),
            Datum::Text(s) => s.as_bytes().into(),
            Datum::Bytea(b) => (&**b).into(),
            other => {
                let mut bytes = Vec::new();
                put_var(other, self.types[column], &mut bytes);
                bytes.into()
            }
        }
    }

    /// Appends the bytes of a row, which has a value of the right type for each column, or says where it is.
    pub fn encode(&self, row: &[Datum], out: &mut Vec<u8>) -> SqlResult<()> {
        if row.len() != self.types.len() || row.len() > MAX_COLUMNS {
            return Err(SqlError::internal("a row does not fit its table's layout"));
        }
        let start = out.len();
        let var_bytes: usize = row.iter().zip(&self.types).map(|(d, ty)| var_size(d, *ty)).sum();
        let wide = var_bytes > usize::from(u16::MAX);
        let end_size = if wide { 4 } else { 2 };
        let data = self.places.ends + end_size * self.places.vars;
        out.resize(start + data, 0);
        let mut flags = row.len() as u16 | if wide { WIDE } else { 0 };
        let mut large = Vec::new();
        for (n, (datum, ty)) in row.iter().zip(&self.types).enumerate() {
            match datum {
                Datum::Null => out[start + 2 + n / 8] |= 1 << (n % 8),
                Datum::Large(at) => large.push((n, *at)),
                _ => {}
            }
            match self.places.slots[n] {
                Slot::Fixed { at } => put_fixed(datum, &mut out[start + at..]),
                Slot::Var { ordinal } => {
                    put_var(datum, *ty, out);
                    let end = (out.len() - start - data) as u32;
                    let at = start + self.places.ends + ordinal * end_size;
                    out[at..at + end_size].copy_from_slice(&end.to_le_bytes()[..end_size]);
                }
            }
        }
        if !large.is_empty() {
            flags |= LARGE;
            large::put_places(&large, out);
        }
        out[start..start + 2].copy_from_slice(&flags.to_le_bytes());
        Ok(())
    }

    /// Opens a row for reading its columns.
    pub fn read<'a>(&'a self, bytes: &'a [u8]) -> SqlResult<RowReader<'a>> {
        let flags = match bytes {
            [a, b, ..] => u16::from_le_bytes([*a, *b]),
            _ => return Err(SqlError::corrupt("a row shorter than its header")),
        };
        let count = usize::from(flags & !FLAGS);
        if count > self.types.len() {
            return Err(SqlError::corrupt("a row with more columns than its table"));
        }
        // Offsets depend on the number of columns, so an older row has its own.
        let older = (count < self.types.len()).then(|| Places::new(&self.types[..count]));
        let large = match flags & LARGE {
            0 => Vec::new(),
            _ => large::places(bytes).ok_or_else(damaged)?,
        };
        Ok(RowReader { layout: self, bytes, older, wide: flags & WIDE != 0, large })
    }

    /// Decodes the columns in `wanted` into `out`, NULL for the others.
    pub fn decode_into(&self, bytes: &[u8], wanted: &[bool], out: &mut Vec<Datum>) -> SqlResult<()> {
        let row = self.read(bytes)?;
        for n in 0..self.types.len() {
            out.push(if wanted.get(n).copied().unwrap_or(false) { row.get(n)? } else { Datum::Null });
        }
        Ok(())
    }

    /// Decodes every column.
    pub fn decode(&self, bytes: &[u8]) -> SqlResult<Vec<Datum>> {
        let row = self.read(bytes)?;
        (0..self.types.len()).map(|n| row.get(n)).collect()
    }
}

/// One row being read.
pub struct RowReader<'a> {
    layout: &'a RowLayout,
    bytes: &'a [u8],
    older: Option<Places>,
    wide: bool,
    large: Vec<(usize, Place)>,
}

fn damaged() -> SqlError {
    SqlError::corrupt("a row whose columns do not fit its bytes")
}

impl RowReader<'_> {
    /// The value of column `n`, from 0; [`Datum::Large`] when it lies elsewhere and was not fetched.
    pub fn get(&self, n: usize) -> SqlResult<Datum> {
        let places = self.older.as_ref().unwrap_or(&self.layout.places);
        let Some(slot) = places.slots.get(n) else {
            return self.layout.missing.get(n).cloned().ok_or_else(damaged);
        };
        let nulls = self.bytes.get(2 + n / 8).ok_or_else(damaged)?;
        if nulls & 1 << (n % 8) != 0 {
            return Ok(Datum::Null);
        }
        let ty = self.layout.types[n];
        match *slot {
            Slot::Fixed { at } if ty.is_enum() => self.label(n, self.bytes.get(at..).ok_or_else(damaged)?),
            Slot::Fixed { at } => get_fixed(self.bytes.get(at..).ok_or_else(damaged)?, ty),
            Slot::Var { ordinal } => match self.large.iter().find(|(column, _)| *column == n) {
                None => get_var(self.var_bytes(places, ordinal)?, ty),
                Some((_, Place::Elsewhere(at))) => Ok(Datum::Large(*at)),
                Some((_, Place::Here(range))) => {
                    get_var(self.bytes.get(range.clone()).ok_or_else(damaged)?, ty)
                }
            },
        }
    }

    fn label(&self, n: usize, bytes: &[u8]) -> SqlResult<Datum> {
        let of = self.layout.enums.iter().find(|(column, _)| *column == n).map(|(_, of)| of);
        let of = of.ok_or_else(|| SqlError::internal("a column of an enum type that is not known"))?;
        let label = of.label(u32::from_le_bytes(head(bytes)?));
        label.map(Datum::Enum).ok_or_else(|| SqlError::corrupt("a label that its enum type does not have"))
    }

    fn var_bytes(&self, places: &Places, ordinal: usize) -> SqlResult<&[u8]> {
        let size = if self.wide { 4 } else { 2 };
        let end_of = |ordinal: usize| -> SqlResult<usize> {
            let at = places.ends + ordinal * size;
            let raw = self.bytes.get(at..at + size).ok_or_else(damaged)?;
            let mut word = [0; 4];
            word[..size].copy_from_slice(raw);
            Ok(u32::from_le_bytes(word) as usize)
        };
        let start = if ordinal == 0 { 0 } else { end_of(ordinal - 1)? };
        let data = places.ends + size * places.vars;
        self.bytes.get(data + start..data + end_of(ordinal)?).ok_or_else(damaged)
    }
}

fn var_size(datum: &Datum, ty: SqlType) -> usize {
    match datum {
        _ if ty.is_fixed() => 0,
        Datum::Text(s) => s.len(),
        Datum::Bytea(b) => b.len(),
        // Generous: it only decides on wide offsets.
        Datum::Numeric(n) => 8 + 2 * n.digits().groups.len(),
        _ => 0,
    }
}

fn put_fixed(datum: &Datum, out: &mut [u8]) {
    match datum {
        Datum::Bool(b) => out[0] = u8::from(*b),
        Datum::Int2(n) => out[..2].copy_from_slice(&n.to_le_bytes()),
        Datum::Int4(n) | Datum::Date(n) => out[..4].copy_from_slice(&n.to_le_bytes()),
        Datum::Int8(n) | Datum::Timestamp(n) | Datum::TimestampTz(n) => {
            out[..8].copy_from_slice(&n.to_le_bytes())
        }
        Datum::Oid(n) => out[..4].copy_from_slice(&n.to_le_bytes()),
        Datum::Enum(label) => out[..4].copy_from_slice(&label.oid.to_le_bytes()),
        Datum::Float4(f) => out[..4].copy_from_slice(&f.to_le_bytes()),
        Datum::Float8(f) => out[..8].copy_from_slice(&f.to_le_bytes()),
        Datum::Null | Datum::Text(_) | Datum::Bytea(_) | Datum::Numeric(_) | Datum::Large(_) => {}
    }
}

fn head<const N: usize>(bytes: &[u8]) -> SqlResult<[u8; N]> {
    bytes.first_chunk::<N>().copied().ok_or_else(damaged)
}

fn get_fixed(bytes: &[u8], ty: SqlType) -> SqlResult<Datum> {
    Ok(match ty.oid {
        oids::BOOL => Datum::Bool(head::<1>(bytes)?[0] != 0),
        oids::INT2 => Datum::Int2(i16::from_le_bytes(head(bytes)?)),
        oids::INT4 => Datum::Int4(i32::from_le_bytes(head(bytes)?)),
        oids::INT8 => Datum::Int8(i64::from_le_bytes(head(bytes)?)),
        oids::OID | oids::REGCLASS | oids::REGPROC | oids::REGTYPE => {
            Datum::Oid(u32::from_le_bytes(head(bytes)?))
        }
        oids::FLOAT4 => Datum::Float4(f32::from_le_bytes(head(bytes)?)),
        oids::FLOAT8 => Datum::Float8(f64::from_le_bytes(head(bytes)?)),
        oids::DATE => Datum::Date(i32::from_le_bytes(head(bytes)?)),
        oids::TIMESTAMP => Datum::Timestamp(i64::from_le_bytes(head(bytes)?)),
        oids::TIMESTAMPTZ => Datum::TimestampTz(i64::from_le_bytes(head(bytes)?)),
        _ => return Err(damaged()),
    })
}

fn put_var(datum: &Datum, ty: SqlType, out: &mut Vec<u8>) {
    match datum {
        Datum::Text(s) if ty.oid == oids::BPCHAR => out.extend_from_slice(trim_blanks(s).as_bytes()),
        Datum::Text(s) => out.extend_from_slice(s.as_bytes()),
        Datum::Bytea(b) => out.extend_from_slice(b),
        Datum::Numeric(_) => {
            let mut bytes = BytesMut::new();
            encode_binary(datum, ty, &mut bytes);
            out.extend_from_slice(&bytes);
        }
        _ => {}
    }
}

fn get_var(bytes: &[u8], ty: SqlType) -> SqlResult<Datum> {
    match ty.oid {
        oids::BYTEA => Ok(Datum::Bytea(bytes.into())),
        oids::NUMERIC => decode_binary(bytes, SqlType::NUMERIC).map_err(|_| damaged()),
        _ => {
            let text = std::str::from_utf8(bytes).map_err(|_| damaged())?;
            Ok(if ty.oid == oids::BPCHAR { pad_stored(text, ty) } else { Datum::text(text) })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn layout(types: &[SqlType]) -> RowLayout {
        RowLayout::new(types.iter().map(|t| (*t, Datum::Null)))
    }

    fn bytes(layout: &RowLayout, row: &[Datum]) -> Vec<u8> {
        let mut out = Vec::new();
        layout.encode(row, &mut out).unwrap();
        out
    }

    #[test]
    fn an_integer_update_changes_four_bytes_at_most() {
        let l = layout(&[SqlType::INT4, SqlType::TEXT, SqlType::INT4, SqlType::BPCHAR.with_length(84)]);
        let row = |n| [Datum::Int4(1), Datum::text("hello"), Datum::Int4(n), Datum::text(" ".repeat(84))];
        let (a, b) = (bytes(&l, &row(0)), bytes(&l, &row(-1)));
        assert_eq!(a.len(), b.len());
        assert_eq!(a.iter().zip(&b).filter(|(x, y)| x != y).count(), 4);
        assert_eq!(a.len(), 2 + 1 + 8 + 4 + 5, "char(n) is stored without its padding");
        assert_eq!(l.decode(&a).unwrap(), row(0));
    }

    #[test]
    fn a_row_older_than_a_column_has_its_missing_value() {
        let old = layout(&[SqlType::INT4, SqlType::TEXT]);
        let row = bytes(&old, &[Datum::Int4(7), Datum::text("x")]);
        let new = RowLayout::new([
            (SqlType::INT4, Datum::Null),
            (SqlType::TEXT, Datum::Null),
            (SqlType::INT8, Datum::Int8(42)),
            (SqlType::TEXT, Datum::Null),
        ]);
        let decoded = new.decode(&row).unwrap();
        assert_eq!(decoded, [Datum::Int4(7), Datum::text("x"), Datum::Int8(42), Datum::Null]);
    }

    #[test]
    fn the_longest_values_go_elsewhere() {
        let l = layout(&[SqlType::TEXT, SqlType::INT4, SqlType::TEXT, SqlType::TEXT, SqlType::TEXT]);
        let text = |n: usize| Datum::text("x".repeat(n));
        let mut row = [text(900), Datum::Int4(1), text(5000), text(1500), Datum::Null];
        assert_eq!(l.too_large(&row, 8000), [0usize; 0]);
        assert_eq!(l.too_large(&row, 4000), [2]);
        assert_eq!(l.too_large(&row, 2000), [2, 3]);
        assert_eq!(l.too_large(&row, 10), [2, 3, 0], "no more can be done about it");
        let at = large::LargeRef { writer: 7, number: 1, len: 5000 };
        row[2] = Datum::Large(at);
        assert_eq!(l.too_large(&row, 4000), [0usize; 0]);
        let bytes = bytes(&l, &row);
        assert!(has_large(&bytes));
        assert_eq!(l.decode(&bytes).unwrap(), row);
        let mut filling = large::Filling::new(&bytes).unwrap();
        let start = filling.bytes().len();
        filling.bytes().extend_from_slice("x".repeat(5000).as_bytes());
        filling.filled(2, start);
        row[2] = text(5000);
        assert_eq!(l.decode(&filling.finish()).unwrap(), row);
    }

    #[test]
    fn long_values_use_wide_offsets() {
        let l = layout(&[SqlType::TEXT, SqlType::TEXT]);
        let row = [Datum::text("a".repeat(70_000)), Datum::text("b")];
        assert_eq!(l.decode(&bytes(&l, &row)).unwrap(), row);
    }

    proptest! {
        #[test]
        fn rows_come_back(a: Option<i32>, s in prop::option::of("[^\0]{0,50}"), c: Option<i64>, b: Option<Vec<u8>>,
                          n: Option<i64>, t: Option<bool>) {
            let l = layout(&[SqlType::INT4, SqlType::TEXT, SqlType::INT8, SqlType::BYTEA, SqlType::NUMERIC, SqlType::BOOL]);
            let row = [
                a.map_or(Datum::Null, Datum::Int4),
                s.map_or(Datum::Null, Datum::text),
                c.map_or(Datum::Null, Datum::Int8),
                b.map_or(Datum::Null, |b| Datum::Bytea(b.into())),
                n.map_or(Datum::Null, |n| Datum::numeric(crate::types::Numeric::from_parts(n.into(), 3))),
                t.map_or(Datum::Null, Datum::Bool),
            ];
            prop_assert_eq!(l.decode(&bytes(&l, &row)).unwrap(), row);
        }

        #[test]
        fn damaged_rows_are_errors(raw: Vec<u8>) {
            let l = layout(&[SqlType::INT4, SqlType::TEXT, SqlType::NUMERIC]);
            let _ = l.decode(&raw);
        }
    }
}
