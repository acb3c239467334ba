//! SELECT: where, groups, the select list, DISTINCT, ORDER BY, LIMIT.

use sqlparser::ast::{self, GroupByExpr, SelectItem};

use super::aggregate::regroup;
use super::call::output_name;
use super::locking::{Locks, is_id};
use super::rel::{Rel, SortKey};
use super::{AggregateCall, Binder, BoundQuery, Scope, Typed, names};
use crate::sql::Column;
use crate::sql::expr::Expr;
use crate::types::key::KeyOrder;
use crate::types::{SqlError, SqlResult, SqlType, sqlstate};

/// A column of a select list.
pub(super) struct Output {
    pub(super) typed: Typed,
    pub(super) name: String,
}

/// ORDER BY, LIMIT and OFFSET as they stand in the statement.
pub(super) struct Tail<'q> {
    pub(super) order: &'q [ast::OrderByExpr],
    pub(super) limit: Option<&'q ast::Expr>,
    pub(super) offset: Option<&'q ast::Expr>,
    /// Whether literals and parameters in the select list are given types later, by other parts of a set operation.
    pub(super) open: bool,
}

/// GROUP BY's keys, and what is aggregated.
struct Grouping {
    keys: Vec<(Expr, SqlType)>,
    calls: Vec<AggregateCall>,
}

