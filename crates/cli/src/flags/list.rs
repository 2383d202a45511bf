use clap::Args;
use model::Selector;

use super::{ReachFlags, SELECTORS};

/// `whaletap ls`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{SELECTORS}"))]
pub(crate) struct ListFlags {
    /// What to list [default: all containers that run]
    #[arg(value_name = "SELECTOR")]
    pub(crate) selectors: Vec<Selector>,
    /// Containers that do not run, too
    #[arg(short = 'a', long)]
    pub(crate) all: bool,
    /// Look inside: a row for each network device
    #[arg(long)]
    pub(crate) interfaces: bool,
    /// table, or json: an object a line
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = list_format)]
    pub(crate) format: ListFormat,
    /// Ids only
    #[arg(short = 'q', long, conflicts_with_all = ["format", "interfaces"])]
    pub(crate) quiet: bool,
    /// Whole ids and cells
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only containers that pass docker's filter, such as status=paused; repeatable
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    pub(crate) filters: Vec<docker::Filter>,
    /// But not these; repeatable
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) exclude: Vec<Selector>,
    #[command(flatten)]
    pub(crate) reach: ReachFlags,
}

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListFormat {
    /// Columns for people.
    Table,
    /// A JSON object a line.
    Json,
}

pub(super) fn list_format(text: &str) -> Result<ListFormat, String> {
    match text {
        "table" => Ok(ListFormat::Table),
        "json" => Ok(ListFormat::Json),
        template if template.contains("{{") => Err("Go templates are not understood: use table, \
             or json with another program, as in `--format json | jq -r .name`"
            .to_owned()),
        _ => Err("expected table or json".to_owned()),
    }
}

const EXAMPLES: &str = "\
Examples:
  whaletap ls
  whaletap ls --interfaces compose:shop
  whaletap ls --format json | jq -r .name";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_two() {
        assert_eq!(list_format("table"), Ok(ListFormat::Table));
        assert_eq!(list_format("json"), Ok(ListFormat::Json));
        assert!(list_format("{{.Name}}").unwrap_err().contains("jq"));
        assert!(list_format("table {{.Name}}").unwrap_err().contains("Go templates"));
        assert!(list_format("yaml").is_err());
    }
}
