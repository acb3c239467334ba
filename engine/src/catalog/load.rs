//! From the catalog's tables to the state in memory, at open.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sextant_redo::PageId;

use super::domain::{DomainCheck, DomainInfo};
use super::index::{self, IndexColumn, IndexInfo, KeySource};
use super::model::{
    CatalogView, Change, CheckInfo, ColumnInfo, ConstraintTiming, ForeignAction, ForeignKeyInfo, Relation,
    SequenceInfo, TableInfo,
};
use super::relation;
use super::system::{self, SystemRow, SystemTable};
use super::types::{TypeInfo, TypeKind};
use super::view::{ViewDefinition, ViewInfo};
use crate::btree::Tree;
use crate::sql::Formula;
use crate::txn::{Isolation, Snapshot, TransactionSystem};
use crate::types::key::KeyOrder;
use crate::types::{Datum, EnumLabel, EnumType, SqlError, SqlResult, SqlType, TimeZone, decode_text};

type Rows = Vec<Vec<Datum>>;

/// The table that a definition describes, without indexes.
pub(super) fn system_table(system: &TransactionSystem, def: &SystemTable, root: PageId) -> TableInfo {
    let columns: Vec<ColumnInfo> = def
        .columns
        .iter()
        .map(|(name, ty)| ColumnInfo {
            name: (*name).to_owned(),
            ty: *ty,
            declared: None,
            not_null: !matches!(*ty, SqlType::TEXT | SqlType::INT2VECTOR),
            default: None,
            generated: false,
            identity: None,
            missing: Datum::Null,
            dropped: false,
        })
        .collect();
    TableInfo {
        oid: def.oid,
        namespace: super::PG_CATALOG,
        schema: "pg_catalog".to_owned(),
        name: def.name.to_owned(),
        layout: TableInfo::layout_of(&columns),
        columns,
        store: system.table(def.oid, Tree { root }),
        indexes: Vec::new(),
        checks: Vec::new(),
        foreign_keys: Vec::new(),
    }
}

struct Loader<'a> {
    system: &'a TransactionSystem,
    roots: HashMap<u32, PageId>,
    rows: HashMap<u32, Rows>,
}

impl Loader<'_> {
    fn rows(&self, def: &'static SystemTable) -> impl Iterator<Item = SystemRow<'_>> {
        self.rows.get(&def.oid).into_iter().flatten().map(move |row| SystemRow { table: def, row })
    }

    async fn read(&mut self, def: &'static SystemTable, root: PageId, snapshot: &Snapshot) -> SqlResult<()> {
        let table = system_table(self.system, def, root);
        let rows = relation::scan(self.system, snapshot.clone(), &table).await?;
        self.rows.insert(def.oid, rows);
        Ok(())
    }
}

/// Reads everything. The catalog's state, and the next free OID.
pub(super) async fn load(system: &Arc<TransactionSystem>, pg_class: PageId) -> SqlResult<(CatalogView, u32)> {
    let mut txn = system.begin(Isolation::RepeatableRead);
    txn.begin_statement();
    let snapshot = txn.snapshot();
    let mut loader = Loader { system, roots: HashMap::new(), rows: HashMap::new() };
    loader.read(&system::PG_CLASS, pg_class, &snapshot).await?;
    let roots = loader
        .rows(&system::PG_CLASS)
        .map(|row| (row.oid("oid"), PageId(row.number("relroot") as u64)))
        .collect();
    loader.roots = roots;
    for def in system::ALL {
        match loader.roots.get(&def.oid).copied() {
            Some(_) if def.oid == system::PG_CLASS.oid => {}
            Some(root) => loader.read(def, root, &snapshot).await?,
            // A volume that is older than the table is given one after this.
            None if system::ADDED.iter().any(|added| added.oid == def.oid) => {}
            None => return Err(SqlError::corrupt(format!("the catalog has no {}", def.name))),
        }
    }
    txn.rollback();
    build(&loader)
}

