//! Answers of the admin API: JSON bodies, faults as JSON with the right status, and request bodies read strictly.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::edge::rescue;
use crate::lease::Fault;

/// An error answer: `{"fault": name, "localizedMessage": text, …fields of the fault}`.
pub(super) struct Problem {
    status: StatusCode,
    body: Value,
}

impl Problem {
    pub(super) fn new(status: StatusCode, fault: &str, message: impl Into<String>) -> Problem {
        Problem { status, body: json!({ "fault": fault, "localizedMessage": message.into() }) }
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Problem {
        let status = StatusCode::from_u16(rescue::fault_status(&fault)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut body = serde_json::to_value(&fault).unwrap_or_else(|_| json!({ "fault": "SystemError" }));
        if let Some(fields) = body.as_object_mut() {
            fields.insert("localizedMessage".to_owned(), Value::String(fault.to_string()));
        }
        Problem { status, body }
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Problem {
        let status = rejection.status();
        Problem::new(status, "InvalidRequest", rejection.body_text())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

/// A JSON body; what is wrong with it is said in the API's own error format.
pub(super) fn body<T>(json: Result<Json<T>, JsonRejection>) -> Result<T, Problem> {
    json.map(|Json(value)| value).map_err(Problem::from)
}
