//! What a PostgreSQL client can send: the startup packet, frames, messages.
//!
//! What must hold: no bytes panic; what a message announces is what can be read out of it; nothing is made of a frame
//! before it is whole.

use bytes::{BufMut, BytesMut};
use sextant_engine::wire::frontend::{self, Frontend};
use sextant_engine::wire::{startup, stream};

const FRAME_BYTES_MAX: usize = 1 << 16;

/// A connection from its first byte on.
pub fn stream(data: &[u8]) {
    let _ = startup::decode(data);
    messages(data);
    let mut buffer = BytesMut::from(data);
    if let Ok(Some(packet)) = stream::cut_startup(&mut buffer) {
        assert_eq!(packet.len() + 4 + buffer.len(), data.len());
        let _ = startup::decode(&packet);
    }
    messages(&buffer);
}

fn messages(data: &[u8]) {
    let mut buffer = BytesMut::from(data);
    let mut taken = 0;
    while let Ok(Some(frame)) = stream::cut_frame(&mut buffer, FRAME_BYTES_MAX) {
        taken += 5 + frame.body.len();
        message(frame.tag, &frame.body);
    }
    assert_eq!(taken + buffer.len(), data.len(), "no byte is lost or made up");
    // A body without a frame around it: what a fuzzer finds without the length.
    if let Some((tag, body)) = data.split_first() {
        message(*tag, body);
    }
}

fn message(tag: u8, body: &[u8]) {
    match frontend::decode(tag, body) {
        Ok(Frontend::Parse { name, sql, types }) => {
            assert_eq!(name.len() + sql.len() + 4 + 4 * types.iter().count(), body.len());
        }
        Ok(Frontend::Bind(bind)) => {
            assert_eq!(bind.parameters.iter().count(), bind.parameters.len());
            assert_eq!(bind.parameter_formats.iter().count(), bind.parameter_formats.len());
            assert_eq!(bind.result_formats.iter().count(), bind.result_formats.len());
        }
        Ok(Frontend::Query(sql)) => assert_eq!(sql.len() + 1, body.len()),
        Ok(Frontend::CopyData(bytes)) => assert_eq!(bytes, body),
        Ok(_) | Err(_) => {}
    }
}

fn framed(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.put_i32(body.len() as i32 + 4);
    out.extend_from_slice(body);
    out
}

/// A session's beginning, and one of every message.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut session = Vec::new();
    let parameters = b"user\0me\0database\0d\0options\0-c search_path=public\0\0";
    session.put_i32(parameters.len() as i32 + 8);
    session.put_i32(196_608);
    session.extend_from_slice(parameters);
    let mut bind = b"p\0s\0".to_vec();
    bind.extend([0, 1, 0, 1, 0, 2, 0, 0, 0, 3, b'a', b'b', b'c']);
    bind.put_i32(-1);
    bind.extend([0, 2, 0, 0, 0, 1]);
    let messages = [
        framed(b'Q', b"SELECT 1; SELECT 2\0"),
        framed(b'P', b"s\0SELECT $1\0\0\x01\0\0\0\x17"),
        framed(b'B', &bind),
        framed(b'D', b"Ss\0"),
        framed(b'E', b"p\0\0\0\0\x0a"),
        framed(b'C', b"Pp\0"),
        framed(b'H', b""),
        framed(b'S', b""),
        framed(b'd', b"1\t2\n"),
        framed(b'c', b""),
        framed(b'f', b"why\0"),
        framed(b'p', b"secret\0"),
        framed(b'X', b""),
    ];
    let mut seeds: Vec<_> = messages.to_vec();
    session.extend(messages.concat());
    seeds.push(session);
    let mut ssl = Vec::new();
    ssl.put_i32(8);
    ssl.put_i32(80_877_103);
    seeds.push(ssl);
    seeds
}
