//! What stands between us and a terminal: text from outside made safe, columns, marks, streams.

mod caret;
mod columns;
mod level;
mod safe;
mod stdout;

pub(crate) use caret::mark;
pub(crate) use columns::{Align, Columns};
pub(crate) use level::Level;
pub(crate) use safe::{cut, is_unsafe, safe, safe_lines};
pub(crate) use stdout::{Written, print};
