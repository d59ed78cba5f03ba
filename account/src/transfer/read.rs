//! Records from text, each with the line it begins at.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Format, Records};

/// Errors that are told; whoever mends these finds the rest at the next try.
const ERRORS_MAX: usize = 100;

/// A record and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line<T> {
    pub(crate) line: u64,
    pub(crate) record: T,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LineError {
    pub(crate) line: u64,
    pub(crate) detail: String,
}

/// How much is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader {
    pub(crate) records: Records,
    pub(crate) format: Format,
    pub(crate) lines_max: usize,
}

/// Every record, or every error up to a hundred.
pub(crate) fn read<T: DeserializeOwned>(reader: Reader, text: &[u8]) -> Result<Vec<Line<T>>, Vec<LineError>> {
    let (mut lines, mut errors) = (Vec::new(), Vec::new());
    let mut take = |line: u64, object: Result<Map<String, Value>, String>| {
        let record = object.and_then(|object| record(reader.records, object));
        match record {
            Ok(record) if lines.len() < reader.lines_max => lines.push(Line { line, record }),
            Ok(_) => {
                let detail = format!("at most {} records at once", reader.lines_max);
                errors.push(LineError { line, detail });
                return false;
            }
            Err(detail) => errors.push(LineError { line, detail }),
        }
        errors.len() < ERRORS_MAX
    };
    match reader.format {
        Format::Ndjson => ndjson(text, &mut take),
        Format::Csv => csv(text, &mut take),
    }
    match errors.is_empty() {
        true => Ok(lines),
        false => Err(errors),
    }
}

fn record<T: DeserializeOwned>(records: Records, mut object: Map<String, Value>) -> Result<T, String> {
    for field in records.shown_only() {
        object.remove(*field);
    }
    serde_json::from_value(Value::Object(object)).map_err(|error| error.to_string())
}

type Take<'a> = dyn FnMut(u64, Result<Map<String, Value>, String>) -> bool + 'a;

fn ndjson(text: &[u8], take: &mut Take<'_>) {
    for (n, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        // The reader's own place is within the line.
        let object = serde_json::from_slice(line).map_err(|error| format!("not a JSON object: {error}"));
        if !take(n, object) {
            return;
        }
    }
}

fn csv(text: &[u8], take: &mut Take<'_>) {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text);
    let heads = match reader.headers() {
        Ok(heads) => heads.clone(),
        Err(error) => {
            take(1, Err(error.to_string()));
            return;
        }
    };
    let twice = heads
        .iter()
        .enumerate()
        .find(|(n, head)| heads.iter().take(*n).any(|before| before == *head));
    if let Some((_, head)) = twice {
        take(1, Err(format!("the column {head:?} stands twice")));
        return;
    }
    // The rest of such a text would be one cell: it was cut off, or is something else.
    if text.iter().filter(|byte| **byte == b'"').count() % 2 == 1 {
        let last = 1 + text
            .trim_ascii_end()
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        take(last as u64, Err("a quote is opened and not closed".to_owned()));
        return;
    }
    let mut row = csv::StringRecord::new();
    let mut place = Place { text, at: 0, line: 1 };
    loop {
        let read = reader.read_record(&mut row);
        let line = place.line_of(row.position());
        let object = match read {
            Ok(false) => return,
            Ok(true) if row.len() != heads.len() => {
                Err(format!("{} cells under {} columns", row.len(), heads.len()))
            }
            Ok(true) => cells(&heads, &row),
            Err(error) => {
                let line = place.line_of(error.position());
                if !take(line, Err("not UTF-8".to_owned())) || error.is_io_error() {
                    return;
                }
                continue;
            }
        };
        if !take(line, object) {
            return;
        }
    }
}

/// Counts lines by their line feeds: the reader's own count takes CR LF for the end of one and the begin of another.
struct Place<'a> {
    text: &'a [u8],
    at: usize,
    line: u64,
}

impl Place<'_> {
    /// The line a record begins at; records come in order.
    fn line_of(&mut self, position: Option<&csv::Position>) -> u64 {
        let byte = position.and_then(|position| usize::try_from(position.byte()).ok());
        let rest = self.text.get(byte.unwrap_or(self.at)..).unwrap_or_default();
        let blank = rest
            .iter()
            .take_while(|byte| matches!(byte, b'\r' | b'\n'))
            .count();
        let begin = (self.text.len() - rest.len() + blank).max(self.at);
        let passed = &self.text[self.at..begin];
        self.line += passed.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.at = begin;
        self.line
    }
}

