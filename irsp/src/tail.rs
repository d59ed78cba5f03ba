//! `irsp tail`: the stages messages pass, as they pass them, until it is stopped or has shown as many as were asked for.

use std::io;

use irsp_config::Settings;
use irsp_protocol::api::operator::{MissedView, TailView};

use crate::cli::Tail;
use crate::client::{Client, ClientError};
use crate::console;

/// Bytes of one event before it is given up: far above any that a server writes.
const EVENT_BYTES_MAX: usize = 1 << 20;

pub(crate) async fn run(settings: &Settings, order: Tail) -> Result<(), ClientError> {
    let client = Client::new(settings, &order.access)?;
    let words = [
        ("principal", &order.principal),
        ("state", &order.state),
        ("kind", &order.kind),
    ];
    let query: Vec<(&str, &str)> = words
        .into_iter()
        .filter_map(|(name, word)| Some((name, word.as_deref()?)))
        .collect();
    let mut response = client.open("/v1/messages/stream", &query).await?;
    let mut events = Events::default();
    let mut left = order.count;
    let mut last_word = "without a word".to_owned();
    loop {
        while let Some(event) = events.next() {
            match event.name.as_str() {
                "receipt" => {
                    if show(&client, &order, &event.data)?.is_err() {
                        // Whoever read us has gone.
                        return Ok(());
                    }
                    left = left.map(|left| left - 1);
                    if left == Some(0) {
                        return Ok(());
                    }
                }
                "missed" => missed(&client, &event.data)?,
                _ if !event.comment.is_empty() => last_word = event.comment,
                _ => {}
            }
        }
        let chunk = response
            .chunk()
            .await
            .map_err(|error| client.unreachable(&error))?;
        match chunk {
            Some(chunk) if events.buffer.len() + chunk.len() <= EVENT_BYTES_MAX => {
                events.buffer.extend(&chunk)
            }
            Some(_) => return Err(client.not_understood("an event without an end")),
            None => return Err(client.stream_ended(last_word)),
        }
    }
}

fn show(client: &Client, order: &Tail, data: &str) -> Result<io::Result<()>, ClientError> {
    if order.access.json {
        return Ok(console::print(data));
    }
    let view: TailView = serde_json::from_str(data).map_err(|error| client.not_understood(error))?;
    Ok(console::print(line(&view)))
}

fn missed(client: &Client, data: &str) -> Result<(), ClientError> {
    let view: MissedView = serde_json::from_str(data).map_err(|error| client.not_understood(error))?;
    match view.count {
        Some(count) => console::note(format_args!(
            "{count} events of the {} server were missed",
            view.server
        )),
        None => console::note(format_args!(
            "the {} server does not answer just now",
            view.server
        )),
    }
    Ok(())
}

fn line(view: &TailView) -> String {
    let stage = format!("{:?}", view.stage.stage).to_lowercase();
    let code = match (&view.stage.code, &view.stage.name) {
        (Some(code), Some(name)) => format!("{} {name}", code.code()),
        (Some(code), None) => code.to_string(),
        (None, _) => String::new(),
    };
    let channel = view.channel.as_ref().map_or(String::new(), ToString::to_string);
    format!(
        "{}  {}  {:<8}  {stage:<8}  {code:<8}  {}  {} -> {}  {channel}",
        view.stage.time, view.id, view.kind, view.stage.reporter, view.source, view.destination
    )
    .trim_end()
    .to_owned()
}

/// Server-sent events, cut out of a body as it comes.
#[derive(Default)]
struct Events {
    buffer: Vec<u8>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Event {
    name: String,
    data: String,
    comment: String,
}

impl Events {
    fn next(&mut self) -> Option<Event> {
        let end = self.buffer.windows(2).position(|pair| pair == b"\n\n")?;
        let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
        let mut event = Event::default();
        for line in String::from_utf8_lossy(&block).lines() {
            match line.split_once(':') {
                Some(("", comment)) => comment.trim().clone_into(&mut event.comment),
                Some(("event", name)) => name.trim().clone_into(&mut event.name),
                Some(("data", data)) => event.data.push_str(data.trim()),
                Some(_) | None => {}
            }
        }
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_cut_out_of_whatever_pieces_come() {
        let mut events = Events::default();
        let mut found = Vec::new();
        for piece in [
            ": open\n",
            "\nevent: rec",
            "eipt\ndata: {\"a\":",
            "1}\n\n: bye\n\n",
        ] {
            events.buffer.extend(piece.as_bytes());
            while let Some(event) = events.next() {
                found.push(event);
            }
        }
        let event = |name: &str, data: &str, comment: &str| Event {
            name: name.into(),
            data: data.into(),
            comment: comment.into(),
        };
        assert_eq!(
            found,
            [
                event("", "", "open"),
                event("receipt", "{\"a\":1}", ""),
                event("", "", "bye")
            ]
        );
    }
}
