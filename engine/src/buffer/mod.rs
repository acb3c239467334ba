//! The page cache: one mapped arena of frames, bounded in bytes.
