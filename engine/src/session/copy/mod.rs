//! COPY data as bytes: rows of fields out of a stream cut anywhere, and rows of fields into lines. No tables here.
//!
//! What must hold: how the stream is cut into CopyData messages changes nothing; memory is bounded by the longest row.

mod binary;
mod csv;
mod text;

use bytes::{Buf, BytesMut};

use crate::types::{SqlError, SqlResult, sqlstate};

pub(super) use binary::{Binary, write_header, write_trailer};
pub(super) use text::write_field;

/// A row may be this long, so that data without a line end does not fill the memory.
const ROW_BYTES_MAX: usize = 256 << 20;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Backslash escapes.
    Text,
    /// Quotes.
    Csv {
        /// Around fields that need it.
        quote: u8,
        /// Before a quote inside one.
        escape: u8,
    },
}

/// COPY's options as they matter to the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) layout: Layout,
    pub(super) delimiter: u8,
    pub(super) null: String,
    pub(super) header: bool,
}

/// One row's fields, in memory that is used again for the next.
#[derive(Debug, Default)]
pub(super) struct Fields {
    bytes: Vec<u8>,
    ends: Vec<Option<usize>>,
}

impl Fields {
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    fn end(&mut self, null: bool) {
        self.ends.push((!null).then_some(self.bytes.len()));
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The fields; `None` is NULL.
    pub(super) fn iter(&self) -> impl Iterator<Item = SqlResult<Option<&str>>> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let Some(end) = *end else { return Ok(None) };
            let bytes = &self.bytes[start..end];
            start = end;
            match std::str::from_utf8(bytes) {
                Ok(text) if !text.contains('\0') => Ok(Some(text)),
                _ => Err(SqlError::new(
                    sqlstate::CHARACTER_NOT_IN_REPERTOIRE,
                    "invalid byte sequence for encoding \"UTF8\"",
                )),
            }
        })
    }
}

/// What the reader found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A row is in the fields.
    Row,
    /// More data is needed.
    Nothing,
    /// The end-of-data mark `\.` was read: what follows is ignored.
    End,
}

/// Cuts a stream of COPY data into rows.
#[derive(Debug)]
pub(super) struct Reader {
    format: Format,
    input: BytesMut,
    /// Bytes of the input in which no line end was found, so that they are not searched twice.
    searched: usize,
    line: u64,
    ended: bool,
}

impl Reader {
    pub(super) fn new(format: Format) -> Reader {
        Reader { format, input: BytesMut::new(), searched: 0, line: 0, ended: false }
    }

    /// Takes the content of a CopyData message.
    pub(super) fn push(&mut self, data: &[u8]) {
        if !self.ended {
            self.input.extend_from_slice(data);
        }
    }

