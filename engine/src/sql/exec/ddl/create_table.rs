//! CREATE TABLE.

use sqlparser::ast::{self, ColumnOption, DataType, GeneratedAs, TableConstraint};

use super::Ddl;
use super::foreign_key::ForeignSpec;
use super::index::KeySpec;
use crate::catalog::{ColumnInfo, ConstraintTiming, NewColumn, NewTable, SequenceInfo};
use crate::sql::bind::Declared;
use crate::sql::names;
use crate::types::{Datum, SqlError, SqlResult, SqlType, sqlstate};

/// As many columns as PostgreSQL allows.
pub(super) const COLUMNS_MAX: usize = 1600;

/// A column's definition, taken apart.
pub(super) struct Definition<'a> {
    pub(super) column: NewColumn,
    /// The sequence that gives its values.
    pub(super) sequence: Option<&'a [ast::SequenceOptions]>,
    pub(super) keys: Vec<KeySpec>,
    /// CHECK constraints, by name if they have one.
    pub(super) checks: Vec<(Option<String>, &'a ast::Expr)>,
    pub(super) foreign_keys: Vec<ForeignSpec<'a>>,
}

impl Ddl<'_> {
    pub(super) async fn create_table(&mut self, create: &ast::CreateTable) -> SqlResult<()> {
        refuse_rare(create)?;
        let (namespace, name) = self.place(&create.name)?;
        if self.is_taken(namespace, &name, create.if_not_exists)? {
            return Ok(());
        }
        self.refuse_type_name(namespace, &name)?;
        if create.columns.len() > COLUMNS_MAX {
            let message = format!("tables can have at most {COLUMNS_MAX} columns");
            return Err(SqlError::new(sqlstate::TOO_MANY_COLUMNS, message));
        }
        let mut columns: Vec<NewColumn> = Vec::new();
        let mut keys: Vec<KeySpec> = Vec::new();
        let mut checks: Vec<(Option<String>, &ast::Expr)> = Vec::new();
        let mut foreign_keys: Vec<ForeignSpec<'_>> = Vec::new();
        let mut owned: Vec<(usize, std::sync::Arc<SequenceInfo>)> = Vec::new();
        for (n, column) in create.columns.iter().enumerate() {
            let mut definition = self.definition(column)?;
            self.hold_type(definition.column.declared.as_ref()).await?;
            if columns.iter().any(|c| c.name == definition.column.name) {
                return Err(SqlError::new(
                    sqlstate::DUPLICATE_COLUMN,
                    format!("column \"{}\" specified more than once", definition.column.name),
                ));
            }
            if let Some(options) = definition.sequence {
                let (default, sequence) =
                    self.column_sequence(namespace, &name, &definition.column, options).await?;
                definition.column.default = Some(default);
                owned.push((n, sequence));
            }
            keys.append(&mut definition.keys);
            checks.append(&mut definition.checks);
            foreign_keys.append(&mut definition.foreign_keys);
            columns.push(definition.column);
        }
        for constraint in &create.constraints {
            match constraint {
                TableConstraint::Check(check) => {
                    checks.push((check.name.as_ref().map(names::fold), &*check.expr));
                }
                TableConstraint::ForeignKey(key) => foreign_keys.push(ForeignSpec::of_table(key)),
                key => keys.push(table_key(key)?),
            }
        }
        let names: Vec<String> = columns.iter().map(|c| c.name.clone()).collect();
        if keys.iter().filter(|k| k.primary).count() > 1 {
            return Err(several_primary_keys(&name));
        }
        for key in keys.iter().filter(|k| k.primary) {
            for column in &key.columns {
                let n = names
                    .iter()
                    .position(|c| *c == column.name)
                    .ok_or_else(|| no_key_column(&column.name))?;
                columns[n].not_null = true;
            }
        }
        let new = NewTable { namespace, name, columns };
        let mut table = self.db.catalog.create_table(self.txn, new).await?;
        // For the errors in what is generated.
        self.binder()?.rules(&table)?;
        keys.sort_by_key(|k| !k.primary);
        for key in keys {
            table = self.add_index(&table, key).await?;
        }
        // Those with names first, so that no name is made up that is given below.
        checks.sort_by_key(|(name, _)| name.is_none());
        for (name, condition) in checks {
            table = self.add_check(table, name, condition, true).await?;
        }
        for key in foreign_keys {
            table = self.add_foreign_key(table, key, true).await?;
        }
        for (n, sequence) in owned {
            self.db.catalog.own_sequence(self.txn, &sequence, table.oid, n).await?;
        }
        Ok(())
    }

    pub(super) fn definition<'a>(&mut self, column: &'a ast::ColumnDef) -> SqlResult<Definition<'a>> {
        let name = names::fold(&column.name);
        let serial = serial(&column.data_type);
        let declared = match serial {
            Some(ty) => Declared { ty, user: None },
            None => self.binder()?.type_named(&column.data_type)?,
        };
        let mut definition = Definition {
            column: NewColumn {
                name: name.clone(),
                ty: declared.ty,
                declared: declared.user,
                not_null: serial.is_some(),
                default: None,
                generated: false,
                identity: None,
            },
            sequence: serial.map(|_| &[][..]),
            keys: Vec::new(),
            checks: Vec::new(),
            foreign_keys: Vec::new(),
        };
        let mut generation = None;
        for option in &column.options {
            let constraint = option.name.as_ref().map(names::fold);
            match &option.option {
                ColumnOption::Null => {}
                ColumnOption::NotNull => definition.column.not_null = true,
                ColumnOption::Default(expr) => {
                    self.check_default(&definition.column, expr)?;
                    definition.column.default = Some(self.binder()?.kept_text(expr)?);
                }
                ColumnOption::PrimaryKey(key) => {
                    let timing = timing(key.characteristics.as_ref())?;
                    definition.keys.push(KeySpec::column(&name, constraint, true, timing));
                }
                ColumnOption::Unique(key) => {
                    let timing = timing(key.characteristics.as_ref())?;
                    definition.keys.push(KeySpec::column(&name, constraint, false, timing));
                }
                ColumnOption::Generated {
                    generated_as: kind @ (GeneratedAs::Always | GeneratedAs::ByDefault),
                    sequence_options,
                    generation_expr: None,
                    ..
                } => {
                    definition.column.identity = Some(if *kind == GeneratedAs::Always { 'a' } else { 'd' });
                    definition.column.not_null = true;
                    definition.sequence = Some(sequence_options.as_deref().unwrap_or_default());
                }
                ColumnOption::Generated {
                    generated_as: GeneratedAs::ExpStored,
                    generation_expr: Some(value),
                    ..
                } => {
                    definition.column.generated = true;
                    generation = Some(value);
                }
                ColumnOption::Collation(collation) => refuse_collation(collation)?,
                ColumnOption::Check(check) => definition.checks.push((constraint, &*check.expr)),
                ColumnOption::ForeignKey(key) => {
                    definition.foreign_keys.push(ForeignSpec::of_column(&name, constraint, key));
                }
                other => return Err(SqlError::unsupported(format!("the column option {other}"))),
            }
        }
        if let Some(value) = generation {
            let column = &mut definition.column;
            let other = match (&column.default, definition.sequence) {
                (Some(_), _) => "default",
                (None, Some(_)) => "identity",
                (None, None) => {
                    column.default = Some(self.binder()?.kept_text(value)?);
                    return Ok(definition);
                }
            };
            let message =
                format!("both {other} and generation expression specified for column \"{}\"", column.name);
            return Err(SqlError::syntax(message));
        }
        Ok(definition)
    }

    /// Binds a DEFAULT for its errors; the catalog keeps its text.
    pub(super) fn check_default(&mut self, column: &NewColumn, expr: &ast::Expr) -> SqlResult<()> {
        let info = ColumnInfo {
            name: column.name.clone(),
            ty: column.ty,
            declared: column.declared.clone(),
            not_null: false,
            default: Some(expr.to_string()),
            generated: false,
            identity: None,
            missing: Datum::Null,
            dropped: false,
        };
        let mut binder = self.binder()?;
        binder.default_of(&info).map(|_| ()).map_err(|e| match e.sqlstate {
            sqlstate::UNDEFINED_COLUMN => SqlError::unsupported("a column reference in DEFAULT"),
            _ => e,
        })
    }
}

