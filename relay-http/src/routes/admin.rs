//! The control UI, `/admin`: what operators see, and by POST what they do. Every list is bounded and comes in pages.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use futures::future::try_join_all;
use relay_core::id::ConversationId;
use relay_core::store::operators::Node;
use relay_core::store::{Activity, LOG_MAX, StoreError};
use relay_core::time::Timestamp;
use tokio::time::Instant;

use crate::app::{App, in_time};
use crate::config::VmsConfig;
use crate::routes::ops::{Concerns, concerns};
use crate::web::admin as web;
use crate::{admin, clock, presence};

mod orders;
mod session;

pub use session::{Denied, Operator};

/// Rows of a page.
const ROWS: usize = 25;
/// Of what happened in a conversation so much is shown on a page.
const HISTORY_ROWS: usize = 50;
/// No list goes on for ever.
const PAGES_MAX: usize = 1_000;
/// A form is short.
const FORM_BYTES_MAX: usize = 8 * 1024;
/// Relays answer the roll at once, if they are there.
const ROLL_PATIENCE: Duration = Duration::from_millis(300);
const ROLL_PAUSE: Duration = Duration::from_millis(40);
/// A relay's clock and ours may be so far apart.
const CLOCK_SLACK: Duration = Duration::from_millis(200);
/// One that has not answered for so long is gone, and no news any more.
const GONE: Duration = Duration::from_secs(600);
/// The Machines API is waited for this long.
const LIST_PATIENCE: Duration = Duration::from_secs(4);

/// Its routes.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/admin", get(overview))
        .route("/admin/conversations", get(conversations))
        .route("/admin/conversations/{id}", get(conversation))
        .route("/admin/conversations/{id}/cancel", post(orders::cancel))
        .route("/admin/conversations/{id}/forget", post(orders::forget))
        .route("/admin/conversations/{id}/vm", post(orders::ask_vm))
        .route("/admin/approvals", get(approvals))
        .route("/admin/letters", get(letters))
        .route("/admin/letters/{letter}/redrive", post(orders::redrive))
        .route("/admin/machines", get(machines))
        .route("/admin/nodes/{node}/drain", post(orders::drain))
        .route("/admin/nodes/{node}/undrain", post(orders::undrain))
        .route("/admin/deeds", get(deeds))
        .route("/admin/session", post(orders::sign_in))
        .route("/admin/sign-out", post(orders::sign_out))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
}

type Asked = Query<HashMap<String, String>>;

async fn overview(State(app): State<Arc<App>>, who: Operator, Query(asked): Asked) -> Result<Response, Denied> {
    let survey = in_time(app.store.survey(clock::now())).await?;
    let Concerns { mut store, twilio } = concerns(&app).await?;
    store.extend(twilio);
    let vms = match &app.config.vms {
        VmsConfig::Static(base) => format!("One for everybody, at {base}."),
        VmsConfig::Fly(fly) => format!("One for each person, of {} on Fly.io.", fly.app.name),
    };
    let sight = web::Sight { survey, nodes: roll(&app).await?, concerns: store, vms };
    Ok(web::overview(&view(&app, &who, &asked), &sight))
}

async fn conversations(State(app): State<Arc<App>>, who: Operator, Query(asked): Asked) -> Result<Response, Denied> {
    let name = asked.get("state").map_or("", String::as_str);
    let only = Activity::BUSY.into_iter().find(|activity| activity.name() == name);
    let (number, skip) = page(&asked);
    let operators = app.store.operators();
    let found: Vec<_> = match only {
        Some(only) => of(in_time(operators.active(only, skip, ROWS + 1)).await?),
        None => in_time(operators.list(skip, ROWS + 1)).await?.into_iter().map(|id| (id, None)).collect(),
    };
    let at = web::Page { number, more: found.len() > ROWS };
    let listed = listed(&app, found).await?;
    let (survey, nodes) = (in_time(app.store.survey(clock::now())).await?, in_time(operators.nodes()).await?);
    Ok(web::conversations(&view(&app, &who, &asked), &survey, &nodes, only, &listed, at))
}

async fn approvals(State(app): State<Arc<App>>, who: Operator, Query(asked): Asked) -> Result<Response, Denied> {
    let (number, skip) = page(&asked);
    let active = app.store.operators().active(Activity::AwaitingApproval, skip, ROWS + 1);
    let found = of(in_time(active).await?);
    let at = web::Page { number, more: found.len() > ROWS };
    Ok(web::approvals(&view(&app, &who, &asked), &listed(&app, found).await?, at))
}

async fn conversation(
    State(app): State<Arc<App>>,
    who: Operator,
    Path(id): Path<String>,
    Query(asked): Asked,
) -> Result<Response, Denied> {
    let shown = shown(&app, &id, &asked, None).await?;
    Ok(web::conversation(&view(&app, &who, &asked), &shown))
}

async fn letters(State(app): State<Arc<App>>, who: Operator, Query(asked): Asked) -> Result<Response, Denied> {
    let after = asked.get("after").and_then(|after| after.parse().ok()).unwrap_or(0);
    let mut letters = in_time(app.store.operators().letters(after, ROWS + 1)).await?;
    let more = letters.len() > ROWS;
    letters.truncate(ROWS);
    Ok(web::letters(&view(&app, &who, &asked), &letters, after, more))
}

async fn machines(State(app): State<Arc<App>>, who: Operator, Query(asked): Asked) -> Result<Response, Denied> {
    let nodes = roll(&app).await?;
    Ok(web::machines(&view(&app, &who, &asked), &nodes, &vms(&app, &asked).await))
}

