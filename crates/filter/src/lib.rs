//! Capture expressions: compiled by libpcap, composed for the kernel, interpreted here where the kernel cannot.
