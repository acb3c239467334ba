//! DROP TYPE and DROP DOMAIN.

use std::sync::Arc;

use sqlparser::ast;

use super::Ddl;
use crate::catalog::{CatalogView, Relation, TableInfo, TypeInfo};
use crate::sql::Notice;
use crate::sql::bind::undefined_type;
use crate::sql::parse::keeps_type;
use crate::sql::statement::DropTypes;
use crate::txn::{LockWait, TableLock};
use crate::types::{SqlError, SqlResult, sqlstate};

/// What of a table needs a type.
enum Need {
    Column(usize),
    Default(usize),
    Check(String),
    Index(u32),
}

impl Ddl<'_> {
    pub(super) async fn drop_types(&mut self, drop: &DropTypes) -> SqlResult<()> {
        for name in &drop.names {
            let Some(info) = self.lock_type(name, TableLock::AccessExclusive).await? else {
                let error = undefined_type(name.0.as_deref(), &name.1);
                if !drop.if_exists {
                    return Err(error);
                }
                self.notices.push(Notice::note(format!("{}, skipping", error.message)));
                continue;
            };
            if drop.domains && info.domain().is_none() {
                let message = format!("\"{}\" is not a domain", info.name);
                return Err(SqlError::new(sqlstate::WRONG_OBJECT_TYPE, message)
                    .hint("Use DROP TYPE to remove a type."));
            }
            self.drop_type(&info, drop.cascade).await?;
        }
        Ok(())
    }

    /// Drops a type that is locked; what needs it goes along, or is 2BP01.
    pub(super) async fn drop_type(&mut self, info: &TypeInfo, cascade: bool) -> SqlResult<()> {
        let view = self.view();
        let what = format!("type {}", TypeInfo::spelled(&info.schema, &info.name));
        let over = over(&view, info.oid);
        let all: Vec<u32> = over.iter().map(|domain| domain.oid).chain([info.oid]).collect();
        let named = naming(&view, &all);
        let needs = needs(&view, &all);
        let of_types = over.iter().rev().chain(&named);
        let of_types =
            of_types.map(|other| format!("type {}", TypeInfo::spelled(&other.schema, &other.name)));
        let shown: Vec<String> =
            of_types.chain(needs.iter().map(|(table, need)| need.shown(table))).collect();
        if !shown.is_empty() {
            if !cascade || !named.is_empty() {
                let detail: Vec<String> =
                    shown.iter().map(|one| format!("{one} depends on {what}")).collect();
                let message = format!("cannot drop {what} because other objects depend on it");
                return Err(SqlError::new(sqlstate::DEPENDENT_OBJECTS, message)
                    .detail(detail.join("\n"))
                    .hint("Use DROP ... CASCADE to drop the dependent objects too."));
            }
            self.note_cascade(&shown);
        }
        for oid in &all {
            self.release_views(*oid, None, &what, &[], cascade).await?;
        }
        for (table, need) in needs {
            self.release_need(table.oid, &need).await?;
        }
        for domain in over {
            self.txn.lock_table(domain.oid, TableLock::AccessExclusive, LockWait::Block).await?;
            self.txn.begin_statement();
            if let Some(domain) = self.view().type_info(domain.oid).cloned() {
                self.db.catalog.drop_type(self.txn, &domain).await?;
            }
        }
        self.db.catalog.drop_type(self.txn, info).await
    }

    async fn release_need(&mut self, table: u32, need: &Need) -> SqlResult<()> {
        self.txn.lock_table(table, TableLock::AccessExclusive, LockWait::Block).await?;
        self.txn.begin_statement();
        // As it is now that the lock is had.
        let Some(table) = self.view().table(table).cloned() else { return Ok(()) };
        let catalog = &self.db.catalog;
        match need {
            Need::Column(n) if !table.columns[*n].dropped => {
                let column = ast::Ident::with_quote('"', &table.columns[*n].name);
                self.drop_column(&name_of(&table), &column, false, true).await?;
            }
            Need::Default(n) => {
                catalog.set_default(self.txn, &table, *n, None).await?;
            }
            Need::Check(name) if table.checks.iter().any(|check| check.name == *name) => {
                catalog.drop_check(self.txn, &table, name).await?;
            }
            Need::Index(oid) => {
                if let Some(index) = table.indexes.iter().find(|index| index.oid == *oid).cloned() {
                    catalog.drop_index(self.txn, &table, &index).await?;
                }
            }
            Need::Column(_) | Need::Check(_) => {}
        }
        Ok(())
    }
}

