//! What every new row of a table goes through, bound over the table's row: columns that are generated, CHECK constraints.

use std::sync::Arc;

use sqlparser::ast;

use super::{Binder, Scope};
use crate::catalog::{CatalogView, ColumnInfo, TableInfo};
use crate::sql::Formula;
use crate::sql::expr::{DomainRules, Expr};
use crate::sql::parse::parse_expression;
use crate::types::{SqlError, SqlResult, SqlType, sqlstate};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// Column, its value over the others.
    pub(crate) generated: Vec<(usize, Expr)>,
    /// By name, the order in which they are asked.
    pub(crate) checks: Vec<Check>,
    /// Columns of domains, and what these want of values that no expression has made.
    pub(crate) domains: Vec<(usize, Arc<DomainRules>)>,
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
        for (n, column) in table.live_columns() {
            let of = column.declared.as_ref().map(|declared| self.domain_rules(declared)).transpose()?;
            rules.domains.extend(of.flatten().map(|of| (n, of)));
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
        let value = self.assign_base(typed, column)?;
        let mut columns = Vec::new();
        value.expr.columns(&mut columns);
        if let Some(other) = columns.iter().map(|n| &table.columns[*n]).find(|c| c.generated) {
            let message =
                format!("cannot use generated column \"{}\" in column generation expression", other.name);
            return Err(SqlError::new(sqlstate::INVALID_OBJECT_DEFINITION, message)
                .detail("A generated column cannot reference another generated column."));
        }
        if !value.expr.is_immutable() {
            return Err(SqlError::new(
                sqlstate::INVALID_OBJECT_DEFINITION,
                "generation expression is not immutable",
            ));
        }
        // The conditions of a domain are asked as those of the table are: they need not be immutable.
        Ok(self.value_of_declared(value, column.declared.as_deref())?.expr)
    }

    /// An expression over a row that was found to be fit for an index before.
    pub(crate) fn over_row(&mut self, expr: &ast::Expr, scope: &Scope) -> SqlResult<(Expr, SqlType)> {
        let typed = self.expr(expr, scope)?;
        let typed = self.known(typed)?;
        Ok((typed.expr, typed.ty))
    }

    /// A column of an index that is an expression.
    pub(crate) fn index_expression(&mut self, table: &TableInfo, expr: &ast::Expr) -> SqlResult<Formula> {
        self.no_aggregate = "aggregate functions are not allowed in index expressions";
        let subqueries = self.subqueries.len();
        let (bound, _) = self.over_row(expr, &Scope::of_table(table, &table.name))?;
        self.refuse_outside(subqueries, &bound, "index expression")?;
        refuse_mutable(&bound, "index expression")?;
        kept(&self.view, table, &self.kept_text(expr)?, &bound)
    }

    /// The WHERE of an index.
    pub(crate) fn index_predicate(&mut self, table: &TableInfo, expr: &ast::Expr) -> SqlResult<Formula> {
        self.no_aggregate = "aggregate functions are not allowed in index predicates";
        let subqueries = self.subqueries.len();
        let typed = self.expr(expr, &Scope::of_table(table, &table.name))?;
        let bound = self.condition(typed, "WHERE")?;
        self.refuse_outside(subqueries, &bound, "index predicate")?;
        refuse_mutable(&bound, "index predicate")?;
        kept(&self.view, table, &self.kept_text(expr)?, &bound)
    }

    /// A row's rules look at nothing but the row.
    pub(super) fn refuse_outside(&self, subqueries: usize, expr: &Expr, place: &str) -> SqlResult<()> {
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

fn refuse_mutable(expr: &Expr, place: &str) -> SqlResult<()> {
    if expr.is_immutable() {
        return Ok(());
    }
    let message = format!("functions in {place} must be marked IMMUTABLE");
    Err(SqlError::new(sqlstate::INVALID_OBJECT_DEFINITION, message))
}

/// An expression as the catalog keeps it. It must mean the same to whoever reads it there, in whatever session.
fn kept(view: &Arc<CatalogView>, table: &TableInfo, text: &str, bound: &Expr) -> SqlResult<Formula> {
    let formula = Formula::of_text(text, &table.name, &table.columns, view)?;
    if formula.expr() != bound {
        return Err(SqlError::unsupported(
            "an index over a literal that means something else in another time zone",
        )
        .hint("Write the literal with its offset from UTC."));
    }
    Ok(formula)
}
