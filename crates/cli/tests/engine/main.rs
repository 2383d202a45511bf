//! The command itself, with a real Docker engine, as a person would use it: judged by tshark,
//! capinfos, tcpdump, and by what is left behind. An engine is played only where a real one does not
//! do what is to be shown.
//!
//! ```text
//! cargo run -p whaletap-lab -- engine cargo nextest run -p whaletap --test engine
//! ```

#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails it")]

mod abroad;
mod agent;
mod alike;
mod beside;
mod clock;
mod commands;
mod disk;
mod elsewhere;
mod ending;
mod engines;
mod far;
mod follow;
mod helper;
mod hundreds;
mod inside;
mod interfaces;
mod killed;
mod leftovers;
mod list;
mod main_job;
mod member;
mod missed;
mod namespaces;
mod narrow;
mod own_stream;
mod person;
mod processes;
mod record;
mod remote;
mod rights;
mod rootless;
mod run;
mod selectors;
mod series;
mod starts;
mod sweep;
mod tap;
mod turnover;
