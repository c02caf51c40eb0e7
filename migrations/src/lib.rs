//! The schema, one file per migration.
