//! Uploads: stored once by message id, read in pages bounded by rows and by bytes.

use irsp_courier::store::StoreError;
use irsp_protocol::{Address, Channel, Envelope, Id, MessageId, MessageKind, Timestamp};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::row;
use crate::live::{Log, Page};

/// Data in one page: a page of large uploads ends early rather than fill the memory.
pub(crate) const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One stored upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upload {
    pub(crate) seq: u64,
    pub(crate) id: MessageId,
    /// An upload, or a message of another application.
    pub(crate) kind: MessageKind,
    pub(crate) app: Id,
    pub(crate) source: Address,
    pub(crate) channel: Option<Channel>,
    pub(crate) time: Timestamp,
    pub(crate) received: Timestamp,
    pub(crate) content_type: Option<String>,
    pub(crate) sender_id: Option<String>,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) data: Vec<u8>,
}

/// Which uploads are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) app: Option<Id>,
    pub(crate) source: Option<Address>,
    pub(crate) channel: Option<Channel>,
    pub(crate) kind: Option<MessageKind>,
    /// By the sender's time, from and including.
    pub(crate) from: Option<Timestamp>,
    /// By the sender's time, before and excluding.
    pub(crate) to: Option<Timestamp>,
}

impl Filter {
    /// The filter on one upload that is already read.
    pub(crate) fn wants(&self, upload: &Upload) -> bool {
        self.app.as_ref().is_none_or(|app| *app == upload.app)
            && self.source.as_ref().is_none_or(|source| *source == upload.source)
            && self.kind.is_none_or(|kind| kind == upload.kind)
            && (self.channel.is_none() || self.channel == upload.channel)
            && self.from.is_none_or(|from| upload.time >= from)
            && self.to.is_none_or(|to| upload.time < to)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Oldest,
    Newest,
}

/// The log of uploads, as streams read it.
pub(crate) enum Uploads {}

impl Log for Uploads {
    type Entry = Upload;
    type Part = Filter;

