//! Function calls, and the forms of SQL that are functions with a syntax of their own.

use sqlparser::ast::{self, FunctionArg, FunctionArgExpr, FunctionArguments};

use super::aggregate::AggregateKind;
use super::operator::is_integer;
use super::{Binder, Scope, Subquery, SubqueryKind, Typed, names};
use crate::catalog::Relation;
use crate::sql::expr::cast::Context;
use crate::sql::expr::{Expr, functions};
use crate::types::{Datum, SqlError, SqlResult, SqlType, oids, sqlstate};

impl Binder<'_> {
    pub(super) fn function(&mut self, function: &ast::Function, scope: &Scope) -> SqlResult<Typed> {
        let (schema, name) = names::qualified(&function.name)?;
        if !matches!(schema.as_deref(), None | Some("pg_catalog")) {
            let message = format!("function {}.{name}() does not exist", schema.unwrap_or_default());
            return Err(SqlError::new(sqlstate::UNDEFINED_FUNCTION, message));
        }
        if function.over.is_some() {
            return Err(SqlError::unsupported("a window function"));
        }
        if !function.within_group.is_empty() || function.null_treatment.is_some() {
            return Err(SqlError::unsupported(format!("this form of {name}()")));
        }
        let name = match (&function.args, super::expr::keyword_function(&name)) {
            (FunctionArguments::None, Some(real)) => real.to_owned(),
            _ => name,
        };
        if let Some(kind) = AggregateKind::named(&name) {
            return self.aggregate(kind, function, scope);
        }
        if function.filter.is_some() {
            let message = format!("FILTER specified, but {name} is not an aggregate function");
            return Err(SqlError::new(sqlstate::WRONG_OBJECT_TYPE, message));
        }
        let mut args = Vec::new();
        for arg in plain_arguments(&function.args)? {
            args.push(self.expr(arg, scope)?);
        }
        match name.as_str() {
            "coalesce" => self.coalesce(args),
            "nullif" => self.nullif(args),
            "greatest" => self.extreme(true, args),
            "least" => self.extreme(false, args),
            "nextval" | "setval" => self.sequence_call(&name, args),
            "pg_typeof" => self.pg_typeof(args),
            "enum_first" | "enum_last" => self.enum_end(&name, args),
            _ => self.call(&name, args),
        }
    }

    /// Calls an ordinary function.
    pub(super) fn call(&mut self, name: &str, args: Vec<Typed>) -> SqlResult<Typed> {
        let types: Vec<SqlType> = args.iter().map(|a| a.ty).collect();
        if !functions::exists(name) {
            return Err(self.undefined_function(name, &types));
        }
        let declared = functions::find(name, &types).ok_or_else(|| self.undefined_function(name, &types))?;
        let wanted = declared.wanted(&types);
        let args = args
            .into_iter()
            .zip(wanted)
            .map(|(arg, ty)| self.coerce(arg, ty, Context::Implicit).map(|t| t.expr))
            .collect::<SqlResult<_>>()?;
        Ok(Typed { expr: Expr::Call(&declared.function, args), ty: declared.result })
    }

    pub(super) fn undefined_function(&self, name: &str, given: &[SqlType]) -> SqlError {
        let types: Vec<String> = given.iter().map(|ty| self.shown(*ty)).collect();
        functions::undefined(name, &types.join(", "))
    }

    fn coalesce(&mut self, args: Vec<Typed>) -> SqlResult<Typed> {
        let (args, ty) = self.unify(args, "COALESCE")?;
        Ok(Typed { expr: Expr::Coalesce(args), ty })
    }

    fn extreme(&mut self, greatest: bool, args: Vec<Typed>) -> SqlResult<Typed> {
        let (args, ty) = self.unify(args, if greatest { "GREATEST" } else { "LEAST" })?;
        Ok(Typed { expr: Expr::Extreme(greatest, ty, args), ty })
    }

    fn nullif(&mut self, args: Vec<Typed>) -> SqlResult<Typed> {
        let Ok([a, b]) = <[Typed; 2]>::try_from(args) else {
            return Err(SqlError::syntax("syntax error at or near \"nullif\""));
        };
        let (own, integers) = (a.ty, is_integer(a.ty) && is_integer(b.ty));
        // The value is the comparison's left side, in the type that it is compared in.
        let (a, b, ty) = self.comparable("=", a, b)?;
        let equal = Expr::Compare(crate::sql::expr::Comparison::Eq, ty, Box::new((a.clone(), b)));
        let whens = vec![(equal, Expr::Const(Datum::Null))];
        Ok(Typed { expr: Expr::Case(whens, Box::new(a)), ty: if integers { own } else { ty } })
    }

    fn pg_typeof(&mut self, args: Vec<Typed>) -> SqlResult<Typed> {
        let Some(arg) = args.first() else { return Err(self.undefined_function("pg_typeof", &[])) };
        Ok(Typed { expr: Expr::Const(Datum::text(self.shown(arg.ty))), ty: SqlType::TEXT })
    }

    /// Sequences are named by a literal, so the plan knows them.
    fn sequence_call(&mut self, name: &str, args: Vec<Typed>) -> SqlResult<Typed> {
        let types: Vec<SqlType> = args.iter().map(|a| a.ty).collect();
        if name != "nextval" {
            return Err(SqlError::unsupported(format!("{name}()")));
        }
        let Ok([arg]) = <[Typed; 1]>::try_from(args) else {
            return Err(self.undefined_function(name, &types));
        };
        let typed = self.coerce(arg, SqlType::REGCLASS, Context::Explicit)?;
        let Expr::Const(Datum::Oid(oid)) = typed.expr else {
            return Err(SqlError::unsupported(format!(
                "{name}() of a sequence that is not named by a literal"
            )));
        };
        match self.view.relation(oid) {
            Some(Relation::Sequence(sequence)) => {
                Ok(Typed { expr: Expr::NextVal(sequence.clone()), ty: SqlType::INT8 })
            }
            other => {
                let name = other.map_or_else(|| oid.to_string(), |r| r.name().1.to_owned());
                Err(SqlError::new(sqlstate::WRONG_OBJECT_TYPE, format!("\"{name}\" is not a sequence")))
            }
        }
    }

    /// EXTRACT, SUBSTRING, TRIM, POSITION, CEIL, FLOOR, and what is not implemented.
    pub(super) fn special_form(&mut self, expr: &ast::Expr, scope: &Scope) -> SqlResult<Typed> {
        use ast::Expr as A;
        let bind = |binder: &mut Self, e: &ast::Expr| binder.expr(e, scope);
        match expr {
            A::Extract { field, expr, .. } => {
                let unit = self.text(&field.to_string().to_lowercase());
                let arg = bind(self, expr)?;
                self.call("extract", vec![unit, arg])
            }
            A::Substring { expr, substring_from, substring_for, .. } => {
                let mut args = vec![bind(self, expr)?];
                args.push(match substring_from {
                    Some(from) => bind(self, from)?,
                    None => super::expr::constant(Datum::Int4(1), SqlType::INT4),
                });
                if let Some(len) = substring_for {
                    args.push(bind(self, len)?);
                }
                self.call("substring", args)
            }
            A::Trim { trim_where, trim_what, expr, trim_characters } => {
                let name = match trim_where {
                    Some(ast::TrimWhereField::Leading) => "ltrim",
                    Some(ast::TrimWhereField::Trailing) => "rtrim",
                    _ => "btrim",
                };
                let mut args = vec![bind(self, expr)?];
                let listed = trim_characters.iter().flatten();
                for what in trim_what.as_deref().into_iter().chain(listed) {
                    args.push(bind(self, what)?);
                }
                self.call(name, args)
            }
            A::Position { expr, r#in } => {
                let (what, within) = (bind(self, expr)?, bind(self, r#in)?);
                self.call("strpos", vec![within, what])
            }
            A::Ceil { expr, .. } => {
                let arg = bind(self, expr)?;
                self.call("ceil", vec![arg])
            }
            A::Floor { expr, .. } => {
                let arg = bind(self, expr)?;
                self.call("floor", vec![arg])
            }
            other => {
                let text: String = other.to_string().chars().take(60).collect();
                Err(SqlError::unsupported(format!("the expression {text}")))
            }
        }
    }

    fn text(&self, s: &str) -> Typed {
        super::expr::constant(Datum::text(s), SqlType::TEXT)
    }

    /// Binds a subquery that does not look at the row it stands in. Its number, and the type of its column.
    pub(super) fn subquery(&mut self, query: &ast::Query, kind: SubqueryKind) -> SqlResult<(usize, SqlType)> {
        let outer = self.aggregates.take();
        let bound = self.nested(|binder| binder.query(query));
        self.aggregates = outer;
        let bound = bound.map_err(|e| match e.sqlstate {
            sqlstate::UNDEFINED_COLUMN | sqlstate::UNDEFINED_TABLE => {
                e.hint("A subquery that refers to columns of the query around it is not supported.")
            }
            _ => e,
        })?;
        if kind != SubqueryKind::Exists && bound.columns.len() != 1 {
            let message = if kind == SubqueryKind::List {
                "subquery has too many columns"
            } else {
                "subquery must return only one column"
            };
            return Err(SqlError::syntax(message));
        }
        let ty = match kind {
            SubqueryKind::Exists => SqlType::BOOL,
            _ => bound.columns.first().map_or(SqlType::BOOL, |c| c.ty),
        };
        self.subqueries.push(Subquery { rel: bound.rel, kind, ty });
        Ok((self.subqueries.len() - 1, ty))
    }
}

/// Unnamed arguments that are expressions.
pub(super) fn plain_arguments(args: &FunctionArguments) -> SqlResult<Vec<&ast::Expr>> {
    let list = match args {
        FunctionArguments::None => return Ok(Vec::new()),
        FunctionArguments::Subquery(_) => {
            return Err(SqlError::unsupported("a subquery as the only argument"));
        }
        FunctionArguments::List(list) => list,
    };
    if !list.clauses.is_empty() || list.duplicate_treatment.is_some() {
        return Err(SqlError::unsupported("ORDER BY or DISTINCT inside a function call"));
    }
    list.args.iter().map(argument).collect()
}

fn argument(arg: &FunctionArg) -> SqlResult<&ast::Expr> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Ok(e),
        _ => Err(SqlError::unsupported("a named argument or * in a function call")),
    }
}

