//! The kernel's side: namespaces, packet rings, netlink, descriptor passing, privileges; the only crate with unsafe code.
