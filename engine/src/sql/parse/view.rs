//! ALTER VIEW as ALTER TABLE, which the grammar knows more of; and WITH CHECK OPTION, which it does not know at all.

use sqlparser::ast::{AlterTable, AlterTableType, Statement};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::locking::is_word;
use crate::types::{SqlError, SqlResult};

/// Hands ALTER VIEW to the grammar as ALTER TABLE; true when it was that.
pub(super) fn rewrite(tokens: &mut [TokenWithSpan]) -> SqlResult<bool> {
    if is_word(tokens.first(), "CREATE") && is_word(tokens.last(), "OPTION") {
        let before = tokens.len().checked_sub(2).and_then(|n| tokens.get(n));
        if is_word(before, "CHECK") {
            return Err(SqlError::unsupported("CREATE VIEW WITH CHECK OPTION"));
        }
    }
    let is_alter = is_word(tokens.first(), "ALTER") && is_word(tokens.get(1), "VIEW");
    if let (true, Some(token)) = (is_alter, tokens.get_mut(1)) {
        let word = Word { value: "TABLE".to_owned(), quote_style: None, keyword: Keyword::TABLE };
        token.token = Token::Word(word);
    }
    Ok(is_alter)
}

/// Notes in the tree that it is ALTER VIEW: what else is altered like a table has a mark of its own there, and this is free.
pub(super) fn mark(statement: &mut Statement) {
    if let Statement::AlterTable(alter) = statement {
        alter.table_type = Some(AlterTableType::External);
    }
}

/// What [`mark`] noted.
pub(crate) fn is_alter_view(alter: &AlterTable) -> bool {
    alter.table_type == Some(AlterTableType::External)
}
