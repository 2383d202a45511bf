//! The Docker engine: endpoints, selectors to targets, events; the only user of bollard.
