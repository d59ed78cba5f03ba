//! Why settings were refused, always one line: where, which key, what to do.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody gave it: the built-in default.
    Default,
    /// The file named with `--config`.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
    /// `--set section.key=value`.
    Set,
    /// `--data DIR`.
    Data,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("built-in defaults"),
            Origin::File(path) => path.display().fmt(f),
            Origin::Variable(name) => f.write_str(name),
            Origin::Set => f.write_str("--set"),
            Origin::Data => f.write_str("--data"),
        }
    }
}

/// Why settings were refused.
#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("{}: cannot be read ({source}): check --config", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },

    #[error("{}: line {line}: {message}", path.display())]
    Syntax {
        path: PathBuf,
        line: usize,
        message: String,
    },

    #[error("{origin}: unknown key {key}{}", did_you_mean(near))]
    UnknownKey {
        origin: Origin,
        key: String,
        near: Option<String>,
    },

    #[error("{origin}: {key} is a section: set one of its keys, such as {example}")]
    Section {
        origin: Origin,
        key: String,
        example: String,
    },

    #[error("{origin}: [{key}] is not a section: write it as {key} = ...")]
    NotASection { origin: Origin, key: String },

    #[error("--set {given}: write --set section.key=value, such as --set mqtt.tcp=127.0.0.1:1883")]
    SetForm { given: String },

    #[error("{name}: is not UTF-8 text: unset it or give it a readable value")]
    VariableText { name: String },

    #[error(transparent)]
    Value(#[from] Box<BadValue>),
}

/// A value that cannot be used for its key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{origin}: {key} = {value}: {reason} (default {default})")]
pub struct BadValue {
    pub origin: Origin,
    pub key: String,
    pub value: String,
    pub reason: String,
    pub default: String,
}

fn did_you_mean(near: &Option<String>) -> String {
    match near {
        Some(near) => format!("; did you mean {near}?"),
        None => "; config/irsp.toml lists every key".to_owned(),
    }
}
