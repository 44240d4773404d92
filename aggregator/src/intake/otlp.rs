//! `POST /v1/logs`: an export of log records by OTLP/HTTP in, and an answer only when ClickHouse has its rows.
//!
//! The rows go in under tokens made of the export itself, so an export that comes again, because the answer was lost or
//! an insert failed, changes nothing that is there. What could not be inserted yet is kept as it was read: the readers'
//! state has moved on meanwhile, and the same export must stay the same rows.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prost::Message;

use super::{Intake, Verdict, block};
use crate::event::Time;
use crate::mask::Mask;
use crate::metrics::otlp as metrics;
use crate::otlp::message::{ExportResponse, PartialSuccess, Status};
use crate::source::otlp::{Batch, EXPORT_MAX_BYTES, Encoding, Export, JSON_MAX_BYTES, Malformed, Readers};

/// Exports whose rows are kept until they come again; past it the oldest is read anew when it does.
const KEPT: usize = 8;

/// What the logs of all exporters share.
pub(super) struct Logs {
    tenant: String,
    readers: Mutex<Readers>,
    /// Exports that were read but not inserted, by their tokens.
    kept: Mutex<VecDeque<(String, Arc<Batch>)>>,
}

/// Why an export gets another answer than 200.
enum Fault {
    /// It can never be taken: `google.rpc.Code` and words.
    Never(StatusCode, i32, String),
    /// It may be taken later.
    Later(String),
}

const INVALID_ARGUMENT: i32 = 3;
const UNAUTHENTICATED: i32 = 16;
const UNAVAILABLE: i32 = 14;

impl From<Malformed> for Fault {
    fn from(why: Malformed) -> Self {
        let status = match why {
            Malformed::Encoding(_) => StatusCode::BAD_REQUEST,
            Malformed::Records | Malformed::Days => StatusCode::PAYLOAD_TOO_LARGE,
        };
        Self::Never(status, INVALID_ARGUMENT, why.to_string())
    }
}

impl From<Verdict> for Fault {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Later(why) => Self::Later(why),
            Verdict::Answer(StatusCode::REQUEST_TIMEOUT, why) => Self::Later(why.to_owned()),
            Verdict::Answer(StatusCode::UNAUTHORIZED, why) => {
                Self::Never(StatusCode::UNAUTHORIZED, UNAUTHENTICATED, why.to_owned())
            }
            Verdict::Answer(status, why) => Self::Never(status, INVALID_ARGUMENT, why.to_owned()),
            Verdict::Refused(why) => Self::Never(StatusCode::BAD_REQUEST, INVALID_ARGUMENT, why),
            Verdict::Stored { .. } => Self::Later("an insert was taken for a fault".to_owned()),
        }
    }
}

/// The handler.
pub(super) async fn logs(State(intake): State<Arc<Intake>>, headers: HeaderMap, body: Body) -> Response {
    let encoding = encoding(&headers);
    let taken = match encoding {
        Some(encoding) => intake.take_logs(&headers, body, encoding).await,
        None => {
            let why = "the content type must be application/x-protobuf or application/json".to_owned();
            Err(Fault::Never(StatusCode::UNSUPPORTED_MEDIA_TYPE, INVALID_ARGUMENT, why))
        }
    };
    let encoding = encoding.unwrap_or(Encoding::Protobuf);
    match taken {
        Ok(batch) => {
            metrics::REQUESTS.with(&["stored"]).inc();
            metrics::RECORDS.with(&["stored"]).add(batch.taken);
            metrics::RECORDS.with(&["rejected"]).add(batch.rejected);
            accepted(encoding, &batch)
        }
        Err(Fault::Never(status, code, why)) => {
            metrics::REQUESTS.with(&["refused"]).inc();
            tracing::warn!(why, "an OTLP export is refused for good");
            refused(encoding, status, code, why)
        }
        Err(Fault::Later(why)) => {
            metrics::REQUESTS.with(&["later"]).inc();
            let mut response = refused(encoding, StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, why);
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
            response
        }
    }
}

/// How the body is written, by its content type.
fn encoding(headers: &HeaderMap) -> Option<Encoding> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?.split(';').next()?.trim();
    if kind.eq_ignore_ascii_case("application/x-protobuf") {
        return Some(Encoding::Protobuf);
    }
    kind.eq_ignore_ascii_case("application/json").then_some(Encoding::Json)
}

impl Logs {
    pub(super) fn new(tenant: &str, mask: Mask) -> Self {
        Self { tenant: tenant.to_owned(), readers: Mutex::new(Readers::masked(mask)), kept: Mutex::default() }
    }

