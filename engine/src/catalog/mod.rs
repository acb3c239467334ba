//! The catalog, kept in tables.
