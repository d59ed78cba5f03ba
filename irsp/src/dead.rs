//! `irsp dead`: the dead letters of the domain, listed, shown, sent again, discarded.

use irsp_config::Settings;
use irsp_protocol::MessageId;
use irsp_protocol::api::operator::{DeadLetterPage, DeadLetterView, OperatedView, RetryRequest};
use serde_json::json;

use crate::access::Access;
use crate::cli::{Dead, DeadOrder, Which};
use crate::client::{Client, ClientError};
use crate::console;
use crate::table::Table;
use crate::trace;

/// Letters asked for at once.
const PAGE: u16 = 500;

pub(crate) async fn run(settings: &Settings, dead: Dead) -> Result<(), ClientError> {
    let Dead { access, order } = dead;
    let client = Client::new(settings, &access)?;
    match order {
        DeadOrder::List => list(&client, &access).await,
        DeadOrder::Show { id } => show(&client, &access, id).await,
        DeadOrder::Retry { which, expiry } => {
            let request = RetryRequest { expiry };
            for id in named(&client, which).await? {
                let path = format!("/v1/dead-letters/{id}/retry");
                let done: OperatedView = client.post(&path, &request).await?;
                report(&access, &done, "is in flight again")?;
            }
            Ok(())
        }
        DeadOrder::Discard { which } => {
            for id in named(&client, which).await? {
                let done: OperatedView = client.delete(&format!("/v1/dead-letters/{id}")).await?;
                report(&access, &done, "is discarded")?;
            }
            Ok(())
        }
    }
}

async fn list(client: &Client, access: &Access) -> Result<(), ClientError> {
    let (letters, partial) = all(client).await?;
    if access.json {
        let page = json!({ "dead_letters": letters, "partial": partial });
        console::say(console::json(&page)?);
    } else if letters.is_empty() {
        console::say("no dead letters");
    } else {
        console::say(table(&letters).lines().join("\n"));
    }
    if partial {
        return Err(ClientError::LettersUnknown);
    }
    Ok(())
}

async fn show(client: &Client, access: &Access, id: MessageId) -> Result<(), ClientError> {
    let letter: DeadLetterView = client.get(&format!("/v1/dead-letters/{id}")).await?;
    if access.json {
        console::say(console::json(&letter)?);
        return Ok(());
    }
    console::say(table(std::slice::from_ref(&letter)).lines().join("\n"));
    console::say(format_args!("\nexpires {}\n", letter.expires));
    console::say(trace::stages(&letter.stages).lines().join("\n"));
    let data = letter.data.map(|raw| raw.get().to_owned());
    let data = data.or(letter.text).or(letter.data_base64).unwrap_or_default();
    console::say(format_args!("\n{data}"));
    Ok(())
}

fn report(access: &Access, done: &OperatedView, what: &str) -> Result<(), ClientError> {
    if access.json {
        console::say(console::json(done)?);
    } else {
        console::say(format_args!("{} {what}", done.id));
    }
    Ok(())
}

/// The letters that are meant; all of them are looked up before any is touched.
async fn named(client: &Client, which: Which) -> Result<Vec<MessageId>, ClientError> {
    if !which.all {
        return Ok(which.ids);
    }
    let (letters, partial) = all(client).await?;
    if partial {
        return Err(ClientError::LettersUnknown);
    }
    Ok(letters.into_iter().map(|letter| letter.id).collect())
}

async fn all(client: &Client) -> Result<(Vec<DeadLetterView>, bool), ClientError> {
    let (mut letters, mut partial, mut after) = (Vec::new(), false, String::new());
    loop {
        let page: DeadLetterPage = client
            .get(&format!("/v1/dead-letters?limit={PAGE}{after}"))
            .await?;
        letters.extend(page.dead_letters);
        partial |= page.partial;
        match page.next {
            Some(next) => after = format!("&after={next}"),
            None => return Ok((letters, partial)),
        }
    }
}

fn table(letters: &[DeadLetterView]) -> Table {
    let mut table = Table::new([
        "id", "since", "server", "kind", "from", "to", "channel", "code", "failures", "bytes",
    ]);
    for letter in letters {
        table.row(vec![
            letter.id.to_string(),
            letter.since.to_string(),
            letter.server.to_string(),
            letter.kind.clone(),
            letter.source.to_string(),
            letter.destination.to_string(),
            letter.channel.as_ref().map_or(String::new(), ToString::to_string),
            format!("{} {}", letter.status.code(), letter.name),
            letter.failures.to_string(),
            letter.size.to_string(),
        ]);
    }
    table
}
