use std::{collections::HashMap, str::FromStr};

use crate::Error;

/// One `--filter key=value` in docker's words, for the engine to apply.
///
/// Only the key is checked here; a value that the engine does not understand is its error to
/// report ([`Error::Api`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    key: &'static str,
    value: String,
}

impl Filter {
    /// The keys that engines know for containers.
    ///
    /// Source: `GET /containers/json` of the Engine API, parameter `filters`.
    pub const KEYS: [&str; 15] = [
        "ancestor",
        "before",
        "exited",
        "expose",
        "health",
        "id",
        "is-task",
        "isolation",
        "label",
        "name",
        "network",
        "publish",
        "since",
        "status",
        "volume",
    ];

    /// The key.
    #[must_use]
    pub fn key(&self) -> &'static str {
        self.key
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// All filters in the form of the API: one list of values for each key.
    pub(crate) fn to_api(filters: &[Self]) -> HashMap<String, Vec<String>> {
        let mut map: HashMap<String, Vec<String>> = HashMap::new();
        for filter in filters {
            map.entry(filter.key.to_owned()).or_default().push(filter.value.clone());
        }
        map
    }
}

impl FromStr for Filter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let form = || Error::FilterForm { filter: text.to_owned() };
        let (key, value) = text.split_once('=').ok_or_else(form)?;
        // As docker's CLI: the key in any case, blanks around both are not meant.
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
        if key.is_empty() || value.is_empty() {
            return Err(form());
        }
        match Self::KEYS.into_iter().find(|known| *known == key) {
            Some(key) => Ok(Self { key, value: value.to_owned() }),
            None => Err(Error::FilterKey { key }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_as_docker_reads_them() {
        for (text, key, value) in [
            ("name=web", "name", "web"),
            ("label=a=b", "label", "a=b"),
            (" Status = running ", "status", "running"),
            ("is-task=true", "is-task", "true"),
        ] {
            let filter: Filter = text.parse().unwrap();
            assert_eq!((filter.key(), filter.value()), (key, value), "{text:?}");
        }
        for text in ["", "name", "=web", "name=", "name= "] {
            let error = text.parse::<Filter>().unwrap_err();
            assert!(matches!(error, Error::FilterForm { .. }), "{text:?}: {error}");
        }
    }

    #[test]
    fn an_unknown_key_is_told_which_there_are() {
        let text = "colour=red".parse::<Filter>().unwrap_err().to_string();
        assert!(text.contains("`colour`"), "{text}");
        for key in Filter::KEYS {
            assert!(text.contains(key), "{key} is missing in: {text}");
        }
    }

    #[test]
    fn values_of_one_key_go_together() {
        let filters: Vec<Filter> =
            ["label=a", "name=x", "label=b"].map(|text| text.parse().unwrap()).to_vec();
        let map = Filter::to_api(&filters);
        assert_eq!(map["label"], ["a", "b"]);
        assert_eq!(map["name"], ["x"]);
    }
}
