//! What operators do. Each order is written down before it is carried out, and what it does to a conversation goes through the
//! same mailbox as everything else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};
use relay_core::id::{ConversationId, EffectSeq, NodeId, Nonce};
use relay_core::machine::{Event, OperatorAction};
use relay_core::store::operators::{Deed, DeedKind};

use super::session::{self, Denied, Operator, Order};
use super::{guesses, shown, view};
use crate::app::{App, in_time};
use crate::config::VmsConfig;
use crate::directory::Asking;
use crate::directory::fly::removal;
use crate::error::RequestError;
use crate::routes::{self, access};
use crate::vm::CallError;
use crate::web::admin as web;
use crate::{admin, clock, presence};

/// A VM that is awake answers in a moment; for another one the operator asks again.
const VM_PATIENCE: Duration = Duration::from_secs(3);
/// Characters of a conversation's name that have to be typed to have it erased.
const CONFIRMATION_CHARS: usize = 6;

/// What the page says when an order was carried out, by the word in its address.
pub(super) fn told(done: &str) -> Option<&'static str> {
    Some(match done {
        "cancelled" => "The run is being cancelled.",
        "redriven" => "The letter is put back, to be sent again.",
        "no-letter" => "That letter is not there any more.",
        "forgotten" => "The person is erased.",
        "unconfirmed" => "Nothing was erased: what was typed is not what was asked for.",
        "drained" => "The relay takes no more work. It finishes what it holds.",
        "undrained" => "The relay takes work again.",
        "no-relay" => "That relay is not there any more.",
        _ => return None,
    })
}

/// What to type to have this conversation erased.
pub(super) fn confirmation(conversation: &ConversationId) -> &str {
    let name = conversation.as_str();
    name.get(..CONFIRMATION_CHARS).unwrap_or(name)
}

/// `POST /admin/session`: a right token begins a session.
pub(super) async fn sign_in(State(app): State<Arc<App>>, request: Request) -> Result<Response, Denied> {
    let Some(token) = &app.config.admin_token else { return Err(Denied::NotFound) };
    let (parts, body) = request.into_parts();
    let caller = access::caller(&app, &parts);
    if access::is_from_elsewhere(&app, &parts.headers) {
        return Err(Denied::Elsewhere);
    }
    let body = routes::body(Bytes::from_request(Request::from_parts(parts, body), &()).await)?;
    let fields: HashMap<String, String> = form_urlencoded::parse(&body).into_owned().collect();
    guesses::weigh(&app, caller, fields.get("token").map_or("", String::as_str)).await?;
    let (cookie, name) = session::begin(&app, token);
    write_down(&app, &format!("session {name}"), DeedKind::SignIn).await?;
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/admin")).into_response())
}

/// `POST /admin/sign-out`
pub(super) async fn sign_out(State(app): State<Arc<App>>, _: Order) -> Response {
    ([(header::SET_COOKIE, session::end(&app))], Redirect::to("/admin")).into_response()
}

/// `POST /admin/conversations/{id}/cancel`
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    order: Order,
) -> Result<Redirect, Denied> {
    let conversation = known(&app, &id).await?;
    let id = match order.field("order") {
        // A tool need not name its orders.
        "" if order.operator.form_key.is_none() => clock::nonce(),
        name => Nonce::parse(name).map_err(|_| RequestError::Malformed("an order without a name"))?,
    };
    write_down(&app, &order.operator.who, DeedKind::Cancel { conversation: conversation.clone() }).await?;
    let to = done(&format!("/admin/conversations/{conversation}"), "cancelled");
    app.accept(conversation, Event::Operator { id, action: OperatorAction::Cancel }).await?;
    Ok(to)
}

/// `POST /admin/conversations/{id}/forget`
pub(super) async fn forget(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    order: Order,
) -> Result<Redirect, Denied> {
    let conversation = known(&app, &id).await?;
    if order.field("confirm").trim() != confirmation(&conversation) {
        return Ok(done(&format!("/admin/conversations/{conversation}"), "unconfirmed"));
    }
    let state = in_time(app.store.conversation(&conversation)).await?;
    write_down(&app, &order.operator.who, DeedKind::Forget { conversation: conversation.clone() }).await?;
    let (blobs, notes) = admin::forget::belongings(&conversation, state.as_ref(), Some(&app.config.relay_secret));
    app.store.forget(&conversation, &blobs, &notes).await?;
    if let Some(state) = &state {
        admin::forget::forget_title(&*app.store, &app.config.relay_secret, state).await?;
    }
    if let VmsConfig::Fly(fly) = &app.config.vms {
        let api = admin::vms::api(&fly.app).map_err(|_| RequestError::Malformed("no client for the Machines API"))?;
        // It takes longer than a browser waits.
        app.asides.spawn(async move {
            match removal::remove(&api, &conversation).await {
                Ok((machines, volumes)) => tracing::info!(%conversation, machines, volumes, "machine destroyed"),
                Err(error) => {
                    tracing::error!(%conversation, "machine not destroyed; use relay admin forget: {error:#}")
                }
            }
        });
    }
    Ok(done("/admin/conversations", "forgotten"))
}

