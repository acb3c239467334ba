//! LIKE.

use crate::types::{SqlError, SqlResult, sqlstate};

/// One element of a pattern.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Any,
    One,
    Char(char),
    /// An escape character with nothing behind it: an error once something is compared with it.
    Dangling,
}

/// Whether `text` matches `pattern`: `%` is any string, `_` any character, `escape` takes the next one literally. The
/// time is bounded by the product of the lengths: only the last `%` is gone back to.
pub(crate) fn like(text: &str, pattern: &str, escape: Option<char>, ignore_case: bool) -> SqlResult<bool> {
    let fold = |s: &str| if ignore_case { s.to_lowercase() } else { s.to_owned() };
    let text: Vec<char> = fold(text).chars().collect();
    let parts = parts(&fold(pattern), escape);
    let (mut t, mut p) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match parts.get(p) {
            Some(Part::Any) => {
                retry = Some((t, p + 1));
                p += 1;
            }
            Some(Part::Dangling) => {
                let message = "LIKE pattern must not end with escape character";
                return Err(SqlError::new(sqlstate::INVALID_ESCAPE, message));
            }
            Some(part) if *part == Part::One || *part == Part::Char(text[t]) => {
                t += 1;
                p += 1;
            }
            _ => match retry {
                Some((from, after)) => {
                    t = from + 1;
                    p = after;
                    retry = Some((t, after));
                }
                None => return Ok(false),
            },
        }
    }
    Ok(parts[p..].iter().all(|part| *part == Part::Any))
}

fn parts(pattern: &str, escape: Option<char>) -> Vec<Part> {
    let mut parts = Vec::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        parts.push(if Some(c) == escape {
            chars.next().map_or(Part::Dangling, Part::Char)
        } else {
            match c {
                '%' => Part::Any,
                '_' => Part::One,
                c => Part::Char(c),
            }
        });
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let is = |t: &str, p: &str| like(t, p, Some('\\'), false).unwrap();
        assert!(is("hello", "h%o"));
        assert!(is("hello", "%ell%"));
        assert!(is("hello", "h_llo"));
        assert!(!is("hello", "h_lo"));
        assert!(is("", "%"));
        assert!(!is("", "_"));
        assert!(is("50%", "50\\%"));
        assert!(!is("500", "50\\%"));
        assert!(is("aXbXc", "a%X%c"));
        assert!(like("HELLO", "hel%", Some('\\'), true).unwrap());
        assert!(like("xy", "x\\", Some('\\'), false).is_err());
        assert!(!is("x", "x\\"));
        assert!(!is(&"a".repeat(5000), &format!("{}b", "%a".repeat(50))));
    }
}
