//! Options that are given for one server of several.

use std::str::FromStr;

/// `NAME=VALUE` of an option that is given for a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named<T> {
    pub name: String,
    pub value: T,
}

impl<T: FromStr> FromStr for Named<T>
where
    T::Err: std::fmt::Display,
{
    type Err = String;
    fn from_str(text: &str) -> Result<Named<T>, String> {
        let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
        if name.is_empty() {
            return Err("expected a name before the =".to_owned());
        }
        let value = value.parse().map_err(|error: T::Err| error.to_string())?;
        Ok(Named {
            name: name.to_owned(),
            value,
        })
    }
}
