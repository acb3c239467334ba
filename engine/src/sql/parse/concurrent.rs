//! DROP INDEX CONCURRENTLY, of which the grammar knows the rest.

use sqlparser::tokenizer::TokenWithSpan;

use super::locking::is_word;

/// Takes the word away; true when it was there.
pub(super) fn rewrite(tokens: &mut Vec<TokenWithSpan>) -> bool {
    let words = ["DROP", "INDEX", "CONCURRENTLY"];
    let there = words.iter().enumerate().all(|(n, word)| is_word(tokens.get(n), word));
    if there {
        tokens.remove(2);
    }
    there
}
