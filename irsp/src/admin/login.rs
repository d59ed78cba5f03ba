//! Logins by the command line. Tokens are shown, or put into two files that only their owner may read: FILE for the
//! token, which is a `--token-file` then, and FILE.refresh for the refresh token.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use irsp_protocol::Id;
use irsp_protocol::api::account::Token;
use reqwest::Method;
use serde_json::json;

use super::order::OwnOrder;
use super::{secret, show};
use crate::access::Access;
use crate::client::{Client, ClientError};
use crate::console;

pub(super) async fn run(access: &Access, order: OwnOrder) -> Result<(), ClientError> {
    let client = Client::anybody(access)?;
    match order {
        OwnOrder::Login {
            id,
            password_file,
            out,
        } => {
            let body = json!({"id": id, "password": secret(&password_file)?});
            let token: Token = client.post("/v1/login", &body).await?;
            match out {
                Some(file) => keep(&file, &token),
                None => tell(access, &token),
            }
        }
        OwnOrder::Refresh { file } => {
            let body = json!({"refresh_token": secret(&beside(&file))?});
            let token: Token = client.post("/v1/refresh", &body).await?;
            keep(&file, &token)
        }
        OwnOrder::Logout { file } => {
            let body = json!({"refresh_token": secret(&beside(&file))?});
            let ended = match client.call(Method::POST, "/v1/logout", Some(&body)).await {
                // It has ended already: the answer to the first time was lost, or time or somebody else has ended it.
                Err(ClientError::Refused { status: 401, .. }) => json!({}),
                ended => ended?,
            };
            for path in [beside(&file), file] {
                fs::remove_file(&path).map_err(|error| failed(&path, &error))?;
            }
            say(access, &ended, &["login"])
        }
        OwnOrder::Redeem {
            id,
            code_file,
            password_file,
        } => redeem(access, &client, &id, &code_file, &password_file).await,
    }
}

async fn redeem(
    access: &Access,
    client: &Client,
    id: &Id,
    code_file: &Path,
    password_file: &Path,
) -> Result<(), ClientError> {
    let (code, password) = (secret(code_file)?, secret(password_file)?);
    let body = json!({"id": id, "code": code, "password": password});
    let user = client.call(Method::POST, "/v1/password", Some(&body)).await?;
    say(access, &user, show::USER)
}

fn tell(access: &Access, token: &Token) -> Result<(), ClientError> {
    say(access, &serde_json::to_value(token)?, show::TOKEN)
}

fn say(access: &Access, answer: &serde_json::Value, columns: show::Columns) -> Result<(), ClientError> {
    match access.json {
        true => console::say(console::json(answer)?),
        false => console::say(show::fields(answer, columns)),
    }
    Ok(())
}

/// Puts the tokens into their files. The refresh token first: it is good once, and no other is given for the old one.
fn keep(file: &Path, token: &Token) -> Result<(), ClientError> {
    if let Some(refresh) = &token.refresh_token {
        write(&beside(file), refresh.expose())?;
    }
    write(file, token.token.expose())?;
    console::note(format_args!("{}: good until {}", file.display(), token.expires));
    Ok(())
}

/// Whole or not at all: through a file beside it.
fn write(path: &Path, text: &str) -> Result<(), ClientError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let written = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&new)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    written().map_err(|error| failed(path, &error))
}

fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".refresh");
    PathBuf::from(name)
}

fn failed(path: &Path, error: &io::Error) -> ClientError {
    ClientError::File {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}
