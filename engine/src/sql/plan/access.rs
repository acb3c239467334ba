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
    /// The same where a sub-query gives few values; else what there is without it. Known when it was run.
    Few(IndexAccess, Box<Access>),
}

impl Access {
    /// The index that it reads, where values are few if that is what counts.
    pub(super) fn index(&self) -> Option<&IndexAccess> {
        match self {
            Access::Table => None,
            Access::Index(access) | Access::Few(access, _) => Some(access),
        }
    }

    /// The indexes that it may read.
    pub(super) fn indexes(&self) -> Vec<&IndexAccess> {
        match self {
            Access::Table => Vec::new(),
            Access::Index(access) => vec![access],
            Access::Few(access, otherwise) => [vec![access], otherwise.indexes()].concat(),
        }
    }

    /// Whether all conditions are answered by the keys that it reads.
    pub(super) fn answers(&self, filters: &[Expr]) -> bool {
        match self {
            Access::Index(access) => filters.iter().all(|filter| access.answers(filter)),
            Access::Table | Access::Few(..) => false,
        }
    }

    /// The order of the rows.
    pub(super) fn ordering(&self) -> Ordering {
        match self {
            Access::Table => Vec::new(),
            Access::Index(access) => access.ordering(),
            Access::Few(access, otherwise) => {
                let both = access.ordering().into_iter().zip(otherwise.ordering());
                both.map_while(|(a, b)| (a == b).then_some(a)).collect()
            }
        }
    }
}

/// What a column is to equal.
#[derive(Debug)]
pub(crate) enum Alternatives {
    /// One of these.
    Values(Vec<Expr>),
    /// One of those of a sub-query, by its number.
    Subquery(usize),
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
    pub(crate) fixed: Vec<Alternatives>,
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

    /// Whether every row whose key lies in the ranges fulfils a condition. Only of integers, of whatever length: their keys
    /// are equal, and ordered, exactly as they are.
    fn answers(&self, filter: &Expr) -> bool {
        let terms = terms(filter);
        let [term] = terms.as_slice() else { return false };
        let TermKind::Compare(op, value) = term.kind else { return false };
        let Some(at) = self.index.columns.iter().position(|part| term.is_of(part)) else { return false };
        if !term.is_of_integers(&self.index.columns[at]) {
            return false;
        }
        let bound = |included| Some((value.clone(), included));
        match (self.fixed.get(at), self.bounds.as_slice()) {
            (Some(Alternatives::Values(values)), _) => {
                op == Comparison::Eq && values.as_slice() == std::slice::from_ref(value)
            }
            (None, [bounds]) if at == self.fixed.len() => match op {
                Comparison::Gt => bounds.lower == bound(false),
                Comparison::Ge => bounds.lower == bound(true),
                Comparison::Lt => bounds.upper == bound(false),
                Comparison::Le => bounds.upper == bound(true),
                Comparison::Eq | Comparison::Ne => false,
            },
            _ => false,
        }
    }

    /// The sub-query that gives the values of a column, by its number.
    pub(crate) fn subquery(&self) -> Option<usize> {
        match self.fixed.last() {
            Some(Alternatives::Subquery(n)) => Some(*n),
            _ => None,
        }
    }

    fn ordering(&self) -> Ordering {
        let several = self.fixed.last().is_some_and(Alternatives::may_be_several);
        // Several values are looked up in their order.
        let constant = self.fixed.len() - usize::from(several);
        let order = |o: KeyOrder| KeyOrder {
            descending: o.descending != self.backward,
            nulls_first: o.nulls_first != self.backward,
        };
        let parts = self.index.columns.iter().skip(constant);
        parts.map_while(|part| Some((part.column()?, order(part.order)))).collect()
    }
}

impl Alternatives {
    fn may_be_several(&self) -> bool {
        match self {
            Alternatives::Values(values) => values.len() > 1,
            Alternatives::Subquery(_) => true,
        }
    }
}

/// Chooses the access path for conditions, and an order that would be welcome.
pub(super) fn choose(table: &TableInfo, filters: &[Expr], order: &[(usize, KeyOrder)]) -> Access {
    let mut terms: Vec<Term<'_>> = filters.iter().flat_map(terms).collect();
    let best = best(table, filters, order, &terms);
    if best.as_ref().is_none_or(|access| access.subquery().is_none()) {
        return best.map_or(Access::Table, Access::Index);
    }
    terms.retain(|term| !matches!(term.kind, TermKind::InSubquery(_)));
    let otherwise = self::best(table, filters, order, &terms).map_or(Access::Table, Access::Index);
    best.map_or(Access::Table, |few| Access::Few(few, Box::new(otherwise)))
}

fn best(
    table: &TableInfo,
    filters: &[Expr],
    order: &[(usize, KeyOrder)],
    terms: &[Term<'_>],
) -> Option<IndexAccess> {
    let mut best: Option<(u32, IndexAccess)> = None;
    for index in table.indexes.iter().filter(|index| index.valid) {
        let has_all = match &index.predicate {
            None => true,
            Some(predicate) if implies(filters, predicate.expr()) => false,
            Some(_) => continue,
        };
        let mut access = fit(index, terms);
        let gives_order = give_order(&mut access, order);
        // A partial index is smaller than the table.
        let score = score(&access) + if has_all { 0 } else { 10 } + u32::from(gives_order);
        if score > 0 && best.as_ref().is_none_or(|(other, _)| score > *other) {
            best = Some((score, access));
        }
    }
    best.map(|(_, access)| access)
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
            access.fixed.push(Alternatives::Values(values.to_vec()));
            if values.len() > 1 {
                break;
            }
            continue;
        }
        access.bounds = bounds(of_column.clone());
        if access.bounds.is_empty() {
            let subquery = of_column.clone().find_map(|t| match t.kind {
                TermKind::InSubquery(n) => Some(Alternatives::Subquery(n)),
                _ => None,
            });
            access.fixed.extend(subquery);
        }
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
            TermKind::In(_) | TermKind::InSubquery(_) => {}
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
    if access.is_point() && access.subquery().is_none() {
        return 10_000;
    }
    // How many values a sub-query gives nobody knows yet: less than what is fixed, more than a range.
    let unknown = if access.subquery().is_some() { 50 } else { 0 };
    let fixed = access.fixed.len() as u32 * 100 - unknown;
    let ends = access.bounds.iter().map(Bounds::ends).min().unwrap_or(0);
    fixed + ends * 20
}
