use std::{fmt, str::FromStr};

/// What the user wrote to name targets. Several selectors are a union.
///
/// No engine lets a container's name hold a colon, so a prefix that is not in the table is a mistake.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Selector {
    /// An exact name, an id prefix, or a glob over names: `web`, `3f2a`, `shop-*`.
    Name(String),
    /// `label:KEY[=VALUE]`.
    Label {
        /// The label's key.
        key: String,
        /// Its value; any when `None`.
        value: Option<String>,
    },
    /// `image:REF`: `nginx` takes every tag of it.
    Image(String),
    /// `network:NAME`.
    Network(String),
    /// `compose:PROJECT[/SERVICE]`.
    Compose {
        /// The project.
        project: String,
        /// Its service; all when `None`.
        service: Option<String>,
    },
    /// `service:NAME`, of a Swarm.
    Service(String),
    /// `stack:NAME`, of a Swarm.
    Stack(String),
    /// `task:NAME`, of a Swarm: `web.1`, or the full name with the task id.
    Task(String),
    /// `pid:N`.
    Pid(u32),
    /// `netns:PATH`.
    Netns(String),
    /// `host`: this machine's own namespace.
    Host,
}

impl Selector {
    /// Whether it is resolved by asking an engine.
    #[must_use]
    pub fn needs_engine(&self) -> bool {
        !matches!(self, Self::Pid(_) | Self::Netns(_) | Self::Host)
    }

    /// Whether it may take several targets, or none, without that being a mistake.
    #[must_use]
    pub fn is_pattern(&self) -> bool {
        match self {
            Self::Name(name) => name.contains(['*', '?', '[']),
            Self::Pid(_) | Self::Netns(_) | Self::Host => false,
            _ => true,
        }
    }
}

/// Why a selector could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseSelectorError {
    /// Nothing behind the prefix, or nothing at all.
    #[error("`{selector}` names nothing: expected {expected}")]
    Empty {
        /// What was written.
        selector: String,
        /// The form it should have.
        expected: &'static str,
    },
    /// `pid:` without a number behind it.
    #[error("`{selector}`: a pid is a number between 1 and 4194304")]
    Pid {
        /// What was written.
        selector: String,
    },
    /// A prefix that is none.
    #[error(
        "`{prefix}:` is no kind of selector, and a container's name has no colon: the kinds are label, \
         image (`image:{selector}`), network, compose, service, stack, task, pid and netns; an \
         expression stands behind `--`"
    )]
    Kind {
        /// What was written.
        selector: String,
        /// What stands before its colon.
        prefix: String,
    },
}

impl FromStr for Selector {
    type Err = ParseSelectorError;

    fn from_str(text: &str) -> Result<Self, ParseSelectorError> {
        let filled = |rest: &str, expected| {
            if rest.is_empty() {
                Err(ParseSelectorError::Empty { selector: text.to_owned(), expected })
            } else {
                Ok(rest.to_owned())
            }
        };
        let Some((prefix, rest)) = text.split_once(':') else {
            return match text {
                "host" => Ok(Self::Host),
                name => filled(name, "a name, an id, or a pattern").map(Self::Name),
            };
        };
        match prefix {
            "label" => {
                let (key, value) = match rest.split_once('=') {
                    Some((key, value)) => (key, Some(value.to_owned())),
                    None => (rest, None),
                };
                Ok(Self::Label { key: filled(key, "label:KEY or label:KEY=VALUE")?, value })
            }
            "image" => filled(rest, "image:REFERENCE").map(Self::Image),
            "network" => filled(rest, "network:NAME").map(Self::Network),
            "compose" => {
                let (project, service) = match rest.split_once('/') {
                    Some((project, service)) => {
                        (project, Some(filled(service, "compose:PROJECT/SERVICE")?))
                    }
                    None => (rest, None),
                };
                let project = filled(project, "compose:PROJECT or compose:PROJECT/SERVICE")?;
                Ok(Self::Compose { project, service })
            }
            "service" => filled(rest, "service:NAME").map(Self::Service),
            "stack" => filled(rest, "stack:NAME").map(Self::Stack),
            "task" => filled(rest, "task:NAME").map(Self::Task),
            "pid" => match rest.parse() {
                Ok(pid @ 1..=4_194_304) => Ok(Self::Pid(pid)),
                _ => Err(ParseSelectorError::Pid { selector: text.to_owned() }),
            },
            "netns" => filled(rest, "netns:PATH").map(Self::Netns),
            _ => Err(ParseSelectorError::Kind {
                selector: text.to_owned(),
                prefix: prefix.to_owned(),
            }),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Label { key, value: None } => write!(f, "label:{key}"),
            Self::Label { key, value: Some(value) } => write!(f, "label:{key}={value}"),
            Self::Image(image) => write!(f, "image:{image}"),
            Self::Network(name) => write!(f, "network:{name}"),
            Self::Compose { project, service: None } => write!(f, "compose:{project}"),
            Self::Compose { project, service: Some(service) } => {
                write!(f, "compose:{project}/{service}")
            }
            Self::Service(name) => write!(f, "service:{name}"),
            Self::Stack(name) => write!(f, "stack:{name}"),
            Self::Task(name) => write!(f, "task:{name}"),
            Self::Pid(pid) => write!(f, "pid:{pid}"),
            Self::Netns(path) => write!(f, "netns:{path}"),
            Self::Host => f.write_str("host"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_reads_back_as_written() {
        for text in [
            "web",
            "3f2a",
            "shop-*",
            "label:tier",
            "label:tier=front",
            "label:tier=a=b",
            "image:nginx:1",
            "network:back",
            "compose:shop",
            "compose:shop/api",
            "service:api",
            "stack:shop",
            "task:api.1",
            "pid:17",
            "netns:/run/netns/a b",
            "host",
            "web[0-9]",
        ] {
            let selector: Selector = text.parse().unwrap();
            assert_eq!(selector.to_string(), text);
        }
    }

    #[test]
    fn empty_forms_are_refused() {
        for text in [
            "",
            "label:",
            "label:=x",
            "image:",
            "compose:",
            "compose:/x",
            "compose:x/",
            "pid:",
            "pid:0",
            "pid:x",
            "netns:",
        ] {
            assert!(text.parse::<Selector>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn a_kind_that_there_is_not_is_told_with_those_that_there_are() {
        for (text, prefix) in [("labels:tier=x", "labels"), ("registry:5000/app", "registry")] {
            let told = text.parse::<Selector>().unwrap_err().to_string();
            assert!(told.starts_with(&format!("`{prefix}:` is no kind of selector")), "{told}");
            assert!(told.contains(&format!("`image:{text}`")), "{told}");
        }
        assert!(":x".parse::<Selector>().is_err());
    }
}
