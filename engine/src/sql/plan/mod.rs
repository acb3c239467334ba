//! The planner: from the logical tree to a plan, which says how rows are found and made. Plans are immutable and shared
//! by all executions.
//!
//! Conditions are pushed down to the relation they speak of; a table's conditions choose its access path (`access`);
//! a sort that an index gives for nothing is left out. There are no statistics yet: an index that fits is used.

mod access;
mod explain;
mod implies;
mod join;
mod term;
mod watch;

use std::sync::Arc;

pub(crate) use access::{Access, Alternatives, Bounds, IndexAccess};
pub(crate) use explain::{Format, Shown, Value};
pub(crate) use watch::{Seen, Watch, millis};

use super::bind::{AggregateCall, JoinKind, LockMark, Rel, RowLocking, SetOperation, SortKey};
use super::expr::Expr;
use crate::catalog::TableInfo;
use crate::types::SqlType;
use crate::types::key::KeyOrder;

/// Reading a table.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) table: Arc<TableInfo>,
    pub(crate) alias: String,
    pub(crate) access: Access,
    /// Every condition on the table, those that the access path answers too: a row that changed meanwhile is judged by
    /// it again.
    pub(crate) filter: Option<Expr>,
    /// The access path answers all of it: a row that has the key of an entry in its ranges passes.
    pub(crate) answered: bool,
    /// Columns that somebody looks at; the others are not decoded.
    pub(crate) wanted: Vec<bool>,
    /// Those of them whose values are fetched when they lie outside the row.
    pub(crate) fetched: Vec<bool>,
    pub(crate) locking: Option<RowLocking>,
    /// Rows end with their ids.
    pub(crate) with_id: bool,
}

/// A join's condition.
#[derive(Debug)]
pub(crate) struct Join {
    pub(crate) kind: JoinKind,
    /// Equal expressions: over the left row, over the right row, compared as.
    pub(crate) keys: Vec<(Expr, Expr, SqlType)>,
    /// The rest, over both rows.
    pub(crate) filter: Option<Expr>,
    pub(crate) left_width: usize,
    pub(crate) right_width: usize,
}

#[derive(Debug)]
pub(crate) struct Aggregation {
    pub(crate) keys: Vec<(Expr, SqlType)>,
    pub(crate) calls: Vec<AggregateCall>,
}

/// A plan.
#[derive(Debug)]
pub(crate) enum Plan {
    One,
    Scan(Arc<Scan>),
    Values(Arc<Vec<Vec<Expr>>>, usize),
    Series(Arc<[Expr; 3]>, SqlType),
    Filter(Box<Plan>, Arc<Expr>),
    Project(Box<Plan>, Arc<Vec<Expr>>),
    /// Left, right. The right side is read into memory: hashed when there are keys.
    Join(Box<Plan>, Box<Plan>, Arc<Join>),
    Aggregate(Box<Plan>, Arc<Aggregation>),
    Sort(Box<Plan>, Arc<Vec<SortKey>>),
    /// Shared, because a row that somebody changed is made again by a run of its own.
    Lock(Arc<Plan>, Arc<Vec<LockMark>>),
    /// Limit, offset.
    Limit(Box<Plan>, Option<Arc<Expr>>, Option<Arc<Expr>>),
    /// True for INTERSECT and EXCEPT's ALL.
    SetOp(Box<Plan>, Box<Plan>, SetOperation, bool, Arc<Vec<SqlType>>),
    Distinct(Box<Plan>, Arc<Vec<SqlType>>),
    DistinctOn(Box<Plan>, Arc<Vec<(Expr, SqlType)>>),
    Append(Vec<Plan>),
}

impl Plan {
    /// Which part of a plan it is: where it lies, for a plan does not move.
    pub(crate) fn place(&self) -> usize {
        match self {
            Plan::Scan(scan) => Arc::as_ptr(scan).addr(),
            other => std::ptr::from_ref(other).addr(),
        }
    }
}

/// An order of rows: columns with their direction.
pub(crate) type Ordering = Vec<(usize, KeyOrder)>;

/// What is asked of a plan from above.
#[derive(Debug, Clone, Default)]
struct Request {
    /// Conditions on its rows.
    filters: Vec<Expr>,
    /// Columns that are looked at; all when `None`.
    needed: Option<Vec<bool>>,
    /// An order that would be welcome.
    order: Ordering,
}