/// `POST /admin/conversations/{id}/vm`: how its VM is. One that sleeps may wake; none is made.
pub(super) async fn ask_vm(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    order: Order,
) -> Result<Response, Denied> {
    let conversation = known(&app, &id).await?;
    write_down(&app, &order.operator.who, DeedKind::AskVm { conversation: conversation.clone() }).await?;
    let asking = Asking { conversation, effect: EffectSeq::default(), is_told: false };
    let asked = match tokio::time::timeout(VM_PATIENCE, app.vm(asking).health()).await {
        Ok(Ok(health)) => web::Asked::Well(Box::new(health)),
        Err(_) | Ok(Err(CallError::NoAnswer)) => web::Asked::Silent,
        Ok(Err(CallError::Busy { message, .. })) => {
            web::Asked::Refused(message.unwrap_or_else(|| "It can't answer just now.".to_owned()))
        }
        Ok(Err(CallError::Refused { message, .. })) => web::Asked::Refused(message),
        Ok(Err(CallError::Fenced)) => web::Asked::Refused("It has seen a later lease.".to_owned()),
    };
    let shown = shown(&app, &id, &HashMap::new(), Some(asked)).await?;
    Ok(web::conversation(&view(&app, &order.operator, &HashMap::new()), &shown))
}

/// `POST /admin/letters/{letter}/redrive`
pub(super) async fn redrive(
    State(app): State<Arc<App>>,
    Path(letter): Path<u64>,
    order: Order,
) -> Result<Redirect, Denied> {
    write_down(&app, &order.operator.who, DeedKind::Redrive { letter }).await?;
    let was_there = app.store.redrive(letter, clock::now()).await?;
    Ok(done("/admin/letters", if was_there { "redriven" } else { "no-letter" }))
}

/// `POST /admin/nodes/{node}/drain`
pub(super) async fn drain(
    State(app): State<Arc<App>>,
    Path(node): Path<String>,
    order: Order,
) -> Result<Redirect, Denied> {
    turn(&app, &order.operator, &node, true).await
}

/// `POST /admin/nodes/{node}/undrain`
pub(super) async fn undrain(
    State(app): State<Arc<App>>,
    Path(node): Path<String>,
    order: Order,
) -> Result<Redirect, Denied> {
    turn(&app, &order.operator, &node, false).await
}

async fn turn(app: &App, operator: &Operator, node: &str, drain: bool) -> Result<Redirect, Denied> {
    let node = NodeId::parse(node).map_err(|_| Denied::Gone)?;
    let what = if drain { DeedKind::Drain { node: node.clone() } } else { DeedKind::Undrain { node: node.clone() } };
    write_down(app, &operator.who, what).await?;
    if !in_time(app.store.operators().drain(&node, drain)).await? {
        return Ok(done("/admin/machines", "no-relay"));
    }
    // This one learns of it here; another one when it is called, which is at once.
    if node == app.node {
        presence::beat(app).await?
    } else {
        in_time(app.store.operators().call_roll()).await?
    }
    Ok(done("/admin/machines", if drain { "drained" } else { "undrained" }))
}

/// A conversation that is there: an order makes none.
async fn known(app: &App, id: &str) -> Result<ConversationId, Denied> {
    let conversation = ConversationId::parse(id).map_err(|_| Denied::Gone)?;
    in_time(app.store.overview(&conversation)).await?.ok_or(Denied::Gone)?;
    Ok(conversation)
}

/// What can't be written down is not done.
async fn write_down(app: &App, who: &str, what: DeedKind) -> Result<(), Denied> {
    tracing::info!(target: "audit", who, what = %serde_json::json!(what), "operator");
    let deed = Deed { at: clock::now(), who: who.to_owned(), what };
    Ok(in_time(app.store.operators().remember(&deed)).await?)
}

fn done(path: &str, what: &str) -> Redirect {
    Redirect::to(&format!("{path}?done={what}"))
}
