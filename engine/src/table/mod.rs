//! Tables and indexes: versioned rows in B+trees.