impl Request {
    fn mark(&mut self, width: usize, expr: &Expr) {
        let Some(needed) = &mut self.needed else { return };
        needed.resize(width, false);
        let mut columns = Vec::new();
        expr.columns(&mut columns);
        for n in columns {
            needed[n] = true;
        }
    }
}

/// Plans a query.
pub(crate) fn plan(rel: Rel) -> Plan {
    build(rel, Request::default())
}

/// Plans the reading of a table whose rows will be changed: all columns. Large values only of `looked_at`: the others stay
/// where they are.
pub(crate) fn plan_target(
    table: Arc<TableInfo>,
    alias: String,
    filter: Option<Expr>,
    looked_at: &[usize],
) -> Arc<Scan> {
    let mut filters = Vec::new();
    if let Some(filter) = filter {
        filter.conjuncts(&mut filters);
    }
    let access = access::choose(&table, &filters, &[]);
    Arc::new(Scan {
        wanted: vec![true; table.columns.len()],
        fetched: (0..table.columns.len()).map(|n| looked_at.contains(&n)).collect(),
        table,
        alias,
        answered: access.answers(&filters),
        access,
        filter: Expr::and(filters),
        locking: None,
        with_id: false,
    })
}

fn filtered(plan: Plan, filters: Vec<Expr>) -> Plan {
    match Expr::and(filters) {
        Some(filter) => Plan::Filter(Box::new(plan), Arc::new(filter)),
        None => plan,
    }
}

fn build(rel: Rel, mut request: Request) -> Plan {
    match rel {
        Rel::One => filtered(Plan::One, request.filters),
        Rel::Table { table, alias, locking, with_id } => scan(table, alias, (locking, with_id), request),
        Rel::Lock(input, marks) => {
            // What the rows are judged by again is all below.
            let filters = std::mem::take(&mut request.filters);
            let inner = Request { order: request.order, ..Request::default() };
            let plan = Plan::Lock(Arc::new(build(*input, inner)), Arc::new(marks));
            filtered(plan, filters)
        }
        Rel::Values { rows, width } => filtered(Plan::Values(Arc::new(rows), width), request.filters),
        Rel::Series { start, stop, step, ty } => {
            filtered(Plan::Series(Arc::new([start, stop, step]), ty), request.filters)
        }
        Rel::Filter(input, condition) => {
            request.mark(input.width(), &condition);
            condition.conjuncts(&mut request.filters);
            build(*input, request)
        }
        Rel::Project(input, exprs) => project(*input, exprs, request),
        Rel::Join { kind, left, right, on } => join::build(kind, *left, *right, on, request),
        Rel::Aggregate { input, keys, calls } => aggregate(*input, keys, calls, request),
        Rel::Sort(input, keys) => sort(*input, keys, request),
        Rel::Limit { input, limit, offset } => {
            let filters = std::mem::take(&mut request.filters);
            let plan = build(*input, request);
            let plan = Plan::Limit(Box::new(plan), limit.map(Arc::new), offset.map(Arc::new));
            filtered(plan, filters)
        }
        Rel::Distinct(input, types) => {
            let inner = Request { filters: request.filters, ..Request::default() };
            Plan::Distinct(Box::new(build(*input, inner)), Arc::new(types))
        }
        Rel::DistinctOn(input, keys) => {
            let plan = Plan::DistinctOn(Box::new(build(*input, Request::default())), Arc::new(keys));
            filtered(plan, request.filters)
        }
        Rel::Append(inputs) => {
            let each =
                |input| build(input, Request { filters: request.filters.clone(), ..Request::default() });
            Plan::Append(inputs.into_iter().map(each).collect())
        }
        Rel::SetOp { operation, all, left, right, types } => {
            let (left, right) = (plan(*left), plan(*right));
            let plan = Plan::SetOp(Box::new(left), Box::new(right), operation, all, Arc::new(types));
            filtered(plan, request.filters)
        }
    }
}

