//! Expressions as PostgreSQL's pg_get_expr() writes them: parentheses around every operator, literals with their types,
//! conversions that happened by themselves included.

use super::functions::declaration;
use super::{Comparison, Expr, Function};
use crate::catalog::ColumnInfo;
use crate::sql::names::quoted;
use crate::types::{Datum, SqlType, TimeZone, oids, text_of};

/// An expression over the columns of a table. `wanted` is the type that its place takes: that of a literal. `pretty` leaves out
/// parentheses that a reader does not need.
pub(crate) fn deparse(expr: &Expr, columns: &[ColumnInfo], wanted: SqlType, pretty: bool) -> String {
    Deparser { columns, pretty }.bare(expr, Some(wanted))
}

/// A condition over the value of a domain.
pub(crate) fn deparse_value(expr: &Expr, pretty: bool) -> String {
    deparse(expr, &[], SqlType::BOOL, pretty)
}

/// Whether it is written like a function call, which needs no parentheses of its own.
pub(crate) fn is_call(expr: &Expr) -> bool {
    match expr {
        Expr::Call(f, _) => !f.is_operator(),
        Expr::Coalesce(_) | Expr::Extreme(..) => true,
        _ => false,
    }
}

struct Deparser<'a> {
    columns: &'a [ColumnInfo],
    pretty: bool,
}

/// Whether it is written with parentheses around it.
fn is_enclosed(expr: &Expr) -> bool {
    use Expr as E;
    match expr {
        E::Unary(..) | E::Binary(..) | E::Compare(..) | E::Distinct(..) | E::And(_) | E::Or(_) => true,
        E::Not(_) | E::IsNull(..) | E::IsBool(..) | E::In(..) => true,
        E::Call(f, _) => f.is_operator(),
        _ => false,
    }
}

