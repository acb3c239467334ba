//! Histories of transactions that append to lists and read them, and what they say about isolation, after Elle (Kingsbury
//! and Alvaro, VLDB 2020). A list tells the order of its own writes, so the dependencies between transactions need not be
//! guessed, and an anomaly that is reported happened.
//!
//! | module | idea |
//! | --- | --- |
//! | `history` | what clients did and were told |
//! | `lists` | the order of each list's appends; what no order can explain |
//! | `graph` | who must come before whom; cycles |
//! | `check` | which of these a level forbids |
//! | `run` | histories of a real engine |

mod check;
mod graph;
mod history;
mod lists;
mod run;
