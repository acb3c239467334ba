//! A bound on the depth of syntax trees. The grammar bounds its own recursion, but a chain of operators becomes a tree
//! that is as deep as the chain is long, and such a tree is walked and dropped on the stack.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::types::{SqlError, SqlResult, sqlstate};

/// ANDs, ORs and set operations in one chain: flattened by the binder.
const FLAT_MAX: usize = 2000;
/// Operators in one chain that stays a tree.
const DEEP_MAX: usize = 400;

/// How long the chains are that are open.
#[derive(Debug, Clone, Copy, Default)]
struct Chain {
    flat: usize,
    deep: usize,
}

/// `54001` for a statement whose tree would be too deep.
pub(super) fn check(tokens: &[TokenWithSpan]) -> SqlResult<()> {
    let mut open: Vec<Chain> = Vec::new();
    let mut here = Chain::default();
    // The sum over the chains around this one.
    let mut around = Chain::default();
    for token in tokens {
        match &token.token {
            Token::LParen | Token::LBracket => {
                open.push(here);
                around.flat += here.flat;
                around.deep += here.deep;
                here = Chain::default();
            }
            Token::RParen | Token::RBracket => {
                here = open.pop().unwrap_or_default();
                around.flat = around.flat.saturating_sub(here.flat);
                around.deep = around.deep.saturating_sub(here.deep);
            }
            Token::Comma => here = Chain::default(),
            Token::Word(word) => match word.keyword {
                Keyword::AND | Keyword::OR | Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT => {
                    here.flat += 1;
                    here.deep = 0;
                }
                Keyword::IS | Keyword::NOT | Keyword::COLLATE | Keyword::LIKE | Keyword::ILIKE => {
                    here.deep += 1
                }
                Keyword::SELECT
                | Keyword::FROM
                | Keyword::WHERE
                | Keyword::WHEN
                | Keyword::THEN
                | Keyword::ELSE => {
                    here.deep = 0;
                }
                _ => {}
            },
            Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::Placeholder(_)
            | Token::Period
            | Token::Eq
            | Token::SemiColon => {}
            // Whatever else there is may be an operator.
            _ => here.deep += 1,
        }
        if around.flat + here.flat > FLAT_MAX || around.deep + here.deep > DEEP_MAX {
            return Err(SqlError::new(sqlstate::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded").hint(
                "An expression of this statement is nested too deeply, or a chain of operators is too long.",
            ));
        }
    }
    Ok(())
}