impl Binder<'_> {
    pub(super) fn select(
        &mut self,
        select: &ast::Select,
        tail: &Tail<'_>,
        locks: &Locks<'_>,
    ) -> SqlResult<BoundQuery> {
        refuse_rare(select)?;
        let (mut rel, scope) = self.from(&select.from, locks)?;
        locks.check_names(&scope)?;
        let outer = self.aggregates.take();
        if let Some(condition) = &select.selection {
            let why =
                std::mem::replace(&mut self.no_aggregate, "aggregate functions are not allowed in WHERE");
            let typed = self.expr(condition, &scope)?;
            self.no_aggregate = why;
            rel = Rel::Filter(Box::new(rel), self.condition(typed, "WHERE")?);
        }
        self.aggregates = Some(Vec::new());
        let mut outputs = match tail.open && select.distinct.is_none() {
            true => self.open_outputs(&select.projection, &scope)?,
            false => self.outputs(&select.projection, &scope)?,
        };
        let having = match &select.having {
            Some(condition) => {
                let typed = self.expr(condition, &scope)?;
                Some(self.condition(typed, "HAVING")?)
            }
            None => None,
        };
        let shown = outputs.len();
        let mut order = self.order(tail.order, &mut outputs, &scope)?;
        let on = match &select.distinct {
            Some(ast::Distinct::On(keys)) => self.distinct_on(keys, &mut outputs, &scope)?,
            _ => Vec::new(),
        };
        let calls = std::mem::replace(&mut self.aggregates, outer).unwrap_or_default();
        let mut keys = self.group_keys(&select.group_by, &outputs[..shown], &scope)?;
        self.add_dependent(&mut keys, &outputs, having.as_ref(), &scope);
        if !keys.is_empty() || !calls.is_empty() || having.is_some() {
            if !locks.is_empty() {
                let message = format!("{} is not allowed with aggregate functions", locks.spelled());
                return Err(SqlError::new(sqlstate::FEATURE_NOT_SUPPORTED, message));
            }
            rel = group(rel, Grouping { keys, calls }, having, &mut outputs, &scope)?;
        }
        let columns = columns(&outputs[..shown], &scope, rel_is_grouped(&rel));
        let is_distinct = matches!(select.distinct, Some(ast::Distinct::Distinct));
        if is_distinct && outputs.len() > shown {
            return Err(SqlError::new(
                sqlstate::INVALID_COLUMN_REFERENCE,
                "for SELECT DISTINCT, ORDER BY expressions must appear in select list",
            ));
        }
        let marks = self.lock_marks(&scope, locks, outputs.len())?;
        let ids = scope.columns.iter().enumerate().filter(|(_, column)| is_id(column));
        outputs.extend(ids.map(|(n, _)| Output { typed: scope.typed(n), name: String::new() }));
        let types: Vec<SqlType> = outputs.iter().map(|o| o.typed.ty).collect();
        rel = Rel::Project(Box::new(rel), outputs.into_iter().map(|o| o.typed.expr).collect());
        if is_distinct {
            rel = Rel::Distinct(Box::new(rel), types.clone());
        }
        if !on.is_empty() {
            // The rows of one key must come together; what ORDER BY says decides among them.
            let mut keys: Vec<SortKey> = Vec::new();
            for n in &on {
                if !order.iter().any(|k: &SortKey| k.expr == Expr::Column(*n)) {
                    keys.push(sort_key(*n, types[*n], KeyOrder::default()));
                }
            }
            keys.append(&mut order);
            order = keys;
        }
        if !order.is_empty() {
            rel = Rel::Sort(Box::new(rel), order);
        }
        if !on.is_empty() {
            let keys = on.iter().map(|n| (Expr::Column(*n), types[*n])).collect();
            rel = Rel::DistinctOn(Box::new(rel), keys);
        }
        if !marks.is_empty() {
            rel = Rel::Lock(Box::new(rel), marks);
        }
        rel = self.limit(rel, tail)?;
        if types.len() > shown {
            rel = Rel::Project(Box::new(rel), (0..shown).map(Expr::Column).collect());
        }
        Ok(BoundQuery { rel, columns })
    }

    /// A select list. Literals and parameters that nothing gave a type are text.
    pub(super) fn outputs(&mut self, items: &[SelectItem], scope: &Scope) -> SqlResult<Vec<Output>> {
        let outputs = self.open_outputs(items, scope)?;
        let known = |output: Output| Ok(Output { typed: self.known(output.typed)?, name: output.name });
        outputs.into_iter().map(known).collect()
    }

    /// A select list whose literals and parameters may still be given types.
    fn open_outputs(&mut self, items: &[SelectItem], scope: &Scope) -> SqlResult<Vec<Output>> {
        let mut outputs = Vec::with_capacity(items.len());
        for item in items {
            match item {
                SelectItem::Wildcard(_) => {
                    if scope.columns.is_empty() {
                        return Err(SqlError::syntax("SELECT * with no tables specified is not valid"));
                    }
                    all_columns(scope, None, &mut outputs);
                }
                SelectItem::QualifiedWildcard(ast::SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                    let (_, table) = names::qualified(name)?;
                    let before = outputs.len();
                    all_columns(scope, Some(&table), &mut outputs);
                    if outputs.len() == before {
                        return Err(SqlError::new(
                            sqlstate::UNDEFINED_TABLE,
                            format!("missing FROM-clause entry for table \"{table}\""),
                        ));
                    }
                }
                SelectItem::UnnamedExpr(expr) => {
                    outputs.push(Output { typed: self.expr(expr, scope)?, name: output_name(expr) });
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    outputs.push(Output { typed: self.expr(expr, scope)?, name: names::fold(alias) });
                }
                _ => return Err(SqlError::unsupported("this select list item")),
            }
        }
        let of_scope = outputs.iter().filter_map(|output| match output.typed.expr {
            Expr::Column(n) => scope.columns.get(n),
            _ => None,
        });
        of_scope.for_each(|column| self.note_column(column));
        Ok(outputs)
    }

    /// ORDER BY over the select list; expressions that are not in it are added at its end.
    fn order(
        &mut self,
        order: &[ast::OrderByExpr],
        outputs: &mut Vec<Output>,
        scope: &Scope,
    ) -> SqlResult<Vec<SortKey>> {
        let shown = outputs.len();
        let mut keys = Vec::with_capacity(order.len());
        for item in order {
            let n = match self.output_reference(&item.expr, &outputs[..shown], "ORDER BY")? {
                Some(n) => n,
                None => {
                    let typed = self.expr(&item.expr, scope)?;
                    let typed = self.known(typed)?;
                    place(typed, outputs)
                }
            };
            keys.push(sort_key(n, outputs[n].typed.ty, key_order(&item.options)?));
        }
        Ok(keys)
    }

    fn distinct_on(
        &mut self,
        keys: &[ast::Expr],
        outputs: &mut Vec<Output>,
        scope: &Scope,
    ) -> SqlResult<Vec<usize>> {
        let shown = outputs.len();
        keys.iter()
            .map(|key| match self.output_reference(key, &outputs[..shown], "DISTINCT ON")? {
                Some(n) => Ok(n),
                None => {
                    let typed = self.expr(key, scope)?;
                    let typed = self.known(typed)?;
                    Ok(place(typed, outputs))
                }
            })
            .collect()
    }

    /// A number or name that refers to the select list.
    pub(super) fn output_reference(
        &self,
        expr: &ast::Expr,
        outputs: &[Output],
        clause: &str,
    ) -> SqlResult<Option<usize>> {
        match expr {
            ast::Expr::Value(v) => {
                let ast::Value::Number(text, _) = &v.value else { return Ok(None) };
                let position = text.parse::<usize>().ok().filter(|n| (1..=outputs.len()).contains(n));
                position.map(|n| Some(n - 1)).ok_or_else(|| {
                    SqlError::new(
                        sqlstate::INVALID_COLUMN_REFERENCE,
                        format!("{clause} position {text} is not in select list"),
                    )
                })
            }
            ast::Expr::Identifier(ident) => {
                let name = names::fold(ident);
                let mut found = outputs.iter().enumerate().filter(|(_, o)| o.name == name);
                let Some((n, first)) = found.next() else { return Ok(None) };
                if found.any(|(_, other)| other.typed.expr != first.typed.expr) {
                    return Err(SqlError::new(
                        sqlstate::AMBIGUOUS_COLUMN,
                        format!("{clause} \"{name}\" is ambiguous"),
                    ));
                }
                Ok(Some(n))
            }
            _ => Ok(None),
        }
    }

    fn group_keys(
        &mut self,
        group_by: &GroupByExpr,
        outputs: &[Output],
        scope: &Scope,
    ) -> SqlResult<Vec<(Expr, SqlType)>> {
        let GroupByExpr::Expressions(exprs, modifiers) = group_by else {
            return Err(SqlError::unsupported("GROUP BY ALL"));
        };
        if !modifiers.is_empty() {
            return Err(SqlError::unsupported("GROUP BY with modifiers"));
        }
        let mut keys = Vec::new();
        for expr in exprs {
            // A column of the input comes before a name of the select list here.
            let bound = match self.expr(expr, scope) {
                Ok(typed) if !matches!(typed.expr, Expr::Const(_)) => typed,
                other => match self.output_reference(expr, outputs, "GROUP BY")? {
                    Some(n) => outputs[n].typed.clone(),
                    None => other?,
                },
            };
            if bound.expr.any(&mut |e| matches!(e, Expr::Aggregate(_))) {
                return Err(SqlError::new(
                    sqlstate::GROUPING_ERROR,
                    "aggregate functions are not allowed in GROUP BY",
                ));
            }
            let bound = self.known(bound)?;
            keys.push((bound.expr, bound.ty));
        }
        Ok(keys)
    }

    /// Columns of a table whose primary key is grouped by are grouped by too, if they are looked at.
    fn add_dependent(
        &self,
        keys: &mut Vec<(Expr, SqlType)>,
        outputs: &[Output],
        having: Option<&Expr>,
        scope: &Scope,
    ) {
        let mut columns = Vec::new();
        outputs.iter().map(|o| &o.typed.expr).chain(having).for_each(|e| e.columns(&mut columns));
        for n in columns {
            let column = &scope.columns[n];
            let Some(key) = self.view.table(column.table_oid).and_then(|t| t.primary_key()) else { continue };
            if !key.is_always_unique() {
                continue;
            }
            let grouped = |part: &crate::catalog::IndexColumn| {
                keys.iter().any(|(key, _)| match key {
                    Expr::Column(k) => {
                        let other = &scope.columns[*k];
                        other.table == column.table && part.column() == usize::try_from(other.attnum - 1).ok()
                    }
                    _ => false,
                })
            };
            if key.columns.iter().all(grouped) && !keys.iter().any(|(e, _)| *e == Expr::Column(n)) {
                keys.push((Expr::Column(n), column.ty));
            }
        }
    }

    /// LIMIT and OFFSET: bigint, without columns.
    pub(super) fn limit(&mut self, rel: Rel, tail: &Tail<'_>) -> SqlResult<Rel> {
        if tail.limit.is_none() && tail.offset.is_none() {
            return Ok(rel);
        }
        let mut bind = |e: &ast::Expr, clause: &str| {
            let typed = self.expr(e, &Scope::default()).map_err(|e| match e.sqlstate {
                sqlstate::UNDEFINED_COLUMN => SqlError::new(
                    sqlstate::INVALID_COLUMN_REFERENCE,
                    format!("argument of {clause} must not contain variables"),
                ),
                _ => e,
            })?;
            self.coerce(typed, SqlType::INT8, crate::sql::expr::cast::Context::Assignment).map(|t| t.expr)
        };
        let limit = tail.limit.map(|e| bind(e, "LIMIT")).transpose()?;
        let offset = tail.offset.map(|e| bind(e, "OFFSET")).transpose()?;
        Ok(Rel::Limit { input: Box::new(rel), limit, offset })
    }
}

