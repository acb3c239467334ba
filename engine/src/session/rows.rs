//! Rows and their shape, written straight into the write buffer.

use bytes::{BufMut, BytesMut};

use crate::sql::Column;
use crate::types::{Datum, SqlError, SqlResult, TimeZone, encode_binary, encode_text_in};
use crate::wire::backend::{self, Field};
use crate::wire::frontend::Shorts;

use super::codes;

/// In which form columns, or parameters, travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Formats {
    /// All as text.
    Text,
    /// All as binary.
    Binary,
    /// Each its own: true is binary.
    Each(Box<[bool]>),
}

impl Formats {
    /// From a Bind message, for `count` values.
    ///
    /// # Errors
    /// 08P01 for a count that fits nothing, or a code that is neither text nor binary.
    pub(super) fn read(codes: Shorts<'_>, count: usize, what: &str) -> SqlResult<Formats> {
        match codes.len() {
            0 => Ok(Formats::Text),
            1 => {
                let binary = codes.iter().map(is_binary).next().transpose()?;
                Ok(if binary == Some(true) { Formats::Binary } else { Formats::Text })
            }
            n if n == count => codes.iter().map(is_binary).collect::<SqlResult<_>>().map(Formats::Each),
            n => Err(SqlError::new(
                codes::PROTOCOL_VIOLATION,
                format!("bind message has {n} {what} formats but {count} {what}s"),
            )),
        }
    }

    /// Whether value `n` is binary.
    pub(super) fn binary(&self, n: usize) -> bool {
        match self {
            Formats::Text => false,
            Formats::Binary => true,
            Formats::Each(each) => each.get(n).copied().unwrap_or(false),
        }
    }
}

fn is_binary(code: u16) -> SqlResult<bool> {
    match code {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(SqlError::new(
            crate::types::sqlstate::INVALID_PARAMETER_VALUE,
            format!("unsupported format code: {other}"),
        )),
    }
}

/// Writes a RowDescription.
pub(super) fn describe(out: &mut BytesMut, columns: &[Column], formats: &Formats) {
    let fields = columns.iter().enumerate().map(|(n, column)| Field {
        name: &column.name,
        table: column.table_oid,
        attribute: column.attnum,
        type_oid: column.ty.oid,
        type_len: column.ty.len(),
        typmod: column.ty.typmod,
        format: u16::from(formats.binary(n)),
    });
    backend::row_description(out, fields);
}

/// Writes one DataRow.
pub(super) fn write(
    out: &mut BytesMut,
    row: &[Datum],
    columns: &[Column],
    formats: &Formats,
    zone: &TimeZone,
) {
    backend::message(out, b'D', |out| {
        out.put_u16(row.len() as u16);
        for (n, (datum, column)) in row.iter().zip(columns).enumerate() {
            if datum.is_null() {
                out.put_i32(-1);
                continue;
            }
            let start = out.len();
            out.put_u32(0);
            if formats.binary(n) {
                encode_binary(datum, column.ty, out);
            } else {
                encode_text_in(datum, column.ty, zone, out);
            }
            let len = (out.len() - start - 4) as u32;
            out[start..start + 4].copy_from_slice(&len.to_be_bytes());
        }
    });
}
