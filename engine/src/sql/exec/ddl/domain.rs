//! CREATE and ALTER DOMAIN. Whoever changes what values must meet asks the values that are there, of every table that has some.

use std::sync::Arc;

use sqlparser::ast::{self, ColumnOption};

use super::Ddl;
use crate::catalog::{ColumnInfo, DomainCheck, DomainInfo, Relation, TableInfo, TypeInfo, TypeKind, stored};
use crate::sql::Notice;
use crate::sql::bind::undefined_type;
use crate::sql::exec::Cx;
use crate::sql::expr::Expr;
use crate::sql::names;
use crate::sql::statement::{DomainChange, QualifiedName};
use crate::table::{RowBatch, TableScan};
use crate::txn::{LockWait, TableLock};
use crate::types::{Datum, SqlError, SqlResult, sqlstate};

impl Ddl<'_> {
    pub(super) async fn create_domain(
        &mut self,
        (schema, name): &QualifiedName,
        definition: &ast::ColumnDef,
    ) -> SqlResult<()> {
        let (namespace, name) = self.place_in(schema.as_deref(), name)?;
        self.refuse_type_name(namespace, &name)?;
        let base = self.binder()?.type_named(&definition.data_type)?;
        self.hold_type(base.user.as_ref()).await?;
        let mut domain = DomainInfo {
            base: base.ty,
            below: base.user,
            not_null: false,
            default: None,
            checks: Vec::new(),
        };
        let mut nullable = None;
        let inherited = domain.below.as_ref().and_then(|below| below.domain()?.default.clone());
        let mut checks: Vec<(Option<String>, &ast::Expr)> = Vec::new();
        for option in &definition.options {
            match &option.option {
                ColumnOption::Null | ColumnOption::NotNull => {
                    let null = matches!(option.option, ColumnOption::Null);
                    if nullable.is_some_and(|before| before != null) {
                        return Err(SqlError::syntax("conflicting NULL/NOT NULL constraints"));
                    }
                    nullable = Some(null);
                }
                ColumnOption::Default(_) if domain.default.is_some() => {
                    return Err(SqlError::syntax("multiple default expressions"));
                }
                ColumnOption::Default(value) => {
                    domain.default = Some(self.domain_default(&name, &domain, value)?);
                }
                ColumnOption::Check(check) => {
                    checks.push((option.name.as_ref().map(names::fold), &*check.expr));
                }
                ColumnOption::Collation(collation) => super::create_table::refuse_collation(collation)?,
                other => return Err(not_of_domains(other)),
            }
        }
        domain.not_null = nullable == Some(false);
        domain.default = domain.default.or(inherited);
        // Those with names first, so that no name is made up that is given below.
        checks.sort_by_key(|(name, _)| name.is_none());
        for (given, condition) in checks {
            let check = self.new_check(&name, &domain, given, condition, true)?;
            domain = domain.with_checks(domain.checks.iter().cloned().chain([check]).collect());
        }
        self.db.catalog.create_domain(self.txn, (namespace, name), domain).await
    }

    fn domain_default(&mut self, name: &str, domain: &DomainInfo, value: &ast::Expr) -> SqlResult<String> {
        self.binder()?.domain_default(name, domain, value)?;
        self.binder()?.kept_text(value)
    }

    fn new_check(
        &mut self,
        name: &str,
        domain: &DomainInfo,
        given: Option<String>,
        condition: &ast::Expr,
        valid: bool,
    ) -> SqlResult<DomainCheck> {
        self.binder()?.domain_check(domain.base, condition)?;
        let taken = |one: &str| domain.checks.iter().any(|check| check.name == one);
        let name = match given {
            Some(given) if taken(&given) => {
                let message = format!("constraint \"{given}\" for domain \"{name}\" already exists");
                return Err(SqlError::new(sqlstate::DUPLICATE_OBJECT, message));
            }
            Some(given) => given,
            None => {
                let usual = format!("{name}_check");
                let numbered = (1..).map(|n| format!("{usual}{n}"));
                let mut free = std::iter::once(usual.clone()).chain(numbered);
                free.find(|one| !taken(one)).unwrap_or(usual)
            }
        };
        let condition = self.binder()?.kept_text(condition)?;
        Ok(DomainCheck { oid: self.db.catalog.part_oid(), name, condition, valid })
    }

    pub(super) async fn alter_domain(
        &mut self,
        name: &QualifiedName,
        change: &DomainChange,
    ) -> SqlResult<()> {
        // Tables that are being made with it are waited for: they have values, too.
        let info = self.lock_type(name, TableLock::AccessExclusive).await?;
        let info = info.ok_or_else(|| undefined_type(name.0.as_deref(), &name.1))?;
        let Some(domain) = info.domain() else {
            let message = format!("{} is not a domain", info.name);
            return Err(SqlError::new(sqlstate::WRONG_OBJECT_TYPE, message));
        };
        let mut changed = DomainInfo::clone(domain);
        match change {
            DomainChange::Type(change) => return self.change_type(&info, change).await,
            DomainChange::SetDefault(value) => {
                changed.default = Some(self.domain_default(&info.name, domain, value)?);
            }
            DomainChange::DropDefault => changed.default = None,
            DomainChange::SetNotNull => {
                changed.not_null = true;
                self.ask_values(&info, None).await?;
            }
            DomainChange::DropNotNull => changed.not_null = false,
            DomainChange::Add { name, condition, valid } => {
                let check = self.new_check(&info.name, domain, name.clone(), condition, *valid)?;
                if *valid {
                    self.ask_values(&info, Some(&check.condition)).await?;
                }
                changed = changed.with_checks(changed.checks.iter().cloned().chain([check]).collect());
            }
            DomainChange::Drop { name, if_exists } => {
                let before = changed.checks.len();
                changed.checks.retain(|check| check.name != *name);
                if changed.checks.len() == before {
                    let error = no_constraint(&info, name);
                    if !if_exists {
                        return Err(error);
                    }
                    self.notices.push(Notice::note(format!("{}, skipping", error.message)));
                    return Ok(());
                }
            }
            DomainChange::Validate(name) => {
                let check = changed.checks.iter_mut().find(|check| check.name == *name);
                let check = check.ok_or_else(|| no_constraint(&info, name))?;
                if !std::mem::replace(&mut check.valid, true) {
                    let condition = check.condition.clone();
                    self.ask_values(&info, Some(&condition)).await?;
                }
            }
            DomainChange::RenameConstraint { from, to } => rename_check(&info, &mut changed, from, to)?,
        }
        let kind = TypeKind::Domain(Arc::new(changed));
        let changed = TypeInfo { kind, ..TypeInfo::clone(&info) };
        self.db.catalog.alter_type(self.txn, &info, changed).await
    }

    /// Asks the values of a domain, and of those over it, that are in tables: 23514 for one that a condition forbids, 23502 for
    /// a NULL when there is none. Their tables take no rows until the transaction ends.
    async fn ask_values(&mut self, info: &TypeInfo, condition: Option<&str>) -> SqlResult<()> {
        let condition = match condition {
            Some(text) => {
                let parsed = crate::sql::parse::parse_expression(text)?;
                Some(self.binder()?.domain_check(info.value_type(), &parsed)?)
            }
            None => None,
        };
        let is_of = |column: &ColumnInfo| {
            !column.dropped && column.declared.as_ref().is_some_and(|declared| declared.is_over(info.oid))
        };
        let mut tables: Vec<u32> = self
            .view()
            .relations()
            .filter_map(|relation| match relation {
                Relation::Table(table) if table.columns.iter().any(is_of) => Some(table.oid),
                _ => None,
            })
            .collect();
        tables.sort_unstable();
        for oid in tables {
            self.txn.lock_table(oid, TableLock::Share, LockWait::Block).await?;
            self.txn.begin_statement();
            // As it is now that the lock is had.
            let Some(table) = self.view().table(oid).cloned() else { continue };
            let columns: Vec<usize> = table
                .columns
                .iter()
                .enumerate()
                .filter(|(_, column)| is_of(column))
                .map(|(n, _)| n)
                .collect();
            self.ask_rows_of(&table, &columns, condition.as_ref()).await?;
        }
        Ok(())
    }

    async fn ask_rows_of(
        &mut self,
        table: &TableInfo,
        columns: &[usize],
        condition: Option<&Expr>,
    ) -> SqlResult<()> {
        let snapshot = self.txn.snapshot();
        let mut scan = TableScan::new(&table.store, snapshot.clone());
        let mut batch = RowBatch::new();
        while scan.next_batch(&self.db.txns, &mut batch).await? {
            tokio::task::consume_budget().await;
            for (id, bytes) in batch.iter() {
                let wanted = |n| condition.is_some() && columns.contains(&n);
                let row = stored::decode(&self.db.txns, table, id, bytes, wanted).await?;
                let cx = Cx::plain(self.db, self.ctx, self.txn, &snapshot);
                let eval = cx.eval();
                for n in columns {
                    let broken = match condition {
                        Some(condition) => {
                            let value = std::slice::from_ref(&row[*n]);
                            matches!(*condition.eval(value, &eval)?, Datum::Bool(false))
                        }
                        None => row[*n].is_null(),
                    };
                    if broken {
                        return Err(broken_value(table, *n, condition.is_some()));
                    }
                }
            }
        }
        Ok(())
    }
}

