//! The command line as scripts see it: exit codes, and what goes to which stream. Answers come from
//! a stand-in for the host; the end-to-end suite runs the same commands against a real one.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

mod backend;
mod host;
mod manifest;
mod new;
mod projects;
mod run;
mod serve;
mod streams;
