//! The page of a run as browsers are answered, also where there is nothing for them to see.

use std::collections::VecDeque;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use relay_core::machine::LogWhat;
use relay_core::store::StoreError;

use super::{Form, Onlooker, Refused, Why};
use crate::app::{App, in_time};
use crate::clock;
use crate::error::RequestError;
use crate::links::LinkError;
use crate::review::{Notice, notice};
use crate::web::{layout, run as web};

/// Entries read in one call.
const BATCH: usize = 100;

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        if self.form == Form::Page {
            return self.why.page();
        }
        match self.why {
            Why::Link(_) | Why::Gone => RequestError::NotFound.into_response(),
            Why::Request(error) => error.into_response(),
        }
    }
}

impl Why {
    fn page(&self) -> Response {
        let (status, title, detail) = match self {
            Self::Link(LinkError::Expired) => (
                StatusCode::GONE,
                "This link has expired",
                "Ask for status in the chat: while a run goes on, a new one comes.",
            ),
            Self::Link(_) | Self::Request(RequestError::NotFound) => (
                StatusCode::NOT_FOUND,
                "This link is not valid",
                "Open it from the chat again, all of it. If that does not help, ask for status in the chat.",
            ),
            Self::Gone => (
                StatusCode::NOT_FOUND,
                "Nothing is known of this run",
                "It may have been forgotten since the link was made.",
            ),
            Self::Request(RequestError::Malformed(_)) => (
                StatusCode::BAD_REQUEST,
                "This address is not understood",
                "A part of it has been changed. Open the link from the chat again, all of it.",
            ),
            Self::Request(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "This does not work just now",
                "Nothing is lost. Load the page again in a moment.",
            ),
        };
        let mut response = layout::page(title, None, &notice(Notice { title, detail }, ""));
        *response.status_mut() = status;
        response
    }
}

/// The page, of the latest entries or of those before some.
pub(super) async fn page(app: &App, onlooker: &Onlooker) -> Result<Response, StoreError> {
    let (mut entries, mut standing, mut task) = (VecDeque::new(), None, None);
    let (mut cursor, mut has_earlier) = (0, false);
    loop {
        let read = in_time(app.store.log(&onlooker.conversation, cursor, BATCH)).await?;
        let is_last = read.len() < BATCH;
        cursor = read.last().map_or(cursor, |logged| logged.cursor);
        for logged in read.into_iter().filter(|logged| logged.entry.run.as_ref() == Some(&onlooker.run)) {
            standing = web::Standing::told_by(&logged.entry.what).or(standing);
            if let LogWhat::Begun { task: begun } = &logged.entry.what {
                task = Some(begun.clone());
            }
            if onlooker.asked.before.is_none_or(|before| logged.cursor < before) {
                entries.push_back(logged);
                has_earlier |= entries.len() > web::ROWS_MAX && entries.pop_front().is_some();
            }
        }
        if is_last {
            break;
        }
    }
    Ok(web::page(&web::Shown {
        run: &onlooker.run,
        key: onlooker.asked.key.as_deref(),
        task: task.as_deref(),
        entries: entries.make_contiguous(),
        has_earlier,
        is_latest: onlooker.asked.before.is_none(),
        standing: web::Standing::known(standing, onlooker.is_over),
        cursor,
        now: clock::now(),
    }))
}
