//! Parser, binder, planner, executor.
