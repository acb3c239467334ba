//! What every new row of a table goes through, bound over the table's row: columns that are generated, CHECK constraints.

use sqlparser::ast;

use super::{Binder, Scope};
use crate::catalog::{ColumnInfo, TableInfo};
use crate::sql::expr::Expr;
use crate::sql::parse::parse_expression;
use crate::types::{SqlError, SqlResult, sqlstate};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// Column, its value over the others.
    pub(crate) generated: Vec<(usize, Expr)>,
    /// By name, the order in which they are asked.
    pub(crate) checks: Vec<Check>,
}

/// A CHECK constraint.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) condition: Expr,
}

impl Binder<'_> {
    /// The rules of a table.
    pub(crate) fn rules(&mut self, table: &TableInfo) -> SqlResult<Rules> {
        let mut rules = Rules::default();
        for (n, column) in table.live_columns().filter(|(_, column)| column.generated) {
            let text = column.default.as_deref().unwrap_or("NULL");
            rules.generated.push((n, self.generation(table, column, &parse_expression(text)?)?));
        }
        for check in &table.checks {
            let condition = self.check(table, &parse_expression(&check.condition)?)?;
            rules.checks.push(Check { name: check.name.clone(), condition });
        }
        Ok(rules)
    }

    /// A CHECK's condition.
    pub(crate) fn check(&mut self, table: &TableInfo, condition: &ast::Expr) -> SqlResult<Expr> {
        let subqueries = self.subqueries.len();
        let typed = self.expr(condition, &Scope::of_table(table, &table.name))?;
        let condition = self.condition(typed, "CHECK")?;
        self.refuse_outside(subqueries, &condition, "check constraint")?;
        Ok(condition)
    }

    /// A generated column's value. It is the same whenever it is computed from the same row, and from columns that are not
    /// generated themselves.
    pub(crate) fn generation(
        &mut self,
        table: &TableInfo,
        column: &ColumnInfo,
        value: &ast::Expr,
    ) -> SqlResult<Expr> {
        let subqueries = self.subqueries.len();
        let typed = self.expr(value, &Scope::of_table(table, &table.name))?;
        self.refuse_outside(subqueries, &typed.expr, "column generation expression")?;
        let value = self.assign(typed, column)?;
        let mut columns = Vec::new();
        value.columns(&mut columns);
        if let Some(other) = columns.iter().map(|n| &table.columns[*n]).find(|c| c.generated) {
            let message =
                format!("cannot use generated column \"{}\" in column generation expression", other.name);
            return Err(SqlError::new(sqlstate::INVALID_OBJECT_DEFINITION, message)
                .detail("A generated column cannot reference another generated column."));
        }
        if !value.is_immutable() {
            return Err(SqlError::new(
                sqlstate::INVALID_OBJECT_DEFINITION,
                "generation expression is not immutable",
            ));
        }
        Ok(value)
    }

    /// A row's rules look at nothing but the row.
    fn refuse_outside(&self, subqueries: usize, expr: &Expr, place: &str) -> SqlResult<()> {
        if self.subqueries.len() > subqueries {
            let message = format!("cannot use subquery in {place}");
            return Err(SqlError::new(sqlstate::FEATURE_NOT_SUPPORTED, message));
        }
        let mut parameter = None;
        expr.any(&mut |part| match part {
            Expr::Param(n) => {
                parameter = Some(*n + 1);
                true
            }
            _ => false,
        });
        match parameter {
            Some(n) => {
                Err(SqlError::new(sqlstate::UNDEFINED_PARAMETER, format!("there is no parameter ${n}")))
            }
            None => Ok(()),
        }
    }
}
