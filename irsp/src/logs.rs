//! Logs go to standard error, so that standard output stays what a person or a script asked for.

use irsp_config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::failure::Failure;

/// Starts logging for the whole process.
pub(crate) fn start(log: &Log) -> Result<(), Failure> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(log)?)
        .with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Text => builder
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|error| Failure::Logs(error.to_string()))
}

/// The directives of `log.level`, checked.
pub(crate) fn filter(log: &Log) -> Result<EnvFilter, Failure> {
    let level = &log.level;
    let refused = |error: String| Failure::LogLevel {
        level: level.clone(),
        error,
    };
    // EnvFilter takes a bare word that is no level for a target, and then logs nothing else.
    for word in level
        .split(',')
        .map(str::trim)
        .filter(|part| !part.contains(['=', '[']))
    {
        word.parse::<LevelFilter>()
            .map_err(|_| refused(format!("{word:?} is not a level")))?;
    }
    EnvFilter::builder()
        .parse(level)
        .map_err(|error| refused(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_is_none_is_refused_by_key() {
        let log = |level: &str| Log {
            level: level.into(),
            ..Log::default()
        };
        for level in ["info", "warn,irsp_broker=trace"] {
            filter(&log(level)).unwrap();
        }
        let message = filter(&log("irsp_broker=loud")).unwrap_err().to_string();
        assert!(
            message.starts_with("log.level = \"irsp_broker=loud\": "),
            "{message}"
        );
        for level in ["loudly!", "verbose", "info,irsp_broker"] {
            let message = filter(&log(level)).unwrap_err().to_string();
            assert!(message.contains("is not a level"), "{message}");
        }
    }
}