/// serial and its sizes.
fn serial(ty: &DataType) -> Option<SqlType> {
    let DataType::Custom(name, modifiers) = ty else { return None };
    let (None, name) = names::qualified(name).ok()? else { return None };
    match (name.as_str(), modifiers.is_empty()) {
        ("serial" | "serial4", true) => Some(SqlType::INT4),
        ("bigserial" | "serial8", true) => Some(SqlType::INT8),
        ("smallserial" | "serial2", true) => Some(SqlType::INT2),
        _ => None,
    }
}

/// A constraint that an index keeps; others are not implemented.
pub(super) fn table_key(constraint: &TableConstraint) -> SqlResult<KeySpec> {
    let (name, columns, primary, rare, characteristics) = match constraint {
        TableConstraint::PrimaryKey(key) => {
            (&key.name, &key.columns, true, !key.include.is_empty(), &key.characteristics)
        }
        TableConstraint::Unique(key) => {
            let rare = !key.include.is_empty() || key.nulls_distinct == ast::NullsDistinctOption::NotDistinct;
            (&key.name, &key.columns, false, rare, &key.characteristics)
        }
        other => return Err(SqlError::unsupported(format!("the constraint {other}"))),
    };
    if rare {
        return Err(SqlError::unsupported("INCLUDE or NULLS NOT DISTINCT"));
    }
    let timing = timing(characteristics.as_ref())?;
    KeySpec::new(name.as_ref().map(names::fold), columns, primary, true, timing)
}

