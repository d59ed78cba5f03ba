//! Merging: every source is flattened to leaves, each with its origin, and later sources win key by key.
//!
//! A leaf is tried alone on top of the defaults before it counts, so a value that does not fit is blamed on the
//! very key and place it came from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::error::{BadValue, ConfigError, Origin};
use crate::settings::Settings;

/// The environment variables are named `IRSP_KEY` and `IRSP_SECTION__KEY`.
const PREFIX: &str = "IRSP_";
/// Variables with our prefix that name command-line options instead of keys.
const OPTIONS: [&str; 2] = ["IRSP_CONFIG", "IRSP_DATA"];
/// Edits between a word and what was probably meant.
const TYPO_EDITS_MAX: usize = 2;

/// Where settings are read from, weakest first.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config FILE`.
    pub file: Option<PathBuf>,
    /// The environment, or what a test puts in its place.
    pub variables: Vec<(String, String)>,
    /// `--data DIR`.
    pub data: Option<PathBuf>,
    /// `--set section.key=value`, in the order given.
    pub set: Vec<String>,
}

impl Sources {
    /// Adds the variables of this process that carry our prefix.
    pub fn with_environment(mut self) -> Result<Sources, ConfigError> {
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
                continue;
            };
            let value = value.into_string();
            let value = value.map_err(|_| ConfigError::VariableText {
                name: name.to_owned(),
            })?;
            self.variables.push((name.to_owned(), value));
        }
        Ok(self)
    }
}

impl Settings {
    /// Reads, merges and validates.
    pub fn load(sources: Sources) -> Result<Settings, ConfigError> {
        let known = Known::new();
        let mut leaves = Leaves::new();
        if let Some(path) = &sources.file {
            known.read_file(path, &mut leaves)?;
        }
        for (name, value) in &sources.variables {
            known.read_variable(name, value, &mut leaves)?;
        }
        if let Some(dir) = &sources.data {
            let dir = Value::String(dir.display().to_string());
            known.put(Origin::Data, "data_dir".to_owned(), dir, &mut leaves)?;
        }
        for given in &sources.set {
            known.read_set(given, &mut leaves)?;
        }
        let mut table = known.defaults.clone();
        for (key, leaf) in &leaves {
            place(&mut table, key, leaf.value.clone());
        }
        let settings: Settings = table
            .try_into()
            .map_err(|error: toml::de::Error| known.internal(&error))?;
        settings
            .validate()
            .map_err(|invalid| known.blame(invalid, &leaves))?;
        Ok(settings)
    }

