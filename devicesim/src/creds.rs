//! The credentials file `irsp provision` writes: one `client_id,username,password` a line.
//!
//! A line that is not one is refused with its number; nothing of its content is repeated, because it may hold a
//! verification code.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use irsp_protocol::{Id, Kind, Principal, Secret};
use thiserror::Error;

/// The line a file may start with.
pub const HEADER: &str = "client_id,username,password";

/// How one device logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    pub client_id: String,
    pub device: Id,
    pub code: Secret,
}

/// Why a credentials file cannot be used.
#[derive(Debug, Error)]
pub enum CredsError {
    #[error("cannot read {path}: {error}", path = path.display())]
    Read { path: PathBuf, error: std::io::Error },
    #[error("line {line}: {fault}; a line is {HEADER}")]
    Line { line: usize, fault: LineFault },
    #[error("the file names no device")]
    Empty,
}

/// What is wrong with one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LineFault {
    #[error("{0} fields instead of 3")]
    Fields(usize),
    #[error("the client id is empty")]
    ClientId,
    #[error("the username is not dev/ and an id")]
    Username,
    #[error("the password is empty")]
    Password,
    #[error("this device stands in an earlier line; two connections of one device end each other")]
    Repeated,
}

/// Reads a whole file.
pub fn read(path: &Path) -> Result<Vec<Credential>, CredsError> {
    let text = std::fs::read_to_string(path).map_err(|error| CredsError::Read {
        path: path.to_owned(),
        error,
    })?;
    parse(&text)
}

/// Reads the lines of a file. Empty lines are passed over.
pub fn parse(text: &str) -> Result<Vec<Credential>, CredsError> {
    let mut credentials = Vec::new();
    let mut devices = HashSet::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_end_matches('\r');
        if line.is_empty() || (index == 0 && line == HEADER) {
            continue;
        }
        let fault = |fault| CredsError::Line {
            line: index + 1,
            fault,
        };
        let credential = parse_line(line).map_err(fault)?;
        if !devices.insert(credential.device.clone()) {
            return Err(fault(LineFault::Repeated));
        }
        credentials.push(credential);
    }
    if credentials.is_empty() {
        return Err(CredsError::Empty);
    }
    Ok(credentials)
}

fn parse_line(line: &str) -> Result<Credential, LineFault> {
    let fields: Vec<&str> = line.split(',').collect();
    let [client_id, username, password] = fields[..] else {
        return Err(LineFault::Fields(fields.len()));
    };
    if client_id.is_empty() {
        return Err(LineFault::ClientId);
    }
    let principal: Principal = username.parse().map_err(|_| LineFault::Username)?;
    if principal.kind != Kind::Device {
        return Err(LineFault::Username);
    }
    if password.is_empty() {
        return Err(LineFault::Password);
    }
    Ok(Credential {
        client_id: client_id.to_owned(),
        device: principal.id,
        code: Secret::new(password),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_reads_with_and_without_its_header_and_with_either_line_end() {
        let body = "c-1,dev/sim-1,aaa\nc-2,dev/sim-2,bbb\n";
        let plain = parse(body).unwrap();
        assert_eq!(plain.len(), 2);
        assert_eq!(plain[1].client_id, "c-2");
        assert_eq!(plain[1].device.as_str(), "sim-2");
        assert_eq!(plain[1].code.expose(), "bbb");
        assert_eq!(parse(&format!("{HEADER}\n{body}")).unwrap(), plain);
        assert_eq!(
            parse(&format!("{HEADER}\r\n{}", body.replace('\n', "\r\n"))).unwrap(),
            plain
        );
    }

    #[test]
    fn a_wrong_line_is_refused_with_its_number_and_without_its_code() {
        for (line, fault) in [
            ("c-2,dev/sim-2", LineFault::Fields(2)),
            ("c-2,dev/sim-2,hush,hush", LineFault::Fields(4)),
            ("c-2 dev/sim-2 hush", LineFault::Fields(1)),
            (",dev/sim-2,hush", LineFault::ClientId),
            ("c-2,sim-2,hush", LineFault::Username),
            ("c-2,usr/ann,hush", LineFault::Username),
            ("c-2,dev/si m,hush", LineFault::Username),
            ("c-2,dev/sim-2,", LineFault::Password),
            ("c-9,dev/sim-1,hush", LineFault::Repeated),
            (HEADER, LineFault::Username),
        ] {
            let error = parse(&format!("{HEADER}\nc-1,dev/sim-1,aaa\n{line}\n")).unwrap_err();
            let text = error.to_string();
            assert!(
                matches!(error, CredsError::Line { line: 3, fault: found } if found == fault),
                "{line}: {text}"
            );
            assert!(text.starts_with("line 3: ") && !text.contains("hush"), "{text}");
        }
    }

    #[test]
    fn a_file_without_devices_is_refused() {
        for text in ["", "\n\n", HEADER] {
            assert!(matches!(parse(text), Err(CredsError::Empty)), "{text:?}");
        }
    }
}
