//! The pictures that tests draw, and those of them that the documents show: `docs/images` has each under the name of its
//! screenshot. Whenever a test draws one of these, it must still be like the one that readers see.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use png::{Decoder, Transformations};

use crate::dashboards::repository;
use crate::peers::target_dir;

/// A picture that the documents show.
#[derive(Clone, Copy, Debug)]
pub struct Documented {
    /// The file's name, without `.png`, in `target/screenshots` and in `docs/images`.
    pub name: &'static str,
    /// The test that draws it.
    pub test: &'static str,
    compared: Compared,
}

/// What has to be alike.
#[derive(Clone, Copy, Debug)]
enum Compared {
    /// All that is seen.
    Everything,
    /// Only where the ground is seen between the panels: a dashboard's curves and figures are new every time.
    Ground,
}

/// How far apart two pictures may be in any row of cells, in levels of grey: room for ids, times, fonts and another Chromium. A
/// page without its bar is further away.
const APART_MAX: f64 = 5.0;

/// All of them.
pub const DOCUMENTED: [Documented; 7] = [
    page("admin-overview-1280-light", "every_page_can_be_read_on_a_phone_and_on_a_desk_by_day_and_by_night"),
    page("console-diff-360", "a_task_typed_into_the_console_becomes_a_branch_with_exactly_the_shown_tree"),
    dashboard("dashboards-machines"),
    dashboard("dashboards-service"),
    dashboard("dashboards-vm"),
    page("review-1280-dark-2", "a_diff_can_be_read_on_a_phone_and_on_a_desk_by_day_and_by_night"),
    page("review-360-light-2", "a_diff_can_be_read_on_a_phone_and_on_a_desk_by_day_and_by_night"),
];

const fn page(name: &'static str, test: &'static str) -> Documented {
    Documented { name, test, compared: Compared::Everything }
}

const fn dashboard(name: &'static str) -> Documented {
    Documented { name, test: "every_panel_shows_a_load", compared: Compared::Ground }
}

/// The side of the squares that are compared: wider than a letter, narrower than a bar, so that it counts where things are and
/// not what they say.
const CELL_PX: usize = 24;

/// Where the picture of this name is left for a person to look at.
///
/// # Panics
/// When the folder cannot be made.
pub fn screenshot_path(name: &str) -> PathBuf {
    let folder = target_dir().join("screenshots");
    fs::create_dir_all(&folder).expect("target can be written");
    folder.join(format!("{name}.png"))
}

fn shown_path(name: &str) -> PathBuf {
    repository("docs/images").join(format!("{name}.png"))
}

/// Hold the screenshot of this name against the picture in the documents, if they show it.
///
/// # Panics
/// When they are not alike.
pub fn check_documented(name: &str) {
    let Some(documented) = DOCUMENTED.iter().find(|documented| documented.name == name) else { return };
    let [drawn, shown] = [screenshot_path(name), shown_path(name)].map(|path| Grey::read(&path, documented.compared));
    if let Err(difference) = alike(&drawn, &shown) {
        panic!(
            "docs/images/{name}.png is not what target/screenshots/{name}.png looks like now: {difference}. \
             If the new one is as it should be, `./dev screenshots` takes it over."
        );
    }
}

/// What is compared of a picture.
#[derive(Clone, Debug)]
struct Grey {
    width: usize,
    /// Row by row.
    levels: Vec<u8>,
}