fn build(loader: &Loader<'_>) -> SqlResult<(CatalogView, u32)> {
    let mut view = CatalogView::default();
    let mut last_oid = super::FIRST_USER_OID - 1;
    for row in loader.rows(&system::PG_NAMESPACE) {
        last_oid = last_oid.max(row.oid("oid"));
        view.apply(&Change::PutNamespace(row.text("nspname"), row.oid("oid")));
    }
    for info in enum_types(loader, &view) {
        last_oid =
            info.enum_type().into_iter().flat_map(|of| of.labels()).fold(last_oid, |n, l| n.max(l.oid));
        last_oid = last_oid.max(info.oid);
        view.apply(&Change::PutType(Arc::new(info)));
    }
    for info in domains(loader, &view)? {
        view.apply(&Change::PutType(Arc::new(info)));
    }
    last_oid = view.types().fold(last_oid, |n, info| n.max(info.oid));
    let mut columns = columns(loader, &view)?;
    let mut indexes = indexes(loader, &columns, &Arc::new(view.clone()))?;
    let mut checks = checks(loader);
    let mut foreign_keys = foreign_keys(loader)?;
    let sequences: HashMap<u32, SystemRow<'_>> =
        loader.rows(&system::PG_SEQUENCE).map(|r| (r.oid("seqrelid"), r)).collect();
    let rules: HashMap<u32, String> =
        loader.rows(&system::PG_REWRITE).map(|row| (row.oid("ev_class"), row.text("ev_action"))).collect();
    for row in loader.rows(&system::PG_CONSTRAINT) {
        last_oid = last_oid.max(row.oid("oid"));
    }
    for row in loader.rows(&system::PG_CLASS) {
        let oid = row.oid("oid");
        last_oid = last_oid.max(oid).max(row.oid("relfilenode"));
        match row.text("relkind").as_str() {
            "r" => {
                let columns = columns.remove(&oid).unwrap_or_default();
                let mut own: Vec<Arc<IndexInfo>> = indexes.remove(&oid).unwrap_or_default();
                own.sort_by_key(|i| (!i.primary, i.oid));
                for index in &own {
                    view.apply(&Change::Put(Relation::Index(index.clone())));
                }
                let namespace = row.oid("relnamespace");
                let table = TableInfo {
                    oid,
                    namespace,
                    schema: view.namespace_name(namespace).unwrap_or_default().to_owned(),
                    name: row.text("relname"),
                    layout: TableInfo::layout_of(&columns),
                    columns,
                    store: loader.system.table(oid, Tree { root: loader.roots[&oid] }),
                    indexes: own,
                    checks: checks.remove(&oid).unwrap_or_default(),
                    foreign_keys: foreign_keys.remove(&oid).unwrap_or_default(),
                };
                view.apply(&Change::Put(Relation::Table(Arc::new(table))));
            }
            "S" => {
                let s = sequences.get(&oid).ok_or_else(|| {
                    SqlError::corrupt(format!("sequence {oid} is not listed in pg_sequence"))
                })?;
                let sequence = sequence(&row, s);
                view.apply(&Change::Put(Relation::Sequence(Arc::new(sequence))));
            }
            "v" => {
                let rule = rules
                    .get(&oid)
                    .ok_or_else(|| SqlError::corrupt(format!("view {oid} is not listed in pg_rewrite")))?;
                let namespace = row.oid("relnamespace");
                let info = ViewInfo {
                    oid,
                    namespace,
                    schema: view.namespace_name(namespace).unwrap_or_default().to_owned(),
                    name: row.text("relname"),
                    columns: columns.remove(&oid).unwrap_or_default(),
                    definition: Arc::new(ViewDefinition::read(rule)?),
                };
                view.apply(&Change::Put(Relation::View(Arc::new(info))));
            }
            _ => {}
        }
    }
    Ok((view, last_oid + 1))
}

fn sequence(class: &SystemRow<'_>, row: &SystemRow<'_>) -> SequenceInfo {
    let owner = row.oid("seqowner");
    SequenceInfo {
        oid: class.oid("oid"),
        file: class.oid("relfilenode"),
        namespace: class.oid("relnamespace"),
        name: class.text("relname"),
        ty: SqlType::from_oid(row.oid("seqtypid")).unwrap_or(SqlType::INT8),
        start: row.number("seqstart"),
        increment: row.number("seqincrement"),
        min: row.number("seqmin"),
        max: row.number("seqmax"),
        cycle: row.flag("seqcycle"),
        owner: (owner != 0).then(|| (owner, row.number("seqownatt") as i16)),
    }
}

