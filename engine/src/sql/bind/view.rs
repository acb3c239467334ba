//! Views: a view that is read is bound as a sub-query under its own names, one that is written through is unfolded to the table
//! behind it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use sqlparser::ast::{self, GroupByExpr, SetExpr, TableFactor};

use super::locking::Locks;
use super::rel::Rel;
use super::{Binder, BoundQuery, Scope, ScopeColumn, names, undefined_table};
use crate::catalog::{FIRST_USER_OID, Meant, Relation, TableInfo, TypeInfo, ViewInfo};
use crate::sql::expr::Expr;
use crate::sql::quoted;
use crate::txn::TableLock;
use crate::types::{SqlError, SqlResult, sqlstate};

/// What the names of a query meant, kept while a view is made of it.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    relations: RefCell<Vec<(String, u32)>>,
    columns: RefCell<BTreeSet<(u32, usize)>>,
}

/// How a statement changes rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Insert,
    Update,
    Delete,
}

/// What a statement changes: a table, or one behind views.
pub(super) struct Target {
    pub(super) table: Arc<TableInfo>,
    /// The table's name in plans.
    pub(super) alias: String,
    /// The name that the statement knows it by.
    pub(super) name: String,
    /// The columns that the statement sees.
    pub(super) scope: Scope,
    /// Through views: the columns of `scope` over the table's row, and the views' conditions.
    through: Option<(Vec<Expr>, Option<Expr>)>,
    verb: Verb,
}

fn written(schema: Option<&str>, name: &str) -> String {
    match schema {
        Some(schema) => format!("{}.{}", quoted(schema), quoted(name)),
        None => quoted(name),
    }
}

impl Target {
    pub(super) fn is_view(&self) -> bool {
        self.through.is_some()
    }

    /// An expression over `scope` as one over the table's row.
    pub(super) fn over_table(&self, mut expr: Expr) -> Expr {
        if let Some((exprs, _)) = &self.through {
            expr.substitute(exprs);
        }
        expr
    }

    /// The condition that a row to be changed meets: the views' and the statement's.
    pub(super) fn filter(&self, own: Option<Expr>) -> Option<Expr> {
        let own = own.map(|expr| self.over_table(expr));
        let of_views = self.through.as_ref().and_then(|(_, filter)| filter.clone());
        Expr::and(of_views.into_iter().chain(own).collect())
    }

    /// The table's column behind a column of `scope`; 0A000 where the view computes it.
    pub(super) fn column(&self, n: usize) -> SqlResult<usize> {
        let Some((exprs, _)) = &self.through else { return Ok(n) };
        if let Expr::Column(column) = exprs[n] {
            return Ok(column);
        }
        let what = if self.verb == Verb::Insert { "insert into" } else { "update" };
        let message =
            format!("cannot {what} column \"{}\" of view \"{}\"", self.scope.columns[n].name, self.name);
        Err(SqlError::new(sqlstate::FEATURE_NOT_SUPPORTED, message)
            .detail("View columns that are not columns of their base relation are not updatable."))
    }

    /// A column of `scope` by its name.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.scope.columns.iter().position(|c| c.name == name && !c.merged)
    }
}

