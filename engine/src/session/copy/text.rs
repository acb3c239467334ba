//! COPY's text layout: fields between delimiters, backslash escapes, one row a line.

use bytes::{BufMut, BytesMut};

use super::{Fields, Format, Layout};

/// Where the first line ends: at a newline that no backslash precedes. `searched` remembers what was looked at; it
/// never stands between a backslash and the byte after it.
pub(super) fn line_end(input: &[u8], searched: &mut usize) -> Option<usize> {
    let mut at = *searched;
    while at < input.len() {
        match input[at] {
            b'\n' => return Some(at),
            b'\\' if at + 1 == input.len() => break,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    *searched = at;
    None
}

/// Takes a line apart.
pub(super) fn fields(line: &[u8], delimiter: u8, null: &[u8], out: &mut Fields) {
    let mut at = 0;
    loop {
        let start = at;
        let bytes_before = out.bytes.len();
        while at < line.len() && line[at] != delimiter {
            if line[at] == b'\\' && at + 1 < line.len() {
                at = unescape(line, at + 1, &mut out.bytes);
            } else {
                out.bytes.push(line[at]);
                at += 1;
            }
        }
        let is_null = &line[start..at] == null;
        if is_null {
            out.bytes.truncate(bytes_before);
        }
        out.end(is_null);
        if at >= line.len() {
            return;
        }
        at += 1;
    }
}

/// Writes what the escape whose character is at `at` stands for; returns where it ends.
fn unescape(line: &[u8], at: usize, out: &mut Vec<u8>) -> usize {
    let plain = match line[at] {
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        b'0'..=b'7' => return number(line, at, 3, 8, out),
        b'x' if line.get(at + 1).is_some_and(u8::is_ascii_hexdigit) => {
            return number(line, at + 1, 2, 16, out);
        }
        other => other,
    };
    out.push(plain);
    at + 1
}

fn number(line: &[u8], start: usize, digits_max: usize, radix: u32, out: &mut Vec<u8>) -> usize {
    let mut value = 0u32;
    let mut at = start;
    while at < line.len() && at - start < digits_max {
        let Some(digit) = char::from(line[at]).to_digit(radix) else {
            break;
        };
        value = value * radix + digit;
        at += 1;
    }
    out.push((value & 0xff) as u8);
    at
}

/// Writes one field in its format, without delimiter.
pub(in crate::session) fn write_field(out: &mut BytesMut, field: Option<&str>, format: &Format) {
    let Some(text) = field else {
        out.put_slice(format.null.as_bytes());
        return;
    };
    match format.layout {
        Layout::Text => escape(out, text, format.delimiter),
        Layout::Csv { quote, escape } => quoted(out, text, format, quote, escape),
    }
}

fn escape(out: &mut BytesMut, text: &str, delimiter: u8) {
    for byte in text.bytes() {
        match byte {
            b'\\' => out.put_slice(b"\\\\"),
            b'\n' => out.put_slice(b"\\n"),
            b'\r' => out.put_slice(b"\\r"),
            b'\t' => out.put_slice(b"\\t"),
            8 => out.put_slice(b"\\b"),
            11 => out.put_slice(b"\\v"),
            12 => out.put_slice(b"\\f"),
            other if other == delimiter => out.put_slice(&[b'\\', other]),
            other => out.put_u8(other),
        }
    }
}

fn quoted(out: &mut BytesMut, text: &str, format: &Format, quote: u8, escape: u8) {
    let special = |b: u8| b == format.delimiter || b == quote || matches!(b, b'\n' | b'\r');
    if text != format.null && text != "\\." && !text.bytes().any(special) {
        out.put_slice(text.as_bytes());
        return;
    }
    out.put_u8(quote);
    for byte in text.bytes() {
        if byte == quote || byte == escape {
            out.put_u8(escape);
        }
        out.put_u8(byte);
    }
    out.put_u8(quote);
}
