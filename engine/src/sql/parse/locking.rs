//! FOR NO KEY UPDATE, FOR KEY SHARE, and OF with several tables: the grammar knows FOR UPDATE and FOR SHARE of one name.
//!
//! Every locking clause is handed to it as `FOR UPDATE OF "strength"."table"."table"`, and [`read`] takes it apart again.

use sqlparser::ast;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use crate::sql::names;
use crate::txn::RowLock;
use crate::types::{SqlError, SqlResult};

const SPELLED: [(&str, RowLock); 4] = [
    (" UPDATE", RowLock::Update),
    (" NO KEY UPDATE", RowLock::NoKeyUpdate),
    (" SHARE", RowLock::Share),
    (" KEY SHARE", RowLock::KeyShare),
];

/// A locking clause.
pub(crate) struct Locking {
    pub(crate) lock: RowLock,
    /// The tables' names in FROM; `None` for all.
    pub(crate) of: Option<Vec<String>>,
    pub(crate) nowait: bool,
    pub(crate) skip_locked: bool,
}

impl Locking {
    /// The clause as messages name it.
    pub(crate) fn spelled(lock: RowLock) -> String {
        let spelled = SPELLED.iter().find(|(_, l)| *l == lock).map_or("", |(words, _)| words);
        format!("FOR{spelled}")
    }
}

/// A locking clause of the tree.
pub(crate) fn read(clause: &ast::LockClause) -> SqlResult<Locking> {
    let parts = clause.of.as_ref().map(names::parts).transpose()?.unwrap_or_default();
    let named = parts.split_first().and_then(|(first, tables)| {
        SPELLED.iter().find(|(words, _)| words == first).map(|(_, lock)| (*lock, tables.to_vec()))
    });
    let plain = match clause.lock_type {
        ast::LockType::Update => RowLock::Update,
        ast::LockType::Share => RowLock::Share,
    };
    let (lock, of) = named.unwrap_or((plain, parts));
    Ok(Locking {
        lock,
        of: (!of.is_empty()).then_some(of),
        nowait: matches!(clause.nonblock, Some(ast::NonBlock::Nowait)),
        skip_locked: matches!(clause.nonblock, Some(ast::NonBlock::SkipLocked)),
    })
}

pub(super) fn is_word(token: Option<&TokenWithSpan>, word: &str) -> bool {
    matches!(token.map(|t| &t.token),
        Some(Token::Word(w)) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

/// The lock that begins at `tokens[at]`, and how many tokens say so.
fn strength(tokens: &[TokenWithSpan], at: usize) -> Option<(&'static str, usize)> {
    if !is_word(tokens.get(at), "FOR") {
        return None;
    }
    SPELLED.iter().find_map(|(words, _)| {
        let mut count = 1;
        for word in words.split_whitespace() {
            if !is_word(tokens.get(at + count), word) {
                return None;
            }
            count += 1;
        }
        Some((*words, count))
    })
}

/// Rewrites the clauses that the grammar does not know.
pub(super) fn rewrite(tokens: Vec<TokenWithSpan>) -> SqlResult<Vec<TokenWithSpan>> {
    if !(0..tokens.len()).any(|at| strength(&tokens, at).is_some()) {
        return Ok(tokens);
    }
    let mut out = Vec::with_capacity(tokens.len() + 8);
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let Some((words, count)) = strength(&tokens, at) else {
            out.push(token.clone());
            at += 1;
            continue;
        };
        let span = token.span;
        let mut push = |token| out.push(TokenWithSpan { token, span });
        let word =
            |value: &str, keyword| Token::Word(Word { value: value.to_owned(), quote_style: None, keyword });
        let quoted = |value: &str| {
            Token::Word(Word { value: value.to_owned(), quote_style: Some('"'), keyword: Keyword::NoKeyword })
        };
        push(word("FOR", Keyword::FOR));
        push(word("UPDATE", Keyword::UPDATE));
        push(word("OF", Keyword::OF));
        push(quoted(words));
        at += count;
        if !is_word(tokens.get(at), "OF") {
            continue;
        }
        loop {
            at += 1;
            let Some(Token::Word(table)) = tokens.get(at).map(|t| &t.token) else {
                return Err(SqlError::syntax(
                    "a table name must follow OF and each comma of a locking clause",
                ));
            };
            let name =
                if table.quote_style.is_some() { table.value.clone() } else { table.value.to_lowercase() };
            push(Token::Period);
            push(quoted(&name));
            at += 1;
            if tokens.get(at).map(|t| &t.token) != Some(&Token::Comma) {
                break;
            }
        }
    }
    Ok(out)
}
