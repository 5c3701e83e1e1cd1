//! Who may use the control UI, and how they prove it.
//!
//! With `ADMIN_TOKEN`, a browser that has given it holds a cookie that proves the token without containing it, and ends by itself;
//! a tool gives it with each request. Without, it is there for this machine alone, as the console is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hmac::{Hmac, KeyInit, Mac};
use relay_core::store::StoreError;
use relay_core::time::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::app::App;
use crate::error::RequestError;
use crate::routes::access;
use crate::routes::guesses::{self, Refused};
use crate::{clock, web};

pub(super) const COOKIE: &str = "textslash_admin";
/// A session lasts so long.
const SESSION: Duration = Duration::from_secs(12 * 3600);
/// Characters of a session's name, which is no secret.
const NAME_CHARS: usize = 8;

/// Somebody who may see and do everything.
pub struct Operator {
    /// A name for how they came in.
    pub who: String,
    /// What their forms carry; none of a tool, which no page can make act.
    pub form_key: Option<String>,
}

/// Why somebody may not.
#[derive(Debug)]
pub enum Denied {
    /// They have to give the token.
    SignInFirst,
    /// What they gave is not the token, or was not looked at.
    Refused(Refused),
    /// Another site's page may have made this request, or a page that is too old.
    Elsewhere,
    /// There is nothing here.
    NotFound,
    /// What this is about is not there, or not any more.
    Gone,
    /// The request can't be served.
    Failed(RequestError),
}

impl Operator {
    fn of_session(app: &App, name: &str, who: String) -> Self {
        Self { who, form_key: Some(mac(app, &["admin form", name])) }
    }
}

impl FromRequestParts<Arc<App>> for Operator {
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Denied> {
        let Some(token) = &app.config.admin_token else {
            return match access::is_for_this_machine(app) && access::is_local(parts) {
                true => Ok(Self::of_session(app, "", "this machine".to_owned())),
                false => Err(Denied::NotFound),
            };
        };
        if let Some(given) = bearer(&parts.headers) {
            guesses::weigh(app, access::caller(app, parts), token, given).await??;
            return Ok(Self { who: "a tool".to_owned(), form_key: None });
        }
        let held = access::cookie(&parts.headers, COOKIE).unwrap_or_default();
        let name = session(app, token, held, clock::now()).ok_or(Denied::SignInFirst)?;
        Ok(Self::of_session(app, name, format!("session {name}")))
    }
}

/// What an operator wants done: a form that only a page of ours can have sent, by a method that no link has.
pub(super) struct Order {
    /// Who.
    pub(super) operator: Operator,
    fields: HashMap<String, String>,
}

impl Order {
    /// What the form says.
    pub(super) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

impl FromRequest<Arc<App>> for Order {
    type Rejection = Denied;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Denied> {
        let (mut parts, body) = request.into_parts();
        let operator = Operator::from_request_parts(&mut parts, app).await?;
        let elsewhere = access::is_from_elsewhere(app, &parts.headers);
        let body = Bytes::from_request(Request::from_parts(parts, body), app).await;
        let body = crate::routes::body(body).map_err(Denied::Failed)?;
        let fields: HashMap<String, String> = form_urlencoded::parse(&body).into_owned().collect();
        let order = Self { operator, fields };
        if let Some(key) = &order.operator.form_key {
            let same: bool = key.as_bytes().ct_eq(order.field("key").as_bytes()).into();
            if elsewhere || !same {
                return Err(Denied::Elsewhere);
            }
        }
        Ok(order)
    }
}

impl From<Refused> for Denied {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<StoreError> for Denied {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<RequestError> for Denied {
    fn from(error: RequestError) -> Self {
        Self::Failed(error)
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        match self {
            Self::SignInFirst => {
                let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
                (StatusCode::UNAUTHORIZED, challenge, web::admin::sign_in(None)).into_response()
            }
            Self::Refused(refused) => {
                let (status, told) = refused.answer();
                (status, told, web::admin::sign_in(Some(&refused.to_string()))).into_response()
            }
            Self::Elsewhere => {
                tracing::warn!("a form for the control UI did not come from one of its pages");
                let told = "That did not come from this page as it is now, so nothing was done. Load it again and try once more.";
                (StatusCode::FORBIDDEN, web::admin::trouble(told)).into_response()
            }
            Self::NotFound => RequestError::NotFound.into_response(),
            Self::Gone => {
                (StatusCode::NOT_FOUND, web::admin::trouble("That is not there, or not any more.")).into_response()
            }
            Self::Failed(error) => {
                let told = format!("Nothing was done: {error}.");
                let plain = error.into_response();
                (plain.status(), web::admin::trouble(&told)).into_response()
            }
        }
    }
}

/// The cookie of a new session, and the session's name.
pub(super) fn begin(app: &App, token: &SecretString) -> (String, String) {
    let name = clock::nonce().as_str()[..NAME_CHARS].to_owned();
    let ends = (clock::now() + SESSION).as_millis();
    let session = format!("{ends}.{name}.{}", proof(app, token, &ends.to_string(), &name));
    let seconds = SESSION.as_secs();
    (format!("{COOKIE}={session}; {}; Max-Age={seconds}", attributes(app)), name)
}

/// The cookie that ends a session in its browser.
pub(super) fn end(app: &App) -> String {
    format!("{COOKIE}=; {}; Max-Age=0", attributes(app))
}

fn attributes(app: &App) -> &'static str {
    match app.config.public_url.url.scheme() {
        "https" => "Path=/admin; HttpOnly; SameSite=Strict; Secure",
        _ => "Path=/admin; HttpOnly; SameSite=Strict",
    }
}

/// The name of the session that `held` proves, at `now`.
pub(super) fn session<'a>(app: &App, token: &SecretString, held: &'a str, now: Timestamp) -> Option<&'a str> {
    let (ends, rest) = held.split_once('.')?;
    let (name, given) = rest.split_once('.')?;
    let same: bool = proof(app, token, ends, name).as_bytes().ct_eq(given.as_bytes()).into();
    (same && now.as_millis() < ends.parse().ok()?).then_some(name)
}

fn proof(app: &App, token: &SecretString, ends: &str, name: &str) -> String {
    mac(app, &["admin session", token.expose_secret(), ends, name])
}

fn mac(app: &App, parts: &[&str]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(app.config.relay_secret.expose_secret().as_bytes())
        .expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    hex::encode(mac.finalize().into_bytes())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}
