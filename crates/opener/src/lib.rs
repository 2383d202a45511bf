//! The small privileged process that enters namespaces and hands back descriptors.
