//! WhatsApp as a person has it, with a fake Twilio that misbehaves as the real one may.

#![expect(clippy::print_stdout, reason = "some of these measure, and people want to read what")]

mod basics;
mod buttons;
mod cost;
mod credentials;
mod delivery;
mod files;
mod identity;
mod inquiries;
mod long_answers;
mod missed;
mod peers;
