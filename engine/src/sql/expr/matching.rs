//! `~` and its kin: regular expressions, by the regex crate. Its time is linear in the text whatever the pattern is, so no
//! client can keep a processor busy with one; what such a machine cannot do (back references, look-ahead) is refused,
//! where PostgreSQL goes back and forth.

use std::cell::RefCell;

use regex::{Regex, RegexBuilder};

use crate::types::{SqlError, SqlResult, sqlstate};

/// Compiled patterns that a thread keeps, as many as a session of PostgreSQL.
const KEPT: usize = 32;

struct Compiled {
    pattern: String,
    ignore_case: bool,
    regex: Regex,
}

thread_local! {
    /// The one used last is in front.
    static COMPILED: RefCell<Vec<Compiled>> = const { RefCell::new(Vec::new()) };
}

/// Whether a part of `text` matches. `^` and `$` are its ends alone and `.` is any character, as in PostgreSQL.
pub(crate) fn matches(text: &str, pattern: &str, ignore_case: bool) -> SqlResult<bool> {
    COMPILED.with_borrow_mut(|kept| {
        let known = kept.iter().position(|one| one.ignore_case == ignore_case && one.pattern == pattern);
        match known {
            Some(at) => kept[..=at].rotate_right(1),
            None => {
                kept.truncate(KEPT - 1);
                kept.insert(0, compiled(pattern, ignore_case)?);
            }
        }
        Ok(kept.first().is_some_and(|one| one.regex.is_match(text)))
    })
}

fn compiled(pattern: &str, ignore_case: bool) -> SqlResult<Compiled> {
    let regex = RegexBuilder::new(pattern).case_insensitive(ignore_case).dot_matches_new_line(true).build();
    let regex = regex.map_err(|error| {
        let why = match &error {
            // The last line of many says what is wrong.
            regex::Error::Syntax(text) => {
                text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
            }
            regex::Error::CompiledTooBig(_) => "it is too complex".to_owned(),
            other => other.to_string(),
        };
        SqlError::new(sqlstate::INVALID_REGULAR_EXPRESSION, format!("invalid regular expression: {why}"))
    })?;
    Ok(Compiled { pattern: pattern.to_owned(), ignore_case, regex })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_match_and_anchors_are_the_ends() {
        let is = |text, pattern| matches(text, pattern, false).unwrap();
        assert!(is("pg_toast_1", "^pg_") && is("a\nb", "a.b") && is("abc", "") && is("table", "^(table)$"));
        assert!(!is("x\npg_", "^pg_") && !is("PG_", "^pg_"));
        assert!(matches("PG_", "^pg_", true).unwrap());
    }

    #[test]
    fn a_bad_pattern_is_refused_and_many_are_kept_apart() {
        let refused = matches("a", "a(", false).unwrap_err();
        assert_eq!(refused.sqlstate, sqlstate::INVALID_REGULAR_EXPRESSION);
        assert!(matches("a", r"(a)\1", false).is_err(), "a back reference");
        for n in 0..100 {
            assert!(matches(&n.to_string(), &format!("^{n}$"), false).unwrap());
            assert!(!matches("x", &format!("^{n}$"), false).unwrap());
            assert!(matches("a", "^A$", true).unwrap() && !matches("a", "^A$", false).unwrap());
        }
        COMPILED.with_borrow(|kept| assert_eq!(kept.len(), KEPT));
    }
}
