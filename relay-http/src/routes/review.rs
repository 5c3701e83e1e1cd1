//! `/r/{signed}`: the review page. Whoever has the link may read the diff and answer once; there is no cookie.
//!
//! A link that is not ours, or no longer good, gets a page that tells no more than that. Nothing here logs an address.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use relay_core::machine::event::VERDICT_CHARS_MAX;
use relay_core::machine::{Event, Verdict};
use relay_core::protocol::review::ReviewIndex;
use relay_core::store::StoreError;
use relay_core::time::Timestamp;
use serde::Deserialize;
use serde_json::json;

use crate::app::{App, in_time};
use crate::clock;
use crate::error::RequestError;
use crate::guests;
use crate::links::{LinkError, Purpose};
use crate::review::{self, Notice, Shown, Standing, Stretch, Subject};
use crate::routes::access;

/// Where a page is.
#[derive(Deserialize)]
pub struct Place {
    /// The first row to be shown.
    #[serde(default)]
    row: u32,
    /// Present after an answer was sent.
    answered: Option<String>,
}

/// What the form sends.
#[derive(Deserialize)]
pub struct Answer {
    verdict: String,
    tree: String,
    form: String,
    #[serde(default)]
    text: String,
}

/// Why there is no page, or no answer is taken.
pub enum Refused {
    /// The link is not good.
    Link(LinkError),
    /// What it names is not kept.
    Gone,
    /// It did not come from the page.
    Foreign,
    /// It is not what the page sends.
    Malformed,
    /// Something is unwell.
    Unwell(RequestError),
}

impl From<RequestError> for Refused {
    fn from(error: RequestError) -> Self {
        Self::Unwell(error)
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Unwell(error.into())
    }
}

impl Refused {
    fn told(&self) -> (StatusCode, &'static str, Notice) {
        let notice = |title, detail| Notice { title, detail };
        match self {
            Self::Link(LinkError::Expired) => (
                StatusCode::GONE,
                "expired",
                notice(
                    "This link has expired",
                    "The time to answer here is over. The chat tells what became of the work.",
                ),
            ),
            Self::Link(_) => (
                StatusCode::NOT_FOUND,
                "invalid",
                notice(
                    "This link is not valid",
                    "Open it from the chat again, all of it. If that does not help, answer in the chat.",
                ),
            ),
            Self::Gone => (
                StatusCode::NOT_FOUND,
                "gone",
                notice("This diff is not kept here any more", "Write diff in the chat to see it, and answer there."),
            ),
            Self::Foreign => (
                StatusCode::FORBIDDEN,
                "foreign",
                notice(
                    "Nothing was done",
                    "This answer did not come from the review page. Open the link from the chat and answer there.",
                ),
            ),
            Self::Malformed => (
                StatusCode::BAD_REQUEST,
                "malformed",
                notice(
                    "Nothing was done",
                    "This is not what the review page sends. Go back, load it again and answer once more.",
                ),
            ),
            Self::Unwell(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unwell",
                notice(
                    "This does not work just now",
                    "Nothing was done. Try again in a moment, or answer in the chat.",
                ),
            ),
        }
    }

    fn json(&self) -> Response {
        let (status, state, Notice { title, detail }) = self.told();
        let mut response = (status, Json(json!({"state": state, "title": title, "detail": detail}))).into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
        response
    }
}

impl Refused {
    /// The page that says so, with what the person wrote, if they did: it is nowhere else.
    fn page(&self, written: &str) -> Response {
        let (status, _, notice) = self.told();
        review::answered(status, notice.title, &review::notice(notice, written))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        self.page("")
    }
}

/// `GET /r/{signed}`: the page, from a row on.
pub async fn show(
    State(app): State<Arc<App>>,
    Path(signed): Path<String>,
    Query(place): Query<Place>,
) -> Result<Response, Refused> {
    let subject = subject(&app, &signed)?;
    let standing = standing(&app, &subject, place.answered.is_some()).await?;
    let view = View { app, signed, subject };
    view.page(StatusCode::OK, standing, place.row, None, "").await
}

