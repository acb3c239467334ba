//! Looking at an expression's parts, changing them, and comparing expressions.

use super::{Expr, functions};
use crate::types::{Datum, SqlType, TypeClass, oids};

impl Expr {
    /// Calls `f` with each direct part.
    pub(crate) fn each_part<'a>(&'a self, f: &mut dyn FnMut(&'a Expr)) {
        match self {
            Expr::Const(_)
            | Expr::Column(_)
            | Expr::Param(_)
            | Expr::Aggregate(_)
            | Expr::Subquery(_)
            | Expr::NextVal(_) => {}
            Expr::Unary(_, a) | Expr::Not(a) | Expr::IsNull(_, a) | Expr::IsBool(_, _, a) => f(a),
            Expr::InSubquery(a, ..) | Expr::Domain(a, _) => f(a),
            Expr::Binary(_, ab) | Expr::Compare(_, _, ab) | Expr::Distinct(_, _, ab) => {
                f(&ab.0);
                f(&ab.1);
            }
            Expr::And(parts) | Expr::Or(parts) | Expr::Coalesce(parts) => parts.iter().for_each(f),
            Expr::Extreme(_, _, parts) | Expr::Call(_, parts) => parts.iter().for_each(f),
            Expr::In(a, list, ..) => {
                f(a);
                list.iter().for_each(f);
            }
            Expr::Case(whens, otherwise) => {
                for (when, then) in whens {
                    f(when);
                    f(then);
                }
                f(otherwise);
            }
            Expr::Cast(cast) => f(&cast.expr),
        }
    }

    /// Calls `f` with each direct part, to change it.
    pub(crate) fn each_part_mut(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        match self {
            Expr::Const(_)
            | Expr::Column(_)
            | Expr::Param(_)
            | Expr::Aggregate(_)
            | Expr::Subquery(_)
            | Expr::NextVal(_) => {}
            Expr::Unary(_, a) | Expr::Not(a) | Expr::IsNull(_, a) | Expr::IsBool(_, _, a) => f(a),
            Expr::InSubquery(a, ..) | Expr::Domain(a, _) => f(a),
            Expr::Binary(_, ab) | Expr::Compare(_, _, ab) | Expr::Distinct(_, _, ab) => {
                f(&mut ab.0);
                f(&mut ab.1);
            }
            Expr::And(parts) | Expr::Or(parts) | Expr::Coalesce(parts) => parts.iter_mut().for_each(f),
            Expr::Extreme(_, _, parts) | Expr::Call(_, parts) => parts.iter_mut().for_each(f),
            Expr::In(a, list, ..) => {
                f(a);
                list.iter_mut().for_each(f);
            }
            Expr::Case(whens, otherwise) => {
                for (when, then) in whens {
                    f(when);
                    f(then);
                }
                f(otherwise);
            }
            Expr::Cast(cast) => f(&mut cast.expr),
        }
    }

    /// True if it, or a part of it, passes the test.
    pub(crate) fn any(&self, test: &mut dyn FnMut(&Expr) -> bool) -> bool {
        if test(self) {
            return true;
        }
        let mut found = false;
        self.each_part(&mut |part| found = found || part.any(test));
        found
    }

    /// The columns that it reads.
    pub(crate) fn columns(&self, out: &mut Vec<usize>) {
        if let Expr::Column(n) = self {
            out.push(*n);
        }
        self.each_part(&mut |part| part.columns(out));
    }

    /// Moves its columns: what was column n is column `to(n)`.
    pub(crate) fn shift_columns(&mut self, to: &dyn Fn(usize) -> usize) {
        if let Expr::Column(n) = self {
            *n = to(*n);
        }
        self.each_part_mut(&mut |part| part.shift_columns(to));
    }

    /// Puts expressions in the place of its columns.
    pub(crate) fn substitute(&mut self, by: &[Expr]) {
        if let Expr::Column(n) = self {
            *self = by[*n].clone();
            return;
        }
        self.each_part_mut(&mut |part| part.substitute(by));
    }