impl Need {
    fn shown(&self, table: &TableInfo) -> String {
        match self {
            Need::Column(n) => format!("column {} of table {}", table.columns[*n].name, table.name),
            Need::Default(n) => {
                format!("default value for column {} of table {}", table.columns[*n].name, table.name)
            }
            Need::Check(name) => format!("constraint {name} on table {}", table.name),
            Need::Index(oid) => {
                let index = table.indexes.iter().find(|index| index.oid == *oid);
                format!("index {}", index.map_or("", |index| &index.name))
            }
        }
    }
}

fn name_of(table: &TableInfo) -> ast::ObjectName {
    let part = |name: &str| ast::ObjectNamePart::Identifier(ast::Ident::with_quote('"', name));
    ast::ObjectName(vec![part(&table.schema), part(&table.name)])
}

/// The domains over a type, the youngest first: each before what it is over.
fn over(view: &CatalogView, oid: u32) -> Vec<Arc<TypeInfo>> {
    let is_over = |info: &&Arc<TypeInfo>| info.oid != oid && info.is_over(oid);
    let mut domains: Vec<Arc<TypeInfo>> = view.types().filter(is_over).cloned().collect();
    domains.sort_by_key(|info| std::cmp::Reverse(info.oid));
    domains
}

/// Other domains whose expressions name one of some types: they do not go along.
fn naming(view: &CatalogView, types: &[u32]) -> Vec<Arc<TypeInfo>> {
    let names = |text: &str| types.iter().any(|oid| keeps_type(text, *oid));
    let is_naming = |info: &&Arc<TypeInfo>| {
        !types.contains(&info.oid) && info.domain().is_some_and(|domain| domain.texts().any(names))
    };
    view.types().filter(is_naming).cloned().collect()
}

/// What needs one of some types, the oldest tables first; views apart.
fn needs(view: &CatalogView, types: &[u32]) -> Vec<(Arc<TableInfo>, Need)> {
    let mut tables: Vec<&Arc<TableInfo>> = view
        .relations()
        .filter_map(|relation| match relation {
            Relation::Table(table) => Some(table),
            _ => None,
        })
        .collect();
    tables.sort_by_key(|table| table.oid);
    tables
        .into_iter()
        .flat_map(|table| of_table(table, types).into_iter().map(move |need| (table.clone(), need)))
        .collect()
}

fn of_table(table: &TableInfo, types: &[u32]) -> Vec<Need> {
    let keeps = |text: &str| types.iter().any(|oid| keeps_type(text, *oid));
    let mut found = Vec::new();
    for (n, column) in table.live_columns() {
        let text = column.default.as_deref().unwrap_or_default();
        let declared = column.declared.as_ref().is_some_and(|declared| types.contains(&declared.oid));
        match () {
            () if declared || (column.generated && keeps(text)) => found.push(Need::Column(n)),
            () if keeps(text) => found.push(Need::Default(n)),
            () => {}
        }
    }
    let checks = table.checks.iter().filter(|check| keeps(&check.condition));
    found.extend(checks.map(|check| Need::Check(check.name.clone())));
    let indexes = table.indexes.iter().filter(|index| index.texts().any(keeps));
    found.extend(indexes.map(|index| Need::Index(index.oid)));
    found
}
