//! The system's own views. They are part of the program and not of the catalog's tables: pg_class does not list them.
//! What PostgreSQL keeps in tables and has no like of here (databases, roles, extensions) is a view that says so.

use std::sync::Arc;

use super::PG_CATALOG;
use super::model::{CatalogView, Change, Relation};
use super::view::{ViewDefinition, ViewInfo};
use crate::sql::{parse_view, view_columns};
use crate::types::SqlResult;

/// OID, name, query.
const VIEWS: [(u32, &str, &str); 12] = [
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
    (
        2601,
        "pg_am",
        "SELECT 2::oid AS oid, 'heap'::name AS amname, 't'::\"char\" AS amtype \
         UNION ALL SELECT 403::oid, 'btree'::name, 'i'::\"char\"",
    ),
    (
        1262,
        "pg_database",
        "SELECT 5::oid AS oid, current_database() AS datname, 10::oid AS datdba, 6 AS encoding, \
         'c'::\"char\" AS datlocprovider, false AS datistemplate, true AS datallowconn, -1 AS datconnlimit, \
         1663::oid AS dattablespace, 'C' AS datcollate, 'C' AS datctype, NULL::text AS daticulocale, NULL::text AS datacl",
    ),
    (
        12000,
        "pg_roles",
        "SELECT current_user AS rolname, true AS rolsuper, true AS rolinherit, true AS rolcreaterole, \
         true AS rolcreatedb, true AS rolcanlogin, false AS rolreplication, -1 AS rolconnlimit, \
         NULL::text AS rolpassword, NULL::timestamptz AS rolvaliduntil, true AS rolbypassrls, \
         NULL::text AS rolconfig, 10::oid AS oid",
    ),
    (
        12001,
        "pg_user",
        "SELECT current_user AS usename, 10::oid AS usesysid, true AS usecreatedb, true AS usesuper, false AS userepl, \
         true AS usebypassrls, NULL::text AS passwd, NULL::timestamptz AS valuntil, NULL::text AS useconfig",
    ),
    (
        1213,
        "pg_tablespace",
        "SELECT 1663::oid AS oid, 'pg_default'::name AS spcname, 10::oid AS spcowner, NULL::text AS spcacl, \
         NULL::text AS spcoptions \
         UNION ALL SELECT 1664::oid, 'pg_global'::name, 10::oid, NULL::text, NULL::text",
    ),
    (
        3079,
        "pg_extension",
        "SELECT 0::oid AS oid, ''::name AS extname, 0::oid AS extowner, 0::oid AS extnamespace, \
         false AS extrelocatable, ''::text AS extversion WHERE false",
    ),
    (
        2609,
        "pg_description",
        "SELECT 0::oid AS objoid, 0::oid AS classoid, 0 AS objsubid, ''::text AS description WHERE false",
    ),
    (
        1255,
        "pg_proc",
        "SELECT 0::oid AS oid, ''::name AS proname, 0::oid AS pronamespace, 0::oid AS proowner, \
         ''::\"char\" AS prokind, 0::oid AS prorettype, ''::text AS prosrc WHERE false",
    ),
    (
        2611,
        "pg_inherits",
        "SELECT 0::oid AS inhrelid, 0::oid AS inhparent, 0 AS inhseqno, false AS inhdetachpending WHERE false",
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