/// The enum types that users made, with their labels.
fn enum_types(loader: &Loader<'_>, view: &CatalogView) -> Vec<TypeInfo> {
    let mut labels: HashMap<u32, Vec<EnumLabel>> = HashMap::new();
    for row in loader.rows(&system::PG_ENUM) {
        let (sort_order, key) = match (row.get("enumsortorder"), row.get("enumkey")) {
            (Datum::Float4(order), Datum::Bytea(key)) => (*order, key.to_vec().into()),
            _ => continue,
        };
        let name = row.text("enumlabel").into();
        let label = EnumLabel { oid: row.oid("oid"), key, sort_order, name, of: "".into(), fresh: false };
        labels.entry(row.oid("enumtypid")).or_default().push(label);
    }
    let made = loader.rows(&system::PG_TYPE).filter(|row| row.text("typtype") == "e");
    made.map(|row| {
        let (oid, namespace, name) = (row.oid("oid"), row.oid("typnamespace"), row.text("typname"));
        let schema = view.namespace_name(namespace).unwrap_or_default().to_owned();
        let labels = labels.remove(&oid).unwrap_or_default();
        let of = EnumType::new(oid, &TypeInfo::spelled(&schema, &name), labels);
        TypeInfo { oid, namespace, schema, name, kind: TypeKind::Enum(Arc::new(of)) }
    })
    .collect()
}

/// The domains, each behind those that it is over.
fn domains(loader: &Loader<'_>, view: &CatalogView) -> SqlResult<Vec<TypeInfo>> {
    let mut checks: HashMap<u32, Vec<DomainCheck>> = HashMap::new();
    for row in loader.rows(&system::PG_CONSTRAINT).filter(|row| row.oid("contypid") != 0) {
        checks.entry(row.oid("contypid")).or_default().push(DomainCheck {
            oid: row.oid("oid"),
            name: row.text("conname"),
            condition: row.text("conbin"),
            valid: row.flag("convalidated"),
        });
    }
    let mut rows: Vec<SystemRow<'_>> =
        loader.rows(&system::PG_TYPE).filter(|row| row.text("typtype") == "d").collect();
    // What a domain is over is older than it.
    rows.sort_by_key(|row| row.oid("oid"));
    let mut made: BTreeMap<u32, Arc<TypeInfo>> = BTreeMap::new();
    for row in rows {
        let (oid, namespace, name) = (row.oid("oid"), row.oid("typnamespace"), row.text("typname"));
        let of = row.oid("typbasetype");
        let below = made.get(&of).or_else(|| view.type_info(of)).cloned();
        let typmod = row.number("typtypmod") as i32;
        let base = match &below {
            Some(below) => Some(below.value_type()),
            None => SqlType::from_oid(of).map(|ty| SqlType { typmod, ..ty }),
        };
        let base = base.ok_or_else(|| {
            SqlError::corrupt(format!("domain \"{name}\" is over a type that is not known"))
        })?;
        let default = row.get("typdefault").as_str().map(str::to_owned);
        let domain =
            DomainInfo { base, below, not_null: row.flag("typnotnull"), default, checks: Vec::new() };
        let domain = domain.with_checks(checks.remove(&oid).unwrap_or_default());
        let schema = view.namespace_name(namespace).unwrap_or_default().to_owned();
        let kind = TypeKind::Domain(Arc::new(domain));
        made.insert(oid, Arc::new(TypeInfo { oid, namespace, schema, name, kind }));
    }
    Ok(made.into_values().map(|info| TypeInfo::clone(&info)).collect())
}