/// DEFERRABLE and INITIALLY.
pub(super) fn timing(given: Option<&ast::ConstraintCharacteristics>) -> SqlResult<ConstraintTiming> {
    let Some(given) = given else { return Ok(ConstraintTiming::Fixed) };
    if given.enforced == Some(false) {
        return Err(SqlError::unsupported("NOT ENFORCED"));
    }
    let deferred = given.initially == Some(ast::DeferrableInitial::Deferred);
    if deferred && given.deferrable == Some(false) {
        return Err(SqlError::syntax("constraint declared INITIALLY DEFERRED must be DEFERRABLE"));
    }
    Ok(ConstraintTiming::of_flags(deferred || given.deferrable == Some(true), deferred))
}

pub(super) fn several_primary_keys(table: &str) -> SqlError {
    SqlError::new(
        sqlstate::INVALID_TABLE_DEFINITION,
        format!("multiple primary keys for table \"{table}\" are not allowed"),
    )
}

pub(super) fn no_key_column(name: &str) -> SqlError {
    SqlError::new(sqlstate::UNDEFINED_COLUMN, format!("column \"{name}\" named in key does not exist"))
}

pub(super) fn refuse_collation(collation: &ast::ObjectName) -> SqlResult<()> {
    match names::qualified(collation)?.1.as_str() {
        "C" | "POSIX" | "default" => Ok(()),
        other => Err(SqlError::unsupported(format!("collation \"{other}\""))),
    }
}

fn refuse_rare(create: &ast::CreateTable) -> SqlResult<()> {
    let rare = [
        (create.temporary, "CREATE TEMPORARY TABLE"),
        (create.unlogged, "CREATE UNLOGGED TABLE"),
        (create.query.is_some(), "CREATE TABLE AS"),
        (create.like.is_some(), "CREATE TABLE LIKE"),
        (create.partition_by.is_some() || create.partition_of.is_some(), "partitioning"),
        (create.inherits.is_some(), "INHERITS"),
        (create.or_replace, "CREATE OR REPLACE TABLE"),
    ];
    match rare.iter().find(|(there, _)| *there) {
        Some((_, what)) => Err(SqlError::unsupported(what)),
        None => Ok(()),
    }
}
