//! B-link trees over pages.