/// `GET /r/{signed}/rows?row=`: what the page adds when one scrolls.
pub async fn rows(
    State(app): State<Arc<App>>,
    Path(signed): Path<String>,
    Query(place): Query<Place>,
) -> Result<Response, Refused> {
    let subject = subject(&app, &signed)?;
    standing(&app, &subject, false).await?;
    let (index, stretch) = parts(&app, &subject, place.row).await?;
    let fragment = blocking(move || review::fragment(&signed, &index, &stretch)).await?;
    Ok((PRIVATE, Html(fragment)).into_response())
}

/// `GET /r/{signed}/parts/{part}`: a picture of a file.
pub async fn picture(
    State(app): State<Arc<App>>,
    Path((signed, part)): Path<(String, u32)>,
) -> Result<Response, Refused> {
    let subject = subject(&app, &signed)?;
    standing(&app, &subject, false).await?;
    let index = review::index(&app, &subject).await?.ok_or(Refused::Gone)?;
    let blob = review::picture(&app, &subject, &index, part).await?.ok_or(Refused::Gone)?;
    Ok((PRIVATE, [(header::CONTENT_TYPE, blob.content_type)], blob.bytes).into_response())
}

/// `GET /r/{signed}/state`: what has become of it, for the page to look again.
pub async fn state(State(app): State<Arc<App>>, Path(signed): Path<String>, Query(place): Query<Place>) -> Response {
    let told = async {
        let subject = subject(&app, &signed)?;
        standing(&app, &subject, place.answered.is_some()).await
    };
    match told.await {
        Ok(standing) => {
            let mut told = json!(standing.told());
            told["passing"] = standing.is_passing().into();
            (PRIVATE, Json(told)).into_response()
        }
        Err(refused) => refused.json(),
    }
}

/// `POST /r/{signed}`: an answer. 303 to the page once it is durable, and only then.
pub async fn answer(
    State(app): State<Arc<App>>,
    Path(signed): Path<String>,
    headers: HeaderMap,
    form: Result<Form<Answer>, FormRejection>,
) -> Response {
    let written = match &form {
        Ok(Form(answer)) if !access::is_from_elsewhere(&app, &headers) => answer.text.clone(),
        _ => String::new(),
    };
    let taken = take(app, signed, &headers, form).await;
    taken.unwrap_or_else(|refused| refused.page(&written))
}

async fn take(
    app: Arc<App>,
    signed: String,
    headers: &HeaderMap,
    form: Result<Form<Answer>, FormRejection>,
) -> Result<Response, Refused> {
    let subject = subject(&app, &signed)?;
    // A browser that says nothing of it still needs the form that only the page has.
    if access::is_from_elsewhere(&app, headers) {
        return Err(Refused::Foreign);
    }
    let Form(answer) = form.map_err(|_| Refused::Malformed)?;
    // The form was made by a relay for this very link.
    match app.links.verify(Purpose::Form, &answer.form, clock::now()) {
        Ok(made_for) if made_for == signed => {}
        _ => return Err(Refused::Foreign),
    }
    let standing = standing(&app, &subject, false).await?;
    let is_shown_tree = answer.tree == subject.tree.as_str();
    let view = View { app: Arc::clone(&app), signed, subject };
    if !is_shown_tree || !standing.is_open() {
        let standing = if is_shown_tree { standing } else { Standing::Superseded };
        return view.page(StatusCode::CONFLICT, standing, 0, Some(TOO_LATE), &answer.text).await;
    }
    let verdict = match verdict(&answer) {
        Ok(verdict) => verdict,
        Err(Some(notice)) => {
            return view.page(StatusCode::UNPROCESSABLE_ENTITY, standing, 0, Some(notice), &answer.text).await;
        }
        Err(None) => return Err(Refused::Malformed),
    };
    let Subject { conversation, run, tree } = view.subject.clone();
    let is_first = app.take_in(conversation, Event::Reviewed { run, tree, verdict, cause: None }).await?;
    if !is_first {
        return view.page(StatusCode::CONFLICT, Standing::Answered, 0, Some(USED), &answer.text).await;
    }
    // Relative, so that it is right behind whatever path the world knows this relay by.
    Ok((PRIVATE, Redirect::to(&format!("{}?answered", view.signed))).into_response())
}