impl Grey {
    fn read(path: &Path, compared: Compared) -> Self {
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut decoder = Decoder::new(Cursor::new(bytes));
        decoder.set_transformations(Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut pixels = vec![0; reader.output_buffer_size().expect("it fits into memory")];
        let info = reader.next_frame(&mut pixels).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let colours = info.color_type.samples();
        let ground = &pixels[..colours];
        let level = |pixel: &[u8]| match compared {
            Compared::Ground => u8::MAX * u8::from(pixel == ground),
            Compared::Everything => {
                let sum: usize = pixel.iter().copied().map(usize::from).sum();
                u8::try_from(sum / colours).expect("a mean of bytes is a byte")
            }
        };
        let levels = pixels[..info.buffer_size()].chunks_exact(colours).map(level).collect();
        Self { width: info.width as usize, levels }
    }

    fn height(&self) -> usize {
        self.levels.len() / self.width
    }

    /// The mean of every cell, those that are cut off at the right and below included.
    fn cells(&self) -> Vec<f64> {
        let across = self.width.div_ceil(CELL_PX);
        let mut sums = vec![(0.0, 0.0); across * self.height().div_ceil(CELL_PX)];
        for (place, level) in self.levels.iter().enumerate() {
            let (x, y) = (place % self.width, place / self.width);
            let (sum, count) = &mut sums[y / CELL_PX * across + x / CELL_PX];
            *sum += f64::from(*level);
            *count += 1.0;
        }
        sums.into_iter().map(|(sum, count)| sum / count).collect()
    }
}

/// Whether the two show the same, in the same places; why not, if not.
fn alike(one: &Grey, other: &Grey) -> Result<(), String> {
    let sizes = [one, other].map(|grey| format!("{} × {}", grey.width, grey.height()));
    if sizes[0] != sizes[1] {
        return Err(format!("{} pixels, not {}", sizes[0], sizes[1]));
    }
    let apart = apart(one, other);
    if apart > APART_MAX {
        return Err(format!("{apart:.1} levels of grey apart, where {APART_MAX} are allowed"));
    }
    Ok(())
}

/// By how much two of the same size differ where they differ most: the mean over that row of cells. Over the whole picture, a
/// bar that is gone would hardly count.
fn apart(one: &Grey, other: &Grey) -> f64 {
    let across = one.width.div_ceil(CELL_PX);
    let (one, other) = (one.cells(), other.cells());
    let difference = |(one, other): (&[f64], &[f64])| {
        one.iter().zip(other).map(|(one, other)| (one - other).abs()).sum::<f64>() / one.len() as f64
    };
    one.chunks(across).zip(other.chunks(across)).map(difference).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 360;
    const BAR_PX: usize = 48;

    /// A page with a bar and lines of text, every letter of which is as dark as `letter` says.
    fn page(letter: impl Fn(usize) -> u8) -> Grey {
        let level = |place: usize| {
            let (x, y) = (place % WIDTH, place / WIDTH);
            match y {
                _ if y < BAR_PX => 40,
                _ if x > 24 && x < 300 && y % 30 < 12 => letter(place),
                _ => 250,
            }
        };
        Grey { width: WIDTH, levels: (0..WIDTH * 600).map(level).collect() }
    }

    fn text(place: usize) -> u8 {
        if place % 5 < 2 { 30 } else { 250 }
    }

    #[test]
    fn a_page_with_other_letters_in_the_same_places_is_alike() {
        let other = |place: usize| if place % 7 < 3 { 30 } else { 250 };
        assert_eq!(alike(&page(text), &page(text)), Ok(()));
        assert_eq!(alike(&page(text), &page(other)), Ok(()));
    }

    #[test]
    fn a_page_whose_bar_is_gone_or_cut_away_is_not_alike() {
        let whole = page(text);
        let (mut gone, mut cut) = (whole.clone(), whole.clone());
        gone.levels[..WIDTH * BAR_PX].fill(250);
        cut.levels.drain(..WIDTH * BAR_PX);
        cut.levels.extend(vec![250; WIDTH * BAR_PX]);
        for other in [gone, cut] {
            let said = alike(&whole, &other).expect_err("they differ");
            assert!(said.contains("levels of grey apart"), "{said}");
        }
    }

    #[test]
    fn pictures_of_different_sizes_are_not_alike() {
        let whole = page(text);
        let mut lower = whole.clone();
        lower.levels.truncate(WIDTH * 560);
        assert_eq!(alike(&whole, &lower), Err("360 × 600 pixels, not 360 × 560".to_owned()));
    }

    /// Or the bound would let anything pass.
    #[test]
    fn no_picture_of_the_documents_is_alike_to_another_or_to_itself_without_its_bar() {
        let all = DOCUMENTED.map(|Documented { name, compared, .. }| (name, Grey::read(&shown_path(name), compared)));
        for (name, grey) in &all {
            assert_eq!(all.iter().filter(|(_, other)| alike(grey, other).is_ok()).count(), 1, "{name}");
            let mut cut = grey.clone();
            cut.levels.drain(..grey.width * BAR_PX);
            cut.levels.extend_from_slice(&grey.levels[grey.levels.len() - grey.width * BAR_PX..]);
            assert!(alike(grey, &cut).is_err(), "{name}");
        }
    }
}
