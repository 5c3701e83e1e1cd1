//! The tools, as a model sees them.

use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use relay_core::protocol::IMAGE_BYTES_MAX;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{CallToolResult, ContentBlock};
use rmcp::{ServerHandler, schemars, tool, tool_handler, tool_router};
use serde::Deserialize;

use super::Orders;
use super::browser::{Device, Eyes, Shot};
use super::pictures;
use crate::images::ImageKind;

/// The tools of one run.
#[derive(Clone)]
pub(super) struct Tools {
    orders: Arc<Orders>,
    eyes: Eyes,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct ScreenshotParams {
    /// The page: http://localhost:3000, or file:///… for a file of yours.
    url: String,
    /// Whose screen it is: mobile (390 × 844) or desktop (1280 × 800). Mobile if left out.
    #[serde(default)]
    device: Device,
    /// Another width, in CSS pixels.
    width: Option<u32>,
    /// Another height, in CSS pixels.
    height: Option<u32>,
    /// All of the page instead of what fits on the screen.
    #[serde(default)]
    full_page: bool,
    /// A CSS selector of something that has to be there first.
    wait_for: Option<String>,
    /// What the person reads below the picture.
    #[serde(default)]
    caption: String,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct SendImageParams {
    /// A PNG or JPEG in the working directory.
    path: String,
    /// What the person reads below the picture.
    #[serde(default)]
    caption: String,
}

#[tool_router]
impl Tools {
    pub(super) fn new(orders: Orders) -> Self {
        let eyes = Eyes::new(orders.chromium.clone(), orders.proxy.clone());
        Self { orders: Arc::new(orders), eyes }
    }

    /// Also what the model sees, so that it can judge its work by it.
    #[tool(
        description = "Take a screenshot of a web page, send it to the person, and see it yourself. Start your server first."
    )]
    async fn screenshot(&self, Parameters(asked): Parameters<ScreenshotParams>) -> CallToolResult {
        let (width, height) = asked.device.size();
        let shot = Shot {
            url: asked.url,
            width: asked.width.unwrap_or(width),
            height: asked.height.unwrap_or(height),
            is_mobile: asked.device == Device::Mobile,
            full_page: asked.full_page,
            wait_for: asked.wait_for,
        };
        match self.eyes.take(&shot).await {
            Ok((kind, bytes)) => self.deliver(kind, bytes, &asked.caption).await,
            Err(error) => failed(&error.to_string()),
        }
    }

    #[tool(description = "Send a picture to the person: a PNG or JPEG file in the working directory, at most 5 MB.")]
    async fn send_image(&self, Parameters(asked): Parameters<SendImageParams>) -> CallToolResult {
        match read_picture(&self.orders.worktree, &asked.path) {
            Ok((kind, bytes)) => self.deliver(kind, bytes, &asked.caption).await,
            Err(reason) => failed(&reason),
        }
    }

    async fn deliver(&self, kind: ImageKind, bytes: Vec<u8>, caption: &str) -> CallToolResult {
        match pictures::send(&self.orders.pictures, caption, &bytes).await {
            Ok(()) => CallToolResult::success(vec![
                ContentBlock::text("The person gets this picture."),
                ContentBlock::image(BASE64_STANDARD.encode(&bytes), kind.media_type()),
            ]),
            Err(error) => failed(&format!("The picture could not be sent: {error}")),
        }
    }
}

#[tool_handler]
impl ServerHandler for Tools {}

fn failed(reason: &str) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(reason)])
}

/// A picture inside of the worktree, wherever links lead.
fn read_picture(worktree: &Path, path: &str) -> Result<(ImageKind, Vec<u8>), String> {
    let no_file = |_| format!("There is no file {path} that can be read.");
    let (root, real) =
        (worktree.canonicalize().map_err(no_file)?, worktree.join(path).canonicalize().map_err(no_file)?);
    if !real.starts_with(&root) {
        return Err("Only a file in the working directory can be sent.".to_owned());
    }
    let metadata = real.metadata().map_err(no_file)?;
    if !metadata.is_file() {
        return Err(format!("{path} is not a file."));
    }
    if metadata.len() > IMAGE_BYTES_MAX as u64 {
        return Err(format!("{path} is too large: at most {} MB.", IMAGE_BYTES_MAX >> 20));
    }
    let bytes = std::fs::read(&real).map_err(no_file)?;
    match ImageKind::of(&bytes) {
        Some(kind) if bytes.len() <= IMAGE_BYTES_MAX => Ok((kind, bytes)),
        _ => Err(format!("{path} is neither PNG nor JPEG.")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_pictures_of_the_worktree_are_read() {
        let root = tempfile::tempdir().unwrap();
        let worktree = root.path().join("tree");
        fs::create_dir_all(worktree.join("shots")).unwrap();
        fs::write(worktree.join("shots/a.png"), b"\x89PNG\r\n\x1a\n0000").unwrap();
        fs::write(worktree.join("text.png"), b"no picture").unwrap();
        fs::write(root.path().join("secret.png"), b"\x89PNG\r\n\x1a\n0000").unwrap();
        symlink(root.path().join("secret.png"), worktree.join("link.png")).unwrap();
        fs::File::create(worktree.join("large.png")).unwrap().set_len(IMAGE_BYTES_MAX as u64 + 1).unwrap();
        let read = |path: &str| read_picture(&worktree, path).map(|(kind, _)| kind);
        assert_eq!(read("shots/a.png"), Ok(ImageKind::Png));
        assert_eq!(read(worktree.join("shots/a.png").to_str().unwrap()), Ok(ImageKind::Png));
        for bad in ["../secret.png", "link.png", "text.png", "large.png", "shots", "none.png", "/etc/hostname"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
