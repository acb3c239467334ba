//! What a server sends, written into a buffer. The type byte and the length are filled in by [`message`].

use bytes::{BufMut, BytesMut};

/// The state of the transaction block as ReadyForQuery says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// No block.
    Idle = b'I',
    /// In a block.
    InBlock = b'T',
    /// In a block that failed: everything but its end is refused.
    Failed = b'E',
}

/// Writes one message; `body` writes its content.
pub fn message<R>(out: &mut BytesMut, tag: u8, body: impl FnOnce(&mut BytesMut) -> R) -> R {
    out.put_u8(tag);
    let start = out.len();
    out.put_u32(0);
    let result = body(out);
    let len = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
    result
}

fn empty(out: &mut BytesMut, tag: u8) {
    out.put_slice(&[tag, 0, 0, 0, 4]);
}

fn string(out: &mut BytesMut, text: &str) {
    // A zero byte inside would end the string early and put the rest where the client reads something else.
    out.extend(text.bytes().filter(|b| *b != 0));
    out.put_u8(0);
}

/// AuthenticationOk.
pub fn authentication_ok(out: &mut BytesMut) {
    message(out, b'R', |out| out.put_u32(0));
}

/// NegotiateProtocolVersion: the newest minor version spoken here, and the protocol options not known.
pub fn negotiate(out: &mut BytesMut, minor: u16, unknown: &[&str]) {
    message(out, b'v', |out| {
        out.put_u32(0x0003_0000 | u32::from(minor));
        out.put_u32(unknown.len() as u32);
        for option in unknown {
            string(out, option);
        }
    });
}

/// BackendKeyData: what a CancelRequest must name.
pub fn key_data(out: &mut BytesMut, process: i32, secret: i32) {
    message(out, b'K', |out| {
        out.put_i32(process);
        out.put_i32(secret);
    });
}

/// ParameterStatus.
pub fn parameter_status(out: &mut BytesMut, name: &str, value: &str) {
    message(out, b'S', |out| {
        string(out, name);
        string(out, value);
    });
}

/// ReadyForQuery.
pub fn ready(out: &mut BytesMut, status: Status) {
    message(out, b'Z', |out| out.put_u8(status as u8));
}

/// CommandComplete.
pub fn command_complete(out: &mut BytesMut, tag: &str) {
    message(out, b'C', |out| string(out, tag));
}

/// EmptyQueryResponse.
pub fn empty_query(out: &mut BytesMut) {
    empty(out, b'I');
}

/// ParseComplete.
pub fn parse_complete(out: &mut BytesMut) {
    empty(out, b'1');
}

/// BindComplete.
pub fn bind_complete(out: &mut BytesMut) {
    empty(out, b'2');
}

/// CloseComplete.
pub fn close_complete(out: &mut BytesMut) {
    empty(out, b'3');
}

/// NoData: the statement returns no rows.
pub fn no_data(out: &mut BytesMut) {
    empty(out, b'n');
}

/// PortalSuspended: the row limit was reached and there may be more.
pub fn portal_suspended(out: &mut BytesMut) {
    empty(out, b's');
}

/// ParameterDescription.
pub fn parameter_description(out: &mut BytesMut, types: impl ExactSizeIterator<Item = u32>) {
    message(out, b't', |out| {
        out.put_u16(types.len() as u16);
        types.for_each(|oid| out.put_u32(oid));
    });
}

/// One column of a RowDescription.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    /// Column name.
    pub name: &'a str,
    /// The table it comes from, 0 for none.
    pub table: u32,
    /// The column's number in that table, 0 for none.
    pub attribute: i16,
    /// Type OID.
    pub type_oid: u32,
    /// Bytes of the type, negative when they vary.
    pub type_len: i16,
    /// Type modifier, -1 for none.
    pub typmod: i32,
    /// 0 text, 1 binary.
    pub format: u16,
}

/// RowDescription.
pub fn row_description<'a>(out: &mut BytesMut, fields: impl ExactSizeIterator<Item = Field<'a>>) {
    message(out, b'T', |out| {
        out.put_u16(fields.len() as u16);
        for field in fields {
            string(out, field.name);
            out.put_u32(field.table);
            out.put_i16(field.attribute);
            out.put_u32(field.type_oid);
            out.put_i16(field.type_len);
            out.put_i32(field.typmod);
            out.put_u16(field.format);
        }
    });
}

/// CopyInResponse (`G`) or CopyOutResponse (`H`): `columns` columns, all text or all binary.
pub fn copy_response(out: &mut BytesMut, tag: u8, columns: u16, binary: bool) {
    message(out, tag, |out| {
        out.put_u8(u8::from(binary));
        out.put_u16(columns);
        for _ in 0..columns {
            out.put_u16(u16::from(binary));
        }
    });
}

/// CopyDone.
pub fn copy_done(out: &mut BytesMut) {
    empty(out, b'c');
}

/// ErrorResponse (`E`) or NoticeResponse (`N`) with its fields, (code, text).
pub fn report<'a>(out: &mut BytesMut, tag: u8, fields: impl IntoIterator<Item = (u8, &'a str)>) {
    message(out, tag, |out| {
        for (code, text) in fields {
            out.put_u8(code);
            string(out, text);
        }
        out.put_u8(0);
    });
}
