//! Export: all records of a kind as they are read, page by page, so that it costs no memory however many there are.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use irsp_courier::store::StoreError;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{Asked, RecordsPath};
use super::caller::Reader;
use super::doc::Problems;
use crate::account::Account;
use crate::refusal::Refusal;
use crate::store::{application, binding, device, grant, peer, user};
use crate::transfer::{Format, Records, Writer};

/// Records read at once.
const PAGE: u32 = 500;

/// How the records are written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Written {
    Csv,
    #[default]
    Ndjson,
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportQuery {
    #[serde(default)]
    #[param(inline, required = false)]
    format: Written,
}

/// A page of text, and where the next begins.
struct Page {
    text: Vec<u8>,
    next: Option<String>,
}

/// Where an export stands.
struct Export {
    account: Arc<Account>,
    records: Records,
    writer: Writer,
    after: Option<String>,
}

/// All records of a kind, in order of their ids; without secrets.
///
/// It is read page by page: a record that is made or deleted meanwhile is in it or not, each other one exactly once.
#[utoipa::path(get, path = "/v1/export/{records}", tag = "transfer",
    params(("records" = String, Path, pattern = "^(devices|users|apps|bindings|peers|grants)$"), ExportQuery),
    responses((status = 200, content((String = "text/csv"), (String = "application/x-ndjson"))), Problems))]
pub(super) async fn export(
    State(account): State<Arc<Account>>,
    _: Reader,
    RecordsPath(records): RecordsPath,
    Asked(asked): Asked<ExportQuery>,
) -> Result<Response, Refusal> {
    let format = match asked.format {
        Written::Csv => Format::Csv,
        Written::Ndjson => Format::Ndjson,
    };
    let export = Export {
        account,
        records,
        writer: Writer::new(records, format),
        after: Some(String::new()),
    };
    // The first page is read before the answer begins: what fails at once is answered as a problem.
    let (first, export) = match export.next().await? {
        Some((text, export)) => (text, export),
        None => return Err(Refusal::NoPath),
    };
    let rest = stream::try_unfold(export, Export::next);
    let body = Body::from_stream(futures_util::StreamExt::chain(
        stream::iter([Ok::<_, StoreError>(first)]),
        rest,
    ));
    Ok(([(header::CONTENT_TYPE, format.media_type())], body).into_response())
}

impl Export {
    /// The next page's text; `None` after the last.
    async fn next(mut self) -> Result<Option<(Vec<u8>, Export)>, StoreError> {
        let Some(after) = self.after.take() else {
            return Ok(None);
        };
        let (store, records) = (self.account.courier.store().clone(), self.records);
        let mut writer = self.writer;
        let (page, writer) = store
            .read(move |sql| {
                let page = match records {
                    Records::Devices => {
                        let found = device::list(sql, device::Filter::default(), after, PAGE)?;
                        page(&mut writer, &found, |device| device.id.to_string())
                    }
                    Records::Users => {
                        let found = user::list(sql, user::Filter::default(), after, PAGE)?;
                        page(&mut writer, &found, |user| user.id.to_string())
                    }
                    Records::Apps => {
                        let found = application::list(sql, application::Filter::default(), after, PAGE)?;
                        page(&mut writer, &found, |app| app.id.to_string())
                    }
                    Records::Bindings => bindings(sql, &mut writer, &after),
                    Records::Peers => {
                        let found = peer::list(sql, &after, PAGE)?;
                        page(&mut writer, &found, |peer| peer.domain.to_string())
                    }
                    Records::Grants => {
                        let found = grant::list(sql, None, &after, PAGE)?;
                        page(&mut writer, &found, grant::place)
                    }
                }?;
                Ok((page, writer))
            })
            .await?;
        self.writer = writer;
        self.after = page.next;
        Ok(Some((page.text, self)))
    }
}

fn bindings(sql: &Connection, writer: &mut Writer, after: &str) -> Result<Page, StoreError> {
    let after = after.split_once('/').unwrap_or((after, ""));
    let found = binding::list(sql, binding::Filter::default(), after, PAGE)?;
    page(writer, &found, |binding| {
        format!("{}/{}", binding.device, binding.user)
    })
}

fn page<T: Serialize>(
    writer: &mut Writer,
    found: &[T],
    cursor: impl Fn(&T) -> String,
) -> Result<Page, StoreError> {
    Ok(Page {
        text: writer.write(found)?,
        next: found.last().filter(|_| found.len() == PAGE as usize).map(cursor),
    })
}