    /// The line that was read last, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// The next row. `last`: no more data will come, so an unfinished line is a whole one.
    ///
    /// # Errors
    /// 22P04 for what is no row.
    pub(super) fn next(&mut self, last: bool, fields: &mut Fields) -> SqlResult<Found> {
        loop {
            if self.ended {
                return Ok(Found::End);
            }
            let Some((content, whole)) = self.line_end(last)? else {
                return Ok(Found::Nothing);
            };
            self.line += 1;
            let is_header = self.format.header && self.line == 1;
            let found = if is_header { Ok(false) } else { self.take_row(content, fields) };
            self.input.advance(whole);
            self.searched = 0;
            match found {
                Ok(true) => return Ok(Found::Row),
                Ok(false) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// False when the line is the end mark.
    fn take_row(&mut self, content: usize, fields: &mut Fields) -> SqlResult<bool> {
        let line = &self.input[..content];
        if line == b"\\." {
            self.ended = true;
            return Ok(false);
        }
        fields.clear();
        match self.format.layout {
            Layout::Text => text::fields(line, self.format.delimiter, self.format.null.as_bytes(), fields),
            Layout::Csv { quote, escape } => {
                let syntax = csv::Syntax { delimiter: self.format.delimiter, quote, escape };
                csv::fields(line, syntax, self.format.null.as_bytes(), fields)?;
            }
        }
        Ok(true)
    }

    /// The length of the first line's content, and with its end.
    fn line_end(&mut self, last: bool) -> SqlResult<Option<(usize, usize)>> {
        let end = match self.format.layout {
            Layout::Text => text::line_end(&self.input, &mut self.searched),
            Layout::Csv { quote, escape } => csv::line_end(&self.input, quote, escape),
        };
        if let Some(end) = end {
            let content = match self.input[..end] {
                [.., b'\r'] => end - 1,
                _ => end,
            };
            return Ok(Some((content, end + 1)));
        }
        if self.input.len() > ROW_BYTES_MAX {
            return Err(SqlError::new(
                sqlstate::PROGRAM_LIMIT,
                format!("a row of COPY data is longer than {ROW_BYTES_MAX} bytes"),
            ));
        }
        if last && !self.input.is_empty() {
            let len = self.input.len();
            return Ok(Some((len, len)));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text_format() -> Format {
        Format { layout: Layout::Text, delimiter: b'\t', null: "\\N".to_owned(), header: false }
    }

    fn csv_format() -> Format {
        Format {
            layout: Layout::Csv { quote: b'"', escape: b'"' },
            delimiter: b',',
            null: String::new(),
            header: false,
        }
    }

    type Rows = Vec<Vec<Option<String>>>;

    fn read(format: Format, pieces: &[&[u8]]) -> SqlResult<Rows> {
        let mut reader = Reader::new(format);
        let mut fields = Fields::default();
        let mut rows = Rows::new();
        for (n, piece) in pieces.iter().enumerate() {
            reader.push(piece);
            while reader.next(n + 1 == pieces.len(), &mut fields)? == Found::Row {
                let row = fields.iter().map(|f| f.map(|f| f.map(str::to_owned)));
                rows.push(row.collect::<SqlResult<_>>()?);
            }
        }
        Ok(rows)
    }

    fn row(fields: &[Option<&str>]) -> Vec<Option<String>> {
        fields.iter().map(|f| f.map(str::to_owned)).collect()
    }

    #[test]
    fn text_rows_with_escapes_and_nulls() {
        let data = b"1\ta\\tb\t\\N\n2\t\\x41\\101\\\\\t\r\n\\.\nignored";
        let rows = read(text_format(), &[data]).unwrap();
        assert_eq!(rows, [row(&[Some("1"), Some("a\tb"), None]), row(&[Some("2"), Some("AA\\"), Some("")])]);
    }

    #[test]
    fn an_escaped_line_end_belongs_to_the_field() {
        let rows = read(text_format(), &[b"a\\\nb\tc\nlast\td"]).unwrap();
        assert_eq!(rows, [row(&[Some("a\nb"), Some("c")]), row(&[Some("last"), Some("d")])]);
    }

    #[test]
    fn csv_rows_with_quotes() {
        let data = b"1,\"a,\"\"b\"\"\nc\",\n2,\"\",x\n";
        let rows = read(csv_format(), &[data]).unwrap();
        assert_eq!(
            rows,
            [row(&[Some("1"), Some("a,\"b\"\nc"), None]), row(&[Some("2"), Some(""), Some("x")])]
        );
        assert_eq!(read(csv_format(), &[b"\"a"]).unwrap_err().sqlstate, "22P04");
    }

    #[test]
    fn text_that_is_not_utf8_is_an_error() {
        assert_eq!(read(text_format(), &[b"\xff\n"]).unwrap_err().sqlstate, "22021");
        assert_eq!(read(text_format(), &[b"\\xff\n"]).unwrap_err().sqlstate, "22021");
    }

    fn field() -> impl Strategy<Value = Option<String>> {
        proptest::option::of("[a\\\\\t\n\r\"N.,é]{0,6}")
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_however_it_is_cut(
            rows in proptest::collection::vec(proptest::collection::vec(field(), 2), 0..5),
            cut in 1usize..9,
        ) {
            let mut data = BytesMut::new();
            for fields in &rows {
                for (n, field) in fields.iter().enumerate() {
                    if n > 0 { data.extend_from_slice(b"\t"); }
                    write_field(&mut data, field.as_deref(), &text_format());
                }
                data.extend_from_slice(b"\n");
            }
            let pieces: Vec<&[u8]> = data.chunks(cut).chain([&b""[..]]).collect();
            prop_assert_eq!(read(text_format(), &pieces).unwrap(), rows);
        }

        #[test]
        fn no_bytes_panic(data in proptest::collection::vec(any::<u8>(), 0..64), csv in any::<bool>()) {
            let format = if csv { csv_format() } else { text_format() };
            let _ = read(format, &[&data]);
        }
    }
}
