//! Pages: made from the log when they are asked for, and in the background when their chain has grown long.

pub(crate) mod read;
