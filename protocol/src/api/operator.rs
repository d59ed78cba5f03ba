//! Bodies of the operator's side of the API: receipts in pages, the live tail, the ledger, dead letters.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::app::{Body, Period, ReceiptView, StageView, given};
use crate::address::{Address, Domain, Server};
use crate::inquiry::{DeadLetter, TailEntry};
use crate::ledger::{KindLedger, Ledger};
use crate::message_id::MessageId;
use crate::state::State;
use crate::status::Status;
use crate::time::Timestamp;
use crate::topic::Channel;

/// A page of receipts, in order of acceptance.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MessagePage {
    pub messages: Vec<ReceiptView>,
    /// `after` of the next page; null after the last. A page may be short and still have a next one.
    #[schema(value_type = Option<String>)]
    pub next: Option<MessageId>,
    /// A server did not answer just now, so its messages are missing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

/// One stage that a message has just passed.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TailView {
    #[schema(value_type = String)]
    pub id: MessageId,
    /// `upload`, `push`, `message`, `status`, `presence` or `directory`.
    pub kind: String,
    #[schema(value_type = String, example = "app/climate@home.example")]
    pub source: Address,
    #[schema(value_type = String, example = "dev/lamp-1@home.example")]
    pub destination: Address,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub channel: Option<Channel>,
    /// Where the message stands at the server that reports.
    #[schema(value_type = String, example = "in-flight")]
    pub state: State,
    #[serde(flatten)]
    pub stage: StageView,
}

impl TailView {
    /// The event with our own domain filled in wherever an address leaves it out.
    pub fn new(entry: TailEntry, own: &Domain) -> TailView {
        let receipt = entry.receipt;
        TailView {
            id: receipt.id,
            kind: receipt.kind.as_str().to_owned(),
            source: receipt.source.or_in(own),
            destination: receipt.destination.or_in(own),
            channel: receipt.channel,
            state: State::of(receipt.status),
            stage: StageView::new(entry.report, own),
        }
    }
}

/// Events that a reader of the tail did not get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MissedView {
    /// Whose events.
    #[schema(value_type = String, example = "message")]
    pub server: Server,
    /// How many, because the reader was too slow; none given: the server does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// The ledger of a domain: of each server, what it accepted, how it ended, what is in flight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LedgerView {
    #[schema(value_type = String, example = "home.example")]
    pub domain: Domain,
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// Whether accepted = ended + in flight, for every kind at every server that answered.
    pub balanced: bool,
    /// Accepted less ended less in flight, over all; 0 unless a message was lost or counted twice.
    pub residue: i64,
    pub servers: Vec<ServerLedgerView>,
    /// The servers that did not answer just now: nothing is known of theirs.
    #[schema(value_type = Vec<String>)]
    pub silent: Vec<Server>,
}

