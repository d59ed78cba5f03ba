//! Records to text, a page at a time.

use irsp_courier::store::StoreError;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Format, Records};

/// Writes records down one after the other.
#[derive(Debug)]
pub(crate) struct Writer {
    records: Records,
    format: Format,
    begun: bool,
}

impl Writer {
    pub(crate) fn new(records: Records, format: Format) -> Writer {
        Writer {
            records,
            format,
            begun: false,
        }
    }

    /// The text of these records; in CSV the first text begins with the columns.
    pub(crate) fn write<T: Serialize>(&mut self, records: &[T]) -> Result<Vec<u8>, StoreError> {
        let first = !std::mem::replace(&mut self.begun, true);
        match self.format {
            Format::Ndjson => {
                let mut text = Vec::new();
                for record in records {
                    serde_json::to_writer(&mut text, record)?;
                    text.push(b'\n');
                }
                Ok(text)
            }
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(Vec::new());
                if first {
                    writer.write_record(self.records.columns()).map_err(unwritten)?;
                }
                for record in records {
                    let Value::Object(object) = serde_json::to_value(record)? else {
                        return Err(StoreError::Corrupt("a record is no object".to_owned()));
                    };
                    let cells = self.records.columns().iter().map(|column| cell(&object, column));
                    writer.write_record(cells).map_err(unwritten)?;
                }
                writer
                    .into_inner()
                    .map_err(|error| StoreError::Corrupt(error.to_string()))
            }
        }
    }
}

fn cell(object: &Map<String, Value>, column: &str) -> String {
    match object.get(column) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Object(empty)) if empty.is_empty() => String::new(),
        Some(other) => other.to_string(),
    }
}

fn unwritten(error: csv::Error) -> StoreError {
    StoreError::Corrupt(error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_stand_once_and_cells_hold_json_where_it_is_needed() {
        let mut writer = Writer::new(Records::Users, Format::Csv);
        let record = json!({"id": "ann", "role": "user", "disabled": false, "version": 7, "created": "x,y"});
        let text = writer.write(std::slice::from_ref(&record)).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "id,role,disabled,created,modified,version\nann,user,false,\"x,y\",,7\n"
        );
        let more = writer.write(&[record]).unwrap();
        assert!(more.starts_with(b"ann,"));
        let mut writer = Writer::new(Records::Users, Format::Ndjson);
        assert_eq!(
            writer.write(&[json!({"id": "ann"})]).unwrap(),
            b"{\"id\":\"ann\"}\n"
        );
        let empty: [Value; 0] = [];
        assert_eq!(writer.write(&empty).unwrap(), b"");
    }
}
