//! What the catalog says about relations, as statements use it: immutable, shared, built from the catalog's tables.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::domain::DomainInfo;
use super::index::IndexInfo;
use super::types::TypeInfo;
use super::view::ViewInfo;
use crate::table::Table;
use crate::types::row::RowLayout;
use crate::types::{Datum, SqlType};

/// The schema of the system's own tables.
pub const PG_CATALOG: u32 = 11;
/// The schema that everybody has.
pub const PUBLIC: u32 = 2200;
/// The OIDs below are the system's.
pub use crate::txn::FIRST_USER_OID;

/// A column of a table.
#[derive(Debug, Clone)]
pub struct ColumnInfo {
    /// Its name.
    pub name: String,
    /// Its type; of a domain, the type below.
    pub ty: SqlType,
    /// The type that it was declared with, if a user made that.
    pub declared: Option<Arc<TypeInfo>>,
    /// NULL is refused.
    pub not_null: bool,
    /// DEFAULT, as SQL text; of a generated column, its value over the others.
    pub default: Option<String>,
    /// GENERATED ALWAYS AS (...) STORED.
    pub generated: bool,
    /// GENERATED ALWAYS ('a') or BY DEFAULT ('d') AS IDENTITY.
    pub identity: Option<char>,
    /// Its value in rows that are older than it.
    pub missing: Datum,
    /// Dropped: its place stays.
    pub dropped: bool,
}

/// A CHECK constraint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckInfo {
    /// Its OID.
    pub oid: u32,
    /// Its name, the only one among the table's constraints.
    pub name: String,
    /// Its condition, as SQL text.
    pub condition: String,
    /// False while rows that are older than it may break it (NOT VALID).
    pub valid: bool,
}

/// What a foreign key does to the rows that refer to a key which goes or changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForeignAction {
    /// 23503 unless the key is there again at the end of the statement.
    NoAction,
    /// 23503.
    Restrict,
    /// They are deleted, or follow the key.
    Cascade,
    /// They refer to nothing.
    SetNull,
    /// They refer to what their columns' DEFAULTs say.
    SetDefault,
}

impl ForeignAction {
    /// As pg_constraint spells it.
    #[must_use]
    pub fn letter(self) -> &'static str {
        match self {
            ForeignAction::NoAction => "a",
            ForeignAction::Restrict => "r",
            ForeignAction::Cascade => "c",
            ForeignAction::SetNull => "n",
            ForeignAction::SetDefault => "d",
        }
    }

    /// What pg_constraint spells so.
    #[must_use]
    pub fn of_letter(letter: &str) -> Option<ForeignAction> {
        use ForeignAction as A;
        [A::NoAction, A::Restrict, A::Cascade, A::SetNull, A::SetDefault]
            .into_iter()
            .find(|action| action.letter() == letter)
    }

    /// Whether it changes rows.
    #[must_use]
    pub fn changes(self) -> bool {
        !matches!(self, ForeignAction::NoAction | ForeignAction::Restrict)
    }
}

/// When a constraint is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConstraintTiming {
    /// NOT DEFERRABLE: a unique key row by row, a foreign key at the end of each statement.
    #[default]
    Fixed,
    /// DEFERRABLE INITIALLY IMMEDIATE: at the end of each statement, unless SET CONSTRAINTS says at COMMIT.
    Immediate,
    /// DEFERRABLE INITIALLY DEFERRED: at COMMIT, unless SET CONSTRAINTS says otherwise.
    Deferred,
}

impl ConstraintTiming {
    /// Of pg_constraint's condeferrable and condeferred.
    #[must_use]
    pub fn of_flags(deferrable: bool, deferred: bool) -> ConstraintTiming {
        match (deferrable, deferred) {
            (false, _) => ConstraintTiming::Fixed,
            (true, false) => ConstraintTiming::Immediate,
            (true, true) => ConstraintTiming::Deferred,
        }
    }

    /// DEFERRABLE.
    #[must_use]
    pub fn is_deferrable(self) -> bool {
        self != ConstraintTiming::Fixed
    }

    /// INITIALLY DEFERRED.
    #[must_use]
    pub fn is_deferred(self) -> bool {
        self == ConstraintTiming::Deferred
    }
}

