//! What an operator asks of this server, directly or over the bus: receipts, ledger, dead letters, the live tail.

use irsp_protocol::inquiry::{Finding, Inquiry, Known, PageRequest, Tail, TailEntry, TailMark};
use irsp_protocol::ledger::Ledger;
use irsp_protocol::{MessageId, Server};

use super::shared::Shared;
use crate::store::{
    StoreError, dead_letter, dead_letters, read_ledger, read_receipt, read_receipts, read_received,
};

/// Messages asked for in one go.
const IDS_MAX: usize = 1_000;

pub(super) async fn answer(shared: &Shared, inquiry: Inquiry) -> Result<Finding, StoreError> {
    let reporter = shared.reporter.clone();
    Ok(match inquiry {
        Inquiry::Messages { ids } => Finding::Messages(known(shared, ids).await?),
        Inquiry::Receipts(request) => {
            let request = bounded(request);
            let page = shared
                .store
                .read(move |sql| read_receipts(sql, &request, &reporter))
                .await?;
            Finding::Receipts(page)
        }
        Inquiry::Tail { after } => Finding::Tail(tail(shared, after).await?),
        Inquiry::Ledger => Finding::Ledger(shared.store.read(read_ledger).await?),
        Inquiry::DeadLetters(request) => {
            let request = bounded(request);
            let page = shared
                .store
                .read(move |sql| dead_letters(sql, &request, &reporter))
                .await?;
            Finding::DeadLetters(page)
        }
        Inquiry::DeadLetter { id } => {
            let letter = shared
                .store
                .read(move |sql| dead_letter(sql, id, &reporter))
                .await?;
            Finding::DeadLetter(letter.map(Box::new))
        }
        Inquiry::Retry { id, expires } => {
            let operated = shared.write(move |tx| tx.retry_dead(id, expires)).await?;
            tracing::info!(%id, ?operated, "a dead letter is to be sent again");
            Finding::Operated(operated)
        }
        Inquiry::Discard { id } => {
            let operated = shared.write(move |tx| tx.discard_dead(id)).await?;
            tracing::info!(%id, ?operated, "a dead letter is to be discarded");
            Finding::Operated(operated)
        }
    })
}

/// Says at the start whether the ledger adds up, and what waits for an operator.
pub(super) fn report_ledger(server: Server, ledger: &Ledger, dead_letters: u64) {
    if ledger.is_balanced() {
        tracing::info!(%server, in_flight = ledger.in_flight(), residue = 0, dead_letters, "the ledger adds up");
    } else {
        for kind in ledger.kinds.iter().filter(|kind| kind.residue() != 0) {
            tracing::error!(%server, kind = kind.kind.as_str(), residue = kind.residue(),
                "the ledger does not add up");
        }
    }
    if dead_letters > 0 {
        tracing::warn!(%server, dead_letters, "dead letters wait for an operator: irsp dead list");
    }
}

fn bounded(request: PageRequest) -> PageRequest {
    let most = u16::try_from(IDS_MAX).unwrap_or(u16::MAX);
    PageRequest {
        limit: request.limit.clamp(1, most),
        ..request
    }
}

async fn known(shared: &Shared, ids: Vec<MessageId>) -> Result<Vec<Known>, StoreError> {
    let mut found = Vec::with_capacity(ids.len().min(IDS_MAX));
    for id in ids.into_iter().take(IDS_MAX) {
        let receipt = shared.receipt(id).await?;
        let received = match receipt {
            Some(_) => None,
            None => {
                let reporter = shared.reporter.clone();
                shared
                    .store
                    .read(move |sql| read_received(sql, id, &reporter))
                    .await?
            }
        };
        found.push(Known {
            id,
            receipt,
            received,
        });
    }
    Ok(found)
}

async fn tail(shared: &Shared, after: Option<TailMark>) -> Result<Tail, StoreError> {
    let seen = shared.tail.since(after, shared.clock.as_ref()).await;
    let reporter = shared.reporter.clone();
    let entries = shared.store.read(move |sql| {
        let mut entries = Vec::with_capacity(seen.events.len());
        for event in &seen.events {
            // What retention has taken meanwhile is no news any more.
            if let Some((receipt, _)) = read_receipt(sql, event.id, &reporter)? {
                entries.push(TailEntry {
                    report: event.report(&reporter),
                    receipt: receipt.without_stages(),
                });
            }
        }
        Ok((entries, seen.mark, seen.missed))
    });
    let (entries, mark, missed) = entries.await?;
    Ok(Tail {
        entries,
        mark,
        missed,
    })
}
