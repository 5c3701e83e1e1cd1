//! `/console/invited/{signed}`: an invitation. Looking at it accepts nothing, because whatever shows previews of links looks at
//! them; its one button does.

use std::sync::Arc;

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::person::{self, SignedIn};
use crate::app::{App, in_time};
use crate::error::RequestError;
use crate::guests::{self, Invited, Standing};
use crate::routes::access;
use crate::web::invited::{self, Shown};

/// What the button sends.
#[derive(Deserialize)]
pub struct Pressed {
    form: String,
}

/// `GET`: what it is, and the button.
pub async fn show(
    State(app): State<Arc<App>>,
    Path(signed): Path<String>,
    signed_in: Result<SignedIn, RequestError>,
) -> Result<Response, RequestError> {
    let Ok(link) = Invited::of_link(&app.links, &signed) else { return Ok(ended()) };
    if is_of_this_browser(&link, signed_in) {
        return Ok(Redirect::to("/console").into_response());
    }
    Ok(match in_time(guests::standing(&*app.store, &app.config.relay_secret, &link)).await? {
        Standing::Open => invited::page(&Shown::Open { form: link.form(&app.links) }),
        // A browser does not say what it holds when it is led here from elsewhere; the button asks it.
        Standing::Accepted => invited::page(&Shown::Accepted { form: link.form(&app.links) }),
        Standing::Ended => ended(),
    })
}

/// `POST`: the first browser that comes is let in for a while.
pub async fn accept(
    State(app): State<Arc<App>>,
    Path(signed): Path<String>,
    signed_in: Result<SignedIn, RequestError>,
    headers: HeaderMap,
    pressed: Result<Form<Pressed>, FormRejection>,
) -> Result<Response, RequestError> {
    let Ok(link) = Invited::of_link(&app.links, &signed) else { return Ok(ended()) };
    if is_of_this_browser(&link, signed_in) {
        return Ok(Redirect::to("/console").into_response());
    }
    // A browser that does not say where a form comes from still needs one that only the page has.
    let page = pressed.ok().and_then(|Form(pressed)| link.page(&app.links, &pressed.form));
    let Some(page) = page.filter(|_| !access::is_from_elsewhere(&app, &headers)) else {
        return Ok((StatusCode::FORBIDDEN, invited::page(&Shown::Elsewhere)).into_response());
    };
    Ok(match in_time(guests::accept(&*app.store, &app.config.relay_secret, &link, &page)).await? {
        Standing::Open => {
            let cookie = person::cookie(&app, &link.cookie(&app.links));
            ([(header::SET_COOKIE, cookie)], Redirect::to("/console")).into_response()
        }
        Standing::Accepted => (StatusCode::GONE, invited::page(&Shown::Used)).into_response(),
        Standing::Ended => ended(),
    })
}

fn is_of_this_browser(link: &Invited, signed_in: Result<SignedIn, RequestError>) -> bool {
    signed_in.is_ok_and(|signed_in| signed_in == SignedIn::Guest(link.clone()))
}

/// Nobody is told whether it ever was one.
fn ended() -> Response {
    (StatusCode::GONE, invited::page(&Shown::Ended)).into_response()
}