impl Binder<'_> {
    /// What a name of the view that is being bound meant when it was made.
    pub(super) fn meant(&self, schema: Option<&str>, name: &str) -> Option<Relation> {
        let view = self.within.last()?;
        let written = written(schema, name);
        let mut meant = view.definition.meant().iter().filter(|m| m.written == written);
        meant.find_map(|meant| self.view.relation(meant.oid)).cloned()
    }

    /// The same of a type.
    pub(super) fn meant_type(&self, schema: Option<&str>, name: &str) -> Option<Arc<TypeInfo>> {
        let view = self.within.last()?;
        let written = written(schema, name);
        let mut meant = view.definition.meant().iter().filter(|m| m.written == written);
        meant.find_map(|meant| self.view.type_info(meant.oid)).cloned()
    }

    /// Notes what a name means, while a view is made.
    pub(super) fn note_relation(&self, schema: Option<&str>, name: &str, found: &Relation) {
        self.note(written(schema, name), found.oid());
    }

    /// The same of a type.
    pub(super) fn note_type(&self, schema: Option<&str>, name: &str, oid: u32) {
        self.note(written(schema, name), oid);
    }

    /// Notes that there is a value of a type, which is not named.
    pub(super) fn note_value_type(&self, oid: u32) {
        self.note(String::new(), oid);
    }

    fn note(&self, written: String, oid: u32) {
        if let Some(recorder) = self.recorder.as_ref().filter(|_| self.within.is_empty()) {
            let one = (written, oid);
            let mut relations = recorder.relations.borrow_mut();
            if !relations.contains(&one) {
                relations.push(one);
            }
        }
    }

    /// Notes that a column is looked at, while a view is made.
    pub(super) fn note_column(&self, column: &ScopeColumn) {
        if let Some(recorder) = self.recorder.as_ref().filter(|_| self.within.is_empty())
            && let Ok(n) = usize::try_from(column.attnum - 1)
        {
            recorder.columns.borrow_mut().insert((column.table_oid, n));
        }
    }

    /// Binds the query of a view that is being made; what its names mean.
    pub(crate) fn view_query(&mut self, query: &ast::Query) -> SqlResult<(BoundQuery, Vec<Meant>)> {
        self.recorder = Some(Recorder::default());
        let bound = self.query(query)?;
        let recorder = self.recorder.take().unwrap_or_default();
        if !self.params.is_empty() {
            return Err(SqlError::new(sqlstate::UNDEFINED_PARAMETER, "there is no parameter $1"));
        }
        let (relations, columns) = (recorder.relations.into_inner(), recorder.columns.into_inner());
        let meant = relations.into_iter().map(|(written, oid)| {
            let names = match self.view.relation(oid) {
                Some(Relation::Table(table)) => names_of(&table.columns),
                Some(Relation::View(view)) => names_of(&view.columns),
                _ => Vec::new(),
            };
            let used = columns.range((oid, 0)..=(oid, usize::MAX)).map(|(_, n)| *n).collect();
            Meant { written, oid, columns: names, used }
        });
        Ok((bound, meant.collect()))
    }

    /// Gives the columns of a relation the names that the view being bound knows them by; others it does not see.
    pub(super) fn freeze(&self, oid: u32, scope: &mut Scope) {
        let Some(view) = self.within.last() else { return };
        let Some(meant) = view.definition.meant().iter().find(|m| m.oid == oid) else { return };
        for column in scope.columns.iter_mut().filter(|c| c.table_oid == oid && c.attnum > 0) {
            match meant.columns.get(column.attnum as usize - 1) {
                Some(name) if !column.merged => column.name.clone_from(name),
                _ => (column.name, column.merged) = (String::new(), true),
            }
        }
    }

    /// A view in FROM.
    pub(super) fn read_view(
        &mut self,
        view: &Arc<ViewInfo>,
        alias: String,
        locks: &Locks<'_>,
    ) -> SqlResult<(Rel, Scope)> {
        locks.refuse(&alias, "a view")?;
        self.tables.push((view.oid, TableLock::AccessShare));
        let bound = self.inside(view, |binder| binder.query(view.definition.query()))?;
        if bound.columns.len() != view.columns.len() {
            return Err(SqlError::corrupt(format!(
                "view \"{}\" has other columns than its query",
                view.name
            )));
        }
        Ok((bound.rel, Scope::of_columns(&view.columns, &alias, view.oid)))
    }

    /// Binds with the names of a view.
    fn inside<T>(&mut self, view: &Arc<ViewInfo>, f: impl FnOnce(&mut Self) -> SqlResult<T>) -> SqlResult<T> {
        if self.within.iter().any(|outer| outer.oid == view.oid) {
            let message = format!("infinite recursion detected in rules for relation \"{}\"", view.name);
            return Err(SqlError::new(sqlstate::INVALID_OBJECT_DEFINITION, message));
        }
        let ctes = std::mem::take(&mut self.ctes);
        let aggregates = self.aggregates.take();
        self.within.push(view.clone());
        let result = self.nested(f);
        self.within.pop();
        (self.ctes, self.aggregates) = (ctes, aggregates);
        result
    }

    /// What a statement changes rows of.
    pub(super) fn target(
        &mut self,
        name: &ast::ObjectName,
        alias: Option<&ast::TableAlias>,
        verb: Verb,
    ) -> SqlResult<Target> {
        let shown = |name: &str| alias.map_or_else(|| name.to_owned(), |a| names::fold(&a.name));
        if let Some(Relation::View(view)) = self.find(name)? {
            let (table, exprs, filter) = self.unfold(&view, verb)?;
            let scope = Scope::of_columns(&view.columns, &shown(&view.name), view.oid);
            let through = Some((exprs, filter));
            let alias = table.name.clone();
            return Ok(Target { table, alias, name: view.name.clone(), scope, through, verb });
        }
        let table = self.table(name, TableLock::RowExclusive)?;
        let alias = shown(&table.name);
        let scope = Scope::of_table(&table, &alias);
        Ok(Target { name: table.name.clone(), table, alias, scope, through: None, verb })
    }

    /// The table behind a view, the view's columns over the table's row, and what its rows are chosen by.
    fn unfold(
        &mut self,
        view: &Arc<ViewInfo>,
        verb: Verb,
    ) -> SqlResult<(Arc<TableInfo>, Vec<Expr>, Option<Expr>)> {
        if view.oid < FIRST_USER_OID {
            let message = format!("permission denied for view {}", view.name);
            return Err(SqlError::new(sqlstate::INSUFFICIENT_PRIVILEGE, message));
        }
        let query = view.definition.query();
        let (select, name, alias) = simple(query).map_err(|why| not_updatable(view, verb, why))?;
        self.tables.push((view.oid, TableLock::RowExclusive));
        let (table, exprs, filter) = self.inside(view, |binder| {
            let found = binder.find(name)?.ok_or_else(|| undefined_table(name))?;
            let (_, bare) = names::qualified(name)?;
            let shown = alias.map_or(bare, |a| names::fold(&a.name));
            let (table, below, mut scope) = match &found {
                Relation::View(inner) => {
                    let (table, exprs, filter) = binder.unfold(inner, verb)?;
                    (table, Some((exprs, filter)), Scope::of_columns(&inner.columns, &shown, inner.oid))
                }
                _ => {
                    let table = binder.table(name, TableLock::RowExclusive)?;
                    let scope = Scope::of_table(&table, &shown);
                    (table, None, scope)
                }
            };
            binder.freeze(found.oid(), &mut scope);
            let scope = super::from::renamed((Rel::One, scope), alias)?.1;
            binder.aggregates = Some(Vec::new());
            let outputs = binder.outputs(&select.projection, &scope)?;
            if binder.aggregates.take().is_some_and(|calls| !calls.is_empty()) {
                let why = "Views that return aggregate functions are not automatically updatable.";
                return Err(not_updatable(view, verb, why));
            }
            let own = match &select.selection {
                Some(condition) => {
                    let typed = binder.expr(condition, &scope)?;
                    Some(binder.condition(typed, "WHERE")?)
                }
                None => None,
            };
            let (alias, name) = (shown, view.name.clone());
            let target = Target { table, alias, name, scope, through: below, verb };
            let exprs: Vec<Expr> = outputs.into_iter().map(|o| target.over_table(o.typed.expr)).collect();
            let filter = target.filter(own);
            Ok((target.table, exprs, filter))
        })?;
        if verb != Verb::Delete && !exprs.iter().any(|e| matches!(e, Expr::Column(_))) {
            let why = "Views that have no updatable columns are not automatically updatable.";
            return Err(not_updatable(view, verb, why));
        }
        Ok((table, exprs, filter))
    }
}

