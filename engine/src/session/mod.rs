//! A client session: transaction block, prepared statements, portals, settings, COPY.
