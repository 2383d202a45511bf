//! What people and programs read: lists, counts, and what happens meanwhile. Everything here makes
//! text; `command` writes it.

mod amount;
mod counts;
mod ending;
mod json;
mod list;
mod live;
mod notice;
mod recorded;
mod status;

pub(crate) use amount::{bytes, count_of};
pub(crate) use counts::{TargetCounts, count_lines, one_line, target_table};
pub(crate) use ending::ending;
pub(crate) use json::json;
pub(crate) use list::{ids, interface_table, table};
pub(crate) use live::{Rate, live_line};
pub(crate) use notice::notice;
pub(crate) use recorded::{
    held, keeping, not_recorded, recorded, recorded_table, recorder_full, spill_trouble,
    window_short,
};
pub(crate) use status::{has_lost_engine, status_json, status_table};
