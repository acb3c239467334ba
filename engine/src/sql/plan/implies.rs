//! Whether conditions imply the predicate of a partial index, so that it has every row that they let through: as far as
//! that shows in their form.

use std::cmp::Ordering;

use crate::sql::expr::{Comparison, Expr};
use crate::types::{Datum, SqlType, compare};

/// Whether rows that pass all the filters pass the predicate.
pub(super) fn implies(filters: &[Expr], predicate: &Expr) -> bool {
    match predicate {
        Expr::And(parts) => parts.iter().all(|part| implies(filters, part)),
        Expr::Or(parts) if parts.iter().any(|part| implies(filters, part)) => true,
        _ => filters.iter().any(|filter| one_implies(filter, predicate)),
    }
}

fn one_implies(filter: &Expr, predicate: &Expr) -> bool {
    if filter == predicate {
        return true;
    }
    match (filter, predicate) {
        // Whatever lets the row through must.
        (Expr::Or(ways), _) => ways.iter().all(|way| implies(std::slice::from_ref(way), predicate)),
        (Expr::And(parts), _) => implies(parts, predicate),
        (_, Expr::IsNull(true, of)) => is_false_for_null(filter, of),
        (Expr::IsBool(true, false, of), _) => **of == *predicate,
        (_, Expr::IsBool(true, false, of)) => *filter == **of,
        (Expr::In(of, values, ty, false), _) => values.iter().all(|value| {
            let equal = (&**of, Comparison::Eq, value, *ty);
            against(predicate).is_some_and(|wanted| compare_implies(equal, wanted))
        }),
        _ => match (against(filter), against(predicate)) {
            (Some(given), Some(wanted)) => compare_implies(given, wanted),
            _ => false,
        },
    }
}

/// Whether a filter does not let a row through in which `of` is NULL.
fn is_false_for_null(filter: &Expr, of: &Expr) -> bool {
    match filter {
        Expr::Compare(_, _, pair) => pair.0 == *of || pair.1 == *of,
        Expr::In(needle, _, _, false) => **needle == *of,
        Expr::IsBool(_, false, inner) => **inner == *of,
        _ => false,
    }
}

/// Something compared with a value: what, how, with what, compared as.
type Against<'a> = (&'a Expr, Comparison, &'a Expr, SqlType);

fn against(condition: &Expr) -> Option<Against<'_>> {
    let Expr::Compare(op, ty, pair) = condition else { return None };
    match (&pair.0, &pair.1) {
        (_, Expr::Const(_)) => Some((&pair.0, *op, &pair.1, *ty)),
        (Expr::Const(_), _) => Some((&pair.1, op.mirrored(), &pair.0, *ty)),
        _ => None,
    }
}

fn compare_implies(given: Against<'_>, wanted: Against<'_>) -> bool {
    use Comparison as C;
    let ((what, op, value, ty), (other, other_op, bound, other_ty)) = (given, wanted);
    let (Expr::Const(value), Expr::Const(bound)) = (value, bound) else { return false };
    if what != other || !same_kind(value, bound, ty, other_ty) {
        return false;
    }
    let Some(order) = compare(value, bound, ty) else { return false };
    match (op, other_op) {
        (C::Eq, wanted) => wanted.holds(order),
        (C::Ne, C::Ne) => order == Ordering::Equal,
        (C::Lt, C::Lt | C::Ne) | (C::Le, C::Le) | (C::Lt, C::Le) => order != Ordering::Greater,
        (C::Le, C::Lt | C::Ne) => order == Ordering::Less,
        (C::Gt, C::Gt | C::Ne) | (C::Ge, C::Ge) | (C::Gt, C::Ge) => order != Ordering::Less,
        (C::Ge, C::Gt | C::Ne) => order == Ordering::Greater,
        _ => false,
    }
}

fn same_kind(a: &Datum, b: &Datum, ty: SqlType, other: SqlType) -> bool {
    ty.oid == other.oid || (a.as_i64().is_some() && b.as_i64().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(op: Comparison, n: i32) -> Expr {
        Expr::Compare(op, SqlType::INT4, Box::new((Expr::Column(0), Expr::Const(Datum::Int4(n)))))
    }

    #[test]
    fn what_compares_is_right_for_every_value() {
        use Comparison as C;
        let all = [C::Eq, C::Ne, C::Lt, C::Le, C::Gt, C::Ge];
        let holds = |op: C, n: i32, bound: i32| op.holds(n.cmp(&bound));
        for (op, other) in all.iter().flat_map(|op| all.iter().map(move |other| (*op, *other))) {
            for bound in -2..=2 {
                let said = implies(&[condition(op, 0)], &condition(other, bound));
                let really = (-9..=9).filter(|n| holds(op, *n, 0)).all(|n| holds(other, n, bound));
                // Over integers more is true than shows in the form.
                assert!(really || !said, "{op:?} 0 => {other:?} {bound}");
            }
        }
        assert!(implies(&[condition(C::Eq, 3)], &condition(C::Gt, 2)));
        assert!(implies(&[condition(C::Gt, 3)], &condition(C::Ge, 3)));
        assert!(!implies(&[condition(C::Ge, 3)], &condition(C::Gt, 3)));
    }

    #[test]
    fn null_is_refused_by_what_compares() {
        let not_null = Expr::IsNull(true, Box::new(Expr::Column(0)));
        assert!(implies(&[condition(Comparison::Lt, 3)], &not_null));
        let other = Expr::IsNull(true, Box::new(Expr::Column(1)));
        assert!(!implies(&[condition(Comparison::Lt, 3)], &other));
        let either = Expr::Or(vec![condition(Comparison::Lt, 3), condition(Comparison::Eq, 7)]);
        assert!(implies(std::slice::from_ref(&either), &not_null));
        assert!(!implies(&[either], &condition(Comparison::Lt, 5)));
    }
}
