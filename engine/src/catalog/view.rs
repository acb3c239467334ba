//! Views: the text of their queries, and what each name in it meant when they were made.
//!
//! What must hold: a name of the text is never looked up again along a search path, and a column is known by the name that it had
//! then; so tables, views and their columns may be renamed, and columns added, without a view noticing.

use std::sync::Arc;

use sqlparser::ast;

use super::model::ColumnInfo;
use crate::sql::parse_view;
use crate::types::{SqlError, SqlResult};

/// A view.
#[derive(Debug, Clone)]
pub struct ViewInfo {
    /// Its OID.
    pub oid: u32,
    /// Its schema.
    pub namespace: u32,
    /// Its schema's name.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its columns; column n has attnum n + 1.
    pub columns: Vec<ColumnInfo>,
    /// What it shows.
    pub definition: Arc<ViewDefinition>,
}

impl ViewInfo {
    /// Whether it looks at a relation or at a column of it (from 0), or uses a type.
    #[must_use]
    pub fn depends_on(&self, oid: u32, column: Option<usize>) -> bool {
        self.definition.looks_at(oid, column) || self.columns.iter().any(|c| c.ty.oid == oid)
    }
}

/// What a name in a view's text means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meant {
    /// As it is written there, with its schema if that is written too.
    pub written: String,
    /// The relation, or the type.
    pub oid: u32,
    /// The names that its columns had, by number from 0; empty for one that is not there any more.
    pub columns: Vec<String>,
    /// The columns that the view looks at, from 0.
    pub used: Vec<usize>,
}

/// A view's query.
#[derive(Debug, PartialEq, Eq)]
pub struct ViewDefinition {
    text: String,
    query: ast::Query,
    meant: Vec<Meant>,
}

/// A [`Meant`] as the catalog keeps it.
type Stored = (String, u32, Vec<String>, Vec<usize>);

impl ViewDefinition {
    /// Of a query; 0A000 when its text would not be read as the same query again.
    pub(crate) fn new(query: &ast::Query, meant: Vec<Meant>) -> SqlResult<ViewDefinition> {
        let text = query.to_string();
        let again = parse_view(&text)?;
        if again != *query {
            return Err(SqlError::unsupported("a view of this query"));
        }
        Ok(ViewDefinition { text, query: again, meant })
    }

    /// As `pg_rewrite.ev_action` has it.
    pub(super) fn stored(&self) -> String {
        let one = |m: &Meant| (m.written.clone(), m.oid, m.columns.clone(), m.used.clone());
        let meant: Vec<Stored> = self.meant.iter().map(one).collect();
        serde_json::json!([self.text, meant]).to_string()
    }

    /// What [`ViewDefinition::stored`] wrote.
    pub(super) fn read(stored: &str) -> SqlResult<ViewDefinition> {
        let (text, meant): (String, Vec<Stored>) = serde_json::from_str(stored)
            .map_err(|error| SqlError::corrupt(format!("a view's definition cannot be read: {error}")))?;
        let one = |(written, oid, columns, used)| Meant { written, oid, columns, used };
        Ok(ViewDefinition { query: parse_view(&text)?, text, meant: meant.into_iter().map(one).collect() })
    }

    /// The query as text, with the names of its time.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The query.
    #[must_use]
    pub fn query(&self) -> &ast::Query {
        &self.query
    }

    /// What it depends on.
    #[must_use]
    pub fn meant(&self) -> &[Meant] {
        &self.meant
    }

    /// Whether it looks at a relation, or at a column of it (from 0).
    #[must_use]
    pub fn looks_at(&self, oid: u32, column: Option<usize>) -> bool {
        let concerns = |m: &Meant| m.oid == oid && column.is_none_or(|n| m.used.contains(&n));
        self.meant.iter().any(concerns)
    }
}
