//! What a client sends after the startup packet. Everything borrows from the frame.

use super::cursor::Cursor;

/// Why a message cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The frame is whole, its content is not what its type says (08P01). The stream itself is still in step.
    #[error("{0}")]
    Malformed(&'static str),
    /// Text that is not UTF-8 (22021).
    #[error("invalid byte sequence for encoding \"UTF8\": 0x{0:02x}")]
    Encoding(u8),
    /// No such message (08P01). The connection ends: what follows cannot be trusted.
    #[error("invalid frontend message type {0}")]
    UnknownType(u8),
}

/// What Describe and Close are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A prepared statement.
    Statement,
    /// A portal.
    Portal,
}

/// A message of a client.
#[derive(Debug, Clone, Copy)]
pub enum Frontend<'a> {
    /// A simple query: one string, any number of statements.
    Query(&'a str),
    /// Prepare `sql` as `name` (empty: the unnamed statement).
    Parse {
        /// The statement's name.
        name: &'a str,
        /// Its text.
        sql: &'a str,
        /// Declared parameter types, big-endian type OIDs, 0 = infer.
        types: Words<'a>,
    },
    /// Make a portal of a statement.
    Bind(Bind<'a>),
    /// Ask for the shape of a statement or portal.
    Describe(Target, &'a str),
    /// Run a portal for at most so many rows (0 = all).
    Execute {
        /// The portal's name.
        portal: &'a str,
        /// Rows at most; 0 or less: no limit.
        max_rows: i32,
    },
    /// Forget a statement or portal.
    Close(Target, &'a str),
    /// Send what is buffered.
    Flush,
    /// End of a pipeline: commit the implicit transaction, forget an error.
    Sync,
    /// Some COPY data.
    CopyData(&'a [u8]),
    /// The end of COPY data.
    CopyDone,
    /// The client gives COPY up, and why.
    CopyFail(&'a str),
    /// An answer to an authentication request.
    Password,
    /// The old fast-path call, which is not offered.
    FunctionCall,
    /// The client says goodbye.
    Terminate,
}

/// The body of a Bind message.
#[derive(Debug, Clone, Copy)]
pub struct Bind<'a> {
    /// The portal to make.
    pub portal: &'a str,
    /// The statement it is of.
    pub statement: &'a str,
    /// Parameter formats: none (all text), one (for all), or one a parameter.
    pub parameter_formats: Shorts<'a>,
    /// How many parameters follow.
    pub parameters: Parameters<'a>,
    /// Result formats: none (all text), one (for all), or one a column.
    pub result_formats: Shorts<'a>,
}

/// A list of 32-bit numbers.
#[derive(Debug, Clone, Copy)]
pub struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    /// The numbers.
    pub fn iter(self) -> impl Iterator<Item = u32> + 'a {
        self.0.chunks_exact(4).map(|c| u32::from_be_bytes([c[0], c[1], c[2], c[3]]))
    }
}

/// A list of 16-bit numbers.
#[derive(Debug, Clone, Copy)]
pub struct Shorts<'a>(&'a [u8]);

impl<'a> Shorts<'a> {
    /// How many.
    #[must_use]
    pub fn len(self) -> usize {
        self.0.len() / 2
    }

    /// True when there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The numbers.
    pub fn iter(self) -> impl Iterator<Item = u16> + 'a {
        self.0.chunks_exact(2).map(|c| u16::from_be_bytes([c[0], c[1]]))
    }
}

/// Parameter values, checked when the message was decoded.
#[derive(Debug, Clone, Copy)]
pub struct Parameters<'a> {
    count: u16,
    bytes: &'a [u8],
}

impl<'a> Parameters<'a> {
    /// How many.
    #[must_use]
    pub fn len(self) -> usize {
        usize::from(self.count)
    }

    /// True when there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.count == 0
    }

    /// The values; `None` is NULL.
    pub fn iter(self) -> impl Iterator<Item = Option<&'a [u8]>> {
        let mut cursor = Cursor::new(self.bytes);
        (0..self.count).map(move |_| value(&mut cursor).ok().flatten())
    }
}

fn value<'a>(cursor: &mut Cursor<'a>) -> Result<Option<&'a [u8]>, MessageError> {
    match cursor.i32()? {
        -1 => Ok(None),
        len => {
            let len = usize::try_from(len).map_err(|_| MessageError::Malformed("invalid message format"))?;
            cursor.take(len).map(Some)
        }
    }
}

fn shorts<'a>(cursor: &mut Cursor<'a>) -> Result<Shorts<'a>, MessageError> {
    let count = usize::from(cursor.u16()?);
    cursor.take(count * 2).map(Shorts)
}