async fn deeds(State(app): State<Arc<App>>, who: Operator, Query(asked): Asked) -> Result<Response, Denied> {
    let (number, skip) = page(&asked);
    let mut deeds = in_time(app.store.operators().deeds(skip, ROWS + 1)).await?;
    let at = web::Page { number, more: deeds.len() > ROWS };
    deeds.truncate(ROWS);
    Ok(web::deeds(&view(&app, &who, &asked), &deeds, at))
}

fn view(app: &App, who: &Operator, asked: &HashMap<String, String>) -> web::View {
    web::View {
        who: who.who.clone(),
        key: who.form_key.clone().unwrap_or_default(),
        can_sign_out: app.config.admin_token.is_some(),
        done: asked.get("done").and_then(|done| orders::told(done)),
        now: clock::now(),
    }
}

/// Which page is asked for, and how many rows come before it.
fn page(asked: &HashMap<String, String>) -> (usize, usize) {
    let number = asked.get("page").and_then(|page| page.parse().ok()).unwrap_or(1).clamp(1, PAGES_MAX);
    (number, (number - 1) * ROWS)
}

fn of(active: Vec<relay_core::store::operators::Active>) -> Vec<(ConversationId, Option<Timestamp>)> {
    active.into_iter().map(|one| (one.conversation, Some(one.since))).collect()
}

/// What there is to see of a page of conversations. One that was erased meanwhile is left out.
async fn listed(app: &App, found: Vec<(ConversationId, Option<Timestamp>)>) -> Result<Vec<web::Listed>, StoreError> {
    let looks = found.into_iter().take(ROWS).map(|(conversation, since)| async move {
        let overview = in_time(app.store.overview(&conversation)).await?;
        let state = state(app, &conversation).await?;
        Ok::<_, StoreError>(web::Listed { conversation, overview, state, since })
    });
    let all: Vec<web::Listed> = try_join_all(looks).await?;
    Ok(all.into_iter().filter(|one| one.overview.is_some()).collect())
}

async fn state(app: &App, conversation: &ConversationId) -> Result<web::State, StoreError> {
    match in_time(app.store.conversation(conversation)).await {
        Ok(Some(known)) => Ok(web::State::Known(Box::new(known))),
        Ok(None) => Ok(web::State::New),
        Err(StoreError::Unreadable(_)) => Ok(web::State::Unreadable),
        Err(error) => Err(error),
    }
}

/// What there is to see of one conversation.
async fn shown(
    app: &App,
    id: &str,
    asked: &HashMap<String, String>,
    vm: Option<web::Asked>,
) -> Result<web::Shown, Denied> {
    let conversation = ConversationId::parse(id).map_err(|_| Denied::Gone)?;
    let overview = in_time(app.store.overview(&conversation)).await?.ok_or(Denied::Gone)?;
    let state = state(app, &conversation).await?;
    let nodes = in_time(app.store.operators().nodes()).await?;
    let history = history(app, &conversation, asked).await?;
    let (order, confirmation) = (clock::nonce().to_string(), orders::confirmation(&conversation).to_owned());
    Ok(web::Shown { conversation, overview, state, nodes, history, vm, order, confirmation })
}

/// What happened in a conversation, or in one of its runs; the last of it comes on the first page.
async fn history(
    app: &App,
    conversation: &ConversationId,
    asked: &HashMap<String, String>,
) -> Result<web::History, StoreError> {
    let mut entries = in_time(app.store.log(conversation, 0, LOG_MAX)).await?;
    let run = asked.get("run").and_then(|run| run.parse::<u64>().ok()).map(|run| run.to_string());
    if let Some(run) = &run {
        entries.retain(|logged| logged.entry.run.as_ref().is_some_and(|of| of.number() == run.as_str()));
    }
    let (number, skip) = (page(asked).0, (page(asked).0 - 1) * HISTORY_ROWS);
    entries.truncate(entries.len().saturating_sub(skip));
    let more = entries.len() > HISTORY_ROWS;
    entries.drain(..entries.len().saturating_sub(HISTORY_ROWS));
    Ok(web::History { entries, run, at: web::Page { number, more } })
}

/// The relays that are there, and those that do not answer. Whoever is asked tells it to the store.
async fn roll(app: &App) -> Result<Vec<Node>, StoreError> {
    let (asked, deadline) = (clock::now(), Instant::now() + ROLL_PATIENCE);
    presence::beat(app).await?;
    in_time(app.store.operators().call_roll()).await?;
    loop {
        let mut nodes = in_time(app.store.operators().nodes()).await?;
        nodes.retain(|node| asked.since(node.beat.at) < GONE);
        if Instant::now() >= deadline || nodes.iter().all(|node| node.beat.at + CLOCK_SLACK >= asked) {
            return Ok(nodes);
        }
        tokio::time::sleep(ROLL_PAUSE).await;
    }
}

/// Where the VMs are. None of them is called.
async fn vms(app: &App, asked: &HashMap<String, String>) -> web::Vms {
    let fly = match &app.config.vms {
        VmsConfig::Static(base) => return web::Vms::One(base.to_string()),
        VmsConfig::Fly(fly) => fly,
    };
    let unknown = || web::Vms::Unknown("The Machines API of Fly.io does not tell which machines there are.".to_owned());
    let Ok(api) = admin::vms::api(&fly.app) else { return unknown() };
    let Ok(Ok(mut machines)) = tokio::time::timeout(LIST_PATIENCE, api.machines()).await else { return unknown() };
    machines.sort_by(|a, b| a.id.cmp(&b.id));
    let (number, skip) = page(asked);
    let count = machines.len();
    let machines: Vec<_> = machines.into_iter().skip(skip).take(ROWS).collect();
    let more = skip + machines.len() < count;
    web::Vms::Each(machines, count, web::Page { number, more })
}

#[cfg(test)]
mod tests;
