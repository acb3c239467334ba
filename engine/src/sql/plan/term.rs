//! Conditions that an index can answer.

use super::access::Bounds;
use crate::catalog::{IndexColumn, KeySource};
use crate::sql::expr::{Comparison, Expr};
use crate::types::SqlType;

/// Something about one column that a row must fulfil.
pub(super) struct Term<'a> {
    /// A column, or another expression over the row.
    of: &'a Expr,
    pub(super) kind: TermKind<'a>,
    compared: SqlType,
}

pub(super) enum TermKind<'a> {
    Compare(Comparison, &'a Expr),
    In(&'a [Expr]),
    /// It is one of what a sub-query gives, by its number.
    InSubquery(usize),
    /// It lies in one of several ranges.
    Ranges(Vec<Bounds>),
}

/// What a condition says of columns.
pub(super) fn terms(filter: &Expr) -> Vec<Term<'_>> {
    match filter {
        Expr::Or(ways) => either(ways),
        _ => term(filter).into_iter().collect(),
    }
}

fn term(filter: &Expr) -> Option<Term<'_>> {
    match filter {
        Expr::Compare(..) => {
            let Compared { of, op, value, ty } = comparison(filter)?;
            Some(Term { of, kind: TermKind::Compare(op, value), compared: ty })
        }
        Expr::In(needle, list, ty, false) => {
            let answerable = !needle.is_stable() && list.iter().all(Expr::is_stable);
            answerable.then_some(Term { of: needle, kind: TermKind::In(list), compared: *ty })
        }
        Expr::InSubquery(needle, n, ty, false) => (!needle.is_stable()).then_some(Term {
            of: needle,
            kind: TermKind::InSubquery(*n),
            compared: *ty,
        }),
        _ => None,
    }
}

/// A comparison of something that changes from row to row with something that does not.
struct Compared<'a> {
    of: &'a Expr,
    op: Comparison,
    value: &'a Expr,
    ty: SqlType,
}

fn comparison(filter: &Expr) -> Option<Compared<'_>> {
    let Expr::Compare(op, ty, pair) = filter else { return None };
    let (of, op, value) = match (pair.0.is_stable(), pair.1.is_stable()) {
        _ if *op == Comparison::Ne => return None,
        (false, true) => (&pair.0, *op, &pair.1),
        (true, false) => (&pair.1, op.mirrored(), &pair.0),
        _ => return None,
    };
    Some(Compared { of, op, value, ty: *ty })
}

fn comparisons(way: &Expr) -> impl Iterator<Item = Compared<'_>> {
    let parts = match way {
        Expr::And(parts) => parts.as_slice(),
        one => std::slice::from_ref(one),
    };
    parts.iter().filter_map(comparison)
}

/// Columns that every one of several ways to fulfil a condition bounds.
fn either(ways: &[Expr]) -> Vec<Term<'_>> {
    let Some((first, _)) = ways.split_first() else { return Vec::new() };
    comparisons(first)
        .filter_map(|Compared { of, ty, .. }| {
            let ranges = ways.iter().map(|way| range_of(of, ty, way)).collect::<Option<Vec<Bounds>>>()?;
            Some(Term { of, kind: TermKind::Ranges(ranges), compared: ty })
        })
        .collect()
}

fn range_of(of: &Expr, ty: SqlType, way: &Expr) -> Option<Bounds> {
    let mut bounds = Bounds::default();
    comparisons(way).filter(|c| c.of == of && c.ty == ty).for_each(|c| bounds.narrow(c.op, c.value));
    (bounds.ends() > 0).then_some(bounds)
}

impl Term<'_> {
    /// Whether the values of a column of an index decide it.
    pub(super) fn is_of(&self, part: &IndexColumn) -> bool {
        let same = match (&part.source, self.of) {
            (KeySource::Column(n), Expr::Column(m)) => n == m,
            (KeySource::Expr(formula), of) => formula.expr() == of,
            (KeySource::Column(_), _) => false,
        };
        same && comparable_as(part.ty, self.compared)
    }

    /// Whether a column of an index and what it is compared with are integers.
    pub(super) fn is_of_integers(&self, part: &IndexColumn) -> bool {
        is_integer(part.ty) && is_integer(self.compared)
    }
}

fn is_integer(ty: SqlType) -> bool {
    use crate::types::oids::{INT2, INT4, INT8};
    matches!(ty.oid, INT2 | INT4 | INT8)
}

/// True when the column's keys are ordered as the comparison orders its values.
fn comparable_as(column: SqlType, compared: SqlType) -> bool {
    use crate::types::oids::BPCHAR;
    column.oid == compared.oid
        || (is_integer(column) && is_integer(compared))
        || (column.is_string() && compared.is_string() && column.oid != BPCHAR && compared.oid != BPCHAR)
        || (compared == SqlType::OID
            && column.class() == compared.class()
            && column.len() == 4
            && !is_integer(column))
}