/// A FOREIGN KEY constraint, listed with the table that refers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKeyInfo {
    /// Its OID.
    pub oid: u32,
    /// Its name, the only one among the table's constraints.
    pub name: String,
    /// The columns that refer, from 0.
    pub columns: Vec<usize>,
    /// The table that they refer to.
    pub parent: u32,
    /// Its columns, in the order of `columns`.
    pub parent_columns: Vec<usize>,
    /// Its unique index over these.
    pub index: u32,
    /// When a key that is referred to goes.
    pub on_delete: ForeignAction,
    /// When it changes.
    pub on_update: ForeignAction,
    /// MATCH FULL: NULL in all columns or in none.
    pub full: bool,
    /// When it is asked.
    pub timing: ConstraintTiming,
    /// False while rows that are older than it may break it (NOT VALID).
    pub valid: bool,
}

/// A table.
#[derive(Debug, Clone)]
pub struct TableInfo {
    /// Its OID.
    pub oid: u32,
    /// Its schema.
    pub namespace: u32,
    /// Its schema's name.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its columns; column n has attnum n + 1.
    pub columns: Vec<ColumnInfo>,
    /// Its rows.
    pub store: Table,
    /// How its rows are stored.
    pub layout: RowLayout,
    /// Its indexes, the primary key's first.
    pub indexes: Vec<Arc<IndexInfo>>,
    /// Its CHECK constraints by name, the order in which they are asked.
    pub checks: Vec<CheckInfo>,
    /// Its FOREIGN KEY constraints, the oldest first.
    pub foreign_keys: Vec<Arc<ForeignKeyInfo>>,
}

/// A sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceInfo {
    /// Its OID.
    pub oid: u32,
    /// Its schema.
    pub namespace: u32,
    /// Its name.
    pub name: String,
    /// What its values are kept under: RESTART IDENTITY gives it a new one, which a rollback takes back.
    pub file: u32,
    /// The type that bounds it.
    pub ty: SqlType,
    /// The first value.
    pub start: i64,
    /// Added for the next.
    pub increment: i64,
    /// The least value.
    pub min: i64,
    /// The greatest value.
    pub max: i64,
    /// Starts over at the end.
    pub cycle: bool,
    /// The column that it goes with: dropped together.
    pub owner: Option<(u32, i16)>,
}

/// Anything that pg_class lists.
#[derive(Debug, Clone)]
pub enum Relation {
    /// A table.
    Table(Arc<TableInfo>),
    /// An index, listed with its table too.
    Index(Arc<IndexInfo>),
    /// A sequence.
    Sequence(Arc<SequenceInfo>),
    /// A view.
    View(Arc<ViewInfo>),
}

impl Relation {
    /// Its schema and name.
    #[must_use]
    pub fn name(&self) -> (u32, &str) {
        match self {
            Relation::Table(t) => (t.namespace, &t.name),
            Relation::Index(i) => (i.namespace, &i.name),
            Relation::Sequence(s) => (s.namespace, &s.name),
            Relation::View(v) => (v.namespace, &v.name),
        }
    }

    /// Its OID.
    #[must_use]
    pub fn oid(&self) -> u32 {
        match self {
            Relation::Table(t) => t.oid,
            Relation::Index(i) => i.oid,
            Relation::Sequence(s) => s.oid,
            Relation::View(v) => v.oid,
        }
    }
}

impl ColumnInfo {
    /// A column of a type, and nothing else about it.
    #[must_use]
    pub fn of_type(name: &str, ty: SqlType) -> ColumnInfo {
        ColumnInfo {
            name: name.to_owned(),
            ty,
            declared: None,
            not_null: false,
            default: None,
            generated: false,
            identity: None,
            missing: Datum::Null,
            dropped: false,
        }
    }

    /// What it is of, if that is a domain.
    #[must_use]
    pub fn domain(&self) -> Option<&Arc<DomainInfo>> {
        self.declared.as_ref()?.domain()
    }

    /// Its type as errors spell it.
    #[must_use]
    pub fn type_name(&self) -> String {
        match &self.declared {
            Some(info) => TypeInfo::spelled(&info.schema, &info.name),
            None => self.ty.name().to_owned(),
        }
    }
}

impl TableInfo {
    /// The layout of rows with these columns.
    #[must_use]
    pub fn layout_of(columns: &[ColumnInfo]) -> RowLayout {
        let enums = columns.iter().enumerate().filter_map(|(n, c)| {
            c.declared.as_ref().and_then(|declared| declared.enum_type()).map(|of| (n, of.clone()))
        });
        RowLayout::new(columns.iter().map(|c| (c.ty, c.missing.clone()))).with_enums(enums.collect())
    }

