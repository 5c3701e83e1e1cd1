//! What every caller of somebody else's HTTP needs: addresses below a base, bodies up to a size.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use relay_core::telemetry::calls::Unanswered;
use reqwest::Response;
use url::Url;

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The connection ended before the body did.
    Broken,
    /// It is larger than it may be.
    TooLarge,
}

/// A whole body of at most `bytes_max`; what is beyond is never held.
pub async fn read_up_to(response: Response, bytes_max: usize) -> Result<Bytes, ReadError> {
    let mut body = BytesMut::new();
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        body.extend_from_slice(&chunk.map_err(|_| ReadError::Broken)?);
        if body.len() > bytes_max {
            return Err(ReadError::TooLarge);
        }
    }
    Ok(body.freeze())
}

/// Why a request has no answer.
pub fn why(error: &reqwest::Error) -> Unanswered {
    Unanswered::told(error.is_connect(), error.is_timeout())
}

/// The address of `path` below `base`, whose own path is kept.
pub fn under(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_the_base_is_kept() {
        let at = |base: &str| under(&Url::parse(base).unwrap(), "/images/1").to_string();
        assert_eq!(at("https://h"), "https://h/images/1");
        assert_eq!(at("https://h/relay/"), "https://h/relay/images/1");
    }
}
