//! PostgreSQL's types: values, text and binary forms, order.