const TOO_LATE: Notice = Notice {
    title: "This answer was not taken",
    detail: "Something else was decided first. This is how it stands now:",
};
const USED: Notice = Notice {
    title: "This answer was not taken",
    detail: "The page was answered before, and takes one answer. This is how it stands now:",
};
const EMPTY: Notice = Notice { title: "Nothing was sent", detail: "Write what should be different." };
const TOO_LONG: Notice = Notice { title: "Nothing was sent", detail: "That is too long. Say it in fewer words." };

/// For whoever asked, and not to be interpreted.
const PRIVATE: [(header::HeaderName, &str); 5] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'; sandbox"),
    (header::HeaderName::from_static("x-robots-tag"), "noindex"),
];

/// What the form says; where a person has to say it otherwise, what they are told.
fn verdict(answer: &Answer) -> Result<Verdict, Option<Notice>> {
    // As the page counts it.
    let text = answer.text.replace("\r\n", "\n");
    match (answer.verdict.as_str(), text.trim()) {
        ("approve", _) => Ok(Verdict::Approve),
        ("reject", _) => Ok(Verdict::Reject),
        ("changes", "") => Err(Some(EMPTY)),
        ("changes", text) if text.chars().count() > VERDICT_CHARS_MAX => Err(Some(TOO_LONG)),
        ("changes", text) => Ok(Verdict::Changes { text: text.to_owned() }),
        _ => Err(None),
    }
}

fn subject(app: &App, signed: &str) -> Result<Subject, Refused> {
    let subject = app.links.verify(Purpose::Review, signed, clock::now()).map_err(Refused::Link)?;
    Subject::parse(&subject).ok_or(Refused::Link(LinkError::Malformed))
}

/// What has become of it; `answered` when its page knows that it has been decided on, which may not be seen yet.
async fn standing(app: &App, subject: &Subject, answered: bool) -> Result<Standing, Refused> {
    // Of who is forgotten nothing is shown, whatever of it is left for the rest of its day.
    let conversation = in_time(app.store.conversation(&subject.conversation)).await?.ok_or(Refused::Gone)?;
    let (store, secret) = (&*app.store, &app.config.relay_secret);
    if !in_time(guests::may_look(store, secret, conversation.address.as_ref())).await? {
        return Err(Refused::Gone);
    }
    let standing = Standing::of(&conversation, subject, clock::now());
    Ok(if answered && standing.is_open() { Standing::Answered } else { standing })
}

async fn parts(app: &App, subject: &Subject, row: u32) -> Result<(ReviewIndex, Stretch), Refused> {
    let index = review::index(app, subject).await?.ok_or(Refused::Gone)?;
    let stretch = review::stretch(app, subject, &index, row).await?;
    Ok((index, stretch))
}

/// Colours take a while: others are served meanwhile.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refused> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Refused::Unwell(RequestError::Malformed("not rendered")))
}

/// A link that was found good.
struct View {
    app: Arc<App>,
    signed: String,
    subject: Subject,
}

impl View {
    async fn page(
        self,
        status: StatusCode,
        standing: Standing,
        row: u32,
        notice: Option<Notice>,
        draft: &str,
    ) -> Result<Response, Refused> {
        let (index, stretch) = parts(&self.app, &self.subject, row).await?;
        let form = self.app.links.sign(Purpose::Form, &self.signed, form_expires_at());
        let (signed, subject, draft) = (self.signed, self.subject, draft.to_owned());
        blocking(move || {
            let (signed, draft, form) = (&signed, &draft, &form);
            let (subject, index, stretch, standing) = (&subject, &index, &stretch, &standing);
            let page = review::page(&Shown { signed, subject, index, stretch, standing, form, notice, draft });
            review::answered(status, &index.stat.to_string(), &page)
        })
        .await
    }
}

/// As long as the link itself is good: that is checked first.
fn form_expires_at() -> Timestamp {
    Timestamp(u64::MAX)
}

#[cfg(test)]
mod tests;
