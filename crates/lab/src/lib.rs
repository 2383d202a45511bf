//! The test lab: private namespaces, traffic, real engines and the tools that judge; never shipped.