    /// True when it is the same for every row of an execution: no columns, and nothing that changes by call.
    pub(crate) fn is_stable(&self) -> bool {
        !self.any(&mut |part| match part {
            Expr::Column(_) | Expr::Aggregate(_) | Expr::NextVal(_) => true,
            Expr::Call(f, _) => functions::is_volatile(f),
            _ => false,
        })
    }

    /// True when it is the same whenever it is computed from the same row.
    pub(crate) fn is_immutable(&self) -> bool {
        !self.any(&mut |part| match part {
            Expr::Aggregate(_) | Expr::NextVal(_) | Expr::Subquery(_) | Expr::Param(_) => true,
            // Its conditions may be changed.
            Expr::Domain(..) => true,
            Expr::Call(f, _) => !functions::is_immutable(f),
            Expr::Cast(cast) => depends_on_session(cast.from, cast.to),
            _ => false,
        })
    }

    /// AND of parts; TRUE of none.
    pub(crate) fn and(mut parts: Vec<Expr>) -> Option<Expr> {
        match parts.len() {
            0 => None,
            1 => parts.pop(),
            _ => Some(Expr::And(parts)),
        }
    }

    /// Splits a condition at its ANDs.
    pub(crate) fn conjuncts(self, out: &mut Vec<Expr>) {
        match self {
            Expr::And(parts) => parts.into_iter().for_each(|p| p.conjuncts(out)),
            Expr::Const(Datum::Bool(true)) => {}
            other => out.push(other),
        }
    }
}

impl PartialEq for Expr {
    /// Same shape, same meaning: for matching GROUP BY and ORDER BY expressions with the select list.
    fn eq(&self, other: &Expr) -> bool {
        use Expr as E;
        match (self, other) {
            (E::Const(a), E::Const(b)) => a == b,
            (E::Column(a), E::Column(b))
            | (E::Param(a), E::Param(b))
            | (E::Aggregate(a), E::Aggregate(b))
            | (E::Subquery(a), E::Subquery(b)) => a == b,
            (E::Unary(f, a), E::Unary(g, b)) => std::ptr::eq(*f, *g) && a == b,
            (E::Binary(f, a), E::Binary(g, b)) => std::ptr::eq(*f, *g) && a == b,
            (E::Compare(f, t, a), E::Compare(g, u, b)) => f == g && t == u && a == b,
            (E::Distinct(f, t, a), E::Distinct(g, u, b)) => f == g && t == u && a == b,
            (E::And(a), E::And(b)) | (E::Or(a), E::Or(b)) | (E::Coalesce(a), E::Coalesce(b)) => a == b,
            (E::Not(a), E::Not(b)) => a == b,
            (E::IsNull(n, a), E::IsNull(m, b)) => n == m && a == b,
            (E::IsBool(v, n, a), E::IsBool(w, m, b)) => v == w && n == m && a == b,
            (E::In(a, l, t, n), E::In(b, k, u, m)) => a == b && l == k && t == u && n == m,
            (E::Case(w, o), E::Case(v, p)) => w == v && o == p,
            (E::Extreme(g, t, a), E::Extreme(h, u, b)) => g == h && t == u && a == b,
            (E::Cast(a), E::Cast(b)) => {
                a.to == b.to && a.from == b.from && a.explicit == b.explicit && a.expr == b.expr
            }
            (E::Call(f, a), E::Call(g, b)) => std::ptr::eq(*f, *g) && a == b,
            (E::Domain(a, r), E::Domain(b, s)) => r.oid == s.oid && a == b,
            _ => false,
        }
    }
}

/// Whether a conversion looks at the time zone, at how dates are written, or at the names of labels.
fn depends_on_session(from: SqlType, to: SqlType) -> bool {
    let zoned = |ty: SqlType| ty.oid == oids::TIMESTAMPTZ;
    let written = |a: SqlType, b: SqlType| a.class() == TypeClass::DateTime && b.class() == TypeClass::String;
    // A label may get another name.
    let named = from.is_enum() != to.is_enum();
    named || zoned(from) != zoned(to) || written(from, to) || written(to, from)
}
