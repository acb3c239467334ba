//! A cursor over the tokens of one statement, for the statements that are parsed here and not by the SQL grammar.

use sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use crate::types::{SqlError, SqlResult};

pub(super) struct Cursor<'a> {
    text: &'a str,
    tokens: &'a [TokenWithSpan],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// `tokens` holds no whitespace.
    pub(super) fn new(text: &'a str, tokens: &'a [TokenWithSpan]) -> Cursor<'a> {
        Cursor { text, tokens, at: 0 }
    }

    fn token(&self) -> Option<&'a Token> {
        self.tokens.get(self.at).map(|t| &t.token)
    }

    pub(super) fn at_end(&self) -> bool {
        self.at >= self.tokens.len()
    }

    /// Takes a keyword if it is next; `word` is in upper case.
    pub(super) fn eat(&mut self, word: &str) -> bool {
        let here = matches!(self.token(), Some(Token::Word(w)) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word));
        self.at += usize::from(here);
        here
    }

    /// Takes several keywords if all of them are next.
    pub(super) fn eat_all(&mut self, words: &[&str]) -> bool {
        let start = self.at;
        let all = words.iter().all(|w| self.eat(w));
        if !all {
            self.at = start;
        }
        all
    }

    /// Takes a keyword that must be next.
    pub(super) fn expect(&mut self, word: &str) -> SqlResult<()> {
        if self.eat(word) { Ok(()) } else { Err(self.error()) }
    }

    pub(super) fn eat_token(&mut self, token: &Token) -> bool {
        let here = self.token() == Some(token);
        self.at += usize::from(here);
        here
    }

    pub(super) fn expect_token(&mut self, token: &Token) -> SqlResult<()> {
        if self.eat_token(token) { Ok(()) } else { Err(self.error()) }
    }

    /// An identifier, folded to lower case unless quoted.
    pub(super) fn identifier(&mut self) -> SqlResult<String> {
        match self.token() {
            Some(Token::Word(w)) => {
                self.at += 1;
                Ok(if w.quote_style.is_some() { w.value.clone() } else { w.value.to_lowercase() })
            }
            _ => Err(self.error()),
        }
    }

    /// `name` or `schema.name`.
    pub(super) fn qualified(&mut self) -> SqlResult<(Option<String>, String)> {
        let first = self.identifier()?;
        if self.eat_token(&Token::Period) {
            return Ok((Some(first), self.identifier()?));
        }
        Ok((None, first))
    }

    pub(super) fn string(&mut self) -> SqlResult<String> {
        match self.token() {
            Some(Token::SingleQuotedString(s) | Token::EscapedStringLiteral(s)) => {
                self.at += 1;
                Ok(s.clone())
            }
            _ => Err(self.error()),
        }
    }

    /// A string, number, or word as a setting's value has it.
    pub(super) fn value(&mut self) -> SqlResult<String> {
        let negative = self.eat_token(&Token::Minus);
        let value = match self.token() {
            Some(Token::Number(n, _)) => n.clone(),
            Some(Token::SingleQuotedString(s) | Token::EscapedStringLiteral(s)) if !negative => s.clone(),
            Some(Token::Word(_)) if !negative => return self.identifier(),
            _ => return Err(self.error()),
        };
        self.at += 1;
        Ok(if negative { format!("-{value}") } else { value })
    }

    pub(super) fn integer(&mut self) -> SqlResult<Option<i64>> {
        let start = self.at;
        let negative = self.eat_token(&Token::Minus);
        if let Some(Token::Number(n, _)) = self.token()
            && let Ok(n) = n.parse::<i64>()
        {
            self.at += 1;
            return Ok(Some(if negative { -n } else { n }));
        }
        self.at = start;
        Ok(None)
    }

    /// A list in parentheses, after the opening one.
    pub(super) fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> SqlResult<T>) -> SqlResult<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.eat_token(&Token::Comma) {
            items.push(item(self)?);
        }
        self.expect_token(&Token::RParen)?;
        Ok(items)
    }

    /// The text from the next token on.
    pub(super) fn rest(&self) -> &'a str {
        self.tokens
            .get(self.at)
            .and_then(|t| byte_offset(self.text, t.span.start))
            .map_or("", |at| &self.text[at..])
    }

    /// Takes all that is left.
    pub(super) fn take_rest(&mut self) -> &'a str {
        let rest = self.rest();
        self.at = self.tokens.len();
        rest
    }

    /// The text inside the parentheses that open here, which the cursor passes.
    pub(super) fn parenthesised(&mut self) -> SqlResult<&'a str> {
        self.expect_token(&Token::LParen)?;
        let from = self.rest();
        let mut depth = 1;
        while let Some(token) = self.token() {
            depth += match token {
                Token::LParen => 1,
                Token::RParen => -1,
                _ => 0,
            };
            if depth == 0 {
                let inner = &from[..from.len() - self.rest().len()];
                self.at += 1;
                return Ok(inner);
            }
            self.at += 1;
        }
        Err(self.error())
    }

    /// Refuses anything that is left.
    pub(super) fn finish(&self) -> SqlResult<()> {
        if self.at_end() { Ok(()) } else { Err(self.error()) }
    }

    /// `42601` at the next token.
    pub(super) fn error(&self) -> SqlError {
        match self.tokens.get(self.at) {
            None => super::at_end_of_input(self.text),
            Some(t) => super::near(self.text, &source(self.text, t), t.span.start),
        }
    }
}

fn source(text: &str, token: &TokenWithSpan) -> String {
    let from = byte_offset(text, token.span.start);
    let to = byte_offset(text, token.span.end);
    match (from, to) {
        (Some(from), Some(to)) if from < to => text[from..to].to_owned(),
        _ => token.token.to_string(),
    }
}

/// The byte at a location, which counts lines and characters from 1.
pub(super) fn byte_offset(text: &str, location: Location) -> Option<usize> {
    let mut start = 0;
    for _ in 1..location.line.max(1) {
        start += text[start..].find('\n')? + 1;
    }
    let column = usize::try_from(location.column.saturating_sub(1)).ok()?;
    let line = &text[start..];
    Some(start + line.char_indices().nth(column).map_or(line.len(), |(at, _)| at))
}
