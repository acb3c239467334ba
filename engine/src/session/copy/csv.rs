//! COPY's CSV layout: quoted fields, in which line ends and delimiters are data.

use super::Fields;
use crate::types::{SqlError, SqlResult, sqlstate};

/// The special bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Syntax {
    pub(super) delimiter: u8,
    pub(super) quote: u8,
    pub(super) escape: u8,
}

/// Where the first line ends: at a newline outside quotes.
pub(super) fn line_end(input: &[u8], quote: u8, escape: u8) -> Option<usize> {
    let mut inside = false;
    let mut at = 0;
    while at < input.len() {
        let byte = input[at];
        if inside && byte == escape && escape != quote {
            at += 1;
        } else if byte == quote {
            inside = !inside;
        } else if byte == b'\n' && !inside {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// Takes a line apart. A field that was quoted is never NULL.
pub(super) fn fields(line: &[u8], syntax: Syntax, null: &[u8], out: &mut Fields) -> SqlResult<()> {
    let mut at = 0;
    loop {
        let start = out.bytes.len();
        let was_quoted;
        (at, was_quoted) = field(line, at, syntax, &mut out.bytes)?;
        let is_null = !was_quoted && &out.bytes[start..] == null;
        if is_null {
            out.bytes.truncate(start);
        }
        out.end(is_null);
        if at >= line.len() {
            return Ok(());
        }
        at += 1;
    }
}

fn field(line: &[u8], mut at: usize, syntax: Syntax, out: &mut Vec<u8>) -> SqlResult<(usize, bool)> {
    let mut was_quoted = false;
    while at < line.len() && line[at] != syntax.delimiter {
        if line[at] == syntax.quote {
            was_quoted = true;
            at = inside(line, at + 1, syntax, out)?;
        } else {
            out.push(line[at]);
            at += 1;
        }
    }
    Ok((at, was_quoted))
}

fn inside(line: &[u8], mut at: usize, syntax: Syntax, out: &mut Vec<u8>) -> SqlResult<usize> {
    while at < line.len() {
        let next = line.get(at + 1).copied();
        if line[at] == syntax.escape && next.is_some_and(|b| b == syntax.quote || b == syntax.escape) {
            out.extend(next);
            at += 2;
        } else if line[at] == syntax.quote {
            return Ok(at + 1);
        } else {
            out.push(line[at]);
            at += 1;
        }
    }
    Err(SqlError::new(sqlstate::BAD_COPY_FORMAT, "unterminated CSV quoted field"))
}