fn names_of(columns: &[crate::catalog::ColumnInfo]) -> Vec<String> {
    columns.iter().map(|c| if c.dropped { String::new() } else { c.name.clone() }).collect()
}

type Simple<'q> = (&'q ast::Select, &'q ast::ObjectName, Option<&'q ast::TableAlias>);

/// The parts of a query whose rows are rows of one relation; else why they are not.
fn simple(query: &ast::Query) -> Result<Simple<'_>, &'static str> {
    const NOT_ONE: &str =
        "Views that do not select from a single table or view are not automatically updatable.";
    let select = match &*query.body {
        SetExpr::Select(select) => Some(&**select),
        SetExpr::SetOperation { .. } => {
            return Err("Views containing UNION, INTERSECT, or EXCEPT are not automatically updatable.");
        }
        _ => None,
    };
    let grouped = |s: &ast::Select| !matches!(&s.group_by, GroupByExpr::Expressions(e, _) if e.is_empty());
    match () {
        () if select.is_some_and(|s| s.distinct.is_some()) => {
            return Err("Views containing DISTINCT are not automatically updatable.");
        }
        () if select.is_some_and(grouped) => {
            return Err("Views containing GROUP BY are not automatically updatable.");
        }
        () if select.is_some_and(|s| s.having.is_some()) => {
            return Err("Views containing HAVING are not automatically updatable.");
        }
        () if query.with.is_some() => return Err("Views containing WITH are not automatically updatable."),
        () if query.limit_clause.is_some() || query.fetch.is_some() => {
            return Err("Views containing LIMIT or OFFSET are not automatically updatable.");
        }
        () => {}
    }
    let select = select.ok_or(NOT_ONE)?;
    match &select.from[..] {
        [ast::TableWithJoins { relation: TableFactor::Table { name, alias, args: None, .. }, joins }]
            if joins.is_empty() =>
        {
            Ok((select, name, alias.as_ref()))
        }
        _ => Err(NOT_ONE),
    }
}

fn not_updatable(view: &ViewInfo, verb: Verb, why: &str) -> SqlError {
    let (what, doing, event) = match verb {
        Verb::Insert => ("insert into", "inserting into", "INSERT"),
        Verb::Update => ("update", "updating", "UPDATE"),
        Verb::Delete => ("delete from", "deleting from", "DELETE"),
    };
    let hint = format!(
        "To enable {doing} the view, provide an INSTEAD OF {event} trigger or an unconditional ON {event} DO INSTEAD rule."
    );
    SqlError::new(sqlstate::OBJECT_NOT_IN_STATE, format!("cannot {what} view \"{}\"", view.name))
        .detail(why.to_owned())
        .hint(hint)
}