/// ASC, DESC, NULLS FIRST, NULLS LAST.
pub(crate) fn key_order(options: &ast::OrderByOptions) -> SqlResult<KeyOrder> {
    let descending = match &options.sort {
        None => false,
        Some(ast::OrderBySort::Asc) => false,
        Some(ast::OrderBySort::Desc) => true,
        Some(_) => return Err(SqlError::unsupported("ORDER BY USING")),
    };
    Ok(KeyOrder { descending, nulls_first: options.nulls_first.unwrap_or(descending) })
}

pub(super) fn sort_key(n: usize, ty: SqlType, order: KeyOrder) -> SortKey {
    SortKey { expr: Expr::Column(n), ty, order }
}

/// Where an expression is in the select list; added at its end if need be.
fn place(typed: Typed, outputs: &mut Vec<Output>) -> usize {
    outputs.iter().position(|o| o.typed.expr == typed.expr).unwrap_or_else(|| {
        outputs.push(Output { typed, name: String::new() });
        outputs.len() - 1
    })
}

fn all_columns(scope: &Scope, table: Option<&str>, outputs: &mut Vec<Output>) {
    for (n, column) in scope.columns.iter().enumerate() {
        let wanted = match table {
            // Dropped columns have no name.
            Some(table) => column.table == table && !column.name.is_empty() && !is_id(column),
            None => !column.merged,
        };
        if wanted {
            outputs.push(Output { typed: scope.typed(n), name: column.name.clone() });
        }
    }
}

