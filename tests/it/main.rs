//! System tests: real processes, really killed.

mod acp;
mod bad_input;
mod browser_loop;
mod cancels;
mod chaos;
mod claude;
mod common;
mod conversation;
mod deploy;
mod directory;
mod drawings;
mod fakes;
mod kill_matrix;
mod kills;
mod phone;
mod pull_request;
mod redis;
mod signature;
mod telemetry;
mod tidy;
mod web;
mod whatsapp;
