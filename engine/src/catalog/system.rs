//! The system's own tables: their OIDs and columns, with PostgreSQL's names for what exists here too.
//!
//! Columns that PostgreSQL does not have: `pg_class.relroot` (the root page of the relation's tree),
//! `pg_sequence.seqowner` and `seqownatt` (the column that a sequence goes with; PostgreSQL says it in pg_depend),
//! `pg_enum.enumkey` (what a label is in an index's key).
//! Columns that are arrays there are text or int2vector here.

use crate::types::{Datum, SqlType};

/// A system table.
#[derive(Debug)]
pub(crate) struct SystemTable {
    pub(crate) oid: u32,
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [(&'static str, SqlType)],
    pub(crate) indexes: &'static [SystemIndex],
}

/// An index of a system table; all are unique.
#[derive(Debug)]
pub(crate) struct SystemIndex {
    pub(crate) oid: u32,
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [&'static str],
}

const fn index(oid: u32, name: &'static str, columns: &'static [&'static str]) -> SystemIndex {
    SystemIndex { oid, name, columns }
}

const BOOL: SqlType = SqlType::BOOL;
const CHAR: SqlType = SqlType::CHAR;
const NAME: SqlType = SqlType::NAME;
const OID: SqlType = SqlType::OID;
const INT2: SqlType = SqlType::INT2;
const INT4: SqlType = SqlType::INT4;
const INT8: SqlType = SqlType::INT8;
const TEXT: SqlType = SqlType::TEXT;

pub(crate) static PG_CLASS: SystemTable = SystemTable {
    oid: 1259,
    name: "pg_class",
    columns: &[
        ("oid", OID),
        ("relname", NAME),
        ("relnamespace", OID),
        ("reltype", OID),
        ("reloftype", OID),
        ("relowner", OID),
        ("relam", OID),
        ("relfilenode", OID),
        ("reltablespace", OID),
        ("relpages", INT4),
        ("reltuples", SqlType::FLOAT4),
        ("reltoastrelid", OID),
        ("relhasindex", BOOL),
        ("relisshared", BOOL),
        ("relpersistence", CHAR),
        ("relkind", CHAR),
        ("relnatts", INT2),
        ("relchecks", INT2),
        ("relhasrules", BOOL),
        ("relhastriggers", BOOL),
        ("relhassubclass", BOOL),
        ("relrowsecurity", BOOL),
        ("relforcerowsecurity", BOOL),
        ("relispopulated", BOOL),
        ("relreplident", CHAR),
        ("relispartition", BOOL),
        ("reloptions", TEXT),
        ("relroot", INT8),
    ],
    indexes: &[
        index(2662, "pg_class_oid_index", &["oid"]),
        index(2663, "pg_class_relname_nsp_index", &["relname", "relnamespace"]),
    ],
};

pub(crate) static PG_ATTRIBUTE: SystemTable = SystemTable {
    oid: 1249,
    name: "pg_attribute",
    columns: &[
        ("attrelid", OID),
        ("attname", NAME),
        ("atttypid", OID),
        ("attstattarget", INT4),
        ("attlen", INT2),
        ("attnum", INT2),
        ("attndims", INT4),
        ("atttypmod", INT4),
        ("attbyval", BOOL),
        ("attalign", CHAR),
        ("attstorage", CHAR),
        ("attcompression", CHAR),
        ("attnotnull", BOOL),
        ("atthasdef", BOOL),
        ("atthasmissing", BOOL),
        ("attidentity", CHAR),
        ("attgenerated", CHAR),
        ("attisdropped", BOOL),
        ("attislocal", BOOL),
        ("attinhcount", INT4),
        ("attcollation", OID),
        ("attmissingval", TEXT),
    ],
    indexes: &[index(2659, "pg_attribute_relid_attnum_index", &["attrelid", "attnum"])],
};

pub(crate) static PG_NAMESPACE: SystemTable = SystemTable {
    oid: 2615,
    name: "pg_namespace",
    columns: &[("oid", OID), ("nspname", NAME), ("nspowner", OID), ("nspacl", TEXT)],
    indexes: &[
        index(2684, "pg_namespace_nspname_index", &["nspname"]),
        index(2685, "pg_namespace_oid_index", &["oid"]),
    ],
};

pub(crate) static PG_INDEX: SystemTable = SystemTable {
    oid: 2610,
    name: "pg_index",
    columns: &[
        ("indexrelid", OID),
        ("indrelid", OID),
        ("indnatts", INT2),
        ("indnkeyatts", INT2),
        ("indisunique", BOOL),
        ("indnullsnotdistinct", BOOL),
        ("indisprimary", BOOL),
        ("indisexclusion", BOOL),
        ("indimmediate", BOOL),
        ("indisclustered", BOOL),
        ("indisvalid", BOOL),
        ("indcheckxmin", BOOL),
        ("indisready", BOOL),
        ("indislive", BOOL),
        ("indisreplident", BOOL),
        ("indkey", SqlType::INT2VECTOR),
        ("indoption", SqlType::INT2VECTOR),
        ("indexprs", TEXT),
        ("indpred", TEXT),
    ],
    indexes: &[index(2679, "pg_index_indexrelid_index", &["indexrelid"])],
};

pub(crate) static PG_CONSTRAINT: SystemTable = SystemTable {
    oid: 2606,
    name: "pg_constraint",
    columns: &[
        ("oid", OID),
        ("conname", NAME),
        ("connamespace", OID),
        ("contype", CHAR),
        ("condeferrable", BOOL),
        ("condeferred", BOOL),
        ("convalidated", BOOL),
        ("conrelid", OID),
        ("contypid", OID),
        ("conindid", OID),
        ("conparentid", OID),
        ("confrelid", OID),
        ("confupdtype", CHAR),
        ("confdeltype", CHAR),
        ("confmatchtype", CHAR),
        ("conislocal", BOOL),
        ("coninhcount", INT4),
        ("connoinherit", BOOL),
        ("conkey", SqlType::INT2VECTOR),
        ("confkey", SqlType::INT2VECTOR),
        ("conbin", TEXT),
    ],
    indexes: &[
        index(2667, "pg_constraint_oid_index", &["oid"]),
        index(2665, "pg_constraint_conrelid_contypid_conname_index", &["conrelid", "contypid", "conname"]),
    ],
};

pub(crate) static PG_ATTRDEF: SystemTable = SystemTable {
    oid: 2604,
    name: "pg_attrdef",
    columns: &[("oid", OID), ("adrelid", OID), ("adnum", INT2), ("adbin", TEXT)],
    indexes: &[index(2656, "pg_attrdef_adrelid_adnum_index", &["adrelid", "adnum"])],
};

pub(crate) static PG_SEQUENCE: SystemTable = SystemTable {
    oid: 2224,
    name: "pg_sequence",
    columns: &[
        ("seqrelid", OID),
        ("seqtypid", OID),
        ("seqstart", INT8),
        ("seqincrement", INT8),
        ("seqmax", INT8),
        ("seqmin", INT8),
        ("seqcache", INT8),
        ("seqcycle", BOOL),
        ("seqowner", OID),
        ("seqownatt", INT2),
    ],
    indexes: &[index(5002, "pg_sequence_seqrelid_index", &["seqrelid"])],
};

pub(crate) static PG_TYPE: SystemTable = SystemTable {
    oid: 1247,
    name: "pg_type",
    columns: &[
        ("oid", OID),
        ("typname", NAME),
        ("typnamespace", OID),
        ("typowner", OID),
        ("typlen", INT2),
        ("typbyval", BOOL),
        ("typtype", CHAR),
        ("typcategory", CHAR),
        ("typispreferred", BOOL),
        ("typisdefined", BOOL),
        ("typdelim", CHAR),
        ("typrelid", OID),
        ("typelem", OID),
        ("typarray", OID),
        ("typnotnull", BOOL),
        ("typbasetype", OID),
        ("typtypmod", INT4),
        ("typndims", INT4),
        ("typcollation", OID),
        ("typdefault", TEXT),
    ],
    indexes: &[
        index(2703, "pg_type_oid_index", &["oid"]),
        index(2704, "pg_type_typname_nsp_index", &["typname", "typnamespace"]),
    ],
};

pub(crate) static PG_REWRITE: SystemTable = SystemTable {
    oid: 2618,
    name: "pg_rewrite",
    columns: &[
        ("oid", OID),
        ("rulename", NAME),
        ("ev_class", OID),
        ("ev_type", CHAR),
        ("ev_enabled", CHAR),
        ("is_instead", BOOL),
        ("ev_qual", TEXT),
        ("ev_action", TEXT),
    ],
    indexes: &[index(2693, "pg_rewrite_rel_rulename_index", &["ev_class", "rulename"])],
};

pub(crate) static PG_ENUM: SystemTable = SystemTable {
    oid: 3501,
    name: "pg_enum",
    columns: &[
        ("oid", OID),
        ("enumtypid", OID),
        ("enumsortorder", SqlType::FLOAT4),
        ("enumlabel", NAME),
        ("enumkey", SqlType::BYTEA),
    ],
    indexes: &[
        index(3502, "pg_enum_oid_index", &["oid"]),
        index(3503, "pg_enum_typid_label_index", &["enumtypid", "enumlabel"]),
    ],
};

/// All of them, pg_class first.
pub(crate) static ALL: [&SystemTable; 10] = [
    &PG_CLASS,
    &PG_ATTRIBUTE,
    &PG_NAMESPACE,
    &PG_INDEX,
    &PG_CONSTRAINT,
    &PG_ATTRDEF,
    &PG_SEQUENCE,
    &PG_TYPE,
    &PG_REWRITE,
    &PG_ENUM,
];

/// Those that the format's first version did not have: a volume that is older than one of them has none.
pub(crate) static ADDED: [&SystemTable; 2] = [&PG_REWRITE, &PG_ENUM];

impl SystemTable {
    /// A column's number.
    pub(crate) fn column(&self, name: &str) -> usize {
        self.columns
            .iter()
            .position(|(n, _)| *n == name)
            .expect("code names only columns that a system table has")
    }

    /// A row with the given columns; the others are what "nothing special" is for their type, nullable ones NULL.
    pub(crate) fn row(&self, set: &[(&str, Datum)]) -> Vec<Datum> {
        let mut row: Vec<Datum> = self.columns.iter().map(|(_, ty)| nothing(*ty)).collect();
        for (name, datum) in set {
            row[self.column(name)] = datum.clone();
        }
        row
    }
}

fn nothing(ty: SqlType) -> Datum {
    match ty {
        BOOL => Datum::Bool(false),
        OID => Datum::Oid(0),
        INT2 => Datum::Int2(0),
        INT4 => Datum::Int4(0),
        INT8 => Datum::Int8(0),
        CHAR => Datum::text(""),
        _ => Datum::Null,
    }
}

/// A row of a system table being read.
pub(crate) struct SystemRow<'a> {
    pub(crate) table: &'static SystemTable,
    pub(crate) row: &'a [Datum],
}

impl SystemRow<'_> {
    pub(crate) fn get(&self, name: &str) -> &Datum {
        self.row.get(self.table.column(name)).unwrap_or(&Datum::Null)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.get(name).as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn oid(&self, name: &str) -> u32 {
        match self.get(name) {
            Datum::Oid(oid) => *oid,
            _ => 0,
        }
    }

    pub(crate) fn number(&self, name: &str) -> i64 {
        self.get(name).as_i64().unwrap_or(0)
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name).is_true()
    }

    /// The numbers of an int2vector.
    pub(crate) fn numbers(&self, name: &str) -> Vec<i16> {
        let text = self.text(name);
        text.split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect()
    }
}
