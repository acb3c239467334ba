//! Type names, and types that users made.

use std::sync::Arc;

use sqlparser::ast::DataType;

use super::{Binder, SqlError, SqlResult, SqlType, Typed, names};
use crate::catalog::{CatalogView, PG_CATALOG, TypeInfo};
use crate::sql::SessionContext;
use crate::sql::expr::Expr;
use crate::sql::parse::{kept_type, with_kept_types};
use crate::types::{EnumType, EnumTypes, sqlstate};

/// What a type name means.
#[derive(Debug, Clone)]
pub(crate) struct Declared {
    /// The type of the values.
    pub(crate) ty: SqlType,
    /// The type itself, if a user made it.
    pub(crate) user: Option<Arc<TypeInfo>>,
}

/// A type that a user made, by name: in its schema, else along the search path.
pub(crate) fn find_type(
    view: &CatalogView,
    ctx: &SessionContext,
    schema: Option<&str>,
    name: &str,
) -> SqlResult<Option<Arc<TypeInfo>>> {
    if let Some(schema) = schema {
        let namespace = view.namespace(schema).ok_or_else(|| {
            SqlError::new(sqlstate::INVALID_SCHEMA, format!("schema \"{schema}\" does not exist"))
        })?;
        return Ok(view.find_type(namespace, name).cloned());
    }
    let path = ctx.session().search_path.iter().filter_map(|schema| view.namespace(schema));
    let mut path = std::iter::once(PG_CATALOG).chain(path);
    Ok(path.find_map(|namespace| view.find_type(namespace, name)).cloned())
}

pub(crate) fn undefined_type(schema: Option<&str>, name: &str) -> SqlError {
    let shown = schema.map_or_else(|| name.to_owned(), |schema| format!("{schema}.{name}"));
    SqlError::new(sqlstate::UNDEFINED_OBJECT, format!("type \"{shown}\" does not exist"))
}

impl Binder<'_> {
    /// What a type name means.
    pub(crate) fn type_named(&self, name: &DataType) -> SqlResult<Declared> {
        let DataType::Custom(custom, modifiers) = name else {
            return Ok(Declared { ty: names::sql_type(name)?, user: None });
        };
        let (schema, bare) = names::qualified(custom)?;
        if let Some(oid) = kept_type(schema.as_deref(), &bare) {
            let user = self.view.type_info(oid).cloned();
            let user = user.ok_or_else(|| SqlError::corrupt("a definition uses a type that is gone"))?;
            return Ok(Declared { ty: user.value_type(), user: Some(user) });
        }
        let user = match (names::sql_type(name), self.meant_type(schema.as_deref(), &bare)) {
            (Ok(ty), _) => return Ok(Declared { ty, user: None }),
            (_, Some(meant)) => meant,
            (Err(_), None) => {
                let found = find_type(&self.view, self.ctx, schema.as_deref(), &bare)?;
                found.ok_or_else(|| undefined_type(schema.as_deref(), &bare))?
            }
        };
        if !modifiers.is_empty() {
            let message = format!("type modifier is not allowed for type \"{bare}\"");
            return Err(SqlError::syntax(message));
        }
        self.note_type(schema.as_deref(), &bare, user.oid);
        Ok(Declared { ty: user.value_type(), user: Some(user) })
    }

    /// As errors spell a type.
    pub(crate) fn shown(&self, ty: SqlType) -> String {
        match self.view.type_info(ty.oid) {
            Some(info) => TypeInfo::spelled(&info.schema, &info.name),
            None => ty.name().to_owned(),
        }
    }

    /// An enum type that values are of.
    pub(crate) fn enum_type(&self, ty: SqlType) -> SqlResult<Arc<EnumType>> {
        let of = self.view.type_info(ty.oid).and_then(|info| info.enum_type()).cloned();
        of.ok_or_else(|| {
            SqlError::new(sqlstate::UNDEFINED_OBJECT, format!("type with OID {} does not exist", ty.oid))
        })
    }

    /// The enum types among some types.
    pub(crate) fn enum_types(&self, types: &[SqlType]) -> SqlResult<EnumTypes> {
        let of = types.iter().filter(|ty| ty.is_enum()).map(|ty| self.enum_type(*ty));
        Ok(EnumTypes::of(of.collect::<SqlResult<Vec<_>>>()?.into_iter()))
    }

    /// An expression as the catalog keeps it: types that users made are named by what does not change.
    pub(crate) fn kept_text(&self, expr: &sqlparser::ast::Expr) -> SqlResult<String> {
        let text = expr.to_string();
        if self.view.types().next().is_none() {
            return Ok(text);
        }
        with_kept_types(&text, &mut |name| match name {
            DataType::Custom(..) => Ok(self.type_named(name)?.user.map(|user| user.oid)),
            _ => Ok(None),
        })
    }

    /// enum_first(e) and enum_last(e): of the type of `e`.
    pub(super) fn enum_end(&mut self, name: &str, args: Vec<Typed>) -> SqlResult<Typed> {
        let types: Vec<SqlType> = args.iter().map(|arg| arg.ty).collect();
        let [ty] = types[..] else { return Err(self.undefined_function(name, &types)) };
        if !ty.is_enum() {
            return Err(self.undefined_function(name, &types));
        }
        let of = self.enum_type(ty)?;
        let label = if name == "enum_first" { of.labels().first() } else { of.labels().last() };
        let label = label.ok_or_else(|| {
            let message = format!("enum {} contains no values", of.name());
            SqlError::new(sqlstate::OBJECT_NOT_IN_STATE, message)
        })?;
        Ok(Typed { expr: Expr::Const(of.usable(label)?), ty })
    }
}
