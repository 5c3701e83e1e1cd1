//! What a person is told, cut and dressed as their channel carries it.

use crate::machine::effect::Say;
use crate::machine::rules::Capabilities;
use crate::machine::{split, text};

/// What a channel without monospace of its own needs around code: two fences and their line breaks.
const FENCE_UNITS: usize = 10;
/// What the number of a part takes.
const NUMBER_UNITS: usize = 10;
/// Room for an address below or behind a text; a deployment's own address is far shorter.
pub const LINK_UNITS_MAX: usize = 400;

/// `say` as the messages that carry it: first its text, then its code, the buttons with the last, which is a line of their own
/// where they need one. `say` is never empty.
pub(super) fn shape(mut say: Say, channel: &Capabilities) -> Vec<Say> {
    // Where to look on is not worth a message.
    if !fits(&say, channel) {
        say.follow = None;
    }
    let Say { picture, document, choice, asked, settles, passing, .. } = &say;
    let (picture, document, choice, asked) = (picture.clone(), *document, choice.clone(), asked.clone());
    let (settles, passing) = (*settles, *passing);
    let line = line(&say, channel);
    let mut parts = body(say, channel);
    if let Some(first) = parts.first_mut() {
        (first.picture, first.document) = (picture, document);
    }
    parts.extend(line.map(|text| Say { text, ..Say::default() }));
    if let Some(last) = parts.last_mut() {
        (last.choice, last.asked) = (choice, asked);
    }
    for part in &mut parts {
        (part.settles, part.passing) = (settles, passing);
    }
    parts
}

/// Whether it could have buttons that need a line.
pub(super) fn has_buttons(say: &Say, channel: &Capabilities) -> bool {
    channel.button_line.is_some_and(|line| match (&say.choice, &say.asked) {
        (Some(_), _) => line.choice,
        (None, Some(asked)) => line.options.contains(&asked.labels.len()),
        (None, None) => false,
    })
}

/// The line for the buttons of `say`, where it is none itself.
fn line(say: &Say, channel: &Capabilities) -> Option<String> {
    let units_max = channel.button_line.filter(|_| has_buttons(say, channel))?.units_max;
    if say.code.is_none() && say.link_room() == 0 && split::is_line(&say.text) && split::units(&say.text) <= units_max {
        return None;
    }
    match (&say.choice, &say.asked) {
        (Some(choice), _) => Some(text::choose(&choice.run)),
        (None, Some(asked)) => Some(text::choose_option(&asked.labels, units_max)),
        (None, None) => None,
    }
}

/// Whether one message carries all of it, its choice aside.
pub(super) fn fits(say: &Say, channel: &Capabilities) -> bool {
    length(say) <= channel.text_units_max
}

fn length(say: &Say) -> usize {
    split::units(&say.text) + say.code.as_deref().map_or(0, |code| split::units(code) + FENCE_UNITS) + say.link_room()
}

/// Text and code alone.
fn body(say: Say, channel: &Capabilities) -> Vec<Say> {
    if fits(&say, channel) {
        return vec![Say { picture: None, document: false, choice: None, asked: None, ..say }];
    }
    let room = channel.text_units_max - NUMBER_UNITS;
    let mut parts = texts(&say.text, room, say.link_room(), channel);
    if let Some(last) = parts.last_mut() {
        last.review = say.review;
    }
    if let Some(code) = say.code {
        let code_parts = split_code(&code, room - FENCE_UNITS);
        let is_cut = code_parts.len() > channel.code_parts_max;
        let shown = code_parts.into_iter().take(channel.code_parts_max);
        parts.extend(shown.map(|code| Say { code: Some(code), ..Say::default() }));
        if is_cut {
            parts.push(Say { text: text::CODE_CUT.to_owned(), page: Some(code), ..Say::default() });
        }
    }
    number(&mut parts);
    parts
}

/// A text as some messages, or as its start, its end and a page. The last of them has `end_room` left.
fn texts(whole: &str, room: usize, end_room: usize, channel: &Capabilities) -> Vec<Say> {
    let plain = |text| Say { text, ..Say::default() };
    let mut parts: Vec<String> = split::parts(whole, room).take(channel.text_parts_max + 1).collect();
    if let Some(last) = parts.pop() {
        match split::units(&last) + end_room <= room {
            true => parts.push(last),
            false => parts.extend(split::parts(&last, room - end_room)),
        }
    }
    if parts.len() <= channel.text_parts_max {
        return parts.into_iter().map(plain).collect();
    }
    let start = split::head(whole, room - LINK_UNITS_MAX);
    let end = split::tail(whole, room - split::units(text::CONTINUED) - end_room);
    let left_out = whole.chars().count().saturating_sub(start.chars().count() + end.chars().count());
    vec![
        Say {
            text: format!("{start}\n\n{}", text::left_out(left_out)),
            page: Some(whole.to_owned()),
            ..Say::default()
        },
        plain(format!("{}{end}", text::CONTINUED)),
    ]
}

/// Code is cut at the ends of lines; it stands in a fence of its own, so fences inside are nothing to heed.
fn split_code(code: &str, room: usize) -> Vec<String> {
    let mut parts = Vec::new();
    let mut rest = code.trim_end();
    while !rest.is_empty() {
        let part = split::clip(rest, room);
        rest = rest[part.len()..].trim_start_matches('\n');
        parts.push(part.trim_end_matches('\n').to_owned());
    }
    parts
}

/// Each of several messages says which it is.
fn number(parts: &mut [Say]) {
    let count = parts.len();
    if count < 2 {
        return;
    }
    for (part, at) in parts.iter_mut().zip(1..) {
        let number = format!("({at}/{count})");
        // The address of a page ends the text, so the number comes before.
        part.text = match part.text.as_str() {
            "" => number,
            text if part.page.is_some() => format!("{number} {text}"),
            text => format!("{text}\n{number}"),
        };
    }
}
