//! Paths of files that have a usual place in the data directory: `""` means that place.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

pub(crate) fn serialize<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => serializer.collect_str(&path.display()),
        None => serializer.serialize_str(""),
    }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let text = String::deserialize(deserializer)
        .map_err(|_| D::Error::custom("not a path: write text in quotes"))?;
    Ok((!text.is_empty()).then(|| text.into()))
}
