//! Reading a message body without ever reading past it.

use super::frontend::MessageError;

/// What is left of a message body.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Starts at the head of `body`.
    #[must_use]
    pub fn new(body: &'a [u8]) -> Cursor<'a> {
        Cursor { rest: body }
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// [`MessageError::Malformed`] when fewer are left.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], MessageError> {
        let (head, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(MessageError::Malformed("insufficient data left in message"))?;
        self.rest = rest;
        Ok(head)
    }

    /// One byte.
    ///
    /// # Errors
    /// As [`Cursor::take`].
    pub fn u8(&mut self) -> Result<u8, MessageError> {
        Ok(self.take(1)?[0])
    }

    /// A big-endian 16-bit number.
    ///
    /// # Errors
    /// As [`Cursor::take`].
    pub fn u16(&mut self) -> Result<u16, MessageError> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A big-endian 32-bit number.
    ///
    /// # Errors
    /// As [`Cursor::take`].
    pub fn i32(&mut self) -> Result<i32, MessageError> {
        let bytes = self.take(4)?;
        Ok(i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// A string that ends with a zero byte.
    ///
    /// # Errors
    /// [`MessageError::Malformed`] without the zero, [`MessageError::Encoding`] when it is not UTF-8.
    pub fn string(&mut self) -> Result<&'a str, MessageError> {
        let end = memchr(self.rest).ok_or(MessageError::Malformed("invalid string in message"))?;
        let bytes = self.take(end)?;
        self.take(1)?;
        std::str::from_utf8(bytes)
            .map_err(|error| MessageError::Encoding(bad_byte(bytes, error.valid_up_to())))
    }

    /// Everything that is left.
    pub fn remainder(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// [`MessageError::Malformed`] when something is.
    pub fn end(self) -> Result<(), MessageError> {
        if self.rest.is_empty() { Ok(()) } else { Err(MessageError::Malformed("invalid message format")) }
    }
}

fn memchr(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|b| *b == 0)
}

/// The first byte that is not UTF-8, for the error text.
#[must_use]
pub fn bad_byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}