/// Columns by table, in order.
fn columns(loader: &Loader<'_>, view: &CatalogView) -> SqlResult<HashMap<u32, Vec<ColumnInfo>>> {
    let defaults: HashMap<(u32, i64), String> = loader
        .rows(&system::PG_ATTRDEF)
        .map(|row| ((row.oid("adrelid"), row.number("adnum")), row.text("adbin")))
        .collect();
    let mut sorted: BTreeMap<(u32, i64), ColumnInfo> = BTreeMap::new();
    for row in loader.rows(&system::PG_ATTRIBUTE) {
        let (table, number) = (row.oid("attrelid"), row.number("attnum"));
        let name = row.text("attname");
        let declared = view.type_info(row.oid("atttypid")).cloned();
        let known = match &declared {
            Some(declared) => Some(declared.value_type()),
            None => SqlType::from_oid(row.oid("atttypid")),
        };
        let ty = known
            .ok_or_else(|| SqlError::corrupt(format!("column \"{name}\" has a type that is not known")))?;
        let ty = match declared.as_ref().and_then(|declared| declared.domain()) {
            Some(_) => ty,
            None => SqlType { typmod: row.number("atttypmod") as i32, ..ty },
        };
        let of = declared.as_ref().and_then(|declared| declared.enum_type());
        let missing = match (row.get("attmissingval"), of) {
            (Datum::Text(oid), Some(of)) => {
                let label = oid.parse().ok().and_then(|oid| of.label(oid));
                label.map(Datum::Enum).ok_or_else(|| {
                    SqlError::corrupt(format!("column \"{name}\" has a label that is not known"))
                })?
            }
            (Datum::Text(text), None) => decode_text(text, ty, &TimeZone::default())?,
            _ => Datum::Null,
        };
        let column = ColumnInfo {
            name,
            ty,
            declared,
            not_null: row.flag("attnotnull"),
            default: defaults.get(&(table, number)).cloned(),
            generated: row.text("attgenerated") == "s",
            identity: row.text("attidentity").chars().next(),
            missing,
            dropped: row.flag("attisdropped"),
        };
        sorted.insert((table, number), column);
    }
    let mut by_table: HashMap<u32, Vec<ColumnInfo>> = HashMap::new();
    for ((table, number), column) in sorted {
        let columns = by_table.entry(table).or_default();
        columns.push(column);
        if columns.len() as i64 != number {
            return Err(SqlError::corrupt(format!("table {table} misses column {}", columns.len())));
        }
    }
    Ok(by_table)
}

/// CHECK constraints by table.
fn checks(loader: &Loader<'_>) -> HashMap<u32, Vec<CheckInfo>> {
    let mut by_table: HashMap<u32, Vec<CheckInfo>> = HashMap::new();
    for row in loader
        .rows(&system::PG_CONSTRAINT)
        .filter(|row| row.text("contype") == "c" && row.oid("conrelid") != 0)
    {
        let check = CheckInfo {
            oid: row.oid("oid"),
            name: row.text("conname"),
            condition: row.text("conbin"),
            valid: row.flag("convalidated"),
        };
        by_table.entry(row.oid("conrelid")).or_default().push(check);
    }
    by_table.values_mut().for_each(|checks| checks.sort_by(|a, b| a.name.cmp(&b.name)));
    by_table
}

/// FOREIGN KEY constraints by table, the oldest first.
fn foreign_keys(loader: &Loader<'_>) -> SqlResult<HashMap<u32, Vec<Arc<ForeignKeyInfo>>>> {
    let mut by_table: HashMap<u32, Vec<Arc<ForeignKeyInfo>>> = HashMap::new();
    for row in loader.rows(&system::PG_CONSTRAINT).filter(|row| row.text("contype") == "f") {
        let name = row.text("conname");
        let action = |column| {
            ForeignAction::of_letter(&row.text(column)).ok_or_else(|| {
                SqlError::corrupt(format!("foreign key \"{name}\" has an action that is not known"))
            })
        };
        let columns = |column| row.numbers(column).iter().map(|n| (*n - 1).max(0) as usize).collect();
        let key = ForeignKeyInfo {
            oid: row.oid("oid"),
            columns: columns("conkey"),
            parent: row.oid("confrelid"),
            parent_columns: columns("confkey"),
            index: row.oid("conindid"),
            on_delete: action("confdeltype")?,
            on_update: action("confupdtype")?,
            full: row.text("confmatchtype") == "f",
            timing: timing(&row),
            valid: row.flag("convalidated"),
            name,
        };
        by_table.entry(row.oid("conrelid")).or_default().push(Arc::new(key));
    }
    by_table.values_mut().for_each(|keys| keys.sort_by_key(|key| key.oid));
    Ok(by_table)
}

