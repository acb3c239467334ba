//! Names of types in the expressions that the catalog keeps as text. There a type that a user made goes by its OID, written as
//! `pg_type."16400"`: it may get another name, and who reads the text may have another search path.

use sqlparser::ast::DataType;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, Tokenizer};

use crate::sql::names;
use crate::types::{SqlError, SqlResult};

const SCHEMA: &str = "pg_type";

fn reference(oid: u32) -> String {
    format!("{SCHEMA}.\"{oid}\"")
}

/// The type that a name in a kept text stands for.
pub(crate) fn kept_type(schema: Option<&str>, name: &str) -> Option<u32> {
    if schema == Some(SCHEMA) { name.parse().ok() } else { None }
}

/// Whether a kept text names a type.
pub(crate) fn keeps_type(text: &str, oid: u32) -> bool {
    text.contains(&reference(oid))
}

/// The text with types as the catalog keeps them; `find` says which are a user's.
pub(crate) fn with_kept_types(
    text: &str,
    find: &mut dyn FnMut(&DataType) -> SqlResult<Option<u32>>,
) -> SqlResult<String> {
    // Strings stay as they are written.
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).with_unescape(false).tokenize();
    let tokens = tokens.map_err(|error| SqlError::syntax(error.message))?;
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        out.push_str(&token.to_string());
        at += 1;
        if !is_before_type(token) {
            continue;
        }
        while let Some(blank @ Token::Whitespace(_)) = tokens.get(at) {
            out.push_str(&blank.to_string());
            at += 1;
        }
        let name = &tokens[at..at + name_length(&tokens[at..])];
        at += name.len();
        let name: String = name.iter().map(Token::to_string).collect();
        let kept = match names::data_types(&name).ok().as_deref() {
            Some([ty]) => find(ty)?.map(reference),
            _ => None,
        };
        out.push_str(&kept.unwrap_or(name));
    }
    Ok(out)
}

/// In an expression AS stands only in CAST.
fn is_before_type(token: &Token) -> bool {
    match token {
        Token::DoubleColon => true,
        Token::Word(word) => word.quote_style.is_none() && word.keyword == Keyword::AS,
        _ => false,
    }
}

/// How many tokens a dotted name takes.
fn name_length(tokens: &[Token]) -> usize {
    match tokens {
        [Token::Word(_), Token::Period, rest @ ..] => 2 + name_length(rest),
        [Token::Word(_), ..] => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_types_of_users_are_written_anew() {
        let mut find = |ty: &DataType| {
            let name = ty.to_string();
            Ok(matches!(name.as_str(), "mood" | "s.mood" | "\"Mood\"").then_some(16_400))
        };
        for (text, wanted) in [
            ("a = 'ok'::mood", "a = 'ok'::pg_type.\"16400\""),
            ("CAST('ok' AS s.mood) < mood", "CAST('ok' AS pg_type.\"16400\") < mood"),
            ("x::\"Mood\"::text || 'mood'", "x::pg_type.\"16400\"::text || 'mood'"),
            ("'it''s'::mood", "'it''s'::pg_type.\"16400\""),
            ("CAST(x AS double precision) + mood(a)", "CAST(x AS double precision) + mood(a)"),
            ("CAST(x AS numeric(3, 1))", "CAST(x AS numeric(3, 1))"),
            ("x::timestamp with time zone", "x::timestamp with time zone"),
        ] {
            let kept = with_kept_types(text, &mut find).unwrap();
            assert_eq!(kept, wanted);
            assert_eq!(keeps_type(&kept, 16_400), text != wanted);
            assert!(!keeps_type(&kept, 1640));
        }
        assert_eq!(kept_type(Some("pg_type"), "16400"), Some(16_400));
        assert_eq!(kept_type(None, "16400"), None);
    }
}
