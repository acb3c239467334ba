//! Expressions as EXPLAIN shows them.

use std::fmt::Write;

use super::Expr;
use crate::types::{Datum, SqlType, TimeZone, text_of};

impl Expr {
    /// As text, with names for the columns.
    pub(crate) fn show(&self, names: &dyn Fn(usize) -> String) -> String {
        let list =
            |parts: &[Expr], by: &str| parts.iter().map(|p| p.show(names)).collect::<Vec<_>>().join(by);
        match self {
            Expr::Const(datum) => constant(datum),
            Expr::Column(n) => names(*n),
            Expr::Param(n) => format!("${}", n + 1),
            Expr::Aggregate(n) => format!("agg{n}"),
            Expr::Subquery(n) => format!("${}sub", n),
            Expr::Unary(f, a) => format!("({}{})", f.name, a.show(names)),
            Expr::Binary(f, ab) => format!("({} {} {})", ab.0.show(names), f.name, ab.1.show(names)),
            Expr::Compare(op, _, ab) => {
                format!("({} {} {})", ab.0.show(names), op.symbol(), ab.1.show(names))
            }
            Expr::Distinct(not, _, ab) => {
                let not = if *not { "NOT " } else { "" };
                format!("({} IS {not}DISTINCT FROM {})", ab.0.show(names), ab.1.show(names))
            }
            Expr::And(parts) => format!("({})", list(parts, " AND ")),
            Expr::Or(parts) => format!("({})", list(parts, " OR ")),
            Expr::Not(a) => format!("(NOT {})", a.show(names)),
            Expr::IsNull(not, a) => format!("({} IS {}NULL)", a.show(names), if *not { "NOT " } else { "" }),
            Expr::IsBool(wanted, not, a) => {
                let not = if *not { "NOT " } else { "" };
                format!("({} IS {not}{})", a.show(names), if *wanted { "TRUE" } else { "FALSE" })
            }
            Expr::In(a, items, _, not) => {
                let not = if *not { "NOT " } else { "" };
                format!("({} {not}IN ({}))", a.show(names), list(items, ", "))
            }
            Expr::InSubquery(a, n, _, not) => {
                let not = if *not { "NOT " } else { "" };
                format!("({} {not}IN (SubPlan {n}))", a.show(names))
            }
            Expr::Case(whens, otherwise) => {
                let mut text = "CASE".to_owned();
                for (when, then) in whens {
                    // Writing to a String cannot fail.
                    let _ = write!(text, " WHEN {} THEN {}", when.show(names), then.show(names));
                }
                format!("{text} ELSE {} END", otherwise.show(names))
            }
            Expr::Coalesce(args) => format!("COALESCE({})", list(args, ", ")),
            Expr::Extreme(greatest, _, args) => {
                format!("{}({})", if *greatest { "GREATEST" } else { "LEAST" }, list(args, ", "))
            }
            Expr::Cast(cast) => {
                let to = cast.of.as_ref().map_or_else(|| cast.to.spelled(), |of| of.name().to_owned());
                format!("({})::{to}", cast.expr.show(names))
            }
            Expr::Domain(a, rules) => format!("({})::{}", a.show(names), rules.shown),
            Expr::Call(f, args) if f.is_operator() => format!("({})", list(args, &format!(" {} ", f.name))),
            Expr::Call(f, args) => format!("{}({})", f.name, list(args, ", ")),
            Expr::NextVal(sequence) => format!("nextval('{}')", sequence.name),
        }
    }
}

fn constant(datum: &Datum) -> String {
    match datum {
        Datum::Null => "NULL".to_owned(),
        Datum::Bool(b) => b.to_string(),
        Datum::Text(s) => format!("'{}'", s.replace('\'', "''")),
        Datum::Enum(label) => format!("'{}'", label.name.replace('\'', "''")),
        Datum::Date(_) | Datum::Timestamp(_) | Datum::TimestampTz(_) | Datum::Bytea(_) => {
            format!("'{}'", text_of(datum, SqlType::TEXT, &TimeZone::default()))
        }
        number => text_of(number, SqlType::TEXT, &TimeZone::default()),
    }
}