fn group(
    rel: Rel,
    grouping: Grouping,
    having: Option<Expr>,
    outputs: &mut [Output],
    scope: &Scope,
) -> SqlResult<Rel> {
    let Grouping { keys, calls } = grouping;
    for output in outputs.iter_mut() {
        regroup(&mut output.typed.expr, &keys, scope)?;
    }
    let having =
        having.map(|mut condition| regroup(&mut condition, &keys, scope).map(|()| condition)).transpose()?;
    let grouped = Rel::Aggregate { input: Box::new(rel), keys, calls };
    Ok(match having {
        Some(condition) => Rel::Filter(Box::new(grouped), condition),
        None => grouped,
    })
}

fn rel_is_grouped(rel: &Rel) -> bool {
    match rel {
        Rel::Aggregate { .. } => true,
        Rel::Filter(input, _) => rel_is_grouped(input),
        _ => false,
    }
}

/// The description of a result's columns; a column of a table says so, unless it was grouped.
fn columns(outputs: &[Output], scope: &Scope, grouped: bool) -> Vec<Column> {
    let describe = |output: &Output| {
        let origin = match output.typed.expr {
            Expr::Column(n) if !grouped => scope.columns.get(n).map(|c| (c.table_oid, c.attnum)),
            _ => None,
        };
        let (table_oid, attnum) = origin.unwrap_or((0, 0));
        Column { name: output.name.clone(), ty: output.typed.ty, table_oid, attnum }
    };
    outputs.iter().map(describe).collect()
}

/// RETURNING's columns.
pub(super) fn returning_columns(outputs: &[Output], scope: &Scope) -> Vec<Column> {
    columns(outputs, scope, false)
}

fn refuse_rare(select: &ast::Select) -> SqlResult<()> {
    let rare = [
        (select.top.is_some(), "TOP"),
        (select.into.is_some(), "SELECT INTO"),
        (!select.lateral_views.is_empty(), "LATERAL VIEW"),
        (select.qualify.is_some(), "QUALIFY"),
        (!select.named_window.is_empty(), "WINDOW"),
        (select.prewhere.is_some(), "PREWHERE"),
        (!select.connect_by.is_empty(), "CONNECT BY"),
    ];
    match rare.iter().find(|(there, _)| *there) {
        Some((_, what)) => Err(SqlError::unsupported(what)),
        None => Ok(()),
    }
}