    /// A column by its name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == name && !c.dropped)
    }

    /// The columns that are there, by number from 0.
    pub fn live_columns(&self) -> impl Iterator<Item = (usize, &ColumnInfo)> {
        self.columns.iter().enumerate().filter(|(_, c)| !c.dropped)
    }

    /// Whether one of its constraints has the name.
    #[must_use]
    pub fn has_constraint(&self, name: &str) -> bool {
        self.checks.iter().any(|check| check.name == name)
            || self.indexes.iter().any(|index| index.constraint && index.name == name)
            || self.foreign_keys.iter().any(|key| key.name == name)
    }

    /// The expressions that it keeps as text.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        let defaults = self.columns.iter().filter_map(|column| column.default.as_deref());
        let checks = self.checks.iter().map(|check| check.condition.as_str());
        defaults.chain(checks).chain(self.indexes.iter().flat_map(|index| index.texts()))
    }

    /// The primary key's index.
    #[must_use]
    pub fn primary_key(&self) -> Option<&Arc<IndexInfo>> {
        self.indexes.iter().find(|i| i.primary)
    }

    /// True for the system's own tables.
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.oid < FIRST_USER_OID
    }
}

/// A state of the catalog.
#[derive(Debug, Clone, Default)]
pub struct CatalogView {
    /// Different for every different state that a plan can have been made for.
    pub version: u64,
    relations: HashMap<u32, Relation>,
    names: HashMap<u32, HashMap<String, u32>>,
    namespaces: HashMap<String, u32>,
    /// By table, the tables whose foreign keys refer to it.
    referrers: HashMap<u32, BTreeSet<u32>>,
    types: HashMap<u32, Arc<TypeInfo>>,
}

impl CatalogView {
    /// A relation by its OID.
    #[must_use]
    pub fn relation(&self, oid: u32) -> Option<&Relation> {
        self.relations.get(&oid)
    }

    /// A table by its OID.
    #[must_use]
    pub fn table(&self, oid: u32) -> Option<&Arc<TableInfo>> {
        match self.relations.get(&oid) {
            Some(Relation::Table(t)) => Some(t),
            _ => None,
        }
    }

    /// A relation by schema and name.
    #[must_use]
    pub fn find(&self, namespace: u32, name: &str) -> Option<&Relation> {
        self.relations.get(self.names.get(&namespace)?.get(name)?)
    }

    /// A type that a user made, by its OID.
    #[must_use]
    pub fn type_info(&self, oid: u32) -> Option<&Arc<TypeInfo>> {
        self.types.get(&oid)
    }

    /// A type that a user made, by schema and name.
    #[must_use]
    pub fn find_type(&self, namespace: u32, name: &str) -> Option<&Arc<TypeInfo>> {
        self.types.values().find(|info| info.namespace == namespace && info.name == name)
    }

    /// Every type that a user made, in no order.
    pub fn types(&self) -> impl Iterator<Item = &Arc<TypeInfo>> {
        self.types.values()
    }

    /// The schemas and the types, without anything that is in the schemas.
    #[must_use]
    pub(crate) fn types_alone(&self) -> CatalogView {
        CatalogView {
            namespaces: self.namespaces.clone(),
            types: self.types.clone(),
            ..CatalogView::default()
        }
    }

    /// The same with a type as it is described.
    #[must_use]
    pub(crate) fn with_type(&self, info: TypeInfo) -> CatalogView {
        let mut view = self.clone();
        view.put_type(&Arc::new(info));
        view
    }