fn broken_value(table: &TableInfo, n: usize, by_check: bool) -> SqlError {
    let (code, what) = match by_check {
        true => (sqlstate::CHECK_VIOLATION, "values that violate the new constraint"),
        false => (sqlstate::NOT_NULL_VIOLATION, "null values"),
    };
    let column = &table.columns[n].name;
    SqlError::new(code, format!("column \"{column}\" of table \"{}\" contains {what}", table.name))
        .schema(table.schema.clone())
        .table(table.name.clone())
        .column(column.clone())
}

fn no_constraint(info: &TypeInfo, name: &str) -> SqlError {
    let message = format!("constraint \"{name}\" of domain \"{}\" does not exist", info.name);
    SqlError::new(sqlstate::UNDEFINED_OBJECT, message)
}

fn rename_check(info: &TypeInfo, domain: &mut DomainInfo, from: &str, to: &str) -> SqlResult<()> {
    let shown = TypeInfo::spelled(&info.schema, &info.name);
    if !domain.checks.iter().any(|check| check.name == from) {
        let message = format!("constraint \"{from}\" for domain {shown} does not exist");
        return Err(SqlError::new(sqlstate::UNDEFINED_OBJECT, message));
    }
    if domain.checks.iter().any(|check| check.name == to) {
        let message = format!("constraint \"{to}\" for domain {shown} already exists");
        return Err(SqlError::new(sqlstate::DUPLICATE_OBJECT, message));
    }
    let mut checks = domain.checks.clone();
    checks.iter_mut().filter(|check| check.name == from).for_each(|check| to.clone_into(&mut check.name));
    *domain = domain.with_checks(checks);
    Ok(())
}

fn not_of_domains(option: &ColumnOption) -> SqlError {
    let what = match option {
        ColumnOption::PrimaryKey(_) => "primary key",
        ColumnOption::Unique(_) => "unique",
        ColumnOption::ForeignKey(_) => "foreign key",
        other => return SqlError::unsupported(format!("the domain's option {other}")),
    };
    SqlError::syntax(format!("{what} constraints not possible for domains"))
}
