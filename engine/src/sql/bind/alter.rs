//! Values that ALTER TABLE gives to rows that are there.

use sqlparser::ast;

use super::{Binder, Scope, Typed};
use crate::catalog::{ColumnInfo, TableInfo};
use crate::sql::expr::Expr;
use crate::sql::expr::cast::{self, Context};
use crate::types::{SqlError, SqlResult, SqlType, sqlstate};

fn mismatch(message: String) -> SqlError {
    SqlError::new(sqlstate::DATATYPE_MISMATCH, message)
}

impl Binder<'_> {
    /// ALTER COLUMN TYPE: the value of column `n` in its new type, over the old row.
    pub(crate) fn conversion(
        &mut self,
        table: &TableInfo,
        n: usize,
        to: SqlType,
        using: Option<&ast::Expr>,
    ) -> SqlResult<Expr> {
        let column = &table.columns[n];
        let scope = Scope::of_table(table, &table.name);
        let subqueries = self.subqueries.len();
        self.no_aggregate = "aggregate functions are not allowed in transform expressions";
        let value = match using {
            Some(expr) => self.expr(expr, &scope)?,
            None => Typed { expr: Expr::Column(n), ty: column.ty },
        };
        self.refuse_outside(subqueries, &value.expr, "transform expression")?;
        let cannot = |_| {
            let name = &column.name;
            match using {
                Some(_) => mismatch(format!(
                    "result of USING clause for column \"{name}\" cannot be cast automatically to type {}",
                    to.name()
                ))
                .hint("You might need to add an explicit cast."),
                None => {
                    mismatch(format!("column \"{name}\" cannot be cast automatically to type {}", to.name()))
                        .hint(format!("You might need to specify \"USING {name}::{}\".", to.spelled()))
                }
            }
        };
        match self.coerce(value, to, Context::Assignment) {
            Ok(typed) => Ok(typed.expr),
            Err(error) if error.sqlstate == sqlstate::CANNOT_COERCE => Err(cannot(error)),
            Err(error) => Err(error),
        }
    }

    /// Makes sure that a column's DEFAULT is one of its new type, too.
    pub(crate) fn default_after(&mut self, column: &ColumnInfo, to: SqlType) -> SqlResult<()> {
        if column.default.is_none() {
            return Ok(());
        }
        let cannot = || {
            mismatch(format!(
                "default for column \"{}\" cannot be cast automatically to type {}",
                column.name,
                to.name()
            ))
        };
        match cast::context(column.ty, to) {
            Some(context) if context <= Context::Assignment => {}
            _ => return Err(cannot()),
        }
        let new = ColumnInfo { ty: to, ..column.clone() };
        self.default_of(&new).map(|_| ()).map_err(|_| cannot())
    }
}