/// One server's part. A message that is handed over is accepted, and ends, at each server that holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerLedgerView {
    #[schema(value_type = String, example = "message")]
    pub server: Server,
    pub residue: i64,
    pub kinds: Vec<KindLedgerView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KindLedgerView {
    /// `upload`, `push`, `message`, `status`, `presence` or `directory`.
    pub kind: String,
    pub accepted: u64,
    pub in_flight: u64,
    pub residue: i64,
    /// By final code, in order of the codes.
    pub ended: Vec<EndedView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EndedView {
    #[schema(value_type = u16, example = 200)]
    pub code: Status,
    #[schema(example = "done")]
    pub name: String,
    #[schema(value_type = String, example = "done")]
    pub state: State,
    pub count: u64,
}

impl LedgerView {
    pub fn new(
        domain: Domain,
        time: Timestamp,
        mut ledgers: Vec<(Server, Ledger)>,
        silent: Vec<Server>,
    ) -> LedgerView {
        ledgers.sort_by_key(|(server, _)| *server);
        LedgerView {
            domain,
            time,
            balanced: ledgers.iter().all(|(_, ledger)| ledger.is_balanced()),
            residue: ledgers.iter().map(|(_, ledger)| ledger.residue()).sum(),
            servers: ledgers
                .iter()
                .map(|(server, ledger)| ServerLedgerView {
                    server: *server,
                    residue: ledger.residue(),
                    kinds: ledger.kinds.iter().map(KindLedgerView::from).collect(),
                })
                .collect(),
            silent,
        }
    }
}

impl From<&KindLedger> for KindLedgerView {
    fn from(ledger: &KindLedger) -> KindLedgerView {
        let ended = ledger.ended.iter().filter(|(_, count)| *count > 0);
        KindLedgerView {
            kind: ledger.kind.as_str().to_owned(),
            accepted: ledger.accepted,
            in_flight: ledger.in_flight,
            residue: ledger.residue(),
            ended: ended
                .map(|(code, count)| EndedView {
                    code: *code,
                    name: code.name().to_owned(),
                    state: State::of(*code),
                    count: *count,
                })
                .collect(),
        }
    }
}

/// A page of dead letters, in order of acceptance.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterPage {
    pub dead_letters: Vec<DeadLetterView>,
    /// `after` of the next page; null after the last. A page may be short and still have a next one.
    #[schema(value_type = Option<String>)]
    pub next: Option<MessageId>,
    /// A server did not answer just now, so its dead letters are missing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

/// A message that ended undeliverable and can be sent again.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterView {
    #[schema(value_type = String)]
    pub id: MessageId,
    /// The server that holds it.
    #[schema(value_type = String, example = "message")]
    pub server: Server,
    /// `upload`, `push`, `message`, `status`, `presence` or `directory`.
    pub kind: String,
    #[schema(value_type = String, example = "dev/lamp-1@home.example")]
    pub source: Address,
    #[schema(value_type = String, example = "app/climate@home.example")]
    pub destination: Address,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub channel: Option<Channel>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_id: Option<String>,
    /// The code it ended with.
    #[schema(value_type = u16, example = 500)]
    pub status: Status,
    #[schema(example = "failed")]
    pub name: String,
    /// When it became a dead letter.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// A retry after this needs an expiry of its own.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
    /// How often its receiver has failed at it.
    pub failures: u32,
    /// Bytes of its data.
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    pub stages: Vec<StageView>,
    /// The data, when it is JSON; none of the three in a list.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub data: Option<Box<RawValue>>,
    /// The data, when it is other UTF-8 text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The data, when it is neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
}

impl DeadLetterView {
    /// The letter without its data.
    pub fn new(server: Server, letter: DeadLetter, own: &Domain) -> DeadLetterView {
        let receipt = letter.receipt;
        DeadLetterView {
            id: receipt.id,
            server,
            kind: receipt.kind.as_str().to_owned(),
            source: receipt.source.or_in(own),
            destination: receipt.destination.or_in(own),
            channel: receipt.channel,
            sender_id: receipt.sender_id,
            status: receipt.status,
            name: receipt.status.name().to_owned(),
            since: letter.since,
            expires: receipt.expires,
            failures: letter.failures,
            size: letter.size,
            content_type: letter.content_type,
            stages: receipt
                .stages
                .into_iter()
                .map(|report| StageView::new(report, own))
                .collect(),
            data: None,
            text: None,
            data_base64: None,
        }
    }

    /// The letter with its data.
    pub fn with_data(server: Server, letter: DeadLetter, own: &Domain) -> DeadLetterView {
        let body = Body::of(&letter.data);
        DeadLetterView {
            data: body.data,
            text: body.text,
            data_base64: body.data_base64,
            ..DeadLetterView::new(server, letter, own)
        }
    }
}

/// How a dead letter is to be sent again. Without an expiry it keeps its own expiry, which must not have passed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryRequest {
    /// How long it may take from now, such as `"60s"` or a number of seconds; at most `courier.message_expiry_max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "1h")]
    pub expiry: Option<Period>,
}

/// What has become of a dead letter: 202 after a retry, its own final code after a discard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OperatedView {
    #[schema(value_type = String)]
    pub id: MessageId,
    /// The server that holds it.
    #[schema(value_type = String, example = "message")]
    pub server: Server,
    /// `in-flight` after a retry, `undeliverable` after a discard.
    #[schema(value_type = String, example = "in-flight")]
    pub state: State,
}
