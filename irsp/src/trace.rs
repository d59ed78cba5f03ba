//! `irsp trace`: the ladder of one message through all servers on its way.

use irsp_config::Settings;
use irsp_protocol::api::app::{AnswerView, ReceiptView, StageView};

use crate::cli::Trace;
use crate::client::{Client, ClientError};
use crate::console;
use crate::table::Table;

pub(crate) async fn run(settings: &Settings, order: Trace) -> Result<(), ClientError> {
    let client = Client::new(settings, &order.access)?;
    let receipt: ReceiptView = client.get(&format!("/v1/messages/{}", order.id)).await?;
    if order.access.json {
        console::say(console::json(&receipt)?);
    } else {
        console::say(ladder(&receipt).join("\n"));
    }
    Ok(())
}

fn ladder(receipt: &ReceiptView) -> Vec<String> {
    let mut lines = vec![
        format!("{} {}", receipt.kind, receipt.id),
        format!(
            "{} -> {}{}",
            receipt.source,
            receipt.destination,
            receipt
                .channel
                .as_ref()
                .map_or(String::new(), |channel| format!("  {channel}"))
        ),
        format!(
            "{} ({} {}), expires {}",
            receipt.state,
            receipt.status.code(),
            receipt.name,
            receipt.expires
        ),
    ];
    if let Some(answer) = &receipt.answer {
        lines.push(answered(answer));
    }
    lines.push(String::new());
    lines.extend(stages(&receipt.stages).lines());
    if receipt.partial {
        lines.push("a server does not answer just now: its stages may be missing".to_owned());
    }
    lines
}

/// The stages, each with the time since the first.
pub(crate) fn stages(stages: &[StageView]) -> Table {
    let mut table = Table::new(["time", "after", "stage", "reporter", "code"]);
    let first = stages.first().map(|stage| stage.time);
    for stage in stages {
        let after = first.map_or(0, |first| stage.time.since(first).as_millis());
        table.row(vec![
            stage.time.to_string(),
            format!("+{}.{:03}s", after / 1_000, after % 1_000),
            format!("{:?}", stage.stage).to_lowercase(),
            stage.reporter.to_string(),
            code(stage),
        ]);
    }
    table
}

fn code(stage: &StageView) -> String {
    match (&stage.code, &stage.name) {
        (Some(code), Some(name)) => format!("{} {name}", code.code()),
        (Some(code), None) => code.to_string(),
        (None, _) => String::new(),
    }
}

fn answered(answer: &AnswerView) -> String {
    let data = answer.data.as_ref().map(|raw| raw.get().to_owned());
    let body = data
        .or_else(|| answer.text.clone())
        .or_else(|| answer.data_base64.clone());
    format!("answered {} {}", answer.code, body.unwrap_or_default())
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ladder_shows_each_stage_with_the_time_it_took() {
        let receipt: ReceiptView = serde_json::from_value(serde_json::json!({
            "id": "0190163d-8694-739b-aea5-966c26f8ad91", "kind": "push", "source": "app/climate@home.example",
            "destination": "dev/lamp-1@home.example", "channel": "set", "status": 200, "name": "done", "state": "done",
            "expires": "2026-11-24T00:00:00Z", "answer": {"code": 200, "data": {"watt": 7}},
            "stages": [
                {"stage": "accepted", "time": "2026-11-23T00:00:00Z", "reporter": "srv/app@home.example"},
                {"stage": "ended", "time": "2026-11-23T00:00:01.25Z", "reporter": "srv/app@home.example",
                 "code": 200, "name": "done"},
            ],
        }))
        .unwrap();
        assert_eq!(
            ladder(&receipt),
            [
                "push 0190163d-8694-739b-aea5-966c26f8ad91",
                "app/climate@home.example -> dev/lamp-1@home.example  set",
                "done (200 done), expires 2026-11-24T00:00:00.000Z",
                "answered 200 {\"watt\":7}",
                "",
                "time                      after    stage     reporter              code",
                "2026-11-23T00:00:00.000Z  +0.000s  accepted  srv/app@home.example",
                "2026-11-23T00:00:01.250Z  +1.250s  ended     srv/app@home.example  200 done",
            ]
        );
    }
}
