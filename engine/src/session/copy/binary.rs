//! COPY's binary layout: a signature, then rows of counted fields, then a row count of -1.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::ROW_BYTES_MAX;
use crate::types::{SqlError, SqlResult, sqlstate};

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// Writes what comes before the first row.
pub(in crate::session) fn write_header(out: &mut BytesMut) {
    out.put_slice(SIGNATURE);
    out.put_u32(0);
    out.put_u32(0);
}

/// Writes what comes after the last row.
pub(in crate::session) fn write_trailer(out: &mut BytesMut) {
    out.put_i16(-1);
}

/// Cuts a stream of binary COPY data into rows.
#[derive(Debug, Default)]
pub(in crate::session) struct Binary {
    input: BytesMut,
    started: bool,
    ended: bool,
}

fn bad(what: &str) -> SqlError {
    SqlError::new(sqlstate::BAD_COPY_FORMAT, what)
}

impl Binary {
    pub(in crate::session) fn push(&mut self, data: &[u8]) {
        if !self.ended {
            self.input.extend_from_slice(data);
        }
    }

    /// The next row that is there as a whole.
    pub(in crate::session) fn next(&mut self) -> SqlResult<Option<Vec<Option<Bytes>>>> {
        if self.ended || (!self.started && !self.start()?) {
            return Ok(None);
        }
        let Some(len) = self.row_len()? else {
            if self.input.len() > ROW_BYTES_MAX {
                return Err(bad("a row of COPY data is too long"));
            }
            return Ok(None);
        };
        let mut row = self.input.split_to(len).freeze();
        let count = row.get_i16();
        let mut fields = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        for _ in 0..count {
            let len = row.get_i32();
            fields.push(usize::try_from(len).ok().map(|len| row.split_to(len)));
        }
        Ok(Some(fields))
    }

    /// No more data comes.
    pub(in crate::session) fn finish(&self) -> SqlResult<()> {
        if self.ended || (self.input.is_empty() && self.started) {
            Ok(())
        } else {
            Err(bad("unexpected EOF in COPY data"))
        }
    }

    fn start(&mut self) -> SqlResult<bool> {
        let known = self.input.len().min(SIGNATURE.len());
        if self.input[..known] != SIGNATURE[..known] {
            return Err(bad("COPY file signature not recognized"));
        }
        let Some(head) = self.input.get(SIGNATURE.len()..SIGNATURE.len() + 8) else {
            return Ok(false);
        };
        if head[..4] != [0; 4] {
            return Err(bad("unrecognized critical flags in COPY file header"));
        }
        let extension = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let whole = SIGNATURE.len() + 8 + extension;
        if extension > ROW_BYTES_MAX {
            return Err(bad("invalid COPY file header (wrong length)"));
        }
        if self.input.len() < whole {
            return Ok(false);
        }
        self.input.advance(whole);
        self.started = true;
        Ok(true)
    }

    /// The length of the first row, when all of it is there and it is one.
    fn row_len(&mut self) -> SqlResult<Option<usize>> {
        let mut rest = &self.input[..];
        if rest.len() < 2 {
            return Ok(None);
        }
        let count = rest.get_i16();
        if count == -1 {
            self.ended = true;
            return Ok(None);
        }
        if count < 0 {
            return Err(bad("invalid field count in COPY data"));
        }
        for _ in 0..count {
            if rest.len() < 4 {
                return Ok(None);
            }
            let len = match rest.get_i32() {
                -1 => 0,
                len => usize::try_from(len).map_err(|_| bad("invalid field size"))?,
            };
            if rest.len() < len {
                return Ok(None);
            }
            rest.advance(len);
        }
        Ok(Some(self.input.len() - rest.len()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream() -> BytesMut {
        let mut data = BytesMut::new();
        write_header(&mut data);
        data.put_slice(b"\0\x02\0\0\0\x01a\xff\xff\xff\xff");
        data.put_slice(b"\0\x02\0\0\0\0\0\0\0\x02bc");
        write_trailer(&mut data);
        data
    }

    proptest! {
        #[test]
        fn rows_come_out_however_the_stream_is_cut(cut in 1usize..60) {
            let mut reader = Binary::default();
            let mut rows = Vec::new();
            for piece in stream().chunks(cut) {
                reader.push(piece);
                while let Some(row) = reader.next().unwrap() {
                    rows.push(row);
                }
            }
            reader.finish().unwrap();
            let field = |s: &'static str| Some(Bytes::from_static(s.as_bytes()));
            prop_assert_eq!(rows, vec![vec![field("a"), None], vec![field(""), field("bc")]]);
        }

        #[test]
        fn no_bytes_panic(data in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut reader = Binary::default();
            let mut whole = BytesMut::new();
            write_header(&mut whole);
            whole.put_slice(&data);
            reader.push(&whole);
            while let Ok(Some(_)) = reader.next() {}
            let _ = reader.finish();
        }
    }

    #[test]
    fn another_file_is_refused() {
        let mut reader = Binary::default();
        reader.push(b"PGCOPX");
        assert_eq!(reader.next().unwrap_err().sqlstate, "22P04");
    }
}