    /// The rows of an export: as they were read before, if it came before and could not be inserted.
    fn read(&self, export: &Export) -> Result<Arc<Batch>, Malformed> {
        // Held from the look to the keeping: the same export at the same time is read once.
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, batch)) = kept.iter().find(|(token, _)| *token == export.token) {
            return Ok(batch.clone());
        }
        let batch = Arc::new(readers.read(export, &self.tenant, Time::now())?);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((export.token.clone(), batch.clone()));
        Ok(batch)
    }

    fn forget(&self, token: &str) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).retain(|(kept, _)| kept != token);
    }
}

impl Intake {
    async fn take_logs(
        self: &Arc<Self>,
        headers: &HeaderMap,
        body: Body,
        encoding: Encoding,
    ) -> Result<Arc<Batch>, Fault> {
        if !self.lets_in(headers) {
            return Err(Verdict::Answer(StatusCode::UNAUTHORIZED, "the bearer key is not the intake's").into());
        }
        let packed = match headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes().to_ascii_lowercase()) {
            None => false,
            Some(value) if value == b"identity" => false,
            Some(value) if value == b"gzip" => true,
            Some(_) => {
                let why = "the content encoding must be gzip or identity".to_owned();
                return Err(Fault::Never(StatusCode::UNSUPPORTED_MEDIA_TYPE, INVALID_ARGUMENT, why));
            }
        };
        let limit = match encoding {
            Encoding::Protobuf => EXPORT_MAX_BYTES,
            Encoding::Json => JSON_MAX_BYTES,
        };
        let (_turn, body) = self.body(body, limit as usize).await?;
        let intake = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let body = if packed { unpack(&body, limit)? } else { body };
            let export = Export::read(body, encoding)?;
            Ok::<_, Fault>((intake.logs.read(&export)?, export.token))
        });
        let (batch, token) =
            read.await.map_err(|_| Fault::Later("the export was not read to its end".to_owned()))??;
        for rows in &batch.blocks {
            let checked = block::check(rows.table, rows.rows, &rows.native);
            let block = checked.map_err(|why| Fault::from(Verdict::Refused(why.to_string())))?;
            let token = ["otlp", &token, rows.table, &rows.day.to_string()].join("/");
            match self.insert(&block, &token, rows.rows, rows.native.clone()).await {
                Verdict::Stored { .. } => {}
                verdict => return Err(verdict.into()),
            }
        }
        self.logs.forget(&token);
        Ok(batch)
    }
}

/// Unpacks a body, and no more of it than an export may have.
fn unpack(packed: &[u8], limit: u64) -> Result<Bytes, Fault> {
    let mut body = Vec::new();
    let read = flate2::read::MultiGzDecoder::new(packed).take(limit + 1).read_to_end(&mut body);
    read.map_err(|error| Malformed::Encoding(["gzip: ", &error.to_string()].concat()))?;
    if body.len() as u64 > limit {
        let why = ["the export is larger than ", &limit.to_string(), " octets when unpacked"].concat();
        return Err(Fault::Never(StatusCode::PAYLOAD_TOO_LARGE, INVALID_ARGUMENT, why));
    }
    Ok(body.into())
}

fn accepted(encoding: Encoding, batch: &Batch) -> Response {
    let rejected = batch.rejected.cast_signed();
    let said = (rejected > 0).then(|| PartialSuccess { rejected, error_message: batch.why.clone() });
    let json = match &said {
        None => serde_json::json!({}),
        Some(said) => serde_json::json!({"partialSuccess": {
            "rejectedLogRecords": said.rejected.to_string(), "errorMessage": said.error_message
        }}),
    };
    answer(encoding, StatusCode::OK, &ExportResponse { partial_success: said }, &json)
}

fn refused(encoding: Encoding, status: StatusCode, code: i32, message: String) -> Response {
    let json = serde_json::json!({"code": code, "message": message});
    answer(encoding, status, &Status { code, message }, &json)
}

/// An answer in the encoding of the request (OTLP/HTTP Response).
fn answer(encoding: Encoding, status: StatusCode, message: &impl Message, json: &serde_json::Value) -> Response {
    match encoding {
        Encoding::Protobuf => {
            (status, [(header::CONTENT_TYPE, "application/x-protobuf")], message.encode_to_vec()).into_response()
        }
        Encoding::Json => (status, [(header::CONTENT_TYPE, "application/json")], json.to_string()).into_response(),
    }
}