    /// The settings in effect, as a TOML file that would give them. It holds no secrets: settings have none.
    pub fn effective(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

#[derive(Clone, Debug)]
struct Leaf {
    origin: Origin,
    value: Value,
}

type Leaves = BTreeMap<String, Leaf>;

/// The keys there are, with their defaults.
struct Known {
    defaults: Table,
    keys: BTreeMap<String, Value>,
}

impl Known {
    fn new() -> Known {
        // Settings hold text, numbers and tables only: they always have a TOML form, as the tests of it show.
        let defaults = Table::try_from(Settings::default()).unwrap_or_default();
        let mut keys = BTreeMap::new();
        for (name, value) in &defaults {
            if let Value::Table(section) = value {
                keys.extend(
                    section
                        .iter()
                        .map(|(key, value)| (format!("{name}.{key}"), value.clone())),
                );
            } else {
                keys.insert(name.clone(), value.clone());
            }
        }
        Known { defaults, keys }
    }

    fn read_file(&self, path: &Path, leaves: &mut Leaves) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = text.as_bytes()[..start].iter().filter(|b| **b == b'\n').count() + 1;
            let message = error.message().replace('\n', ", ");
            ConfigError::Syntax {
                path: path.to_owned(),
                line,
                message,
            }
        })?;
        let origin = Origin::File(path.to_owned());
        for (name, value) in table {
            if !value.is_table() {
                self.put(origin.clone(), name, value, leaves)?;
            } else if self.keys.contains_key(&name) {
                return Err(ConfigError::NotASection { origin, key: name });
            } else if let Value::Table(section) = value {
                if !self.is_section(&name) {
                    let near = self.near(&name);
                    return Err(ConfigError::UnknownKey {
                        origin,
                        key: name,
                        near,
                    });
                }
                for (key, value) in section {
                    self.put(origin.clone(), format!("{name}.{key}"), value, leaves)?;
                }
            }
        }
        Ok(())
    }

    fn read_variable(&self, name: &str, value: &str, leaves: &mut Leaves) -> Result<(), ConfigError> {
        let Some(rest) = name.strip_prefix(PREFIX).filter(|_| !OPTIONS.contains(&name)) else {
            return Ok(());
        };
        let key = rest.to_ascii_lowercase().replace("__", ".");
        let origin = Origin::Variable(name.to_owned());
        if self.keys.contains_key(&key) || key.contains('.') {
            let value = self.typed(&key, value);
            return self.put(origin, key, value, leaves);
        }
        // Other programs may have variables with our prefix; only what looks like a misspelt key is refused.
        let names = self.keys.keys().map(|key| variable(key)).collect::<Vec<_>>();
        match nearest(name, names.iter().map(String::as_str)) {
            Some(near) => {
                let near = Some(near.to_owned());
                Err(ConfigError::UnknownKey { origin, key, near })
            }
            None => Ok(()),
        }
    }

    fn read_set(&self, given: &str, leaves: &mut Leaves) -> Result<(), ConfigError> {
        let form = || ConfigError::SetForm {
            given: given.to_owned(),
        };
        let (key, value) = given.split_once('=').ok_or_else(form)?;
        let key = key.trim().to_owned();
        if key.is_empty() {
            return Err(form());
        }
        let value = self.typed(&key, value.trim());
        self.put(Origin::Set, key, value, leaves)
    }

    /// Text as the key's default has it: a number where the default is one, else text. What cannot be a number
    /// stays text and is refused with the key's own reason.
    fn typed(&self, key: &str, text: &str) -> Value {
        let quoted = || text.parse::<Value>().ok().filter(Value::is_str);
        match self.keys.get(key) {
            Some(Value::Integer(_)) => match text.replace('_', "").parse() {
                Ok(number) => Value::Integer(number),
                Err(_) => Value::String(text.to_owned()),
            },
            Some(Value::Boolean(_)) => match text.parse() {
                Ok(on) => Value::Boolean(on),
                Err(_) => Value::String(text.to_owned()),
            },
            _ => quoted().unwrap_or_else(|| Value::String(text.to_owned())),
        }
    }

    fn put(&self, origin: Origin, key: String, value: Value, leaves: &mut Leaves) -> Result<(), ConfigError> {
        if self.is_section(&key) {
            let prefix = format!("{key}.");
            let example = self.keys.keys().find(|known| known.starts_with(&prefix));
            let example = example.cloned().unwrap_or_default();
            return Err(ConfigError::Section { origin, key, example });
        }
        if !self.keys.contains_key(&key) {
            let near = self.near(&key);
            return Err(ConfigError::UnknownKey { origin, key, near });
        }
        let mut alone = self.defaults.clone();
        place(&mut alone, &key, value.clone());
        if let Err(error) = alone.try_into::<Settings>() {
            let reason = error.message().lines().next().unwrap_or_default().to_owned();
            return Err(self.refuse(origin, key, &value, reason));
        }
        leaves.insert(key, Leaf { origin, value });
        Ok(())
    }

    fn is_section(&self, name: &str) -> bool {
        self.defaults.get(name).is_some_and(Value::is_table)
    }

    /// The key that was probably meant: a misspelt one, or one that stands in another section.
    fn near(&self, key: &str) -> Option<String> {
        let keys = || self.keys.keys().map(String::as_str);
        let names = self.defaults.keys().map(String::as_str);
        let elsewhere = || {
            let name = key.rsplit('.').next()?;
            let mut same = keys().filter(|known| known.rsplit('.').next() == Some(name));
            same.next().filter(|_| same.next().is_none())
        };
        nearest(key, keys().chain(names))
            .or_else(elsewhere)
            .map(str::to_owned)
    }

    fn refuse(&self, origin: Origin, key: String, value: &Value, reason: String) -> ConfigError {
        let default = self.keys.get(&key).map(Value::to_string).unwrap_or_default();
        Box::new(BadValue {
            origin,
            key,
            value: value.to_string(),
            reason,
            default,
        })
        .into()
    }

    /// Puts a broken rule on the place its value came from.
    fn blame(&self, invalid: crate::Invalid, leaves: &Leaves) -> ConfigError {
        let key = invalid.key.to_owned();
        let leaf = leaves.get(&key).cloned().unwrap_or_else(|| Leaf {
            origin: Origin::Default,
            value: self
                .keys
                .get(&key)
                .cloned()
                .unwrap_or_else(|| Value::String(String::new())),
        });
        self.refuse(leaf.origin, key, &leaf.value, invalid.reason)
    }

    /// Leaves that are good one by one are good together; this reports it if they are not.
    fn internal(&self, error: &toml::de::Error) -> ConfigError {
        self.refuse(
            Origin::Default,
            String::new(),
            &Value::String(String::new()),
            error.message().to_owned(),
        )
    }
}

/// The variable of a key.
fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

fn place(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        Some((section, key)) => {
            if let Some(Value::Table(section)) = table.get_mut(section) {
                section.insert(key.to_owned(), value);
            }
        }
        None => {
            table.insert(key.to_owned(), value);
        }
    }
}

/// The candidate with the fewest edits, if few enough to be a slip of the hand.
fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (edits(word, candidate), candidate))
        .filter(|(edits, _)| *edits <= TYPO_EDITS_MAX)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions and substitutions between two words.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;
