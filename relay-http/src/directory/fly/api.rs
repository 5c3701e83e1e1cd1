//! Calls the Machines API of Fly.io: nine endpoints, within their limits, and what their refusals mean.

use std::fmt;
use std::time::Duration;

use relay_core::id::ConversationId;
use reqwest::{Method, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::wire::{Leased, Machine, NewMachine, NewVolume, USER, Volume};
use crate::config::FlyApp;
use crate::http::read_up_to;

/// Making a machine takes the longest: its image is fetched.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// A thousand machines are a few megabytes.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// Whoever was told that there were too many requests waits, ever longer.
const LIMITED_PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// Of what the API says to a refusal so much is logged.
const SAID_CHARS_MAX: usize = 200;
const NONCE: &str = "fly-machine-lease-nonce";

macro_rules! fly_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// As text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = &'static str;

            /// It becomes part of an address, so it may hold nothing that means anything there.
            fn try_from(text: String) -> Result<Self, Self::Error> {
                let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                if is_plain && (1..=64).contains(&text.len()) { Ok(Self(text)) } else { Err("not an id of Fly.io's") }
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

fly_id!(
    /// A machine.
    MachineId
);
fly_id!(
    /// A volume.
    VolumeId
);

/// Why a call did not do what it was for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ApiError {
    /// No answer, or one of a server in trouble: it may have been carried out.
    #[error("the Machines API did not answer")]
    NoAnswer,
    /// Too many calls, also after waiting: it was not carried out.
    #[error("the Machines API is asked too often")]
    Limited,
    /// There is no such thing.
    #[error("there is no such thing at Fly.io")]
    NotFound,
    /// Somebody else has a lease on it, its name is taken, or it is not in a state for this.
    #[error("somebody else is at work on it")]
    Conflict,
    /// The token, or what was asked for.
    #[error("the Machines API refuses with {status}: {said}")]
    Refused {
        /// The answer's status.
        status: u16,
        /// The API's own words.
        said: String,
    },
}

/// The API, for one app.
#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    base: Url,
    token: SecretString,
}

impl Api {
    /// Act for `app`.
    pub fn new(http: reqwest::Client, app: &FlyApp) -> Self {
        let mut base = app.api_url.clone();
        base.set_path(&format!("/v1/apps/{}", app.name));
        Self { http, base, token: app.token.clone() }
    }

    /// Every machine of the app that is there.
    pub async fn machines(&self) -> Result<Vec<Machine>, ApiError> {
        let machines: Vec<Machine> = self.get("machines", &[]).await?;
        Ok(machines.into_iter().filter(Machine::is_there).collect())
    }

    /// The machines of one conversation that are there.
    pub async fn machines_of(&self, conversation: &ConversationId) -> Result<Vec<Machine>, ApiError> {
        let (key, user) = (format!("metadata.{USER}"), conversation.as_str());
        let machines: Vec<Machine> = self.get("machines", &[(&key, user)]).await?;
        // Whose they are is decided here.
        Ok(machines.into_iter().filter(|machine| machine.is_there() && machine.user() == Some(user)).collect())
    }

    /// A machine that is there.
    pub async fn machine(&self, id: &MachineId) -> Result<Option<Machine>, ApiError> {
        found(self.get::<Machine>(&format!("machines/{id}"), &[]).await.map(Some), Machine::is_there)
    }

    /// Make a machine, and have a lease on it.
    pub async fn create_machine(&self, machine: &NewMachine<'_>) -> Result<Machine, ApiError> {
        self.call(Method::POST, "machines", &[], Some(machine), None).await
    }

    /// Start a machine. One that is started already stays so.
    pub async fn start(&self, id: &MachineId) -> Result<(), ApiError> {
        self.call::<Value>(Method::POST, &format!("machines/{id}/start"), &[], None::<&()>, None).await.map(drop)
    }

