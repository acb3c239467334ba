//! What the catalog keeps of SQL and binds for no session: expressions that look at nothing but a row, as the columns and the
//! predicate of an index, and the system's own views.

use std::sync::{Arc, LazyLock};

use super::SessionContext;
use super::bind::{Binder, Scope};
use super::exec::columns_of_view;
use super::expr::{EvalCx, Expr, deparse};
use super::parse::parse_expression;
use crate::catalog::{CatalogView, ColumnInfo};
use crate::types::{Datum, SqlResult, SqlType};

/// The session of expressions that look at none.
static NOBODY: LazyLock<SessionContext> = LazyLock::new(|| SessionContext::new("", ""));

/// An expression over the columns of one table, bound. It is the same whenever it is computed from the same row.
#[derive(Debug)]
pub struct Formula {
    text: String,
    expr: Expr,
    ty: SqlType,
    inputs: Vec<usize>,
}

/// The columns of a view of the system's own.
pub(crate) fn view_columns(
    query: &sqlparser::ast::Query,
    view: &Arc<CatalogView>,
) -> SqlResult<Vec<ColumnInfo>> {
    let bound = Binder::detached(&NOBODY, view.clone()).query(query)?;
    columns_of_view(&bound.columns, &[])
}

impl Formula {
    /// What the catalog keeps of one, over the columns of `table`. Of `view` only the types count.
    pub(crate) fn of_text(
        text: &str,
        table: &str,
        columns: &[ColumnInfo],
        view: &Arc<CatalogView>,
    ) -> SqlResult<Formula> {
        let mut binder = Binder::detached(&NOBODY, Arc::new(view.types_alone()));
        let (expr, ty) = binder.over_row(&parse_expression(text)?, &Scope::of_columns(columns, table, 0))?;
        let mut inputs = Vec::new();
        expr.columns(&mut inputs);
        inputs.sort_unstable();
        inputs.dedup();
        Ok(Formula { text: text.to_owned(), expr, ty, inputs })
    }

    /// As SQL text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The type of its values.
    #[must_use]
    pub fn ty(&self) -> SqlType {
        self.ty
    }

    /// The columns that it looks at, from 0, in order.
    #[must_use]
    pub fn inputs(&self) -> &[usize] {
        &self.inputs
    }

    /// As definitions show it, over columns with these names.
    #[must_use]
    pub fn deparse(&self, columns: &[ColumnInfo], pretty: bool) -> String {
        deparse(&self.expr, columns, self.ty, pretty)
    }

    pub(crate) fn expr(&self) -> &Expr {
        &self.expr
    }

    /// Its value for a row of the table.
    pub fn value(&self, row: &[Datum]) -> SqlResult<Datum> {
        let cx = EvalCx::detached(&NOBODY);
        Ok(self.expr.eval(row, &cx)?.into_owned())
    }
}
