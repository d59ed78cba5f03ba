//! What a person sees of the API's answers.

use serde_json::Value;

use crate::table::Table;

/// Fields in the order they are shown.
pub(crate) type Columns = &'static [&'static str];

pub(super) const USER: Columns = &["id", "role", "disabled", "created", "modified", "version"];
pub(super) const DEVICE: Columns = &[
    "id",
    "code",
    "owner",
    "answers",
    "disabled",
    "online",
    "last_seen",
    "attributes",
    "created",
    "modified",
    "version",
];
pub(super) const APP: Columns = &[
    "id", "key", "hears", "pushes", "messages", "delivery", "disabled", "created", "modified", "version",
];
pub(super) const BINDING: Columns = &["device", "user", "owner", "rights", "since", "version"];
pub(super) const AUDIT: Columns = &["n", "time", "who", "action", "what", "from", "status"];
pub(super) const OPERATION: Columns = &["operation", "time", "in_effect", "followers"];
pub(super) const CODE: Columns = &["id", "code"];
pub(super) const KEY: Columns = &["id", "key"];
pub(super) const LOGIN: Columns = &["id", "since", "used", "expires", "from", "current"];
pub(super) const DEVICE_CODE: Columns = &["id", "expires", "valid"];
pub(super) const ME: Columns = &["principal", "role", "domain"];
pub(super) const TOKEN: Columns = &["login", "token", "expires", "refresh_token", "refresh_expires"];

/// One line each, under those columns that any of them has.
pub(super) fn table(items: &[Value], columns: Columns) -> String {
    let shown: Vec<&str> = columns
        .iter()
        .copied()
        .filter(|column| items.iter().any(|item| !item[column].is_null()))
        .collect();
    let mut table = Table::with_heads(shown.iter().map(|column| (*column).to_owned()).collect());
    for item in items {
        table.row(shown.iter().map(|column| cell(&item[column])).collect());
    }
    table.lines().join("\n")
}

/// One record, a field on each line: the known ones first, then what else there is.
pub(super) fn fields(record: &Value, columns: Columns) -> String {
    let Some(object) = record.as_object() else {
        return cell(record);
    };
    let first = columns
        .iter()
        .copied()
        .filter(|column| object.contains_key(*column));
    let rest = object.keys().map(String::as_str);
    let rest = rest.filter(|key| !columns.contains(key) && !["in_effect", "operation"].contains(key));
    let mut table = Table::new(["", ""]);
    for key in first.chain(rest) {
        table.row(vec![key.to_owned(), cell(&object[key])]);
    }
    let lines = table.lines();
    lines[1..].join("\n")
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            let pairs = fields.iter().map(|(key, value)| format!("{key}={}", cell(value)));
            pairs.collect::<Vec<_>>().join(" ")
        }
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_has_the_columns_that_are_there() {
        let items = [
            json!({"id": "lamp-1", "disabled": false, "attributes": {"room": "hall"}}),
            json!({"id": "lamp-22", "disabled": true, "attributes": {}, "owner": "ann"}),
        ];
        let expected =
            "id       owner  disabled  attributes\nlamp-1          false     room=hall\nlamp-22  ann    true";
        assert_eq!(table(&items, DEVICE), expected);
    }

    #[test]
    fn a_record_shows_what_is_known_first_and_then_the_rest() {
        let record = json!({"new": 7, "id": "lamp-1", "code": "abc", "in_effect": true, "operation": 3});
        assert_eq!(fields(&record, DEVICE), "id    lamp-1\ncode  abc\nnew        7");
    }
}