fn parameters<'a>(cursor: &mut Cursor<'a>) -> Result<Parameters<'a>, MessageError> {
    let count = cursor.u16()?;
    let mut after = *cursor;
    for _ in 0..count {
        value(&mut after)?;
    }
    let rest_len = after.remainder().len();
    let mut probe = *cursor;
    let all = probe.remainder();
    let bytes = cursor.take(all.len() - rest_len)?;
    Ok(Parameters { count, bytes })
}

fn target(cursor: &mut Cursor<'_>) -> Result<Target, MessageError> {
    match cursor.u8()? {
        b'S' => Ok(Target::Statement),
        b'P' => Ok(Target::Portal),
        _ => Err(MessageError::Malformed("invalid message subtype")),
    }
}

fn bind<'a>(cursor: &mut Cursor<'a>) -> Result<Bind<'a>, MessageError> {
    Ok(Bind {
        portal: cursor.string()?,
        statement: cursor.string()?,
        parameter_formats: shorts(cursor)?,
        parameters: parameters(cursor)?,
        result_formats: shorts(cursor)?,
    })
}

/// Reads the body of a message of type `tag`.
///
/// # Errors
/// What is wrong with it; see [`MessageError`].
pub fn decode(tag: u8, body: &[u8]) -> Result<Frontend<'_>, MessageError> {
    let cursor = &mut Cursor::new(body);
    let message = match tag {
        b'Q' => Frontend::Query(cursor.string()?),
        b'P' => Frontend::Parse {
            name: cursor.string()?,
            sql: cursor.string()?,
            types: {
                let count = usize::from(cursor.u16()?);
                Words(cursor.take(count * 4)?)
            },
        },
        b'B' => Frontend::Bind(bind(cursor)?),
        b'D' => Frontend::Describe(target(cursor)?, cursor.string()?),
        b'E' => Frontend::Execute { portal: cursor.string()?, max_rows: cursor.i32()? },
        b'C' => Frontend::Close(target(cursor)?, cursor.string()?),
        b'H' => Frontend::Flush,
        b'S' => Frontend::Sync,
        b'd' => Frontend::CopyData(cursor.remainder()),
        b'c' => Frontend::CopyDone,
        b'f' => Frontend::CopyFail(cursor.string()?),
        b'p' => {
            cursor.remainder();
            Frontend::Password
        }
        b'F' => {
            cursor.remainder();
            Frontend::FunctionCall
        }
        b'X' => Frontend::Terminate,
        other => return Err(MessageError::UnknownType(other)),
    };
    cursor.end()?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bind_body() -> Vec<u8> {
        let mut body = b"p\0s\0".to_vec();
        body.extend([0, 1, 0, 1]); // one format: binary
        body.extend([0, 2]);
        body.extend([0, 0, 0, 3, b'a', b'b', b'c']);
        body.extend((-1i32).to_be_bytes());
        body.extend([0, 2, 0, 0, 0, 1]);
        body
    }

    #[test]
    fn bind_gives_names_values_and_formats() {
        let body = bind_body();
        let Ok(Frontend::Bind(bind)) = decode(b'B', &body) else {
            panic!("a Bind");
        };
        assert_eq!((bind.portal, bind.statement), ("p", "s"));
        assert_eq!(bind.parameter_formats.iter().collect::<Vec<_>>(), [1]);
        assert_eq!(bind.parameters.iter().collect::<Vec<_>>(), [Some(&b"abc"[..]), None]);
        assert_eq!(bind.result_formats.iter().collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn every_prefix_of_a_bind_is_refused() {
        let body = bind_body();
        for len in 0..body.len() {
            assert!(decode(b'B', &body[..len]).is_err(), "{len}");
        }
        let mut long = body.clone();
        long.push(0);
        assert!(matches!(decode(b'B', &long), Err(MessageError::Malformed(_))));
    }

    #[test]
    fn a_negative_length_other_than_null_is_refused() {
        let mut body = b"\0\0\0\0\0\x01".to_vec();
        body.extend((-2i32).to_be_bytes());
        body.extend([0, 0]);
        assert!(matches!(decode(b'B', &body), Err(MessageError::Malformed(_))));
    }

    #[test]
    fn text_that_is_not_utf8_is_an_encoding_error() {
        assert_eq!(decode(b'Q', b"a\xff\0").err(), Some(MessageError::Encoding(0xff)));
    }

    proptest! {
        #[test]
        fn no_body_panics(tag in any::<u8>(), body in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(Frontend::Bind(bind)) = decode(tag, &body) {
                prop_assert_eq!(bind.parameters.iter().count(), bind.parameters.len());
            }
        }
    }
}
