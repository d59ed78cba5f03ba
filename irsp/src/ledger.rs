//! `irsp ledger`: what every server of the domain accepted, how it ended and what is in flight. It fails unless
//! everything adds up and every server has said so.

use irsp_config::Settings;
use irsp_protocol::State;
use irsp_protocol::api::operator::{KindLedgerView, LedgerView};

use crate::access::Access;
use crate::client::{Client, ClientError};
use crate::console;
use crate::table::Table;

pub(crate) async fn run(settings: &Settings, access: Access) -> Result<(), ClientError> {
    let client = Client::new(settings, &access)?;
    let ledger: LedgerView = client.get("/v1/ledger").await?;
    if access.json {
        console::say(console::json(&ledger)?);
    } else {
        console::say(format_args!("{} at {}", ledger.domain, ledger.time));
        console::say(table(&ledger).lines().join("\n"));
        console::say(format_args!("residue {}", ledger.residue));
    }
    judge(&ledger)
}

fn judge(ledger: &LedgerView) -> Result<(), ClientError> {
    if !ledger.balanced {
        return Err(ClientError::Residue(ledger.residue));
    }
    match ledger.silent.as_slice() {
        [] => Ok(()),
        silent => {
            let names: Vec<_> = silent.iter().map(|server| server.as_str()).collect();
            Err(ClientError::LedgerUnknown(names.join(" and ")))
        }
    }
}

/// A line for each server and kind; of the ends only those that ever came about.
fn table(ledger: &LedgerView) -> Table {
    let kinds = || ledger.servers.iter().flat_map(|server| &server.kinds);
    let ends: Vec<State> = State::ALL
        .into_iter()
        .filter(|state| kinds().any(|kind| ended(kind, *state) > 0))
        .collect();
    let mut heads: Vec<String> = ["server", "kind", "accepted", "in-flight"]
        .map(str::to_owned)
        .to_vec();
    heads.extend(ends.iter().map(State::to_string));
    heads.push("residue".to_owned());
    let mut table = Table::with_heads(heads);
    for server in &ledger.servers {
        for kind in &server.kinds {
            let mut row = vec![
                server.server.to_string(),
                kind.kind.clone(),
                kind.accepted.to_string(),
                kind.in_flight.to_string(),
            ];
            row.extend(ends.iter().map(|state| ended(kind, *state).to_string()));
            row.push(kind.residue.to_string());
            table.row(row);
        }
    }
    table
}

fn ended(kind: &KindLedgerView, state: State) -> u64 {
    let of_state = kind.ended.iter().filter(|ended| ended.state == state);
    of_state.map(|ended| ended.count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(accepted: u64, silent: &[&str]) -> LedgerView {
        let residue = accepted.cast_signed() - 5;
        serde_json::from_value(serde_json::json!({
            "domain": "home.example", "time": "2026-11-23T00:00:00Z", "balanced": residue == 0, "residue": residue,
            "silent": silent,
            "servers": [{"server": "message", "residue": residue, "kinds": [
                {"kind": "upload", "accepted": accepted, "in_flight": 1, "residue": residue, "ended": [
                    {"code": 200, "name": "done", "state": "done", "count": 3},
                    {"code": 500, "name": "failed", "state": "undeliverable", "count": 1},
                ]},
            ]}],
        }))
        .unwrap()
    }

    #[test]
    fn a_ledger_is_a_line_for_each_server_and_kind() {
        assert_eq!(
            table(&ledger(5, &[])).lines(),
            [
                "server   kind    accepted  in-flight  done  undeliverable  residue",
                "message  upload         5          1     3              1        0",
            ]
        );
    }

    #[test]
    fn only_a_whole_ledger_that_adds_up_is_good() {
        assert!(judge(&ledger(5, &[])).is_ok());
        assert!(matches!(judge(&ledger(6, &[])), Err(ClientError::Residue(1))));
        assert!(matches!(
            judge(&ledger(5, &["account"])),
            Err(ClientError::LedgerUnknown(_))
        ));
    }
}
