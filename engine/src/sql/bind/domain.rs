//! Domains: what a value goes through to become one of a domain.

use std::sync::Arc;

use sqlparser::ast;

use super::{Binder, Scope, ScopeColumn, Typed};
use crate::catalog::{ColumnInfo, DomainInfo, TypeInfo};
use crate::sql::expr::{DomainRules, Expr};
use crate::sql::parse::parse_expression;
use crate::types::{SqlResult, SqlType};

impl Binder<'_> {
    /// What the values of a domain, and of those below it, must meet: those below first.
    pub(crate) fn domain_rules(&mut self, info: &TypeInfo) -> SqlResult<Option<Arc<DomainRules>>> {
        let Some(own) = info.domain() else { return Ok(None) };
        let mut rules = DomainRules {
            oid: info.oid,
            schema: info.schema.clone(),
            name: info.name.clone(),
            shown: TypeInfo::spelled(&info.schema, &info.name),
            not_null: false,
            checks: Vec::new(),
        };
        let mut next = Some(own);
        while let Some(domain) = next {
            rules.not_null |= domain.not_null;
            let mut checks = Vec::with_capacity(domain.checks.len());
            for check in &domain.checks {
                let condition = self.domain_check(domain.base, &parse_expression(&check.condition)?)?;
                checks.push((check.name.clone(), condition));
            }
            rules.checks.splice(0..0, checks);
            next = domain.below.as_ref().and_then(|below| below.domain());
        }
        Ok(Some(Arc::new(rules)))
    }

    /// A condition over VALUE.
    pub(crate) fn domain_check(&mut self, base: SqlType, condition: &ast::Expr) -> SqlResult<Expr> {
        let subqueries = self.subqueries.len();
        let value = ScopeColumn {
            table: String::new(),
            name: "value".to_owned(),
            ty: base,
            table_oid: 0,
            attnum: 0,
            merged: false,
        };
        let outer = self.aggregates.take();
        let typed = self.expr(condition, &Scope { columns: vec![value] });
        self.aggregates = outer;
        let condition = self.condition(typed?, "CHECK")?;
        self.refuse_outside(subqueries, &condition, "check constraint")?;
        Ok(condition)
    }

    /// A value of the base type as one of the type that was declared.
    pub(super) fn value_of_declared(
        &mut self,
        typed: Typed,
        declared: Option<&TypeInfo>,
    ) -> SqlResult<Typed> {
        let Some(rules) = declared.map(|info| self.domain_rules(info)).transpose()?.flatten() else {
            return Ok(typed);
        };
        if rules.is_empty() {
            return Ok(typed);
        }
        let expr = Expr::Domain(Box::new(typed.expr), rules);
        Ok(Typed { expr, ty: typed.ty })
    }

    /// A DEFAULT of a domain as it is made.
    pub(crate) fn domain_default(
        &mut self,
        name: &str,
        domain: &DomainInfo,
        value: &ast::Expr,
    ) -> SqlResult<()> {
        let typed = self.expr(value, &Scope::default())?;
        self.assign(typed, &ColumnInfo::of_type(name, domain.base)).map(|_| ())
    }
}
