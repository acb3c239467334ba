//! The first packet of a connection, which has a length and a code but no type.

use super::cursor::Cursor;
use super::frontend::MessageError;

const CANCEL: i32 = 80_877_102;
const SSL: i32 = 80_877_103;
const GSS: i32 = 80_877_104;

/// A startup packet is at most this long (PostgreSQL: MAX_STARTUP_PACKET_LENGTH).
pub const PACKET_BYTES_MAX: usize = 10_000;

/// A first packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Startup {
    /// The client asks for TLS.
    Ssl,
    /// The client asks for GSSAPI encryption.
    Gss,
    /// Cancel what the session `process` runs, if `secret` is its secret. No answer is sent.
    Cancel {
        /// From BackendKeyData.
        process: i32,
        /// From BackendKeyData.
        secret: i32,
    },
    /// A session begins.
    Session {
        /// Protocol version: 3 in the upper half.
        minor: u16,
        /// `user`, `database`, and settings, in the client's order.
        parameters: Vec<(String, String)>,
    },
    /// Another major protocol version: it is refused.
    Unsupported {
        /// What the client speaks.
        major: u16,
        /// Its minor part.
        minor: u16,
    },
}

/// Reads the packet's content after its length.
///
/// # Errors
/// [`MessageError`]: the connection ends.
pub fn decode(body: &[u8]) -> Result<Startup, MessageError> {
    let mut cursor = Cursor::new(body);
    let code = cursor.i32()?;
    match code {
        SSL => Ok(Startup::Ssl),
        GSS => Ok(Startup::Gss),
        CANCEL => Ok(Startup::Cancel { process: cursor.i32()?, secret: cursor.i32()? }),
        _ => session(code, cursor),
    }
}

fn session(code: i32, mut cursor: Cursor<'_>) -> Result<Startup, MessageError> {
    let [a, b, c, d] = code.to_be_bytes();
    let (major, minor) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    if major != 3 {
        return Ok(Startup::Unsupported { major, minor });
    }
    let mut parameters = Vec::new();
    loop {
        let name = cursor.string()?;
        if name.is_empty() {
            break;
        }
        parameters.push((name.to_owned(), cursor.string()?.to_owned()));
    }
    cursor.end().map_err(|_| {
        MessageError::Malformed("invalid startup packet layout: expected terminator as last byte")
    })?;
    Ok(Startup::Session { minor, parameters })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_packet_gives_its_parameters() {
        let mut body = 196_608i32.to_be_bytes().to_vec();
        body.extend(b"user\0me\0database\0d\0\0");
        let expected = vec![("user".into(), "me".into()), ("database".into(), "d".into())];
        let got = decode(&body).unwrap();
        assert_eq!(got, Startup::Session { minor: 0, parameters: expected });
        for len in 0..body.len() {
            assert!(decode(&body[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn the_codes_are_told_apart() {
        assert_eq!(decode(&SSL.to_be_bytes()), Ok(Startup::Ssl));
        assert_eq!(decode(&GSS.to_be_bytes()), Ok(Startup::Gss));
        assert_eq!(decode(&131_072i32.to_be_bytes()), Ok(Startup::Unsupported { major: 2, minor: 0 }));
    }
}