fn timing(constraint: &SystemRow<'_>) -> ConstraintTiming {
    ConstraintTiming::of_flags(constraint.flag("condeferrable"), constraint.flag("condeferred"))
}

/// Indexes by table.
fn indexes(
    loader: &Loader<'_>,
    columns: &HashMap<u32, Vec<ColumnInfo>>,
    view: &Arc<CatalogView>,
) -> SqlResult<HashMap<u32, Vec<Arc<IndexInfo>>>> {
    let classes: HashMap<u32, SystemRow<'_>> =
        loader.rows(&system::PG_CLASS).map(|row| (row.oid("oid"), row)).collect();
    let constraints: HashMap<u32, ConstraintTiming> = loader
        .rows(&system::PG_CONSTRAINT)
        .filter(|row| row.text("contype") != "f")
        .map(|row| (row.oid("conindid"), timing(&row)))
        .collect();
    let mut by_table: HashMap<u32, Vec<Arc<IndexInfo>>> = HashMap::new();
    for row in loader.rows(&system::PG_INDEX) {
        let (oid, table) = (row.oid("indexrelid"), row.oid("indrelid"));
        let damaged = || SqlError::corrupt(format!("index {oid} of table {table} does not fit its table"));
        let class = classes.get(&oid).ok_or_else(damaged)?;
        let of_table = columns.get(&table).ok_or_else(damaged)?;
        let of = classes.get(&table).map(|row| row.text("relname")).ok_or_else(damaged)?;
        let parts = index_columns(&row, &of, of_table, view)?.ok_or_else(damaged)?;
        let predicate = match row.get("indpred") {
            Datum::Text(text) => Some(Arc::new(Formula::of_text(text, &of, of_table, view)?)),
            _ => None,
        };
        let unique = row.flag("indisunique");
        let index = IndexInfo {
            oid,
            namespace: class.oid("relnamespace"),
            name: class.text("relname"),
            table,
            unique,
            primary: row.flag("indisprimary"),
            constraint: constraints.contains_key(&oid),
            timing: constraints.get(&oid).copied().unwrap_or_default(),
            valid: row.flag("indisvalid"),
            ready: row.flag("indisready"),
            store: index::store(oid, loader.roots[&oid], unique, &parts, predicate.as_ref(), of_table),
            inputs: index::inputs(&parts, predicate.as_deref()),
            columns: parts,
            predicate,
        };
        by_table.entry(table).or_default().push(Arc::new(index));
    }
    Ok(by_table)
}

/// The columns of an index; `None` when they are not the table's.
fn index_columns(
    row: &SystemRow<'_>,
    table: &str,
    columns: &[ColumnInfo],
    view: &Arc<CatalogView>,
) -> SqlResult<Option<Vec<IndexColumn>>> {
    let texts = row.text("indexprs");
    let texts: Vec<String> = serde_json::from_str(&texts).unwrap_or_default();
    let mut texts = texts.iter();
    let mut parts = Vec::new();
    for (attnum, option) in row.numbers("indkey").iter().zip(row.numbers("indoption")) {
        let order = KeyOrder { descending: option & 1 != 0, nulls_first: option & 2 != 0 };
        if *attnum == 0 {
            let Some(text) = texts.next() else { return Ok(None) };
            let formula = Formula::of_text(text, table, columns, view)?;
            let ty = formula.ty();
            parts.push(IndexColumn { source: KeySource::Expr(Arc::new(formula)), ty, order });
            continue;
        }
        let column = usize::try_from(*attnum - 1).ok().filter(|n| *n < columns.len());
        let Some(column) = column else { return Ok(None) };
        parts.push(IndexColumn::of(columns, column, order));
    }
    Ok(Some(parts))
}
