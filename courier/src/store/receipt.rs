//! Rows read as receipts.

use irsp_protocol::inquiry::{Order, Page, PageRequest};
use irsp_protocol::receipt::{Receipt, Stage, StageReport};
use irsp_protocol::{Address, Envelope, MessageId, Status, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::error::StoreError;
use super::text;
use crate::hop::Hop;

/// Messages looked through for one page, so that a rare match costs a bounded time.
const SCANNED_MAX: usize = 5_000;

/// What this server knows of a message; and its hop, if it still waits and the row does not say when it was sent.
pub(crate) fn read(
    sql: &Connection,
    id: MessageId,
    reporter: &Address,
) -> Result<Option<(Receipt, Option<Hop>)>, StoreError> {
    let row = sql
        .prepare_cached(
            "SELECT head, accepted_at, sent_at, answered_at, answered, ended_at, status, answer, hop, cause
             FROM message WHERE id = ?1",
        )?
        .query_row([id.as_bytes()], ReceiptRow::read)
        .optional()?;
    row.map(|row| Ok((row.receipt(reporter)?, row.unsent()?)))
        .transpose()
}

/// A page of what this server knows. A message that waits is shown without the time of sending, which only the task that
/// sends knows.
pub(crate) fn page(
    sql: &Connection,
    request: &PageRequest,
    reporter: &Address,
) -> Result<Page<Receipt>, StoreError> {
    let (mut select, first) = match request.order {
        Order::Oldest => (
            sql.prepare_cached(
                "SELECT head, accepted_at, sent_at, answered_at, answered, ended_at, status, answer, hop, cause, id,
                 kind
                 FROM message WHERE id > ?1 ORDER BY id LIMIT ?2",
            )?,
            [0; 16],
        ),
        Order::Newest => (
            sql.prepare_cached(
                "SELECT head, accepted_at, sent_at, answered_at, answered, ended_at, status, answer, hop, cause, id,
                 kind
                 FROM message WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
            )?,
            [0xFF; 16],
        ),
    };
    let after = request.after.map_or(first, |id| *id.as_bytes());
    let mut rows = select.query(params![after, i64::try_from(SCANNED_MAX).unwrap_or(i64::MAX)])?;
    let (mut entries, mut scanned, mut last) = (Vec::new(), 0, None);
    while let Some(row) = rows.next()? {
        if entries.len() >= usize::from(request.limit) {
            return Ok(Page { entries, next: last });
        }
        (last, scanned) = (Some(text::read_id(row.get(10)?)), scanned + 1);
        let kind = text::read_kind(row.get_ref(11)?.as_str().map_err(rusqlite::Error::from)?)?;
        if !request.filter.wants_kind(kind) {
            continue;
        }
        let receipt = ReceiptRow::read(row)?.receipt(reporter)?;
        if request.filter.wants(&receipt) {
            entries.push(receipt);
        }
    }
    let next = last.filter(|_| scanned >= SCANNED_MAX);
    Ok(Page { entries, next })
}

/// What this server answered to a message that came over the bus, while it is remembered.
pub(crate) fn received(
    sql: &Connection,
    id: MessageId,
    reporter: &Address,
) -> Result<Option<StageReport>, StoreError> {
    let found = sql
        .prepare_cached("SELECT at, status FROM seen WHERE id = ?1 LIMIT 1")?
        .query_row([id.as_bytes()], |row| {
            let columns: (i64, u16) = (row.get(0)?, row.get(1)?);
            Ok(columns)
        })
        .optional()?;
    found
        .map(|(at, status)| {
            let status = text::read_status(status)?;
            Ok(StageReport {
                stage: if status.is_error() {
                    Stage::Ended
                } else {
                    Stage::Accepted
                },
                time: Timestamp::from_millis(at),
                reporter: reporter.clone(),
                code: Some(status),
            })
        })
        .transpose()
}

struct ReceiptRow {
    head: String,
    accepted_at: i64,
    sent_at: Option<i64>,
    answered_at: Option<i64>,
    answered: Option<u16>,
    ended_at: Option<i64>,
    status: Option<u16>,
    answer: Option<String>,
    hop: String,
    cause: Option<String>,
}

impl ReceiptRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<ReceiptRow> {
        Ok(ReceiptRow {
            head: row.get(0)?,
            accepted_at: row.get(1)?,
            sent_at: row.get(2)?,
            answered_at: row.get(3)?,
            answered: row.get(4)?,
            ended_at: row.get(5)?,
            status: row.get(6)?,
            answer: row.get(7)?,
            hop: row.get(8)?,
            cause: row.get(9)?,
        })
    }

    fn unsent(&self) -> Result<Option<Hop>, StoreError> {
        let waits = self.sent_at.is_none() && self.answered_at.is_none() && self.ended_at.is_none();
        waits.then(|| text::read_hop(&self.hop)).transpose()
    }

    fn receipt(&self, reporter: &Address) -> Result<Receipt, StoreError> {
        let envelope: Envelope = serde_json::from_str(&self.head)?;
        let status = self.status.map(text::read_status).transpose()?;
        let answered = self.answered.map(text::read_status).transpose()?;
        let times = [
            (Stage::Accepted, Some(self.accepted_at), None),
            (Stage::Routed, Some(self.accepted_at), None),
            (Stage::Sent, self.sent_at, None),
            (Stage::Answered, self.answered_at, answered),
            (Stage::Ended, self.ended_at, status),
        ];
        let stages = times.into_iter().filter_map(|(stage, time, code)| {
            Some(StageReport {
                stage,
                time: Timestamp::from_millis(time?),
                reporter: reporter.clone(),
                code,
            })
        });
        Ok(Receipt {
            id: envelope.id,
            kind: envelope.kind,
            source: envelope.source,
            destination: envelope.destination,
            channel: envelope.channel,
            sender_id: envelope.sender_id,
            expires: envelope.expires,
            status: status.unwrap_or(Status::QUEUED),
            stages: stages.collect(),
            answer: text::read_answer(self.answer.as_deref())?,
            cause: text::read_cause(self.cause.as_deref())?,
        })
    }
}