fn cells(heads: &csv::StringRecord, row: &csv::StringRecord) -> Result<Map<String, Value>, String> {
    let mut object = Map::new();
    for (head, cell) in heads.iter().zip(row) {
        if cell.is_empty() {
            continue;
        }
        let value = if Records::is_json(head) {
            // A word such as `everyone` is itself.
            match serde_json::from_str(cell) {
                Ok(value) => value,
                Err(_) if cell.starts_with(['{', '[', '"']) => {
                    return Err(format!("the cell {head:?} is not JSON"));
                }
                Err(_) => Value::String(cell.to_owned()),
            }
        } else {
            Value::String(cell.to_owned())
        };
        object.insert(head.to_owned(), value);
    }
    // What is a flag in one kind of records is a name in another.
    if let Some(Value::String(word)) = object.get("owner")
        && let Ok(flag) = word.parse::<bool>()
    {
        object.insert("owner".to_owned(), Value::Bool(flag));
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Device {
        id: String,
        #[serde(default)]
        disabled: bool,
        #[serde(default)]
        attributes: Map<String, Value>,
    }

    /// Line, id, whether it is disabled, number of attributes.
    type Told = (u64, String, bool, usize);

    fn read_all(format: Format, text: &str) -> Result<Vec<Told>, Vec<(u64, String)>> {
        let reader = Reader {
            records: Records::Devices,
            format,
            lines_max: 4,
        };
        match read::<Device>(reader, text.as_bytes()) {
            Ok(lines) => {
                let told = |line: Line<Device>| {
                    let Device {
                        id,
                        disabled,
                        attributes,
                    } = line.record;
                    (line.line, id, disabled, attributes.len())
                };
                Ok(lines.into_iter().map(told).collect())
            }
            Err(errors) => Err(errors
                .into_iter()
                .map(|error| (error.line, error.detail))
                .collect()),
        }
    }

    #[test]
    fn records_are_read_from_both_formats_with_their_lines() {
        let csv = "id,disabled,attributes,version\r\nlamp-1,,,7\r\nlamp-2,true,\"{\"\"room\"\":\n\"\"hall\"\"}\",\r\n17,false,,\r\n";
        assert_eq!(
            read_all(Format::Csv, csv).unwrap(),
            [
                (2, "lamp-1".to_owned(), false, 0),
                (3, "lamp-2".to_owned(), true, 1),
                (5, "17".to_owned(), false, 0),
            ]
        );
        let ndjson = "{\"id\":\"lamp-1\",\"version\":7}\n\n{\"id\":\"lamp-2\",\"disabled\":true}";
        assert_eq!(
            read_all(Format::Ndjson, ndjson).unwrap(),
            [
                (1, "lamp-1".to_owned(), false, 0),
                (3, "lamp-2".to_owned(), true, 0)
            ]
        );
        assert_eq!(read_all(Format::Csv, "").unwrap(), []);
        assert_eq!(read_all(Format::Ndjson, "\n").unwrap(), []);
    }

    #[test]
    fn every_wrong_line_is_named() {
        let csv = "id,disabled,colour\nlamp-1,perhaps,\nlamp-2\n,true,\nlamp-3,,red\n";
        let errors = read_all(Format::Csv, csv).unwrap_err();
        let lines: Vec<u64> = errors.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 3, 4, 5], "{errors:?}");
        assert_eq!(errors[1].1, "1 cells under 3 columns");
        assert!(errors[2].1.contains("missing field `id`"), "{errors:?}");
        assert!(errors[3].1.contains("colour"), "{errors:?}");
        let ndjson = "{\"id\":\"a\"}\n{\"id\":\nnull\n[]\n{\"id\":7}\n";
        let errors = read_all(Format::Ndjson, ndjson).unwrap_err();
        let lines: Vec<u64> = errors.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 3, 4, 5], "{errors:?}");
        assert_eq!(read_all(Format::Csv, "id,id\na,b\n").unwrap_err().len(), 1);
    }

    #[test]
    fn a_text_that_was_cut_off_within_a_cell_is_refused_as_a_whole() {
        let cut = "id,disabled,attributes\nlamp-1,,\nlamp-2,,\"{\"\"room\"\":\n";
        let errors = read_all(Format::Csv, cut).unwrap_err();
        assert_eq!(errors, [(3, "a quote is opened and not closed".to_owned())]);
    }

    #[test]
    fn errors_and_records_are_bounded() {
        let wrong = "{}\n".repeat(1_000);
        assert_eq!(read_all(Format::Ndjson, &wrong).unwrap_err().len(), ERRORS_MAX);
        let many = "{\"id\":\"a\"}\n".repeat(6);
        let errors = read_all(Format::Ndjson, &many).unwrap_err();
        assert_eq!(errors, [(5, "at most 4 records at once".to_owned())]);
    }

    #[test]
    fn what_is_not_utf8_is_named_by_line() {
        let reader = Reader {
            records: Records::Devices,
            format: Format::Csv,
            lines_max: 9,
        };
        let errors = read::<Device>(reader, b"id\nlamp-1\n\xff\nlamp-2\n").unwrap_err();
        assert_eq!((errors.len(), errors[0].line), (1, 3));
    }
}
