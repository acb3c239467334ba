//! How a table's rows are found: by an index when conditions fix its leading columns, else by reading all of it.

use std::sync::Arc;

use super::Ordering;
use super::implies::implies;
use crate::catalog::{IndexColumn, IndexInfo, KeySource, TableInfo};
use crate::sql::expr::{Comparison, Expr};
use crate::types::SqlType;
use crate::types::key::KeyOrder;

/// An access path.
#[derive(Debug)]
pub(crate) enum Access {
    /// The whole table.
    Table,
    /// Ranges of an index.
    Index(IndexAccess),
}

/// One end of a range: the value, and whether it is part of the range.
pub(crate) type Bound = Option<(Expr, bool)>;

/// A range of the column behind those that are fixed.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    pub(crate) lower: Bound,
    pub(crate) upper: Bound,
}

/// Reading an index.
#[derive(Debug)]
pub(crate) struct IndexAccess {
    pub(crate) index: Arc<IndexInfo>,
    /// Values of the leading columns: `fixed[n]` are the alternatives for column n; only the last may have several.
    pub(crate) fixed: Vec<Vec<Expr>>,
    pub(crate) bounds: Bounds,
    /// From the greatest entry down.
    pub(crate) backward: bool,
}

impl IndexAccess {
    /// True when every column of a unique index is fixed: a key leads to one row at most.
    pub(crate) fn is_point(&self) -> bool {
        self.index.is_always_unique() && self.fixed.len() == self.index.columns.len()
    }

    /// The order of the rows.
    pub(super) fn ordering(&self) -> Ordering {
        let several = self.fixed.last().is_some_and(|alternatives| alternatives.len() > 1);
        if several {
            return Vec::new();
        }
        let order = |o: KeyOrder| KeyOrder {
            descending: o.descending != self.backward,
            nulls_first: o.nulls_first != self.backward,
        };
        let parts = self.index.columns.iter().skip(self.fixed.len());
        parts.map_while(|part| Some((part.column()?, order(part.order)))).collect()
    }
}

/// A condition that an index can answer.
struct Term<'a> {
    /// A column, or another expression over the row.
    of: &'a Expr,
    kind: TermKind<'a>,
    compared: SqlType,
}

enum TermKind<'a> {
    Compare(Comparison, &'a Expr),
    In(&'a [Expr]),
}

fn term(filter: &Expr) -> Option<Term<'_>> {
    match filter {
        Expr::Compare(op, ty, pair) if *op != Comparison::Ne => {
            let (of, op, value) = match (pair.0.is_stable(), pair.1.is_stable()) {
                (false, true) => (&pair.0, *op, &pair.1),
                (true, false) => (&pair.1, op.mirrored(), &pair.0),
                _ => return None,
            };
            Some(Term { of, kind: TermKind::Compare(op, value), compared: *ty })
        }
        Expr::In(needle, list, ty, false) => {
            let answerable = !needle.is_stable() && list.iter().all(Expr::is_stable);
            answerable.then_some(Term { of: needle, kind: TermKind::In(list), compared: *ty })
        }
        _ => None,
    }
}

impl Term<'_> {
    /// Whether the values of a column of an index decide it.
    fn is_of(&self, part: &IndexColumn) -> bool {
        let same = match (&part.source, self.of) {
            (KeySource::Column(n), Expr::Column(m)) => n == m,
            (KeySource::Expr(formula), of) => formula.expr() == of,
            (KeySource::Column(_), _) => false,
        };
        same && comparable_as(part.ty, self.compared)
    }
}

/// True when the column's keys are ordered as the comparison orders its values.
fn comparable_as(column: SqlType, compared: SqlType) -> bool {
    use crate::types::oids::{BPCHAR, INT2, INT4, INT8};
    let integer = |ty: SqlType| matches!(ty.oid, INT2 | INT4 | INT8);
    column.oid == compared.oid
        || (integer(column) && integer(compared))
        || (column.is_string() && compared.is_string() && column.oid != BPCHAR && compared.oid != BPCHAR)
        || (compared == SqlType::OID
            && column.class() == compared.class()
            && column.len() == 4
            && !integer(column))
}

/// Chooses the access path for conditions, and an order that would be welcome.
pub(super) fn choose(table: &TableInfo, filters: &[Expr], order: &[(usize, KeyOrder)]) -> Access {
    let terms: Vec<Term<'_>> = filters.iter().filter_map(term).collect();
    let mut best: Option<(u32, IndexAccess)> = None;
    for index in &table.indexes {
        let has_all = match &index.predicate {
            None => true,
            Some(predicate) if implies(filters, predicate.expr()) => false,
            Some(_) => continue,
        };
        let mut access = fit(index, &terms);
        let gives_order = give_order(&mut access, order);
        // A partial index is smaller than the table.
        let score = score(&access) + if has_all { 0 } else { 10 } + u32::from(gives_order);
        if score > 0 && best.as_ref().is_none_or(|(other, _)| score > *other) {
            best = Some((score, access));
        }
    }
    best.map_or(Access::Table, |(_, access)| Access::Index(access))
}

fn fit(index: &Arc<IndexInfo>, terms: &[Term<'_>]) -> IndexAccess {
    let mut access =
        IndexAccess { index: index.clone(), fixed: Vec::new(), bounds: Bounds::default(), backward: false };
    for part in &index.columns {
        let mut of_column = terms.iter().filter(|t| t.is_of(part));
        let fixed = of_column.clone().find_map(|t| match t.kind {
            TermKind::Compare(Comparison::Eq, value) => Some(std::slice::from_ref(value)),
            _ => None,
        });
        let alternatives = fixed.or_else(|| {
            of_column.clone().find_map(|t| match t.kind {
                TermKind::In(list) => Some(list),
                TermKind::Compare(..) => None,
            })
        });
        if let Some(values) = alternatives {
            access.fixed.push(values.to_vec());
            if values.len() > 1 {
                break;
            }
            continue;
        }
        of_column.by_ref().for_each(|t| {
            if let TermKind::Compare(op, value) = t.kind {
                let (end, included) = match op {
                    Comparison::Lt | Comparison::Le => (&mut access.bounds.upper, op == Comparison::Le),
                    _ => (&mut access.bounds.lower, op == Comparison::Ge),
                };
                // Of several bounds the first counts; the filter knows the others.
                end.get_or_insert_with(|| (value.clone(), included));
            }
        });
        break;
    }
    access
}

/// Turns the scan round if that gives the order asked for.
fn give_order(access: &mut IndexAccess, order: &[(usize, KeyOrder)]) -> bool {
    if order.is_empty() {
        return false;
    }
    for backward in [false, true] {
        access.backward = backward;
        if access.ordering().starts_with(order) {
            return true;
        }
    }
    access.backward = false;
    false
}

/// More for what leaves fewer rows; 0 for an index that does not help.
fn score(access: &IndexAccess) -> u32 {
    if access.is_point() {
        return 10_000;
    }
    let fixed = access.fixed.len() as u32 * 100;
    let ends = u32::from(access.bounds.lower.is_some()) + u32::from(access.bounds.upper.is_some());
    fixed + ends * 20
}
