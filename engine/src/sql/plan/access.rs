//! How a table's rows are found: by an index when conditions fix its leading columns, else by reading all of it.

use std::sync::Arc;

use super::Ordering;
use super::implies::implies;
use super::term::{Term, TermKind, terms};
use crate::catalog::{IndexInfo, TableInfo};
use crate::sql::expr::{Comparison, Expr};
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

/// A range of a column.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bounds {
    pub(crate) lower: Bound,
    pub(crate) upper: Bound,
}

impl Bounds {
    /// Narrows the range by a comparison. Of several bounds the first counts; the filter knows the others.
    pub(super) fn narrow(&mut self, op: Comparison, value: &Expr) {
        let included = matches!(op, Comparison::Eq | Comparison::Le | Comparison::Ge);
        if matches!(op, Comparison::Eq | Comparison::Gt | Comparison::Ge) {
            self.lower.get_or_insert_with(|| (value.clone(), included));
        }
        if matches!(op, Comparison::Eq | Comparison::Lt | Comparison::Le) {
            self.upper.get_or_insert_with(|| (value.clone(), included));
        }
    }

    /// How many ends it has.
    pub(super) fn ends(&self) -> u32 {
        u32::from(self.lower.is_some()) + u32::from(self.upper.is_some())
    }
}

/// Reading an index.
#[derive(Debug)]
pub(crate) struct IndexAccess {
    pub(crate) index: Arc<IndexInfo>,
    /// Values of the leading columns: `fixed[n]` are the alternatives for column n; only the last may have several.
    pub(crate) fixed: Vec<Vec<Expr>>,
    /// Ranges of the column behind those, which may overlap; none for all of it.
    pub(crate) bounds: Vec<Bounds>,
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

/// Chooses the access path for conditions, and an order that would be welcome.
pub(super) fn choose(table: &TableInfo, filters: &[Expr], order: &[(usize, KeyOrder)]) -> Access {
    let terms: Vec<Term<'_>> = filters.iter().flat_map(terms).collect();
    let mut best: Option<(u32, IndexAccess)> = None;
    for index in table.indexes.iter().filter(|index| index.valid) {
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
        IndexAccess { index: index.clone(), fixed: Vec::new(), bounds: Vec::new(), backward: false };
    for part in &index.columns {
        let of_column = terms.iter().filter(|t| t.is_of(part));
        let fixed = of_column.clone().find_map(|t| match t.kind {
            TermKind::Compare(Comparison::Eq, value) => Some(std::slice::from_ref(value)),
            _ => None,
        });
        let alternatives = fixed.or_else(|| {
            of_column.clone().find_map(|t| match t.kind {
                TermKind::In(list) => Some(list),
                _ => None,
            })
        });
        if let Some(values) = alternatives {
            access.fixed.push(values.to_vec());
            if values.len() > 1 {
                break;
            }
            continue;
        }
        access.bounds = bounds(of_column);
        break;
    }
    access
}

/// The ranges that the conditions on one column leave; none when they leave all of it.
fn bounds<'t>(of_column: impl Iterator<Item = &'t Term<'t>>) -> Vec<Bounds> {
    let mut one = Bounds::default();
    for term in of_column {
        match &term.kind {
            TermKind::Ranges(several) => return several.clone(),
            TermKind::Compare(op, value) => one.narrow(*op, value),
            TermKind::In(_) => {}
        }
    }
    if one.ends() > 0 { vec![one] } else { Vec::new() }
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
    let ends = access.bounds.iter().map(Bounds::ends).min().unwrap_or(0);
    fixed + ends * 20
}
