//! Many records at once, in and out: CSV or NDJSON, one record a line.
//!
//! A record looks as in the API. In CSV a column is a field; what is no text there (`attributes`, a grant, `disabled`)
//! is JSON in its cell, and an empty cell is a field left out. What an export shows beyond what an import takes (times,
//! version, owner) is read over, so that an export can be imported elsewhere. Secrets are never exported.

mod read;
mod write;

pub(crate) use read::{Line, LineError, Reader, read};
pub(crate) use write::Writer;

/// How records are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Csv,
    Ndjson,
}

impl Format {
    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Format::Csv => "text/csv",
            Format::Ndjson => "application/x-ndjson",
        }
    }

    /// The format of a media type, whatever its parameters.
    pub(crate) fn of_media_type(text: &str) -> Option<Format> {
        let name = text.split(';').next().unwrap_or_default().trim();
        match name.to_ascii_lowercase().as_str() {
            "text/csv" => Some(Format::Csv),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Some(Format::Ndjson),
            _ => None,
        }
    }
}

/// What kind of records, and their CSV columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Records {
    Devices,
    Users,
    Apps,
    Bindings,
    Peers,
    Grants,
}

impl Records {
    /// In the order of an export.
    pub(crate) const fn columns(self) -> &'static [&'static str] {
        match self {
            Records::Devices => &[
                "id",
                "answers",
                "disabled",
                "attributes",
                "certificates",
                "owner",
                "generation",
                "created",
                "modified",
                "version",
            ],
            Records::Users => &["id", "role", "disabled", "created", "modified", "version"],
            Records::Apps => &[
                "id",
                "delivery",
                "answers",
                "hears",
                "pushes",
                "messages",
                "retention",
                "disabled",
                "generation",
                "created",
                "modified",
                "version",
            ],
            Records::Bindings => &["device", "user", "owner", "rights", "since", "version"],
            Records::Peers => &[
                "domain",
                "trust",
                "urls",
                "in",
                "out",
                "rate_max",
                "out_rate_max",
                "state",
                "version",
            ],
            Records::Grants => &["principal", "to", "hears", "pushes", "version"],
        }
    }

    /// Columns that are read over at an import.
    pub(crate) const fn shown_only(self) -> &'static [&'static str] {
        match self {
            Records::Devices | Records::Apps => &["owner", "generation", "created", "modified", "version"],
            Records::Users => &["created", "modified", "version"],
            Records::Bindings => &["since", "version"],
            Records::Peers => &["link", "version"],
            Records::Grants => &["version"],
        }
    }

    /// Columns whose cells are JSON.
    pub(crate) fn is_json(column: &str) -> bool {
        matches!(
            column,
            "attributes"
                | "disabled"
                | "hears"
                | "pushes"
                | "messages"
                | "retention"
                | "certificates"
                | "rights"
                | "trust"
                | "urls"
                | "in"
                | "out"
                | "rate_max"
                | "out_rate_max"
                | "generation"
                | "version"
        )
    }
}
