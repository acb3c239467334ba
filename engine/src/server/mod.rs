//! The PostgreSQL wire protocol.
