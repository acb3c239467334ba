//! The envelope of every message on a Sextant TCP connection.
//!
//! ```text
//! 0..4    magic "SXF1"
//! 4..8    payload bytes, u32
//! 8       kind, u8 (its meaning belongs to the protocol on top)
//! 9..12   reserved, zero
//! 12..20  request id, u64: a reply carries that of its request
//! 20..24  CRC32C of the payload, u32
//! 24..28  CRC32C of bytes 0..24, u32
//! 28..    payload
//! ```

use bytes::{Buf, Bytes, BytesMut};

use crate::codec::{DecodeError, Reader};

/// First bytes of every frame.
pub const FRAME_MAGIC: [u8; 4] = *b"SXF1";
/// Bytes before the payload.
pub const FRAME_HEADER: usize = 28;
/// Largest accepted payload: a largest batch and its request fields.
pub const MAX_PAYLOAD: usize = crate::batch::MAX_BATCH + 4096;

/// Why a byte stream is not a stream of frames. Fatal for the connection: there is no way to find the next frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The peer does not speak this protocol.
    #[error("the peer does not speak the Sextant protocol: frame starts with {found:02x?}")]
    Magic {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// Damaged on the way.
    #[error("frame {part} checksum is {stored:#010x} but its bytes give {computed:#010x}")]
    Checksum {
        /// "header" or "payload".
        part: &'static str,
        /// As found.
        stored: u32,
        /// As computed.
        computed: u32,
    },
    /// Longer than any message.
    #[error("frame of {len} bytes is over the limit of {MAX_PAYLOAD}")]
    TooLong {
        /// Payload bytes announced.
        len: usize,
    },
    /// Malformed header.
    #[error("malformed frame header: {0}")]
    Malformed(#[from] DecodeError),
}

/// A frame as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What the payload is.
    pub kind: u8,
    /// Pairs a reply with its request.
    pub request: u64,
    /// The message.
    pub payload: Bytes,
}

/// Appends a whole frame to `out`.
pub fn encode(out: &mut Vec<u8>, kind: u8, request: u64, payload: &[u8]) {
    out.extend_from_slice(&header(kind, request, &[payload]));
    out.extend_from_slice(payload);
}

/// The header of a frame whose payload is the concatenation of `parts`, for vectored writes.
#[must_use]
pub fn header(kind: u8, request: u64, parts: &[&[u8]]) -> [u8; FRAME_HEADER] {
    let len: usize = parts.iter().map(|p| p.len()).sum();
    debug_assert!(len <= MAX_PAYLOAD);
    let crc = parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part));
    let mut out = [0; FRAME_HEADER];
    out[0..4].copy_from_slice(&FRAME_MAGIC);
    out[4..8].copy_from_slice(&(len as u32).to_le_bytes());
    out[8] = kind;
    out[12..20].copy_from_slice(&request.to_le_bytes());
    out[20..24].copy_from_slice(&crc.to_le_bytes());
    let header_crc = crc32c::crc32c(&out[..24]);
    out[24..28].copy_from_slice(&header_crc.to_le_bytes());
    out
}

/// Takes the next whole frame off the front of `buffer`; `None` when more bytes are needed.
pub fn decode(buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    if buffer.len() < FRAME_HEADER {
        let known = buffer.len().min(4);
        return if buffer[..known] == FRAME_MAGIC[..known] { Ok(None) } else { Err(bad_magic(buffer)) };
    }
    let mut reader = Reader::new(&buffer[..FRAME_HEADER]);
    if reader.bytes(4)? != FRAME_MAGIC {
        return Err(bad_magic(buffer));
    }
    let len = reader.u32()? as usize;
    let kind = reader.u8()?;
    reader.bytes(3)?;
    let request = reader.u64()?;
    let stored = reader.u32()?;
    check("header", reader.u32()?, crc32c::crc32c(&buffer[..24]))?;
    if len > MAX_PAYLOAD {
        return Err(FrameError::TooLong { len });
    }
    if buffer.len() < FRAME_HEADER + len {
        buffer.reserve(FRAME_HEADER + len - buffer.len());
        return Ok(None);
    }
    buffer.advance(FRAME_HEADER);
    let payload = buffer.split_to(len).freeze();
    check("payload", stored, crc32c::crc32c(&payload))?;
    Ok(Some(Frame { kind, request, payload }))
}

fn bad_magic(buffer: &[u8]) -> FrameError {
    let mut found = [0; 4];
    let known = buffer.len().min(4);
    found[..known].copy_from_slice(&buffer[..known]);
    FrameError::Magic { found }
}

fn check(part: &'static str, stored: u32, computed: u32) -> Result<(), FrameError> {
    if stored == computed { Ok(()) } else { Err(FrameError::Checksum { part, stored, computed }) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_whatever_the_chunks() {
        let mut wire = Vec::new();
        encode(&mut wire, 3, 77, b"hello");
        encode(&mut wire, 4, 78, b"");
        let mut buffer = BytesMut::new();
        let mut frames = Vec::new();
        for byte in wire {
            buffer.extend_from_slice(&[byte]);
            while let Some(frame) = decode(&mut buffer).expect("valid") {
                frames.push(frame);
            }
        }
        assert_eq!(frames.len(), 2);
        assert_eq!((frames[0].kind, frames[0].request, &frames[0].payload[..]), (3, 77, &b"hello"[..]));
        assert!(buffer.is_empty());
    }

    #[test]
    fn garbage_is_refused_at_its_first_byte() {
        let mut buffer = BytesMut::from(&b"G"[..]);
        assert!(matches!(decode(&mut buffer), Err(FrameError::Magic { .. })));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let mut wire = Vec::new();
        encode(&mut wire, 3, 77, b"hello");
        for at in 0..wire.len() {
            let mut bad = BytesMut::from(&wire[..]);
            bad[at] ^= 4;
            assert!(decode(&mut bad).is_err(), "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_decode_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut buffer = BytesMut::from(&b"SXF1"[..]);
            buffer.extend_from_slice(&bytes);
            let _ = decode(&mut buffer);
        }
    }
}