    /// A schema by its name.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<u32> {
        self.namespaces.get(name).copied()
    }

    /// A schema's name.
    #[must_use]
    pub fn namespace_name(&self, oid: u32) -> Option<&str> {
        self.namespaces.iter().find(|(_, o)| **o == oid).map(|(n, _)| n.as_str())
    }

    /// The foreign keys that refer to a table, each with its own table, the oldest first.
    #[must_use]
    pub fn referring(&self, parent: u32) -> Vec<(Arc<TableInfo>, Arc<ForeignKeyInfo>)> {
        let tables = self.referrers.get(&parent).into_iter().flatten().filter_map(|oid| self.table(*oid));
        let mut keys: Vec<_> = tables
            .flat_map(|table| table.foreign_keys.iter().map(move |key| (table.clone(), key.clone())))
            .filter(|(_, key)| key.parent == parent)
            .collect();
        keys.sort_by_key(|(_, key)| key.oid);
        keys
    }

    /// The views that look at a relation or use a type, or look at a column (from 0), the oldest first.
    #[must_use]
    pub fn views_on(&self, oid: u32, column: Option<usize>) -> Vec<Arc<ViewInfo>> {
        let mut views: Vec<Arc<ViewInfo>> = self
            .relations()
            .filter_map(|relation| match relation {
                Relation::View(view) if view.depends_on(oid, column) => Some(view.clone()),
                _ => None,
            })
            .collect();
        views.sort_by_key(|view| view.oid);
        views
    }

    /// Every relation, in no order.
    pub fn relations(&self) -> impl Iterator<Item = &Relation> {
        self.relations.values()
    }

    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Put(relation) => {
                let relation = &self.current(relation);
                self.remove(relation.oid());
                let (namespace, name) = relation.name();
                self.names.entry(namespace).or_default().insert(name.to_owned(), relation.oid());
                self.relations.insert(relation.oid(), relation.clone());
                if let Relation::Table(table) = relation {
                    for key in &table.foreign_keys {
                        self.referrers.entry(key.parent).or_default().insert(table.oid);
                    }
                }
            }
            Change::Remove(oid) => self.remove(*oid),
            Change::PutNamespace(name, oid) => {
                self.namespaces.insert(name.clone(), *oid);
            }
            Change::RemoveNamespace(name) => {
                self.namespaces.remove(name);
            }
            Change::PutType(info) => self.put_type(info),
            Change::RemoveType(oid) => {
                self.types.remove(oid);
            }
        }
    }

    /// What is there of a type describes it as it is now.
    fn put_type(&mut self, info: &Arc<TypeInfo>) {
        let info = &Arc::new(info.current(&|oid| self.types.get(&oid).cloned()));
        self.types.insert(info.oid, info.clone());
        let over = |other: &&Arc<TypeInfo>| {
            let below = other.domain().and_then(|domain| domain.below.as_ref());
            below.is_some_and(|below| below.oid == info.oid)
        };
        let domains: Vec<Arc<TypeInfo>> = self.types.values().filter(over).cloned().collect();
        domains.iter().for_each(|domain| self.put_type(domain));
        let uses = |column: &ColumnInfo| column.declared.as_ref().is_some_and(|of| of.oid == info.oid);
        let users: Vec<Relation> = self
            .relations()
            .filter(|relation| matches!(relation, Relation::Table(table) if table.columns.iter().any(uses)))
            .map(|relation| self.current(relation))
            .collect();
        for relation in users {
            self.relations.insert(relation.oid(), relation);
        }
    }

    /// A relation with the types of its columns as they are in this state.
    fn current(&self, relation: &Relation) -> Relation {
        let Relation::Table(table) = relation else { return relation.clone() };
        let of = |column: &ColumnInfo| self.types.get(&column.declared.as_ref()?.oid).cloned();
        let older = |column: &ColumnInfo| match (&column.declared, of(column)) {
            (Some(old), Some(new)) => !Arc::ptr_eq(old, &new),
            _ => false,
        };
        if !table.columns.iter().any(older) {
            return relation.clone();
        }
        let mut table = TableInfo::clone(table);
        for column in &mut table.columns {
            if let Some(new) = of(column) {
                // The name of a label may be another one.
                if let (Datum::Enum(label), Some(of)) = (&column.missing, new.enum_type())
                    && let Some(label) = of.label(label.oid)
                {
                    column.missing = Datum::Enum(label);
                }
                column.declared = Some(new);
            }
        }
        table.layout = TableInfo::layout_of(&table.columns);
        Relation::Table(Arc::new(table))
    }

    fn remove(&mut self, oid: u32) {
        if let Some(old) = self.relations.remove(&oid) {
            let (namespace, name) = old.name();
            if let Some(names) = self.names.get_mut(&namespace) {
                names.remove(name);
            }
            if let Relation::Table(table) = &old {
                for key in &table.foreign_keys {
                    if let Some(tables) = self.referrers.get_mut(&key.parent) {
                        tables.remove(&oid);
                    }
                }
            }
        }
    }
}

/// A change of the catalog's state.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Put(Relation),
    Remove(u32),
    PutNamespace(String, u32),
    RemoveNamespace(String),
    PutType(Arc<TypeInfo>),
    RemoveType(u32),
}

impl Change {
    /// The change as others see it once it is committed.
    pub(super) fn settled(&self) -> Change {
        match self {
            Change::PutType(info) => Change::PutType(Arc::new(info.settled())),
            other => other.clone(),
        }
    }
}
