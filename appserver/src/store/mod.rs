//! The application server's tables, beside the courier's and the directory's in `app.db`. SQL stands here only.
//!
//! Functions take the connection they are given: inside a courier transaction to write, on a reader to read. So the
//! effect of an envelope commits together with the memory of having seen it.

pub(crate) mod by_source;
pub(crate) mod endpoint;
pub(crate) mod heard;
pub(crate) mod presence;
mod row;
pub(crate) mod uploads;

use irsp_courier::store::Migration;

/// The role's own migrations, in order. A released one is never changed.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        sql: irsp_directory::store::MIGRATION,
    },
    Migration {
        version: 2,
        sql: include_str!("schema.sql"),
    },
    Migration {
        version: 3,
        sql: include_str!("by_source.sql"),
    },
    Migration {
        version: 4,
        sql: include_str!("messages.sql"),
    },
    Migration {
        version: 5,
        sql: "-- Which applications hear the presence of principals of other domains (clause 8.7).
              CREATE TABLE presence_heard (
                address TEXT NOT NULL, -- dev/lamp-1@other.example
                app     TEXT NOT NULL,
                PRIMARY KEY (address, app)
              ) STRICT, WITHOUT ROWID;",
    },
    Migration {
        version: 6,
        sql: include_str!("external.sql"),
    },
    Migration {
        version: 7,
        sql: "-- Whether the service hears of presence (clause 8.3.2).
              ALTER TABLE external_endpoint ADD COLUMN presence INTEGER NOT NULL DEFAULT 0;
              CREATE INDEX external_endpoint_presence ON external_endpoint (app) WHERE presence;",
    },
    Migration {
        version: 8,
        sql: "-- Which users hear the presence of devices of other domains, because they are shared with them (clause 8.7).
              CREATE TABLE presence_shared (
                address TEXT NOT NULL, -- dev/lamp-1@other.example
                user    TEXT NOT NULL,
                PRIMARY KEY (address, user)
              ) STRICT, WITHOUT ROWID;
              CREATE INDEX presence_shared_user ON presence_shared (user);",
    },
];
