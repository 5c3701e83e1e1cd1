//! A diff that is too long for a chat as a picture of its beginning, and as a document with all of it, both made for a phone.
//!
//! Chromium draws them from a page without scripts ([`page`]), where an agent would be: under a supervisor, as the agent's user,
//! in the sandbox. It is never waited for long, and a run does without what it does not draw.

use std::ffi::OsString;
use std::fs::{OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use relay_core::protocol::{ChangedFiles, DiffStat, IMAGE_BYTES_MAX};
use rustix::fs::OFlags;
use tempfile::TempDir;
use tokio::io::AsyncRead;
use tokio_util::sync::CancellationToken;

use crate::files;
use crate::images::ImageKind;
use crate::supervise::confinement::AgentUser;
use crate::supervise::{AgentCommand, Supervised, Supervision};

pub mod page;

use page::{Page, WIDTH_PX};

/// For picture and document together; on a phone's VM each takes about a second.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Of a picture, in CSS pixels: at twice as many of its own it is what messengers pass on without making it smaller.
const PICTURE_HEIGHT_PX: u32 = 800;
/// Of a document, in CSS pixels: so many pages that nobody reads more.
const DOCUMENT_HEIGHT_PX: u32 = 72_000;
/// Pixels to one of CSS, as phones have them.
const SCALE: u32 = 2;

/// What is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// What the diff touches.
    pub stat: &'a DiffStat,
    /// The same, file by file.
    pub files: &'a ChangedFiles,
    /// The diff.
    pub diff: &'a str,
    /// Whether it was cut.
    pub diff_cut: bool,
}

/// What was drawn.
#[derive(Debug)]
pub struct Drawn {
    /// What the bytes are.
    pub kind: ImageKind,
    /// The picture or document.
    pub bytes: Vec<u8>,
    /// False when something is left out.
    pub is_whole: bool,
}

/// Why nothing was drawn.
#[derive(Debug, thiserror::Error)]
pub enum DrawError {
    /// There is no browser.
    #[error("there is no {}", .0.display())]
    NoBrowser(PathBuf),
    /// Its surroundings could not be made.
    #[error("Chromium can't be started: {0}")]
    NotStarted(io::Error),
    /// It failed.
    #[error("Chromium ended with {0}")]
    Ended(ExitStatus),
    /// It drew nothing that can be used.
    #[error("what Chromium has drawn can't be used: {0}")]
    Unusable(io::Error),
    /// It took too long.
    #[error("Chromium takes longer than {} s", .0.as_secs())]
    TimedOut(Duration),
    /// It was stopped, as asked.
    #[error("it was stopped")]
    Stopped,
}

/// Draws diffs.
#[derive(Debug)]
pub struct Renderer {
    supervision: Supervision,
    chromium: PathBuf,
    search_path: OsString,
}

impl Renderer {
    /// With the browser `chromium`, looked up in `search_path` unless it holds a slash.
    pub fn new(supervision: Supervision, chromium: PathBuf, search_path: OsString) -> Self {
        Self { supervision, chromium, search_path }
    }

    /// Draw picture and document, unless `stop` is cancelled before. When this returns, no process of it is left. `lock` is the
    /// file that its supervisors keep locked, one after the other.
    pub async fn draw(
        &self,
        subject: Subject<'_>,
        lock: &Path,
        stop: &CancellationToken,
    ) -> Result<[Drawn; 2], DrawError> {
        let missing = || DrawError::NoBrowser(self.chromium.clone());
        let chromium = files::program(&self.chromium, &self.search_path).filter(|program| program.is_file());
        let studio = Studio::make(self.supervision.confinement().user).map_err(DrawError::NotStarted)?;
        let scene = Scene { renderer: self, chromium: chromium.ok_or_else(missing)?, studio, lock, stop };
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        let picture = scene.draw(ImageKind::Png, &page::of(subject, PICTURE_HEIGHT_PX), deadline).await?;
        let document = scene.draw(ImageKind::Pdf, &page::of(subject, DOCUMENT_HEIGHT_PX), deadline).await?;
        Ok([picture, document])
    }
}

/// Everything that the browser is started with.
struct Scene<'a> {
    renderer: &'a Renderer,
    chromium: PathBuf,
    studio: Studio,
    lock: &'a Path,
    stop: &'a CancellationToken,
}

