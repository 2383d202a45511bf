//! Running a program of this host inside a target's network namespace.
