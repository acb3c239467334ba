//! Pages: made from the log when they are asked for, and in the background when their chain has grown long or the log
//! too large. Materialising is never needed for correctness: a page is its base image and its pending records, wherever
//! the line between the two lies.

pub(crate) mod blocks;
pub(crate) mod brake;
pub(crate) mod brought;
pub(crate) mod checkpoint;
mod digest;
mod free_slots;
pub(crate) mod images;
pub(crate) mod keeper;
pub(crate) mod page_buf;
mod pins;
pub(crate) mod read;
#[cfg(test)]
mod restart_tests;
#[cfg(test)]
mod room_tests;
pub(crate) mod saver;
mod space;
pub(crate) mod store;
#[cfg(test)]
mod tests;
