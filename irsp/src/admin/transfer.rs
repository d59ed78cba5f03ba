//! Many records at once, out of a platform and into one.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;

use super::{Office, show};
use crate::client::ClientError;
use crate::console;

#[derive(Debug, Args)]
pub(crate) struct Export {
    kind: Kind,
    #[arg(long, value_enum, default_value = "ndjson")]
    format: Written,
    /// A file that must not be there yet; standard output unless given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    kind: Kind,
    file: PathBuf,
    /// csv for a file that ends so, else ndjson.
    #[arg(long, value_enum)]
    format: Option<Written>,
}

/// Kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Devices,
    Users,
    Apps,
    Bindings,
    Peers,
    Grants,
}

/// How records are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Written {
    Csv,
    Ndjson,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Kind::Devices => "devices",
            Kind::Users => "users",
            Kind::Apps => "apps",
            Kind::Bindings => "bindings",
            Kind::Peers => "peers",
            Kind::Grants => "grants",
        }
    }
}

impl Written {
    const fn word(self) -> &'static str {
        match self {
            Written::Csv => "csv",
            Written::Ndjson => "ndjson",
        }
    }
}

impl Office {
    pub(super) async fn export(&self, order: Export) -> Result<(), ClientError> {
        self.conditions.must_be_none()?;
        let Export { kind, format, out } = order;
        let path = format!("/v1/export/{}", kind.word());
        let mut response = self.client.open(&path, &[("format", format.word())]).await?;
        let unwritten = |path: &Path, error: std::io::Error| ClientError::File {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let (name, mut sink): (PathBuf, Box<dyn Write + Send>) = match out {
            Some(path) => {
                let file = fs::File::create_new(&path).map_err(|error| unwritten(&path, error))?;
                (path, Box::new(file))
            }
            None => ("standard output".into(), Box::new(std::io::stdout())),
        };
        while let Some(part) = response
            .chunk()
            .await
            .map_err(|error| self.client.unreachable(&error))?
        {
            sink.write_all(&part).map_err(|error| unwritten(&name, error))?;
        }
        sink.flush().map_err(|error| unwritten(&name, error))
    }

    pub(super) async fn import(&self, order: Import) -> Result<(), ClientError> {
        let Import { kind, file, format } = order;
        let text = fs::read(&file).map_err(|error| ClientError::File {
            path: file.clone(),
            reason: error.to_string(),
        })?;
        let by_name = match file.extension().and_then(|ending| ending.to_str()) {
            Some("csv") => Written::Csv,
            Some(_) | None => Written::Ndjson,
        };
        let media_type = match format.unwrap_or(by_name) {
            Written::Csv => "text/csv",
            Written::Ndjson => "application/x-ndjson",
        };
        let path = format!("/v1/import/{}", kind.word());
        let request = self.client.request(Method::POST, &path).body(text);
        let request = request.header(CONTENT_TYPE, media_type);
        let key = self.conditions.key(&Method::POST)?.unwrap_or_default();
        // With as long for the answer as it takes: many records are one transaction.
        let done = self.client.once(self.conditions.on(request), &key).await?;
        if self.access.json {
            return self.say(&done);
        }
        for (list, columns) in [("devices", show::CODE), ("apps", show::KEY)] {
            let made = done[list].as_array().map_or(&[][..], Vec::as_slice);
            if !made.is_empty() {
                self.table(made, columns)?;
            }
        }
        console::note(format_args!("{} {} imported", done["imported"], kind.word()));
        Ok(())
    }
}