/// The one argument of an aggregate, `None` for `*`; and whether DISTINCT was said.
pub(super) fn aggregate_arguments(function: &ast::Function) -> SqlResult<(Vec<Option<&ast::Expr>>, bool)> {
    let FunctionArguments::List(list) = &function.args else { return Ok((Vec::new(), false)) };
    if !list.clauses.is_empty() {
        return Err(SqlError::unsupported("ORDER BY inside an aggregate"));
    }
    let distinct = matches!(list.duplicate_treatment, Some(ast::DuplicateTreatment::Distinct));
    let args = list
        .args
        .iter()
        .map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => Ok(None),
            other => argument(other).map(Some),
        })
        .collect::<SqlResult<_>>()?;
    Ok((args, distinct))
}

/// The name of an output column that has no alias, as PostgreSQL's `FigureColname` finds it.
pub(super) fn output_name(expr: &ast::Expr) -> String {
    figured_name(expr).unwrap_or_else(|| "?column?".to_owned())
}

/// The name that an expression suggests.
pub(crate) fn figured_name(expr: &ast::Expr) -> Option<String> {
    figure(expr).map(|(name, _)| name)
}

/// A name, and whether it is a good one: a type's name gives way to a better one around it.
fn figure(expr: &ast::Expr) -> Option<(String, bool)> {
    use ast::Expr as A;
    let good = |name: &str| Some((name.to_owned(), true));
    let weak = |name: &str| Some((name.to_owned(), false));
    match expr {
        A::Identifier(ident) => Some((names::fold(ident), true)),
        A::CompoundIdentifier(parts) => parts.last().map(|part| (names::fold(part), true)),
        A::Nested(inner) | A::Collate { expr: inner, .. } => figure(inner),
        A::Cast { expr: inner, data_type, .. } => match figure(inner) {
            Some((name, true)) => Some((name, true)),
            _ => weak(&type_name(data_type)),
        },
        A::Function(f) => names::qualified(&f.name).ok().map(|(_, name)| (name, true)),
        A::Case { else_result, .. } => match else_result.as_deref().and_then(figure) {
            Some((name, true)) => Some((name, true)),
            _ => weak("case"),
        },
        A::Exists { negated: false, .. } => good("exists"),
        A::Extract { .. } => good("extract"),
        A::Substring { shorthand: true, .. } => good("substr"),
        A::Substring { .. } => good("substring"),
        A::Position { .. } => good("position"),
        A::Ceil { .. } => good("ceil"),
        A::Floor { .. } => good("floor"),
        A::Trim { trim_where: Some(ast::TrimWhereField::Leading), .. } => good("ltrim"),
        A::Trim { trim_where: Some(ast::TrimWhereField::Trailing), .. } => good("rtrim"),
        A::Trim { .. } => good("btrim"),
        A::TypedString(literal) => weak(&type_name(&literal.data_type)),
        A::Value(value) if matches!(value.value, ast::Value::Boolean(_)) => weak("bool"),
        A::Subquery(query) => match &*query.body {
            ast::SetExpr::Select(select) => match select.projection.first() {
                Some(ast::SelectItem::UnnamedExpr(inner)) => figure(inner),
                Some(ast::SelectItem::ExprWithAlias { alias, .. }) => Some((names::fold(alias), true)),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

fn type_name(ty: &ast::DataType) -> String {
    match (names::sql_type(ty), ty) {
        (Ok(known), _) => known.catalog_name().to_owned(),
        (Err(_), ast::DataType::Custom(name, _)) => names::qualified(name).unwrap_or_default().1,
        (Err(_), _) => "?column?".to_owned(),
    }
}

/// True for a type that nothing is known of yet.
pub(super) fn is_unknown(ty: SqlType) -> bool {
    ty.oid == oids::UNKNOWN
}