    fn last(conn: &Connection) -> Result<u64, StoreError> {
        last_seq(conn)
    }
    fn read(conn: &Connection, part: &Filter, after: u64, limit: usize) -> Result<Page<Upload>, StoreError> {
        page(conn, part, Some(after), Order::Oldest, limit)
    }
    fn number(upload: &Upload) -> u64 {
        upload.seq
    }
}

/// Stores an upload under the application it is for. A repeat of the same message changes nothing.
pub(crate) fn insert(
    conn: &Connection,
    app: &Id,
    source: &Address,
    envelope: &Envelope,
    now: Timestamp,
) -> Result<(), StoreError> {
    let attributes = match envelope.attributes.as_slice() {
        [] => None,
        some => Some(serde_json::to_string(some).map_err(row::unwritable)?),
    };
    conn.prepare_cached(
        "INSERT INTO uploads (id, app, source, channel, time, received, content_type, sender_id, attributes, data, kind)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT (id) DO NOTHING",
    )?
    .execute(params![
        envelope.id.as_bytes(),
        app.as_str(),
        source.to_string(),
        envelope.channel.as_ref().map_or("", Channel::as_str),
        envelope.time.as_millis(),
        now.as_millis(),
        envelope.content_type,
        envelope.sender_id,
        attributes,
        envelope.data.as_ref(),
        envelope.kind.as_str(),
    ])?;
    Ok(())
}

/// The number of the newest upload ever stored; 0 if there was none.
pub(crate) fn last_seq(conn: &Connection) -> Result<u64, StoreError> {
    let seq = conn
        .query_row(
            "SELECT seq FROM sqlite_sequence WHERE name = 'uploads'",
            [],
            |found| row::number(found, 0),
        )
        .optional()?;
    Ok(seq.unwrap_or(0))
}

/// A page of what `filter` wants, beyond `after` in the order asked for.
pub(crate) fn page(
    conn: &Connection,
    filter: &Filter,
    after: Option<u64>,
    order: Order,
    limit: usize,
) -> Result<Page<Upload>, StoreError> {
    let after = after.map(|seq| i64::try_from(seq).unwrap_or(i64::MAX));
    let mut wanted = Wanted::default();
    // ?1: where the page begins.
    wanted.values.push(match order {
        Order::Oldest => after.unwrap_or(0).into(),
        Order::Newest => after.unwrap_or(i64::MAX).into(),
    });
    wanted.key("app", filter.app.as_ref().map(|app| app.to_string().into()));
    wanted.key(
        "source",
        filter.source.as_ref().map(|source| source.to_string().into()),
    );
    let channel = filter.channel.as_ref().map(|channel| channel.as_str().to_owned());
    wanted.and("channel =", channel.map(Value::from));
    wanted.and("kind =", filter.kind.map(|kind| kind.as_str().to_owned().into()));
    wanted.and("time >=", filter.from.map(|time| time.as_millis().into()));
    wanted.and("time <", filter.to.map(|time| time.as_millis().into()));
    let select = |keys: &str, tables: &str, beyond: &str| {
        let conditions = wanted.of(keys);
        format!(
            "SELECT {keys}.seq, u.id, u.app, u.source, u.channel, u.time, u.received, u.content_type, u.sender_id,
             u.attributes, u.data, u.kind FROM {tables} WHERE {keys}.seq {beyond}{conditions}"
        )
    };
    let (beyond, unsorted, direction) = match order {
        Order::Oldest => ("> ?1", "> max(?1, (SELECT upto FROM followed))", "ASC"),
        Order::Newest => ("< ?1", "< ?1 AND u.seq > (SELECT upto FROM followed)", "DESC"),
    };
    let selected = match filter.source {
        None => select("u", "uploads u", beyond),
        // Those that are sorted by sender (`by_source`), and the few that are not yet.
        Some(_) => format!(
            "{} UNION ALL {}",
            select("s", "uploads_of_source s JOIN uploads u ON u.seq = s.seq", beyond),
            select("u", "uploads u", unsorted)
        ),
    };
    let sql = format!("{selected} ORDER BY seq {direction}");
    let mut statement = conn.prepare_cached(&sql)?;
    gather(statement.query(params_from_iter(wanted.values))?, limit)
}

/// The conditions on an upload `u`, with their values in order.
#[derive(Default)]
struct Wanted {
    /// Columns that `uploads_of_source` has too, and their values.
    keys: Vec<String>,
    others: Vec<String>,
    values: Vec<Value>,
}

impl Wanted {
    fn key(&mut self, column: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.values.push(value);
            self.keys.push(format!("{column} = ?{}", self.values.len()));
        }
    }

    fn and(&mut self, condition: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.values.push(value);
            self.others
                .push(format!(" AND u.{condition} ?{}", self.values.len()));
        }
    }

    /// All of them, the keys being those of `table`.
    fn of(&self, table: &str) -> String {
        let keys = self.keys.iter().map(|key| format!(" AND {table}.{key}"));
        keys.chain(self.others.iter().cloned()).collect()
    }
}

/// The last stored upload of each (source, channel) of an application, beyond `after`, in order of source and channel.
pub(crate) fn latest(
    conn: &Connection,
    app: &Id,
    source: Option<&Address>,
    after: (&str, &str),
    limit: usize,
) -> Result<Page<Upload>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT u.* FROM latest l JOIN uploads u ON u.seq = l.seq
         WHERE l.app = ?1 AND (?2 IS NULL OR l.source = ?2) AND (l.source, l.channel) > (?3, ?4)
         ORDER BY l.source, l.channel",
    )?;
    let source = source.map(Address::to_string);
    gather(
        statement.query(params![app.as_str(), source, after.0, after.1])?,
        limit,
    )
}

