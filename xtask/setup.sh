#!/usr/bin/env bash
# Installs what is missing for the named purposes, through apt. Without anything missing it asks
# nobody and needs no network, so it may run before every build.
#
#   xtask/setup.sh build|demo|lint|test …
set -euo pipefail

# What is looked for, and the package that has it. A path is looked for as a file, anything else as
# a command: tools that came another way than by apt (docker-ce, say) are as good.
readonly BUILD="
cc                          gcc
/usr/include/stdlib.h       libc6-dev
/usr/include/pcap/pcap.h    libpcap-dev
"
readonly DEMO="
ip                          iproute2
unshare                     util-linux
/bin/busybox                busybox-static
tcpdump                     tcpdump
dockerd                     docker.io
"
readonly LINT="
shellcheck                  shellcheck
"
readonly TEST="
$DEMO
tshark                      tshark
dumpcap                     wireshark-common
capinfos                    wireshark-common
editcap                     wireshark-common
mergecap                    wireshark-common
ethtool                     ethtool
nsenter                     util-linux
openssl                     openssl
ssh                         openssh-client
sshd                        openssh-server
setpriv                     util-linux
ping                        iputils-ping
sudo                        sudo
useradd                     passwd
zstd                        zstd
podman                      podman
newuidmap                   uidmap
slirp4netns                 slirp4netns
rootlesskit                 rootlesskit
runc                        runc
/usr/lib/podman/netavark    netavark
systemd-socket-activate     systemd
"

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

present() {
    case $1 in
    /bin/busybox) busybox_is_static ;;
    /*) [ -e "$1" ] ;;
    # Debian keeps some of these where an ordinary user's PATH does not look.
    *) PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin command -v "$1" >/dev/null ;;
    esac
}

# The plain busybox needs libraries and cannot be the whole of a container. Both packages install
# the same file, so the package is asked; where there is no dpkg, the file has to do.
busybox_is_static() {
    if command -v dpkg-query >/dev/null; then
        [ "$(dpkg-query -W -f='${db:Status-Status}' busybox-static 2>/dev/null)" = installed ]
    else
        [ -e /bin/busybox ]
    fi
}

missing_packages() {
    local what package
    while read -r what package; do
        if [ -n "$what" ] && ! present "$what"; then printf '%s\n' "$package"; fi
    done <<<"$1" | sort -u
}

check_rust() {
    local want have
    command -v "${CARGO:-cargo}" >/dev/null ||
        die "no Rust toolchain: https://rustup.rs has the way to get one"
    want=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    have=$("${CARGO:-cargo}" --version | cut -d ' ' -f 2)
    if [ "$(printf '%s\n' "$want" "$have" | sort -V | head -n 1)" != "$want" ]; then
        die "Rust $have is too old, $want is needed: rustup update"
    fi
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "root is needed to install packages, and there is no sudo"
    fi
}

install() {
    local packages=("$@")
    command -v apt-get >/dev/null ||
        die "missing, and there is no apt-get here: the Debian packages ${packages[*]} have it"
    say "installing ${packages[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 update
    # Newer releases have docker's command line in a package of its own.
    if [[ " ${packages[*]} " == *" docker.io "* ]] && ! command -v docker >/dev/null &&
        apt-cache show docker-cli >/dev/null 2>&1; then
        packages+=(docker-cli)
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 \
        install --yes --no-install-recommends "${packages[@]}" >/dev/null
}

cd "$(dirname "$0")/.."
wanted=""
for purpose in "$@"; do
    case $purpose in
    build) check_rust && wanted+=$BUILD ;;
    demo) wanted+=$DEMO ;;
    lint) wanted+=$LINT ;;
    test) wanted+=$TEST ;;
    *) die "unknown purpose: $purpose" ;;
    esac
done

mapfile -t packages < <(missing_packages "$wanted")
if [ "${#packages[@]}" -gt 0 ]; then
    install "${packages[@]}"
    mapfile -t packages < <(missing_packages "$wanted")
    [ "${#packages[@]}" = 0 ] || die "still missing after the installation: ${packages[*]}"
fi
