//! Values that ALTER TABLE gives to rows that are there.

use sqlparser::ast;

use super::{Binder, Declared, Scope, Typed};
use crate::catalog::{ColumnInfo, TableInfo};
use crate::sql::expr::Expr;
use crate::sql::expr::cast::{self, Context};
use crate::types::{SqlError, SqlResult, sqlstate};

fn mismatch(message: String) -> SqlError {
    SqlError::new(sqlstate::DATATYPE_MISMATCH, message)
}

impl Binder<'_> {
    /// ALTER COLUMN TYPE: the value of column `n` in its new type, over the old row.
    pub(crate) fn conversion(
        &mut self,
        table: &TableInfo,
        n: usize,
        to: &Declared,
        using: Option<&ast::Expr>,
    ) -> SqlResult<Expr> {
        let Declared { ty: to, user } = to;
        let to = *to;
        let column = &table.columns[n];
        let scope = Scope::of_table(table, &table.name);
        let subqueries = self.subqueries.len();
        self.no_aggregate = "aggregate functions are not allowed in transform expressions";
        let value = match using {
            Some(expr) => self.expr(expr, &scope)?,
            None => Typed { expr: Expr::Column(n), ty: column.ty },
        };
        self.refuse_outside(subqueries, &value.expr, "transform expression")?;
        let shown = self.shown(to);
        let spelled = if to.is_enum() { shown.clone() } else { to.spelled() };
        let cannot = |_| {
            let name = &column.name;
            match using {
                Some(_) => mismatch(format!(
                    "result of USING clause for column \"{name}\" cannot be cast automatically to type {shown}"
                ))
                .hint("You might need to add an explicit cast."),
                None => {
                    mismatch(format!("column \"{name}\" cannot be cast automatically to type {shown}"))
                        .hint(format!("You might need to specify \"USING {name}::{spelled}\"."))
                }
            }
        };
        match self.coerce(value, to, Context::Assignment) {
            Ok(typed) => Ok(self.value_of_declared(typed, user.as_deref())?.expr),
            Err(error) if error.sqlstate == sqlstate::CANNOT_COERCE => Err(cannot(error)),
            Err(error) => Err(error),
        }
    }

    /// Makes sure that a column's DEFAULT is one of its new type, too.
    pub(crate) fn default_after(&mut self, column: &ColumnInfo, to: &Declared) -> SqlResult<()> {
        if column.default.is_none() {
            return Ok(());
        }
        let shown = self.shown(to.ty);
        let cannot = || {
            mismatch(format!(
                "default for column \"{}\" cannot be cast automatically to type {shown}",
                column.name
            ))
        };
        match cast::context(column.ty, to.ty) {
            Some(context) if context <= Context::Assignment => {}
            _ => return Err(cannot()),
        }
        let new = ColumnInfo { ty: to.ty, declared: to.user.clone(), ..column.clone() };
        self.default_of(&new).map(|_| ()).map_err(|_| cannot())
    }
}
