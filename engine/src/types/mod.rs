//! Values: PostgreSQL's types, their text and binary forms, how they are compared, and how rows and index keys are
//! made of them.
//!
//! What must hold: a value that is decoded and encoded again is the same value; [`key`] order is [`compare`] order;
//! nothing overflows silently (22003); input from a client or from disk never panics.

mod binary;
mod compare;
mod datetime;
mod datum;
mod enumeration;
mod error;
pub mod key;
pub mod large;
mod numeric;
mod oid;
pub mod order_key;
pub mod row;
pub mod sqlstate;
mod text;

pub(crate) use binary::utf8;
pub use binary::{decode_binary, encode_binary};
pub use compare::{compare, trim_blanks};
pub use datetime::{TimeZone, USECS_PER_DAY, now_micros, unix_to_pg_micros};
pub(crate) use datetime::{date_parts, make_date};
pub use datum::Datum;
pub use enumeration::{EnumLabel, EnumType, EnumTypes};
pub use error::{SqlError, SqlResult};
pub use numeric::Numeric;
pub use oid::{SqlType, TypeClass, oids};
pub use text::{coerce_length, decode_text, encode_text, encode_text_in, text_of};
