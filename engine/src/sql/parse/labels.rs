//! Labels of enum types as literals in the expressions that the catalog keeps as text.

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::tokenizer::{Token, Tokenizer};

/// Of so many literals each is tried as a label or not.
const TRIED_MAX: usize = 8;

fn tokens(text: &str) -> Vec<Token> {
    // What the catalog keeps has been read before.
    Tokenizer::new(&PostgreSqlDialect {}, text).with_unescape(false).tokenize().unwrap_or_default()
}

/// Tokens have strings as they are written.
fn is_literal(token: &Token, value: &str) -> bool {
    matches!(token, Token::SingleQuotedString(text) if text.replace("''", "'") == value)
}

/// Whether a text has a string literal of this value.
pub(crate) fn has_literal(text: &str, value: &str) -> bool {
    tokens(text).iter().any(|token| is_literal(token, value))
}

/// The text with another name for a label. Which of its literals are that label and not just the same string is found by trying:
/// `same` says whether a text means what the old one meant.
pub(crate) fn relabelled(text: &str, from: &str, to: &str, same: &dyn Fn(&str) -> bool) -> Option<String> {
    let tokens = tokens(text);
    let places: Vec<usize> = (0..tokens.len()).filter(|n| is_literal(&tokens[*n], from)).collect();
    if places.len() > TRIED_MAX {
        return None;
    }
    let written = |chosen: u32| -> String {
        let one = |(n, token): (usize, &Token)| match places.iter().position(|place| *place == n) {
            Some(bit) if chosen & 1 << bit != 0 => format!("'{}'", to.replace('\'', "''")),
            _ => token.to_string(),
        };
        tokens.iter().enumerate().map(one).collect()
    };
    (0..1 << places.len()).map(written).find(|new| same(new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_literals_that_are_the_label_are_found() {
        let text = "note <> 'ok' AND mood IN ('ok', 'sad')";
        let wanted = "note <> 'ok' AND mood IN ('it''s fine', 'sad')";
        assert!(has_literal(text, "ok") && !has_literal(text, "mood"));
        assert_eq!(relabelled(text, "ok", "it's fine", &|new| new == wanted).as_deref(), Some(wanted));
        assert_eq!(relabelled(text, "ok", "fine", &|_| false), None);
    }
}
