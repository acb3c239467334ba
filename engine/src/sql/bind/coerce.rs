//! Conversions: of literals and parameters when their type becomes known, and of values to what a place wants.

use super::{Binder, Typed, names};
use crate::sql::expr::cast::{self, Context};
use crate::sql::expr::functions::common_type;
use crate::sql::expr::{Cast, Expr};
use crate::types::{Datum, SqlError, SqlResult, SqlType, decode_text, oids, sqlstate};

impl Binder<'_> {
    /// Converts to a type, if that happens by itself in this context.
    pub(super) fn coerce(&mut self, typed: Typed, to: SqlType, context: Context) -> SqlResult<Typed> {
        if typed.ty.oid == oids::UNKNOWN {
            return self.settle(typed, to, context == Context::Explicit);
        }
        match cast::context(typed.ty, to) {
            Some(needed) if needed <= context => self.converted(typed, to, context == Context::Explicit),
            _ => Err(SqlError::new(
                sqlstate::CANNOT_COERCE,
                format!("cannot cast type {} to {}", self.shown(typed.ty), self.shown(to)),
            )),
        }
    }

    /// Gives a literal or parameter of unknown type its type. A literal is read now, so bad input is found at once.
    fn settle(&mut self, typed: Typed, to: SqlType, explicit: bool) -> SqlResult<Typed> {
        let to_kind = SqlType { typmod: -1, ..to };
        let settled = match typed.expr {
            Expr::Param(n) => {
                if self.params[n].is_none() && to.oid != oids::UNKNOWN {
                    self.params[n] = Some(to_kind);
                }
                // Another place may have given it another type: converted from that.
                let known = self.params[n].unwrap_or(to_kind);
                let param = Typed { expr: Expr::Param(n), ty: known };
                return self.converted(param, to, explicit);
            }
            Expr::Const(Datum::Null) => Expr::Const(Datum::Null),
            Expr::Const(Datum::Text(text)) => {
                if to.oid == oids::REGCLASS {
                    return self.regclass(&text);
                }
                if to.oid == oids::REGTYPE {
                    return self.regtype(&text);
                }
                Expr::Const(self.literal(&text, to_kind)?)
            }
            other => other,
        };
        let typed = Typed { expr: settled, ty: to_kind };
        let typed = if to.typmod >= 0 { convert(typed, to, explicit) } else { typed };
        Ok(self.fold(typed))
    }

    /// A conversion, with what it takes to make values of an enum type.
    fn converted(&self, typed: Typed, to: SqlType, explicit: bool) -> SqlResult<Typed> {
        let mut typed = convert(typed, to, explicit);
        if let Expr::Cast(cast) = &mut typed.expr
            && cast.to.is_enum()
            && cast.of.is_none()
        {
            cast.of = Some(self.enum_type(cast.to)?);
        }
        Ok(typed)
    }

    fn literal(&self, text: &str, ty: SqlType) -> SqlResult<Datum> {
        if ty.is_enum() {
            self.note_value_type(ty.oid);
            return self.enum_type(ty)?.read(text);
        }
        decode_text(text, ty, &self.ctx.session().timezone)
    }

    /// `'mood'::regtype`: the type's OID.
    fn regtype(&self, text: &str) -> SqlResult<Typed> {
        let oid = match text.parse::<u32>() {
            Ok(oid) => oid,
            Err(_) => {
                let named = names::data_types(text)?;
                let [ty] = &named[..] else {
                    return Err(SqlError::new(sqlstate::INVALID_NAME, "invalid name syntax"));
                };
                let declared = self.type_named(ty)?;
                declared.user.map_or(declared.ty.oid, |user| user.oid)
            }
        };
        Ok(Typed { expr: Expr::Const(Datum::Oid(oid)), ty: SqlType { oid: oids::REGTYPE, typmod: -1 } })
    }

    /// `'t'::regclass`: the relation's OID.
    fn regclass(&self, text: &str) -> SqlResult<Typed> {
        let oid = match text.parse::<u32>() {
            Ok(oid) => oid,
            Err(_) => {
                let parts: Vec<String> = text.split('.').map(|p| unquoted(p.trim())).collect();
                let (schema, name) = match &parts[..] {
                    [name] => (None, name),
                    [schema, name] => (Some(schema.as_str()), name),
                    _ => return Err(SqlError::new(sqlstate::INVALID_NAME, "invalid name syntax")),
                };
                let found = self.find_parts(schema, name)?;
                found.map(|relation| relation.oid()).ok_or_else(|| {
                    SqlError::new(sqlstate::UNDEFINED_TABLE, format!("relation \"{text}\" does not exist"))
                })?
            }
        };
        Ok(Typed { expr: Expr::Const(Datum::Oid(oid)), ty: SqlType::REGCLASS })
    }

    /// Evaluates a conversion of a constant now; what fails is left to fail when it is run.
    pub(super) fn fold(&self, typed: Typed) -> Typed {
        let constant = matches!(&typed.expr, Expr::Cast(c) if matches!(c.expr, Expr::Const(_)))
            || matches!(&typed.expr, Expr::Unary(_, a) if matches!(**a, Expr::Const(_)));
        if !constant {
            return typed;
        }
        let cx = self.eval_cx();
        let value = typed.expr.eval(&[], &cx).map(std::borrow::Cow::into_owned);
        match value {
            Ok(value) => Typed { expr: Expr::Const(value), ty: typed.ty },
            Err(_) => typed,
        }
    }

    /// A condition: boolean, or of unknown type and taken for one.
    pub(super) fn condition(&mut self, typed: Typed, clause: &str) -> SqlResult<Expr> {
        match typed.ty.oid {
            oids::BOOL => Ok(typed.expr),
            oids::UNKNOWN => Ok(self.coerce(typed, SqlType::BOOL, Context::Implicit)?.expr),
            _ => Err(SqlError::new(
                sqlstate::DATATYPE_MISMATCH,
                format!("argument of {clause} must be type boolean, not type {}", self.shown(typed.ty)),
            )),
        }
    }

    /// Brings alternatives (CASE, VALUES, UNION ...) to one type.
    pub(super) fn unify(&mut self, all: Vec<Typed>, what: &str) -> SqlResult<(Vec<Expr>, SqlType)> {
        let types: Vec<SqlType> = all.iter().map(|t| t.ty).collect();
        let Some(ty) = common_type(&types) else {
            let mut names: Vec<String> = Vec::new();
            for name in types.iter().map(|ty| self.shown(*ty)) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            let message = format!("{what} types {} cannot be matched", names.join(" and "));
            return Err(SqlError::new(sqlstate::DATATYPE_MISMATCH, message));
        };
        let exprs = all
            .into_iter()
            .map(|t| self.coerce(t, ty, Context::Implicit).map(|t| t.expr))
            .collect::<SqlResult<_>>()?;
        Ok((exprs, ty))
    }

    /// What stays unknown at the end is text.
    pub(super) fn known(&mut self, typed: Typed) -> SqlResult<Typed> {
        if typed.ty.oid == oids::UNKNOWN {
            self.coerce(typed, SqlType::TEXT, Context::Implicit)
        } else {
            Ok(typed)
        }
    }

    /// A value for a column: 42804 when there is no conversion by assignment.
    pub(super) fn assign(&mut self, typed: Typed, column: &crate::catalog::ColumnInfo) -> SqlResult<Expr> {
        let typed = self.assign_base(typed, column)?;
        Ok(self.value_of_declared(typed, column.declared.as_deref())?.expr)
    }

    /// The same before it has gone through the conditions of a domain.
    pub(super) fn assign_base(
        &mut self,
        typed: Typed,
        column: &crate::catalog::ColumnInfo,
    ) -> SqlResult<Typed> {
        let ty = typed.ty;
        match self.coerce(typed, column.ty, Context::Assignment) {
            Ok(typed) => Ok(typed),
            Err(e) if e.sqlstate == sqlstate::CANNOT_COERCE => Err(SqlError::new(
                sqlstate::DATATYPE_MISMATCH,
                format!(
                    "column \"{}\" is of type {} but expression is of type {}",
                    column.name,
                    column.type_name(),
                    self.shown(ty)
                ),
            )
            .hint("You will need to rewrite or cast the expression.")),
            Err(e) => Err(e),
        }
    }
}

fn unquoted(part: &str) -> String {
    match part.strip_prefix('"').and_then(|p| p.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => part.to_lowercase(),
    }
}

/// Wraps in a conversion where one is needed.
pub(super) fn convert(typed: Typed, to: SqlType, explicit: bool) -> Typed {
    let from = typed.ty;
    let same_kind = from.oid == to.oid || is_same_string(from, to);
    // A modifier is applied unless the value is known to have it.
    let needs_modifier = to.typmod >= 0 && from.typmod != to.typmod;
    if same_kind && !needs_modifier {
        let ty = if from.oid == to.oid && to.typmod < 0 { from } else { to };
        return Typed { expr: typed.expr, ty };
    }
    Typed { expr: Expr::Cast(Box::new(Cast { expr: typed.expr, from, to, explicit, of: None })), ty: to }
}

/// text, varchar and name hold the same values.
fn is_same_string(from: SqlType, to: SqlType) -> bool {
    matches!(from.oid, oids::TEXT | oids::VARCHAR | oids::NAME | oids::CHAR)
        && matches!(to.oid, oids::TEXT | oids::VARCHAR)
}
