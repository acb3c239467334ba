//! The core beside a model of snapshot isolation, whose histories are judged by trying serial orders.

mod bounds;
mod histories;
mod model;
mod serial;
mod structures;