impl Deparser<'_> {
    /// Where nothing around it can be taken for a part of it.
    fn bare(&self, expr: &Expr, wanted: Option<SqlType>) -> String {
        let text = self.show(expr, wanted);
        if self.pretty && is_enclosed(expr) { text[1..text.len() - 1].to_owned() } else { text }
    }

    /// A part of AND or OR.
    fn condition(&self, expr: &Expr, within_and: bool) -> String {
        match expr {
            Expr::Or(_) if within_and => self.show(expr, Some(SqlType::BOOL)),
            Expr::In(_, items, ..) if items.len() > 1 => self.show(expr, Some(SqlType::BOOL)),
            _ => self.bare(expr, Some(SqlType::BOOL)),
        }
    }

    fn show(&self, expr: &Expr, wanted: Option<SqlType>) -> String {
        let same = |e: &Expr| self.bare(e, wanted);
        let condition = |e: &Expr| self.bare(e, Some(SqlType::BOOL));
        let list =
            |parts: &[Expr]| parts.iter().map(|part| self.bare(part, wanted)).collect::<Vec<_>>().join(", ");
        match expr {
            Expr::Const(datum) => literal(datum, wanted),
            Expr::Column(n) => self.column(*n, wanted),
            Expr::Unary(f, a) => format!("({} {})", f.name, self.show(a, None)),
            Expr::Binary(f, ab) => {
                let of = (f.name == "||").then_some(SqlType::TEXT);
                format!("({} {} {})", self.show(&ab.0, of), f.name, self.show(&ab.1, of))
            }
            Expr::Compare(op, ty, ab) => self.pair(&ab.0, op.symbol(), &ab.1, *ty),
            Expr::Distinct(not, ty, ab) => {
                let text = self.pair(&ab.0, "IS DISTINCT FROM", &ab.1, *ty);
                if *not { format!("(NOT {text})") } else { text }
            }
            Expr::And(parts) => {
                let parts: Vec<String> = parts.iter().map(|part| self.condition(part, true)).collect();
                format!("({})", parts.join(" AND "))
            }
            Expr::Or(parts) => {
                let parts: Vec<String> = parts.iter().map(|part| self.condition(part, false)).collect();
                format!("({})", parts.join(" OR "))
            }
            Expr::Not(a) => match &**a {
                Expr::Call(f, args) if f.is_operator() => self.pattern(f, args, "!"),
                other => format!("(NOT {})", self.show(other, Some(SqlType::BOOL))),
            },
            Expr::IsNull(not, a) => {
                format!("({} IS {}NULL)", self.show(a, None), if *not { "NOT " } else { "" })
            }
            Expr::IsBool(wanted, not, a) => {
                let not = if *not { "NOT " } else { "" };
                format!(
                    "({} IS {not}{})",
                    self.show(a, Some(SqlType::BOOL)),
                    if *wanted { "TRUE" } else { "FALSE" }
                )
            }
            Expr::In(a, items, ty, not) => self.within(a, items, *ty, *not),
            Expr::Case(whens, otherwise) => {
                let whens =
                    whens.iter().map(|(when, then)| format!(" WHEN {} THEN {}", condition(when), same(then)));
                format!("CASE{} ELSE {} END", whens.collect::<String>(), same(otherwise))
            }
            Expr::Coalesce(args) => format!("COALESCE({})", list(args)),
            Expr::Extreme(greatest, ty, args) => {
                let args: Vec<String> = args.iter().map(|a| self.bare(a, Some(*ty))).collect();
                format!("{}({})", if *greatest { "GREATEST" } else { "LEAST" }, args.join(", "))
            }
            Expr::Cast(cast) => {
                let to = cast.of.as_ref().map_or_else(|| cast.to.spelled(), |of| of.name().to_owned());
                self.cast(&cast.expr, &self.show(&cast.expr, Some(cast.from)), &to)
            }
            Expr::Call(f, args) if f.is_operator() => self.pattern(f, args, ""),
            Expr::Call(f, args) => self.call(f, args),
            Expr::NextVal(sequence) => format!("nextval('{}'::regclass)", quoted(&sequence.name)),
            Expr::Domain(a, rules) => self.cast(a, &self.show(a, wanted), &rules.shown),
            // What a definition cannot have.
            Expr::Param(_) | Expr::Aggregate(_) | Expr::Subquery(_) | Expr::InSubquery(..) => "?".to_owned(),
        }
    }

    /// varchar becomes text by itself where text is wanted.
    fn column(&self, n: usize, wanted: Option<SqlType>) -> String {
        // Without columns it is about the value of a domain.
        let Some(column) = self.columns.get(n) else { return "VALUE".to_owned() };
        let name = quoted(&column.name);
        match (column.ty.oid, wanted.map(|ty| ty.oid)) {
            (oids::VARCHAR | oids::NAME | oids::CHAR, Some(oids::TEXT)) => {
                self.cast(&Expr::Column(n), &name, SqlType::TEXT.name())
            }
            _ => name,
        }
    }

    fn cast(&self, inner: &Expr, text: &str, to: &str) -> String {
        let simple = matches!(inner, Expr::Column(_)) || is_call(inner);
        match (self.pretty && simple) || is_enclosed(inner) {
            true => format!("{text}::{to}"),
            false => format!("({text})::{to}"),
        }
    }

    fn pair(&self, a: &Expr, operator: &str, b: &Expr, ty: SqlType) -> String {
        format!("({} {operator} {})", self.show(a, Some(ty)), self.show(b, Some(ty)))
    }

    fn within(&self, a: &Expr, items: &[Expr], ty: SqlType, not: bool) -> String {
        if let [one] = items {
            let operator = if not { Comparison::Ne } else { Comparison::Eq };
            return self.pair(a, operator.symbol(), one, ty);
        }
        let of_column = match a {
            Expr::Column(n) => self.columns.get(*n).map(|column| column.ty),
            _ => None,
        };
        let is_varchar = ty.oid == oids::TEXT && of_column.is_some_and(|ty| ty.oid == oids::VARCHAR);
        let item_type = if is_varchar { SqlType::VARCHAR } else { ty };
        let items: Vec<String> = items.iter().map(|item| self.show(item, Some(item_type))).collect();
        let mut array = format!("ARRAY[{}]", items.join(", "));
        if is_varchar {
            array = format!("({array})::text[]");
        }
        let operator = if not { "<> ALL" } else { "= ANY" };
        format!("({} {operator} ({array}))", self.show(a, Some(ty)))
    }

    fn pattern(&self, f: &Function, args: &[Expr], not: &str) -> String {
        let args: Vec<String> = args.iter().map(|arg| self.show(arg, Some(SqlType::TEXT))).collect();
        format!("({})", args.join(&format!(" {not}{} ", f.name)))
    }

    fn call(&self, f: &Function, args: &[Expr]) -> String {
        let declared = declaration(f);
        let of = |n: usize| declared.and_then(|d| d.args.get(n).or(d.args.last())).copied();
        let args: Vec<String> = args.iter().enumerate().map(|(n, arg)| self.bare(arg, of(n))).collect();
        // These are words of the grammar.
        let name = match f.name {
            name @ ("substring" | "position" | "overlay" | "trim") => format!("\"{name}\""),
            name => name.to_owned(),
        };
        format!("{name}({})", args.join(", "))
    }
}

fn literal(datum: &Datum, wanted: Option<SqlType>) -> String {
    let text = || text_of(datum, SqlType::TEXT, &TimeZone::default());
    let labelled = |ty: &str| format!("'{}'::{ty}", text().replace('\'', "''"));
    match datum {
        Datum::Null => format!("NULL::{}", wanted.unwrap_or(SqlType::TEXT).spelled()),
        Datum::Bool(b) => b.to_string(),
        Datum::Int4(n) if *n >= 0 => n.to_string(),
        Datum::Int4(_) => labelled("integer"),
        Datum::Int2(_) => labelled("smallint"),
        Datum::Int8(_) => labelled("bigint"),
        Datum::Float4(_) => labelled("real"),
        Datum::Float8(_) => labelled("double precision"),
        Datum::Numeric(_) => match text() {
            plain if plain.starts_with(|c: char| c.is_ascii_digit()) && plain.contains('.') => plain,
            _ => labelled("numeric"),
        },
        Datum::Oid(_) => labelled(wanted.unwrap_or(SqlType::OID).name()),
        Datum::Enum(label) => labelled(&label.of),
        Datum::Bytea(_) => labelled("bytea"),
        Datum::Date(_) => labelled("date"),
        Datum::Timestamp(_) => labelled("timestamp without time zone"),
        Datum::TimestampTz(_) => labelled("timestamp with time zone"),
        Datum::Text(_) | Datum::Large(_) => match wanted {
            Some(ty) if ty.is_string() => labelled(&ty.spelled()),
            _ => labelled("text"),
        },
    }
}
