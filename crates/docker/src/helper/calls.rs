//! The system calls that a helper may make.
//!
//! Engines let a container make some 350, by a filter that their runtime compiles for all of the
//! machine's ABIs each time that a container is started. A helper runs one program, which is known: it
//! makes fewer than 100, and a filter of those and of what its C library might make elsewhere is there some
//! 15 ms sooner.
//!
//! Source: "Seccomp security profiles for Docker" has the form, seccomp(2) what it does. Names that a
//! machine's architecture does not have are passed over.

use serde_json::json;

/// What the program makes, as its instructions show, and what its C library might make instead on
/// another machine.
const PROGRAMS: [&str; 103] = [
    // Memory, threads, time, signals, and the end.
    "brk",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "madvise",
    "futex",
    "set_robust_list",
    "set_tid_address",
    "rseq",
    "arch_prctl",
    "riscv_flush_icache",
    "riscv_hwprobe",
    "sched_getaffinity",
    "sched_yield",
    "getcpu",
    "clock_getres",
    "clock_gettime",
    "clock_nanosleep",
    "gettimeofday",
    "nanosleep",
    "restart_syscall",
    "getrandom",
    "sigaltstack",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "tgkill",
    "exit",
    "exit_group",
    // What it is and where, and the rights that it gives up.
    "getpid",
    "getppid",
    "gettid",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "getgroups",
    "getcwd",
    "uname",
    "sysinfo",
    "prlimit64",
    "capget",
    "capset",
    "prctl",
    // Its opener, which is the same program again, and processes of others.
    "setsid",
    "execve",
    "wait4",
    "waitid",
    "pidfd_open",
    // Files, of which it writes none.
    "open",
    "openat",
    "openat2",
    "close",
    "close_range",
    "read",
    "readv",
    "pread64",
    "write",
    "writev",
    "lseek",
    "fstat",
    "newfstatat",
    "statx",
    "fstatfs",
    "access",
    "faccessat",
    "faccessat2",
    "readlink",
    "readlinkat",
    "getdents64",
    "dup",
    "dup2",
    "dup3",
    "fcntl",
    "ioctl",
    "pipe2",
    "inotify_init1",
    "inotify_add_watch",
    "inotify_rm_watch",
    // Waiting.
    "poll",
    "ppoll",
    "epoll_create1",
    "epoll_ctl",
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "eventfd2",
    "signalfd4",
    // Sockets, and the namespaces in which they are opened.
    "socket",
    "socketpair",
    "bind",
    "connect",
    "shutdown",
    "sendto",
    "sendmsg",
    "recvfrom",
    "recvmsg",
    "getsockname",
    "getpeername",
    "getsockopt",
    "setsockopt",
    "setns",
];

/// What runtimes make beside that between the filter and the program: runc and crun wait for the word to
/// begin.
const RUNTIMES: [&str; 3] = ["select", "pselect6", "umask"];

/// `CLONE_NEW…` of clone(2): threads and processes are made, namespaces are not.
const CLONE_NAMESPACES: u32 = 0x7e02_0000;
/// `ENOSYS`: with it C libraries do without.
const ABSENT: u32 = 38;

/// The filter as engines are told it.
pub(super) fn profile() -> String {
    let names: Vec<&str> = PROGRAMS.into_iter().chain(RUNTIMES).collect();
    let no_namespace = json!([{ "index": 0, "value": CLONE_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }]);
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            { "names": names, "action": "SCMP_ACT_ALLOW" },
            { "names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": no_namespace },
            // Its flags stand in memory, where a filter does not look.
            { "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ABSENT },
        ],
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_call_is_there_once() {
        let all = PROGRAMS.iter().chain(&RUNTIMES);
        assert_eq!(all.clone().collect::<BTreeSet<_>>().len(), all.count());
    }

    /// What would get a program out of its place is for nobody.
    #[test]
    fn what_nobody_needs_is_not_there() {
        let profile: serde_json::Value = serde_json::from_str(&profile()).unwrap();
        assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
        let names = profile["syscalls"][0]["names"].as_array().unwrap();
        for name in ["mount", "ptrace", "bpf", "unshare", "clone", "clone3", "kill", "setuid"] {
            assert!(!names.iter().any(|allowed| allowed == name), "{name}");
        }
    }
}
