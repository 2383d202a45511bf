#!/usr/bin/env bash
# Runs a command as root, with the environment that cargo needs.
#
# What root writes below the build directory is given back to the person who called, so that the
# next `cargo build` is not refused its own files.
set -euo pipefail

if [ "$(id -u)" = 0 ]; then
    exec "$@"
fi
command -v sudo >/dev/null || { echo "root is needed, and there is no sudo: $*" >&2; exit 1; }

readonly TARGET=${CARGO_TARGET_DIR:-target}
give_back() {
    local status=$?
    if [ -d "$TARGET" ]; then
        sudo find "$TARGET" -user 0 -exec chown --no-dereference "$(id -u):$(id -g)" {} + || true
    fi
    exit "$status"
}
trap give_back EXIT

# sudo puts its own PATH in place even with -E, and may change HOME: cargo and rustup find their
# things through both. Everything was fetched before, so root's cargo needs no network.
sudo -E env "PATH=$PATH" "CARGO_HOME=${CARGO_HOME:-$HOME/.cargo}" \
    "RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}" CARGO_NET_OFFLINE=true "$@"
