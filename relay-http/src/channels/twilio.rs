//! WhatsApp by way of Twilio: webhooks in, the Messages API out.

pub mod inbound;
pub mod send;
pub mod signature;

pub use send::TwilioChannel;
