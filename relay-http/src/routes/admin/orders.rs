//! What operators do. Each order is written down before it is carried out, with what came of it after, and what it does to a
//! conversation goes through the same mailbox as everything else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};
use relay_core::id::{ConversationId, NodeId, Nonce};
use relay_core::machine::{Conversation, Event, OperatorAction};
use relay_core::store::StoreError;
use relay_core::store::operators::{Deed, DeedKind, DeedOutcome, Node};
use tracing::Instrument;

use super::session::{self, Denied, Operator, Order};
use super::{roll, shown, view};
use crate::app::{App, in_time};
use crate::config::VmsConfig;
use crate::directory::Asking;
use crate::directory::fly::removal;
use crate::error::RequestError;
use crate::routes::{self, access, guesses};
use crate::vm::{CallError, VmClient};
use crate::web::admin as web;
use crate::{admin, clock, presence};

/// A VM that is awake answers in a moment; for another one the operator asks again.
const VM_PATIENCE: Duration = Duration::from_secs(3);
/// For the erasure of a person an operator waits so long at most.
const ERASE_PATIENCE: Duration = Duration::from_secs(3);
/// Characters of a conversation's name that have to be typed to have it erased.
const CONFIRMATION_CHARS: usize = 6;

/// What the page says when an order was carried out, by the word in its address.
pub(super) fn told(done: &str) -> Option<&'static str> {
    Some(match done {
        "cancelled" => "The run is being cancelled.",
        "redriven" => "The letter is put back, to be sent again.",
        "no-letter" => "That letter is not there any more.",
        "forgotten" => "The person is erased.",
        "being-forgotten" => "The person is being erased. The audit says when that is done.",
        "machine-left" => "The person is erased, but their machine could not be destroyed. Use relay admin forget.",
        "unconfirmed" => "Nothing was erased: what was typed is not what was asked for.",
        "drained" => "The relay takes no more work. It finishes what it holds.",
        "undrained" => "The relay takes work again.",
        "no-relay" => "That relay is not there any more.",
        "last-relay" => {
            "That is the last relay that takes work, so it was not drained. Let another one take work first."
        }
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
    guesses::weigh(&app, caller, token, fields.get("token").map_or("", String::as_str)).await??;
    let (cookie, name) = session::begin(&app, token);
    let who = format!("session {name}");
    write_down(&app, Deed { at: clock::now(), who, what: DeedKind::SignIn, outcome: Some(DeedOutcome::Done) }).await?;
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
    let what = DeedKind::Cancel { conversation: conversation.clone() };
    let cancelling = Arc::clone(&app);
    carry_out(&app, &order.operator, what, async move {
        let to = done(&format!("/admin/conversations/{conversation}"), "cancelled");
        cancelling.accept(conversation, Event::Operator { id, action: OperatorAction::Cancel }).await?;
        Ok((to, DeedOutcome::Done))
    })
    .await
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
    let what = DeedKind::Forget { conversation: conversation.clone() };
    let forgetting = erase(Arc::clone(&app), conversation, state);
    // A machine takes longer than a browser waits.
    match tokio::time::timeout(ERASE_PATIENCE, carry_out(&app, &order.operator, what, forgetting)).await {
        Ok(told) => told,
        Err(_) => Ok(done("/admin/conversations", "being-forgotten")),
    }
}

async fn erase(
    app: Arc<App>,
    conversation: ConversationId,
    state: Option<Conversation>,
) -> Result<(Redirect, DeedOutcome), Denied> {
    let (blobs, notes) = admin::forget::belongings(&conversation, state.as_ref(), Some(&app.config.relay_secret));
    app.store.forget(&conversation, &blobs, &notes).await?;
    if let Some(state) = &state {
        admin::forget::forget_title(&*app.store, &app.config.relay_secret, state).await?;
    }
    if let VmsConfig::Fly(fly) = &app.config.vms {
        let api = admin::vms::api(&fly.app).map_err(|_| RequestError::Malformed("no client for the Machines API"))?;
        match removal::remove(&api, &conversation).await {
            Ok((machines, volumes)) => tracing::info!(%conversation, machines, volumes, "machine destroyed"),
            Err(error) => {
                tracing::error!(%conversation, "machine not destroyed; use relay admin forget: {error:#}");
                return Ok(not_done("/admin/conversations", "machine-left"));
            }
        }
    }
    Ok((done("/admin/conversations", "forgotten"), DeedOutcome::Done))
}

/// `POST /admin/conversations/{id}/vm`: how its VM is. One that sleeps may wake; none is made.
pub(super) async fn ask_vm(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    order: Order,
) -> Result<Response, Denied> {
    let conversation = known(&app, &id).await?;
    let what = DeedKind::AskVm { conversation: conversation.clone() };
    let vm = app.vm(Asking::to_look(conversation));
    let asked = carry_out(&app, &order.operator, what, async move { Ok((ask(&vm).await, DeedOutcome::Done)) }).await?;
    let shown = shown(&app, &id, &HashMap::new(), Some(asked)).await?;
    Ok(web::conversation(&view(&app, &order.operator, &HashMap::new()), &shown))
}

async fn ask(vm: &VmClient) -> web::Asked {
    match tokio::time::timeout(VM_PATIENCE, vm.health()).await {
        Ok(Ok(health)) => web::Asked::Well(Box::new(health)),
        Err(_) | Ok(Err(CallError::NoAnswer)) => web::Asked::Silent,
        Ok(Err(CallError::Busy { message, .. })) => {
            web::Asked::Refused(message.unwrap_or_else(|| "It can't answer just now.".to_owned()))
        }
        Ok(Err(CallError::Refused { message, .. })) => web::Asked::Refused(message),
        Ok(Err(CallError::Fenced)) => web::Asked::Refused("It has seen a later lease.".to_owned()),
    }
}

/// `POST /admin/letters/{letter}/redrive`
pub(super) async fn redrive(
    State(app): State<Arc<App>>,
    Path(letter): Path<u64>,
    order: Order,
) -> Result<Redirect, Denied> {
    let store = Arc::clone(&app.store);
    carry_out(&app, &order.operator, DeedKind::Redrive { letter }, async move {
        Ok(match store.redrive(letter, clock::now()).await? {
            true => (done("/admin/letters", "redriven"), DeedOutcome::Done),
            false => not_done("/admin/letters", "no-letter"),
        })
    })
    .await
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

async fn turn(app: &Arc<App>, operator: &Operator, node: &str, drain: bool) -> Result<Redirect, Denied> {
    let node = NodeId::parse(node).map_err(|_| Denied::Gone)?;
    let what = if drain { DeedKind::Drain { node: node.clone() } } else { DeedKind::Undrain { node: node.clone() } };
    let turning = Arc::clone(app);
    carry_out(app, operator, what, async move { turn_to(&turning, &node, drain).await }).await
}

async fn turn_to(app: &App, node: &NodeId, drain: bool) -> Result<(Redirect, DeedOutcome), Denied> {
    if drain && is_last(app, node).await? {
        return Ok(not_done("/admin/machines", "last-relay"));
    }
    if !in_time(app.store.operators().drain(node, drain)).await? {
        return Ok(not_done("/admin/machines", "no-relay"));
    }
    // This one learns of it here; another one when it is called, which is at once.
    if *node == app.node {
        presence::beat(app).await?
    } else {
        in_time(app.store.operators().call_roll()).await?
    }
    Ok((done("/admin/machines", if drain { "drained" } else { "undrained" }), DeedOutcome::Done))
}

/// Whether no other relay takes work: with this one drained, whatever is due would wait until it had been left lying.
async fn is_last(app: &App, node: &NodeId) -> Result<bool, Denied> {
    let now = clock::now();
    let takes_work = |other: &Node| !other.drain && !presence::is_silent(&other.beat, now);
    Ok(!roll(app).await?.iter().any(|other| other.beat.node != *node && takes_work(other)))
}

/// A conversation that is there: an order makes none.
async fn known(app: &App, id: &str) -> Result<ConversationId, Denied> {
    let conversation = ConversationId::parse(id).map_err(|_| Denied::Gone)?;
    in_time(app.store.overview(&conversation)).await?.ok_or(Denied::Gone)?;
    Ok(conversation)
}

/// Write an order down, carry it out whether or not whoever gave it still waits, and write down what came of it. What is said of
/// an order and what is done of it then differ only when this process dies in between, and the audit shows that.
async fn carry_out<T: Send + 'static>(
    app: &Arc<App>,
    operator: &Operator,
    what: DeedKind,
    order: impl Future<Output = Result<(T, DeedOutcome), Denied>> + Send + 'static,
) -> Result<T, Denied> {
    let deed = Deed { at: clock::now(), who: operator.who.clone(), what, outcome: None };
    write_down(app, deed.clone()).await?;
    let concluding = Arc::clone(app);
    let carried_out = async move {
        let came = order.await;
        let outcome = match &came {
            Ok((_, outcome)) => outcome.clone(),
            Err(Denied::Failed(error)) => DeedOutcome::Failed(format!("{error}.")),
            Err(_) => DeedOutcome::Failed("That is not there, or not any more.".to_owned()),
        };
        log(&Deed { outcome: Some(outcome.clone()), ..deed.clone() });
        // The store's troubles are logged where it is called; the order is carried out all the same.
        let _ = in_time(concluding.store.operators().conclude(&deed, &outcome)).await;
        came.map(|(told, _)| told)
    };
    let ended = app.asides.spawn(carried_out.in_current_span()).await;
    ended.map_err(|panic| RequestError::Store(StoreError::Unavailable(panic.into())))?
}

/// What can't be written down is not done.
async fn write_down(app: &App, deed: Deed) -> Result<(), Denied> {
    log(&deed);
    Ok(in_time(app.store.operators().remember(&deed)).await?)
}

fn log(Deed { who, what, outcome, .. }: &Deed) {
    let (what, outcome) = (serde_json::json!(what), outcome.as_ref().map(|outcome| serde_json::json!(outcome)));
    tracing::info!(target: "audit", who, %what, outcome = outcome.map(tracing::field::display), "operator");
}

fn done(path: &str, what: &str) -> Redirect {
    Redirect::to(&format!("{path}?done={what}"))
}

/// The same of what was not done, which the audit says too.
fn not_done(path: &str, what: &str) -> (Redirect, DeedOutcome) {
    (done(path, what), DeedOutcome::Failed(told(what).unwrap_or(what).to_owned()))
}
