//! What a person reads when an operator has stepped in.

use super::run_name;
use crate::id::RunId;

pub(in crate::machine) fn cancelled_by_operator(run: &RunId, dropped: usize) -> String {
    let waiting = match dropped {
        0 => "",
        1 => " What waited behind it is dropped as well; write it again if you still want it.",
        _ => " All that waited behind it is dropped as well; write it again if you still want it.",
    };
    format!("🛑 Whoever runs this service is stopping {}.{waiting}", run_name(run))
}

pub(in crate::machine) fn dropped_by_operator(messages: usize) -> String {
    let messages = if messages == 1 { "Your latest message is" } else { "Your latest messages are" };
    format!("🛑 {messages} dropped by whoever runs this service; write again what you still want.")
}
