//! Cuts a query string into statements at its semicolons, minding quotes, dollar quotes and comments (P17 4.1).

/// The byte ranges of the statements of `sql`, without semicolons; blank ones only when nothing else is there.
pub(super) fn split(sql: &str) -> Vec<(usize, usize)> {
    let bytes = sql.as_bytes();
    let mut parts = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b';' => {
                parts.push((start, at));
                at += 1;
                start = at;
            }
            _ => at = skip(bytes, at),
        }
    }
    parts.push((start, bytes.len()));
    parts.retain(|(from, to)| !is_blank(&sql[*from..*to]));
    parts
}

/// True when there is nothing but blanks and comments.
pub(super) fn is_blank(sql: &str) -> bool {
    let bytes = sql.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let comment = bytes[at..].starts_with(b"--") || bytes[at..].starts_with(b"/*");
        if !comment && !bytes[at].is_ascii_whitespace() {
            return false;
        }
        at = skip(bytes, at);
    }
    true
}

/// The index after the token-like thing at `at`: a quoted string, a comment, or one byte.
fn skip(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    match rest[0] {
        b'\'' => {
            let before = at.checked_sub(1).map(|p| bytes[p]);
            let escapes =
                matches!(before, Some(b'e' | b'E')) && !is_word(at.checked_sub(2).map(|p| bytes[p]));
            skip_quoted(bytes, at, b'\'', escapes)
        }
        b'"' => skip_quoted(bytes, at, b'"', false),
        b'-' if rest.starts_with(b"--") => {
            rest.iter().position(|b| *b == b'\n').map_or(bytes.len(), |n| at + n + 1)
        }
        b'/' if rest.starts_with(b"/*") => skip_comment(bytes, at),
        b'$' if !is_word(at.checked_sub(1).map(|p| bytes[p])) => skip_dollar(bytes, at),
        _ => at + 1,
    }
}

fn is_word(byte: Option<u8>) -> bool {
    byte.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80)
}

fn skip_quoted(bytes: &[u8], open: usize, quote: u8, escapes: bool) -> usize {
    let mut at = open + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if escapes => at += 2,
            // A doubled quote closes and opens again, which comes to the same.
            b if b == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn skip_comment(bytes: &[u8], open: usize) -> usize {
    let (mut at, mut depth) = (open, 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn skip_dollar(bytes: &[u8], open: usize) -> usize {
    let tag_len = bytes[open + 1..].iter().take_while(|b| is_word(Some(**b))).count();
    let close = open + 1 + tag_len;
    let is_tag = bytes.get(close) == Some(&b'$') && !bytes.get(open + 1).is_some_and(u8::is_ascii_digit);
    if !is_tag {
        return open + 1;
    }
    let tag = &bytes[open..=close];
    let body = close + 1;
    bytes[body..].windows(tag.len()).position(|w| w == tag).map_or(bytes.len(), |n| body + n + tag.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(sql: &str) -> Vec<&str> {
        split(sql).into_iter().map(|(a, b)| sql[a..b].trim()).collect()
    }

    #[test]
    fn semicolons_inside_quotes_do_not_cut() {
        assert_eq!(parts("a;b ; c"), ["a", "b", "c"]);
        assert_eq!(parts("select ';', \";\"; x"), ["select ';', \";\"", "x"]);
        assert_eq!(parts("select 'it''s;' ; y"), ["select 'it''s;'", "y"]);
        assert_eq!(parts(r"select E'\';' ; y"), [r"select E'\';'", "y"]);
        assert_eq!(parts("a -- x;y\n; b"), ["a -- x;y", "b"]);
        assert_eq!(parts("a /* ; /* ; */ ; */; b"), ["a /* ; /* ; */ ; */", "b"]);
        assert_eq!(parts("do $x$ ; $$ ; $x$; b $1"), ["do $x$ ; $$ ; $x$", "b $1"]);
        assert_eq!(parts("END;"), ["END"]);
        assert!(parts(" ;; -- nothing\n").is_empty());
        assert_eq!(parts("select 'open ; to the end"), ["select 'open ; to the end"]);
    }
}