fn scan(
    table: Arc<TableInfo>,
    alias: String,
    (locking, with_id): (Option<RowLocking>, bool),
    mut request: Request,
) -> Plan {
    let width = table.columns.len();
    for filter in request.filters.clone() {
        request.mark(width, &filter);
    }
    let mut wanted = match request.needed {
        Some(mut needed) => {
            needed.resize(width, false);
            needed
        }
        None => vec![true; width],
    };
    let access = access::choose(&table, &request.filters, &request.order);
    // An entry is checked against its row's key.
    for n in access.indexes().iter().flat_map(|of| &of.index.inputs) {
        wanted[*n] = true;
    }
    let answered = access.answers(&request.filters);
    let filter = Expr::and(request.filters);
    let fetched = wanted.clone();
    Plan::Scan(Arc::new(Scan { table, alias, access, filter, answered, wanted, fetched, locking, with_id }))
}

fn project(input: Rel, exprs: Vec<Expr>, request: Request) -> Plan {
    // A condition on the output is one on the input, unless it would run a volatile function twice.
    let movable = exprs.iter().all(|e| e.is_stable() || matches!(e, Expr::Column(_)) || has_only_columns(e));
    let (pushed, kept) = if movable { (request.filters, Vec::new()) } else { (Vec::new(), request.filters) };
    let mut below =
        Request { filters: Vec::new(), needed: Some(vec![false; input.width()]), order: Vec::new() };
    let width = input.width();
    for mut filter in pushed {
        filter.substitute(&exprs);
        below.filters.push(filter);
    }
    for (n, expr) in exprs.iter().enumerate() {
        let is_needed = request.needed.as_ref().is_none_or(|needed| needed.get(n).copied().unwrap_or(false));
        let has_effect = !movable;
        if is_needed || has_effect {
            below.mark(width, expr);
        }
    }
    for (n, order) in &request.order {
        match exprs.get(*n) {
            Some(Expr::Column(column)) => below.order.push((*column, *order)),
            _ => break,
        }
    }
    let plan = Plan::Project(Box::new(build(input, below)), Arc::new(exprs));
    filtered(plan, kept)
}

fn has_only_columns(expr: &Expr) -> bool {
    !expr.any(&mut |part| match part {
        Expr::Aggregate(_) | Expr::NextVal(_) => true,
        Expr::Call(f, _) => super::expr::functions::is_volatile(f),
        _ => false,
    })
}

fn aggregate(input: Rel, keys: Vec<(Expr, SqlType)>, calls: Vec<AggregateCall>, request: Request) -> Plan {
    let width = input.width();
    let mut below = Request { needed: Some(vec![false; width]), ..Request::default() };
    let of_calls = calls.iter().flat_map(|c| c.arg.iter().chain(c.filter.iter()).chain(c.separator.iter()));
    for expr in keys.iter().map(|(e, _)| e).chain(of_calls) {
        below.mark(width, expr);
    }
    let plan = Plan::Aggregate(Box::new(build(input, below)), Arc::new(Aggregation { keys, calls }));
    filtered(plan, request.filters)
}

fn sort(input: Rel, keys: Vec<SortKey>, mut request: Request) -> Plan {
    let width = input.width();
    for key in &keys {
        request.mark(width, &key.expr);
    }
    request.order = keys
        .iter()
        .map_while(|key| match key.expr {
            Expr::Column(n) => Some((n, key.order)),
            _ => None,
        })
        .collect();
    if request.order.len() < keys.len() {
        request.order.clear();
    }
    let wanted = request.order.clone();
    let plan = build(input, request);
    if !wanted.is_empty() && ordering(&plan).starts_with(&wanted) {
        return plan;
    }
    Plan::Sort(Box::new(plan), Arc::new(keys))
}

/// The order that a plan's rows come in, as far as it is known.
fn ordering(plan: &Plan) -> Ordering {
    match plan {
        Plan::Scan(scan) if scan.locking.is_none() => scan.access.ordering(),
        Plan::Filter(input, _) | Plan::Limit(input, _, _) => ordering(input),
        Plan::Sort(_, keys) => keys
            .iter()
            .map_while(|key| match key.expr {
                Expr::Column(n) => Some((n, key.order)),
                _ => None,
            })
            .collect(),
        Plan::Project(input, exprs) => {
            let place = |column: usize| exprs.iter().position(|e| *e == Expr::Column(column));
            ordering(input)
                .into_iter()
                .map_while(|(column, order)| place(column).map(|n| (n, order)))
                .collect()
        }
        _ => Vec::new(),
    }
}
