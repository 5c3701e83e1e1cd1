//! What a person does with their list of conversations.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};

use super::person::{self, Chosen};
use crate::app::{App, in_time};
use crate::channels::console::conversations;
use crate::channels::console::person::FIRST;
use crate::error::RequestError;
use crate::guests;
use crate::routes::access;
use crate::web::invited;

/// Where the console shows a conversation.
pub fn path(number: u8) -> String {
    if number == FIRST { "/console".to_owned() } else { format!("/console?conversation={number}") }
}

/// `POST /console/conversations`: begins one, and leads there. Whoever is in one in which nothing was written yet stays there.
pub async fn begin(State(app): State<Arc<App>>, chosen: Chosen, headers: HeaderMap) -> Result<Response, RequestError> {
    if access::is_from_elsewhere(&app, &headers) {
        return Ok(elsewhere());
    }
    let feed = app.store.feed(&chosen.conversation, 0, 1);
    if in_time(feed).await?.is_empty() {
        return Ok(Redirect::to(&path(chosen.number)).into_response());
    }
    let (secret, person) = (&app.config.relay_secret, chosen.signed_in.person());
    let begun = in_time(conversations::begin(&*app.store, secret, &person)).await?;
    let told = "You have as many conversations as there can be. Whoever runs this relay can erase one.\n";
    Ok(begun.map_or_else(
        || (StatusCode::CONFLICT, told).into_response(),
        |number| Redirect::to(&path(number)).into_response(),
    ))
}

/// `POST /console/leave`: a browser forgets who it is, also when a guest may not come in any more.
pub async fn leave(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, RequestError> {
    if access::is_from_elsewhere(&app, &headers) {
        return Ok(elsewhere());
    }
    // A copy of what it holds is of no use either.
    if let Some(guest) = person::guest(&app, &headers) {
        in_time(guests::leave(&*app.store, &app.config.relay_secret, &guest)).await?;
    }
    let cookie = [(header::SET_COOKIE, person::no_cookie(&app))];
    Ok(match person::was_guest(&headers) {
        true => (cookie, invited::page(&invited::Shown::Gone)).into_response(),
        // The form that asks for the token.
        false => (cookie, Redirect::to("/console")).into_response(),
    })
}

fn elsewhere() -> Response {
    (StatusCode::FORBIDDEN, "That did not come from a page of this console, so nothing was done.\n").into_response()
}
