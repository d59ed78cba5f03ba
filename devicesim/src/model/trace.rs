//! Recorded traces: lines `milliseconds since the one before,value`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

/// A recorded trace: pause before each value, and the value as JSON.
pub type Trace = Arc<[(Duration, String)]>;

/// Why a file is no trace.
#[derive(Debug, Error)]
pub enum TraceFault {
    #[error("cannot read the trace {path}: {error}", path = path.display())]
    Read { path: PathBuf, error: std::io::Error },
    #[error("the trace {path}, line {line}: expected milliseconds,value with the value as JSON", path = path.display())]
    Line { path: PathBuf, line: usize },
    #[error("the trace {path} has no line, or takes no time", path = path.display())]
    Empty { path: PathBuf },
}

/// Reads a trace.
pub fn trace(path: &Path) -> Result<Trace, TraceFault> {
    let text = std::fs::read_to_string(path).map_err(|error| TraceFault::Read {
        path: path.to_owned(),
        error,
    })?;
    let mut trace = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let fault = || TraceFault::Line {
            path: path.to_owned(),
            line: index + 1,
        };
        let (pause, value) = line.split_once(',').ok_or_else(fault)?;
        let pause: u64 = pause.trim().parse().map_err(|_| fault())?;
        let value: Value = serde_json::from_str(value).map_err(|_| fault())?;
        trace.push((Duration::from_millis(pause), value.to_string()));
    }
    if trace.iter().all(|(pause, _)| pause.is_zero()) {
        return Err(TraceFault::Empty {
            path: path.to_owned(),
        });
    }
    Ok(trace.into())
}
