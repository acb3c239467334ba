//! Mini-transactions: pages latched, changes staged, appended to the log as one.