    /// Whether the machine has come to be started within `patience`.
    pub async fn wait_started(&self, machine: &Machine, patience: Duration) -> Result<bool, ApiError> {
        let timeout = patience.as_secs().max(1).to_string();
        let query = [("state", "started"), ("timeout", timeout.as_str())];
        match self.get::<Value>(&format!("machines/{}/wait", machine.id), &query).await {
            Ok(_) => Ok(true),
            Err(ApiError::Refused { status: 408, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Take a lease on a machine: its nonce.
    pub async fn lease(&self, id: &MachineId, ttl: Duration) -> Result<String, ApiError> {
        let ttl = ttl.as_secs().to_string();
        let path = format!("machines/{id}/lease");
        let leased: Leased = self.call(Method::POST, &path, &[("ttl", &ttl)], None::<&()>, None).await?;
        Ok(leased.data.nonce)
    }

    /// Give a lease back.
    pub async fn release(&self, id: &MachineId, nonce: &str) -> Result<(), ApiError> {
        let path = format!("machines/{id}/lease");
        self.call::<Value>(Method::DELETE, &path, &[], None::<&()>, Some(nonce)).await.map(drop)
    }

    /// Destroy a machine, also one that runs.
    pub async fn destroy_machine(&self, id: &MachineId, nonce: &str) -> Result<(), ApiError> {
        let path = format!("machines/{id}");
        self.call::<Value>(Method::DELETE, &path, &[("force", "true")], None::<&()>, Some(nonce)).await.map(drop)
    }

    /// Every volume of the app that is there.
    pub async fn volumes(&self) -> Result<Vec<Volume>, ApiError> {
        let volumes: Vec<Volume> = self.get("volumes", &[]).await?;
        Ok(volumes.into_iter().filter(Volume::is_there).collect())
    }

    /// A volume that is there.
    pub async fn volume(&self, id: &VolumeId) -> Result<Option<Volume>, ApiError> {
        found(self.get::<Volume>(&format!("volumes/{id}"), &[]).await.map(Some), Volume::is_there)
    }

    /// Make a volume.
    pub async fn create_volume(&self, volume: &NewVolume<'_>) -> Result<Volume, ApiError> {
        self.call(Method::POST, "volumes", &[], Some(volume), None).await
    }

    /// Destroy a volume that no machine has.
    pub async fn destroy_volume(&self, id: &VolumeId) -> Result<(), ApiError> {
        self.call::<Value>(Method::DELETE, &format!("volumes/{id}"), &[], None::<&()>, None).await.map(drop)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, ApiError> {
        self.call(Method::GET, path, query, None::<&()>, None).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&impl Serialize>,
        nonce: Option<&str>,
    ) -> Result<T, ApiError> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path()));
        let mut pauses = LIMITED_PAUSES.iter();
        loop {
            let mut request = self.http.request(method.clone(), url.clone()).query(query).timeout(CALL_TIMEOUT);
            request = request.header("authorization", authorization(self.token.expose_secret()));
            if let Some(nonce) = nonce {
                request = request.header(NONCE, nonce);
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            match read(request.send().await).await {
                Err(ApiError::Limited) => match pauses.next() {
                    Some(pause) => tokio::time::sleep(*pause).await,
                    None => return Err(ApiError::Limited),
                },
                answer => return answer,
            }
        }
    }
}

/// As flyctl prints them, tokens of today have their scheme in front; older ones are `Bearer`'s.
fn authorization(token: &str) -> String {
    match token {
        _ if token.starts_with("FlyV1 ") => token.to_owned(),
        _ if token.starts_with("fm") => format!("FlyV1 {token}"),
        _ => format!("Bearer {token}"),
    }
}

fn found<T>(answer: Result<Option<T>, ApiError>, is_there: impl Fn(&T) -> bool) -> Result<Option<T>, ApiError> {
    match answer {
        Ok(found) => Ok(found.filter(is_there)),
        Err(ApiError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn read<T: DeserializeOwned>(answer: reqwest::Result<Response>) -> Result<T, ApiError> {
    // What reqwest says of a failure names the address alone, and that holds no secret; but nobody needs it.
    let response = answer.map_err(|_| ApiError::NoAnswer)?;
    let status = response.status();
    let body = read_up_to(response, ANSWER_BYTES_MAX).await.map_err(|_| ApiError::NoAnswer)?;
    match status {
        _ if status.is_success() => {
            let body: &[u8] = if body.is_empty() { b"null" } else { &body };
            serde_json::from_slice(body).map_err(|_| ApiError::Refused {
                status: status.as_u16(),
                said: "an answer that could not be read".to_owned(),
            })
        }
        StatusCode::TOO_MANY_REQUESTS => Err(ApiError::Limited),
        StatusCode::NOT_FOUND => Err(ApiError::NotFound),
        StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => Err(ApiError::Conflict),
        _ if status.is_server_error() => Err(ApiError::NoAnswer),
        _ => Err(refusal(status, &body)),
    }
}

fn refusal(status: StatusCode, body: &[u8]) -> ApiError {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let said = body["error"].as_str().or(body["message"].as_str()).unwrap_or("no reason");
    // As some gateways of Fly.io's answer to a name that is taken.
    if said.starts_with("already_exists") {
        return ApiError::Conflict;
    }
    let said = said.chars().filter(|c| !c.is_control()).take(SAID_CHARS_MAX).collect();
    ApiError::Refused { status: status.as_u16(), said }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_holds_nothing_that_means_something_in_an_address() {
        let machine = |id: &str| MachineId::try_from(id.to_owned());
        assert_eq!(machine("148e127db25198").unwrap().as_str(), "148e127db25198");
        for wrong in ["", "..", "a/b", "a?b", "a#b", "a%2fb", "a b", "a\n", &"a".repeat(65)] {
            assert!(machine(wrong).is_err(), "{wrong:?}");
        }
        assert!(serde_json::from_value::<Machine>(serde_json::json!({ "id": "../apps", "state": "started" })).is_err());
    }

    #[test]
    fn a_token_goes_with_its_scheme() {
        assert_eq!(authorization("FlyV1 fm2_a,fm2_b"), "FlyV1 fm2_a,fm2_b");
        assert_eq!(authorization("fm2_a"), "FlyV1 fm2_a");
        assert_eq!(authorization("o1d-token"), "Bearer o1d-token");
    }

    #[test]
    fn what_is_new_in_an_answer_is_passed_over() {
        let machine: Machine = serde_json::from_value(serde_json::json!({
            "id": "148e127db25198", "state": "started", "incomplete_config": null, "new": { "thing": 1 },
            "config": { "metadata": { "user": "c0ffee" }, "mounts": [{ "volume": "vol_1", "path": "/data", "name": "x" }] }
        }))
        .unwrap();
        assert_eq!((machine.user(), machine.volume().map(VolumeId::as_str)), (Some("c0ffee"), Some("vol_1")));
    }

    #[test]
    fn a_taken_name_is_known_whatever_its_status() {
        let body = br#"{"error":"already_exists: unique machine name violation, machine ID 1 already exists with name \"vm\""}"#;
        assert!(matches!(refusal(StatusCode::UNPROCESSABLE_ENTITY, body), ApiError::Conflict));
        let refused = refusal(StatusCode::FORBIDDEN, br#"{"error":"unauthorized\n"}"#).to_string();
        assert_eq!(refused, "the Machines API refuses with 403: unauthorized");
    }
}