/// Removes what retention no longer keeps, at most `limit` uploads; says how many it removed.
pub(crate) fn sweep(
    conn: &Connection,
    received_before: Option<Timestamp>,
    count_max: Option<u64>,
    limit: u32,
) -> Result<usize, StoreError> {
    let mut removed = 0;
    if let Some(before) = received_before {
        // Stored in order of `received` as nearly as the clock allows, so the oldest stand first.
        removed += conn
            .prepare_cached(
                "DELETE FROM uploads WHERE seq IN
                 (SELECT seq FROM uploads ORDER BY seq LIMIT ?2) AND received < ?1",
            )?
            .execute(params![before.as_millis(), limit])?;
    }
    if let Some(keep) = count_max {
        removed += conn
            .prepare_cached(
                "DELETE FROM uploads WHERE seq IN (SELECT seq FROM uploads WHERE seq <=
                 (SELECT seq FROM uploads ORDER BY seq DESC LIMIT 1 OFFSET ?1) ORDER BY seq LIMIT ?2)",
            )?
            .execute(params![i64::try_from(keep).unwrap_or(i64::MAX), limit])?;
    }
    Ok(removed)
}

/// The number of the newest upload of `app` that its retention does not keep; `None` if it keeps all there are.
pub(crate) fn beyond(
    conn: &Connection,
    app: &Id,
    received_before: Option<Timestamp>,
    bytes_max: Option<u64>,
) -> Result<Option<u64>, StoreError> {
    let mut upto = None;
    if let Some(before) = received_before {
        // Stored in order of `received` as nearly as the clock allows: the first that is kept ends it.
        upto = conn
            .prepare_cached(
                "SELECT max(seq) FROM uploads WHERE app = ?1 AND received < ?2 AND seq <
                 coalesce((SELECT seq FROM uploads WHERE app = ?1 AND received >= ?2 ORDER BY seq LIMIT 1),
                          9223372036854775807)",
            )?
            .query_row(params![app.as_str(), before.as_millis()], |found| {
                found.get::<_, Option<i64>>(0)
            })?;
    }
    if let Some(max) = bytes_max {
        let over = conn
            .prepare_cached(
                "SELECT seq FROM (SELECT seq, sum(length(data)) OVER (ORDER BY seq DESC) AS total
                 FROM uploads WHERE app = ?1) WHERE total > ?2 ORDER BY seq DESC LIMIT 1",
            )?
            .query_row(
                params![app.as_str(), i64::try_from(max).unwrap_or(i64::MAX)],
                |found| found.get::<_, i64>(0),
            )
            .optional()?;
        upto = upto.max(over);
    }
    Ok(upto.map(i64::cast_unsigned))
}

/// Removes uploads of `app` up to this number, at most `limit`; says how many.
pub(crate) fn remove(conn: &Connection, app: &Id, upto: u64, limit: u32) -> Result<usize, StoreError> {
    let removed = conn
        .prepare_cached(
            "DELETE FROM uploads WHERE seq IN
             (SELECT seq FROM uploads WHERE app = ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3)",
        )?
        .execute(params![app.as_str(), upto.cast_signed(), limit])?;
    Ok(removed)
}

fn gather(mut rows: rusqlite::Rows<'_>, limit: usize) -> Result<Page<Upload>, StoreError> {
    let mut page = Page {
        entries: Vec::new(),
        more: false,
    };
    let mut bytes = 0;
    while let Some(found) = rows.next()? {
        if page.entries.len() >= limit || bytes >= PAGE_BYTES_MAX {
            page.more = true;
            break;
        }
        let upload = read(found)?;
        bytes += upload.data.len();
        page.entries.push(upload);
    }
    Ok(page)
}

fn read(found: &Row<'_>) -> rusqlite::Result<Upload> {
    let channel: String = found.get("channel")?;
    let channel = (!channel.is_empty())
        .then(|| Channel::new(&channel))
        .transpose()
        .map_err(|error| row::unreadable(found, "channel", error))?;
    let attributes: Option<String> = found.get("attributes")?;
    let attributes = attributes
        .map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|error| row::unreadable(found, "attributes", error))?;
    Ok(Upload {
        seq: row::number(found, "seq")?,
        id: MessageId::from_bytes(found.get("id")?),
        kind: row::word_of(found, "kind", MessageKind::parse)?,
        app: row::parsed(found, "app")?,
        source: row::parsed(found, "source")?,
        channel,
        time: row::time(found, "time")?,
        received: row::time(found, "received")?,
        content_type: found.get("content_type")?,
        sender_id: found.get("sender_id")?,
        attributes: attributes.unwrap_or_default(),
        data: found.get("data")?,
    })
}

#[cfg(test)]
mod tests;