impl Scene<'_> {
    async fn draw(&self, kind: ImageKind, page: &Page, deadline: tokio::time::Instant) -> Result<Drawn, DrawError> {
        self.studio.put(&page.html).map_err(DrawError::NotStarted)?;
        let command = self.command(kind, page.height_px);
        let mut browser = self.renderer.supervision.start(command).map_err(DrawError::NotStarted)?;
        browser.stdin = None;
        let (stdout, stderr) = (browser.stdout.take(), browser.stderr.take());
        let ended = tokio::select! {
            (status, (), ()) = async { tokio::join!(browser.wait(), drain(stdout), drain(stderr)) } => Some(status),
            () = self.stop.cancelled() => None,
            () = tokio::time::sleep_until(deadline) => None,
        };
        match ended {
            Some(Ok(status)) if status.success() => {}
            Some(Ok(status)) => return Err(DrawError::Ended(status)),
            Some(Err(error)) => return Err(DrawError::NotStarted(error)),
            None => return Err(self.given_up(&mut browser).await),
        }
        let bytes = self.studio.take(kind).map_err(DrawError::Unusable)?;
        Ok(Drawn { kind, bytes, is_whole: page.is_whole })
    }

    async fn given_up(&self, browser: &mut Supervised) -> DrawError {
        // How it ends is of no interest, only that it does.
        let _ = browser.stop().await;
        if self.stop.is_cancelled() { DrawError::Stopped } else { DrawError::TimedOut(TIMEOUT) }
    }

    fn command(&self, kind: ImageKind, height_px: u32) -> AgentCommand {
        let place = self.studio.path();
        let with = |name: &str, value: &Path| [OsString::from(name), value.into()].into_iter().collect::<OsString>();
        // It is in the agent's sandbox already, where it can't make one of its own; and the page is ours.
        let fixed = "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-extensions --no-first-run \
                     --disable-background-networking --disable-component-update --disable-sync --hide-scrollbars";
        let mut args: Vec<OsString> = fixed.split_whitespace().map(OsString::from).collect();
        args.push(with("--user-data-dir=", &place.join("profile")));
        let drawing = self.studio.drawing(kind);
        match kind {
            ImageKind::Pdf => args.extend(["--no-pdf-header-footer".into(), with("--print-to-pdf=", &drawing)]),
            ImageKind::Png | ImageKind::Jpeg => args.extend([
                format!("--force-device-scale-factor={SCALE}").into(),
                format!("--window-size={WIDTH_PX},{height_px}").into(),
                with("--screenshot=", &drawing),
            ]),
        }
        args.push(with("file://", &self.studio.page()));
        let variables = [("PATH", self.renderer.search_path.as_os_str()), ("HOME", place.as_os_str())];
        let variables = variables.into_iter().chain([("TMPDIR", place.as_os_str()), ("LANG", "C.UTF-8".as_ref())]);
        AgentCommand {
            program: self.chromium.clone(),
            args,
            env: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            directory: place.to_owned(),
            writable: Vec::new(),
            readable: Vec::new(),
            tools: None,
            api: None,
            lock: self.lock.to_owned(),
        }
    }
}

/// What it says is of no interest, but a full pipe must not hold it up.
async fn drain(pipe: Option<impl AsyncRead + Unpin>) {
    if let Some(mut pipe) = pipe {
        let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
    }
}

/// A directory of the agent's user, where the page lies and the drawings come to.
struct Studio {
    directory: TempDir,
}

impl Studio {
    fn make(user: Option<AgentUser>) -> io::Result<Self> {
        let private = Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new().prefix("vm-agent-").permissions(private).tempdir()?;
        if let Some(user) = user {
            user.own(directory.path())?;
        }
        Ok(Self { directory })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn page(&self) -> PathBuf {
        self.path().join("diff.html")
    }

    fn drawing(&self, kind: ImageKind) -> PathBuf {
        self.path().join("diff").with_extension(kind.extension())
    }

    /// Put the page there. Whatever is in its place is not followed.
    fn put(&self, html: &str) -> io::Result<()> {
        let readable = Permissions::from_mode(0o644);
        let mut page = tempfile::Builder::new().permissions(readable).tempfile_in(self.path())?;
        page.write_all(html.as_bytes())?;
        page.persist(self.page()).map_err(|error| error.error)?;
        Ok(())
    }

    /// Take a drawing, if it is one.
    fn take(&self, kind: ImageKind) -> io::Result<Vec<u8>> {
        let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(self.drawing(kind))?;
        let mut bytes = Vec::new();
        file.take(IMAGE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
        match kind.is_of(&bytes) {
            _ if bytes.len() > IMAGE_BYTES_MAX => Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is too large")),
            true => Ok(bytes),
            false => Err(io::Error::new(io::ErrorKind::InvalidData, "it is something else")),
        }
    }
}
