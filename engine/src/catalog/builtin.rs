//! The system's own views. They are part of the program and not of the catalog's tables: pg_class does not list them.

use std::sync::Arc;

use super::PG_CATALOG;
use super::model::{CatalogView, Change, Relation};
use super::view::{ViewDefinition, ViewInfo};
use crate::sql::{parse_view, view_columns};
use crate::types::SqlResult;

/// OID, name, query.
const VIEWS: [(u32, &str, &str); 3] = [
    (
        12003,
        "pg_views",
        "SELECT n.nspname AS schemaname, c.relname AS viewname, pg_get_userbyid(c.relowner) AS viewowner, \
         pg_get_viewdef(c.oid) AS definition \
         FROM pg_class c LEFT JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'v'",
    ),
    (
        12008,
        "pg_tables",
        "SELECT n.nspname AS schemaname, c.relname AS tablename, pg_get_userbyid(c.relowner) AS tableowner, \
         NULL::name AS tablespace, c.relhasindex AS hasindexes, c.relhasrules AS hasrules, \
         c.relhastriggers AS hastriggers, c.relrowsecurity AS rowsecurity \
         FROM pg_class c LEFT JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r'",
    ),
    (
        12018,
        "pg_indexes",
        "SELECT n.nspname AS schemaname, c.relname AS tablename, i.relname AS indexname, NULL::name AS tablespace, \
         pg_get_indexdef(i.oid) AS indexdef \
         FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid \
         LEFT JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND i.relkind = 'i'",
    ),
];

/// Adds them to a state that has the system's tables.
pub(super) fn add(view: &mut CatalogView) -> SqlResult<()> {
    let tables = Arc::new(view.clone());
    for (oid, name, text) in VIEWS {
        let query = parse_view(text)?;
        let info = ViewInfo {
            oid,
            namespace: PG_CATALOG,
            schema: "pg_catalog".to_owned(),
            name: name.to_owned(),
            columns: view_columns(&query, &tables)?,
            definition: Arc::new(ViewDefinition::new(&query, Vec::new())?),
        };
        view.apply(&Change::Put(Relation::View(Arc::new(info))));
    }
    Ok(())
}
