//! Lists narrowed by what is asked for: a statement is put together from fixed texts, values are bound.

use irsp_courier::store::StoreError;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

/// A statement in the making.
pub(super) struct Query {
    text: String,
    values: Vec<Value>,
    joined: &'static str,
}

impl Query {
    /// From `SELECT ... FROM ...`.
    pub(super) fn new(select: &str) -> Query {
        Query {
            text: select.to_owned(),
            values: Vec::new(),
            joined: " WHERE ",
        }
    }

    /// Asks for a further condition with a `?` for each value.
    pub(super) fn and<V: Into<Value>>(
        &mut self,
        condition: &'static str,
        values: impl IntoIterator<Item = V>,
    ) {
        self.text.push_str(self.joined);
        self.text.push_str(condition);
        self.joined = " AND ";
        self.values.extend(values.into_iter().map(Into::into));
    }

    /// The same if there is a value.
    pub(super) fn and_some<V: Into<Value>>(&mut self, condition: &'static str, value: Option<V>) {
        if let Some(value) = value {
            self.and(condition, [value]);
        }
    }

    /// Ids that begin with `prefix`: ids are ASCII, so all of them sort before prefix and DEL.
    pub(super) fn and_prefix(&mut self, from: &'static str, to: &'static str, prefix: Option<String>) {
        if let Some(prefix) = prefix {
            self.and(to, [format!("{prefix}\u{7f}")]);
            self.and(from, [prefix]);
        }
    }

    /// The first rows in this order.
    pub(super) fn rows<T>(
        mut self,
        sql: &Connection,
        order: &'static str,
        limit: u32,
        read: impl FnMut(&Row<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<Vec<T>, StoreError> {
        self.text.push_str(" ORDER BY ");
        self.text.push_str(order);
        self.text.push_str(" LIMIT ?");
        self.values.push(Value::from(limit));
        Ok(sql
            .prepare_cached(&self.text)?
            .query_map(params_from_iter(self.values), read)?
            .collect::<Result<_, _>>()?)
    }
}
