//! `irsp messages`: receipts of the domain, by principal, state and kind.

use irsp_config::Settings;
use irsp_protocol::api::app::ReceiptView;
use irsp_protocol::api::operator::MessagePage;
use irsp_protocol::receipt::Stage;
use serde_json::json;

use crate::cli::Messages;
use crate::client::{Client, ClientError};
use crate::console;
use crate::table::Table;

/// Receipts asked for at once.
const PAGE: usize = 500;

pub(crate) async fn run(settings: &Settings, order: Messages) -> Result<(), ClientError> {
    let client = Client::new(settings, &order.access)?;
    let (messages, partial) = found(&client, &order).await?;
    if order.access.json {
        console::say(console::json(
            &json!({ "messages": messages, "partial": partial }),
        )?);
    } else if messages.is_empty() {
        console::say("no messages");
    } else {
        console::say(table(&messages).lines().join("\n"));
    }
    if partial {
        return Err(ClientError::MessagesUnknown);
    }
    Ok(())
}

async fn found(client: &Client, order: &Messages) -> Result<(Vec<ReceiptView>, bool), ClientError> {
    let wanted = usize::try_from(order.count).unwrap_or(usize::MAX);
    let (mut messages, mut partial, mut after) = (Vec::new(), false, None);
    loop {
        let limit = (wanted - messages.len()).min(PAGE).to_string();
        let words = [
            ("limit", Some(limit.as_str())),
            ("order", Some(if order.oldest { "asc" } else { "desc" })),
            ("principal", order.principal.as_deref()),
            ("state", order.state.as_deref()),
            ("kind", order.kind.as_deref()),
            ("after", after.as_deref()),
        ];
        let query: Vec<(&str, &str)> = words
            .into_iter()
            .filter_map(|(name, word)| Some((name, word?)))
            .collect();
        let page: MessagePage = client.list("/v1/messages", &query).await?;
        messages.extend(page.messages);
        partial |= page.partial;
        after = page.next.map(|id| id.to_string());
        if messages.len() >= wanted || after.is_none() {
            messages.truncate(wanted);
            return Ok((messages, partial));
        }
    }
}

fn table(messages: &[ReceiptView]) -> Table {
    let mut table = Table::new(["accepted", "id", "kind", "from", "to", "channel", "state", "code"]);
    for message in messages {
        let accepted = message.stages.iter().find(|stage| stage.stage == Stage::Accepted);
        table.row(vec![
            accepted.map_or(String::new(), |stage| stage.time.to_string()),
            message.id.to_string(),
            message.kind.clone(),
            message.source.to_string(),
            message.destination.to_string(),
            message
                .channel
                .as_ref()
                .map_or(String::new(), ToString::to_string),
            message.state.to_string(),
            format!("{} {}", message.status.code(), message.name),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_a_line_with_the_time_of_its_acceptance() {
        let receipt: ReceiptView = serde_json::from_value(serde_json::json!({
            "id": "0190163d-8694-739b-aea5-966c26f8ad91", "kind": "push", "source": "app/climate@home.example",
            "destination": "dev/lamp-1@home.example", "channel": "set", "status": 202, "name": "queued",
            "state": "in-flight", "expires": "2026-11-24T00:00:00Z",
            "stages": [{"stage": "accepted", "time": "2026-11-23T00:00:00Z", "reporter": "srv/app@home.example"}],
        }))
        .unwrap();
        let lines = table(&[receipt]).lines();
        let words: Vec<&str> = lines[1].split_whitespace().collect();
        assert_eq!(
            words,
            [
                "2026-11-23T00:00:00.000Z",
                "0190163d-8694-739b-aea5-966c26f8ad91",
                "push",
                "app/climate@home.example",
                "dev/lamp-1@home.example",
                "set",
                "in-flight",
                "202",
                "queued"
            ]
        );
    }
}
