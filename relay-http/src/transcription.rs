//! Voice notes, written down by whatever speaks OpenAI's `POST /audio/transcriptions`.

use std::sync::Arc;
use std::time::Duration;

use reqwest::multipart::{Form, Part};
use secrecy::ExposeSecret;
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::channels::media::Media;
use crate::config::TranscriptionConfig;
use crate::http::{read_up_to, under};

/// It may take a while; the person is told when it takes longer than the machine waits.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Recordings that are being listened to at the same time at most.
const LISTENING_MAX: usize = 8;
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// What an agent is told of one voice note at most.
const CHARS_MAX: usize = 16_000;

/// The service, if there is one.
#[derive(Clone)]
pub struct Transcription {
    http: reqwest::Client,
    config: TranscriptionConfig,
    places: Arc<Semaphore>,
}

#[derive(Deserialize)]
struct Answer {
    text: String,
}

impl Transcription {
    /// The service that `config` names, over `http`.
    pub fn new(http: reqwest::Client, config: TranscriptionConfig) -> Self {
        Self { http, config, places: Arc::new(Semaphore::new(LISTENING_MAX)) }
    }

    /// What is said in a recording; `None` when that could not be made out, and why is logged.
    pub async fn listen(&self, recording: Media) -> Option<String> {
        let asked = async {
            let _place = self.places.acquire().await;
            self.ask(recording).await
        };
        match tokio::time::timeout(TIMEOUT, asked).await {
            Ok(Ok(text)) => Some(text.chars().take(CHARS_MAX).collect()),
            Ok(Err(reason)) => {
                tracing::warn!(reason, "a voice note could not be written down");
                None
            }
            Err(_) => {
                tracing::warn!("a voice note could not be written down in time");
                None
            }
        }
    }

    async fn ask(&self, recording: Media) -> Result<String, String> {
        let name = format!("voice.{}", recording.extension);
        let part = Part::stream(recording.bytes).file_name(name).mime_str(recording.content_type);
        let form = Form::new()
            .part("file", part.map_err(|error| error.to_string())?)
            .text("model", self.config.model.clone())
            .text("response_format", "json");
        let mut request = self.http.post(under(&self.config.url, "/audio/transcriptions")).multipart(form);
        if let Some(key) = &self.config.api_key {
            request = request.bearer_auth(key.expose_secret());
        }
        let answer = request.send().await.map_err(|error| error.without_url().to_string())?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("the service answered {status}"));
        }
        let body = read_up_to(answer, ANSWER_BYTES_MAX).await.map_err(|_| "its answer could not be read".to_owned())?;
        serde_json::from_slice::<Answer>(&body)
            .map(|answer| answer.text)
            .map_err(|_| "its answer has no text".to_owned())
    }
}
