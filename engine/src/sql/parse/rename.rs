//! Renaming columns and tables in the expressions that the catalog keeps as text.

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, Tokenizer, Word};

use crate::sql::names::quoted;
use crate::types::{SqlError, SqlResult};

/// What gets another name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Renaming<'a> {
    /// A column of the table that the expression is about.
    Column {
        /// Its name.
        from: &'a str,
        /// Its name to be.
        to: &'a str,
    },
    /// That table.
    Table {
        /// Its name.
        from: &'a str,
        /// Its name to be.
        to: &'a str,
    },
}

/// The expression with the new name. Whoever keeps it makes sure that it means the same as before.
pub(crate) fn rename(text: &str, what: Renaming<'_>) -> SqlResult<String> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize();
    let tokens = tokens.map_err(|error| SqlError::syntax(error.message))?;
    let solid = |token: &&Token| !matches!(token, Token::Whitespace(_));
    let mut out = String::with_capacity(text.len());
    for (n, token) in tokens.iter().enumerate() {
        let before = tokens[..n].iter().rev().find(solid);
        let behind = tokens[n + 1..].iter().find(solid);
        match (token, what) {
            (Token::Word(word), Renaming::Column { from, to })
                if folded(word) == from && is_column(before, behind) =>
            {
                out.push_str(&quoted(to));
            }
            (Token::Word(word), Renaming::Table { from, to })
                if folded(word) == from && behind == Some(&Token::Period) =>
            {
                out.push_str(&quoted(to));
            }
            _ => out.push_str(&token.to_string()),
        }
    }
    Ok(out)
}

fn folded(word: &Word) -> String {
    if word.quote_style.is_some() { word.value.clone() } else { word.value.to_lowercase() }
}

/// Whether a name between two tokens can be a column's: not a function's, a table's or a type's.
fn is_column(before: Option<&Token>, behind: Option<&Token>) -> bool {
    let of_type = match before {
        Some(Token::DoubleColon) => true,
        Some(Token::Word(word)) => word.quote_style.is_none() && word.keyword == Keyword::AS,
        _ => false,
    };
    !of_type && !matches!(behind, Some(Token::LParen | Token::Period))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_the_column_is_renamed() {
        let column = Renaming::Column { from: "a", to: "b c" };
        for (text, wanted) in [
            ("a > 1", "\"b c\" > 1"),
            ("A > 1 AND t.a < 'a'", "\"b c\" > 1 AND t.\"b c\" < 'a'"),
            ("a(a) = \"A\"", "a(\"b c\") = \"A\""),
            ("CAST(x AS a) + x::a", "CAST(x AS a) + x::a"),
        ] {
            assert_eq!(rename(text, column).unwrap(), wanted);
        }
        let table = Renaming::Table { from: "a", to: "z" };
        assert_eq!(rename("a.a + a", table).unwrap(), "z.a + a");
    }
}
