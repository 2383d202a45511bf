#!/usr/bin/env bash
# Shows what whaletap does: two containers that talk to each other, captured by name.
#
#   demo/demo.sh WHALETAP DIRECTORY
#
# Run as root by `make demo`. Takes the Docker engine that runs here, or starts one for itself; where
# none can run, two bare network namespaces take the containers' place. The capture file in DIRECTORY
# stays; everything else that was made is removed at the end, also after ^C and after a failure.
# What an earlier demo had to leave behind because it was killed is removed at the start.
#
#   DEMO_ENGINE   auto (default), running, own, none: which engine
#   DEMO_SECONDS  how long to capture, default 5
set -euo pipefail

if [ $# != 2 ] || [ "$(id -u)" != 0 ]; then
    echo "usage, as root: $0 WHALETAP DIRECTORY" >&2
    exit 2
fi
WHALETAP=$(realpath "$1")
FILE=$(realpath "$2")/demo.pcapng
ENGINE=${DEMO_ENGINE:-auto}
DURATION=${DEMO_SECONDS:-5}
readonly WHALETAP FILE ENGINE DURATION
readonly LABEL=whaletap.demo
readonly FRAMES=12         # frames that are shown
readonly ENGINE_LIMIT=30   # seconds for an engine to answer or to stop
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then BOLD=$'\e[1m' PLAIN=$'\e[0m'; else BOLD='' PLAIN=''; fi
say() { printf '%s\n' "$*"; }
title() { printf '\n%s%s%s\n' "$BOLD" "$*" "$PLAIN"; }
die() { printf 'demo: %s\n' "$*" >&2; exit 1; }

# --- what is undone at the end, last things first -------------------------------------------------

UNDO=()
undo() { UNDO=("$*" "${UNDO[@]}"); }
clean_up() {
    local status=$? step
    trap '' INT TERM HUP
    for step in "${UNDO[@]}"; do
        # Each step is one of our own command lines; what it removes may be gone already.
        eval "$step" >/dev/null 2>&1 || true
    done
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

alive() { [ -d "/proc/$1" ]; }

# --- an engine ------------------------------------------------------------------------------------

server_version() { timeout 10 docker version --format '{{.Server.Version}}' 2>/dev/null; }

# The namespaces must be on this machine: an engine behind TCP or ssh is of no use here.
running_engine() {
    local host
    command -v docker >/dev/null || return 1
    host=$(docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null) || host=
    case ${host:-unix://} in
    unix://*) ;;
    *) say "The engine at $host is not on this machine."; return 1 ;;
    esac
    server_version >/dev/null
}

# Ends the engine whose files are below a directory, by pid, and unmounts what it left there. The
# pid file of a demo that was killed may be old: the process must name the directory itself.
stop_engine() {
    local dir=$1 pid waited=0 mount
    if pid=$(cat "$dir/dockerd.pid" 2>/dev/null) &&
        tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF -- "--data-root $dir/"; then
        kill -TERM "$pid" 2>/dev/null || true
        while alive "$pid" && [ "$waited" -lt $((ENGINE_LIMIT * 5)) ]; do
            sleep 0.2
            waited=$((waited + 1))
        done
        if alive "$pid"; then kill -KILL "$pid"; fi
    fi
    while read -r mount; do
        umount --lazy "$mount" || true
    done < <(cut -d ' ' -f 5 /proc/self/mountinfo | grep "^$dir/" | sort -r)
    # dockerd makes itself a namespace in a containerd that was already there.
    if [ -S /run/containerd/containerd.sock ] && command -v ctr >/dev/null; then
        ctr namespaces remove "${dir##*/}" "${dir##*/}-plugins" || true
    fi
}

# An engine that touches nothing of this machine's network: it has a namespace of its own for its
# bridges and rules. (Beside a host's devices, `--bridge none` would delete a docker0 that another
# engine uses.) It is in a session of its own, so that ^C leaves it running until its containers are
# removed.
own_engine() {
    local pid waited=0
    command -v dockerd >/dev/null && command -v docker >/dev/null || return 1
    say "Starting an engine for the demo; its files are below $WORK."
    setsid unshare --net dockerd --host "unix://$WORK/docker.sock" --pidfile "$WORK/dockerd.pid" \
        --data-root "$WORK/data" --exec-root "$WORK/exec" \
        --containerd-namespace "${WORK##*/}" --containerd-plugins-namespace "${WORK##*/}-plugins" \
        --bridge none --iptables=false --ip-forward=false --ip-masq=false --userland-proxy=false \
        </dev/null >"$WORK/dockerd.log" 2>&1 &
    pid=$!
    undo stop_engine "$WORK"
    unset DOCKER_CONTEXT DOCKER_TLS DOCKER_TLS_VERIFY
    export DOCKER_HOST=unix://$WORK/docker.sock
    until server_version >/dev/null; do
        if ! alive "$pid" || [ "$waited" -ge $((ENGINE_LIMIT * 5)) ]; then
            say "It does not come up. Its last words:"
            tail -n 3 "$WORK/dockerd.log" | cut -c -200
            return 1
        fi
        sleep 0.2
        waited=$((waited + 1))
    done
}

find_engine() {
    case $ENGINE in
    auto) running_engine || own_engine ;;
    running) running_engine || die "no engine answers on this machine" ;;
    own) own_engine || die "no engine could be started" ;;
    none) return 1 ;;
    *) die "DEMO_ENGINE is auto, running, own or none" ;;
    esac
}

# --- two containers -------------------------------------------------------------------------------

# A file system of one static program and its names: no registry is asked for an image.
make_rootfs() {
    local applet
    mkdir -p "$WORK/rootfs/bin" "$WORK/rootfs/tmp" "$WORK/rootfs/www"
    cp /bin/busybox "$WORK/rootfs/bin/busybox"
    for applet in sh httpd wget sleep; do ln -sf busybox "$WORK/rootfs/bin/$applet"; done
    say "hello from the demo" >"$WORK/rootfs/www/index.html"
}

# The plain name where it is free, else one that is: somebody's own `web` is left alone.
free_name() {
    if docker "$1" inspect "$2" >/dev/null 2>&1; then say "$2-$$"; else say "$2"; fi
}

make_containers() {
    local image=whaletap-demo:$$ network web client
    tar -C "$WORK/rootfs" -c . | docker import - "$image" >/dev/null || return 1
    undo docker rmi --force "$image"
    network=$(free_name network demo) web=$(free_name container web)
    client=$(free_name container client)
    docker network create --label "$LABEL=$$" "$network" >/dev/null || return 1
    undo docker network rm "$network"
    local options=(--detach --network "$network" --label "$LABEL=$$" --log-driver none)
    undo docker rm --force --volumes "$web"
    docker run "${options[@]}" --name "$web" "$image" httpd -f -p 80 -h /www >/dev/null || return 1
    undo docker rm --force --volumes "$client"
    docker run "${options[@]}" --name "$client" "$image" sh -c \
        "while :; do wget -q -O /dev/null http://$web/; sleep 0.2; done" >/dev/null || return 1
    SELECTORS=("$web" "$client")
    say "Docker engine $(server_version): container $web serves a page, container $client fetches it" \
        "five times a second."
}

# What a killed demo left in this engine. Labels and tags carry the pid of the demo that made them.
sweep_containers() {
    local format="{{.ID}} {{.Label \"$LABEL\"}}"
    docker container ls --all --filter "label=$LABEL" --format "$format" |
        while read -r id pid; do alive "$pid" || docker container rm --force "$id"; done
    docker network ls --filter "label=$LABEL" --format "$format" |
        while read -r id pid; do alive "$pid" || docker network rm "$id"; done
    docker image ls --format '{{.Repository}}:{{.Tag}} {{.Tag}}' whaletap-demo |
        while read -r id pid; do alive "$pid" || docker image rm --force "$id"; done
} >/dev/null

# --- two bare namespaces --------------------------------------------------------------------------

remove_namespace() {
    local pid
    for pid in $(ip netns pids "$1"); do kill -KILL "$pid"; done
    ip netns delete "$1"
}

make_namespaces() {
    local web=wtdemo-$$-web client=wtdemo-$$-client name
    for name in "$web" "$client"; do
        undo remove_namespace "$name"
        ip netns add "$name"
        ip -n "$name" link set lo up
    done
    ip link add eth0 netns "$web" type veth peer name eth0 netns "$client"
    # Addresses that are set aside for documentation, in namespaces that lead nowhere.
    ip -n "$web" address add 192.0.2.1/24 dev eth0
    ip -n "$client" address add 192.0.2.2/24 dev eth0
    for name in "$web" "$client"; do ip -n "$name" link set eth0 up; done
    nsenter --net="/run/netns/$web" busybox httpd -f -p 80 -h "$WORK/rootfs/www" \
        </dev/null >/dev/null 2>&1 &
    nsenter --net="/run/netns/$client" busybox sh -c \
        'while :; do wget -q -O /dev/null http://192.0.2.1/; sleep 0.2; done' \
        </dev/null >/dev/null 2>&1 &
    SELECTORS=("netns:/run/netns/$web" "netns:/run/netns/$client")
    say "In the containers' place: namespace $web serves a page, $client fetches it."
}

sweep_namespaces() {
    local path name pid
    for path in /run/netns/wtdemo-*; do
        name=${path##*/} pid=${path##*/wtdemo-}
        if [ -e "$path" ] && ! alive "${pid%%-*}"; then remove_namespace "$name" || true; fi
    done
}

sweep_engines() {
    local dir
    for dir in /tmp/whaletap-demo.*; do
        if [ -d "$dir" ] && [ -O "$dir" ] && ! alive "$(cat "$dir/demo.pid" 2>/dev/null || say none)"; then
            stop_engine "$dir" >/dev/null 2>&1 || true
            rm -rf --one-file-system "$dir"
        fi
    done
}

# --- the show -------------------------------------------------------------------------------------

# Prints a command as one would type it, and runs it.
show() {
    local program=$1
    shift
    printf '\n%s$ %s%s%s\n' "$BOLD" "${program##*/}" "$(printf ' %q' "$@")" "$PLAIN"
    "$program" "$@"
}

first_frames() {
    if command -v tshark >/dev/null; then
        say "Each packet is there twice: where it left, and where it arrived."
        # Names come from the file itself (-N n asks no name server). What left and arrived would be
        # a retransmission to tshark. It says on stderr that it runs as root, which is known.
        show tshark -r "$FILE" -c "$FRAMES" -N n -o tcp.analyze_sequence_numbers:FALSE \
            -T fields -e frame.time_relative \
            -e frame.interface_name -e ip.src_host -e ip.dst_host -e _ws.col.Info \
            2> >(grep -v 'Running as user' >&2)
    else
        show tcpdump -r "$FILE" -n -c "$FRAMES"
    fi
}

sweep_namespaces
sweep_engines
WORK=$(mktemp -d /tmp/whaletap-demo.XXXXXX)
undo rm -rf --one-file-system "$WORK"
say $$ >"$WORK/demo.pid"
make_rootfs

title "Two that talk to each other"
SELECTORS=()
if find_engine; then
    sweep_containers
    make_containers || [ "$ENGINE" = auto ] || die "the engine cannot run containers"
fi
if [ "${#SELECTORS[@]}" = 0 ]; then
    if [ "$ENGINE" != none ] && [ -n "${CI:-}" ]; then die "no Docker engine can run here"; fi
    if [ "$ENGINE" != none ]; then say "No Docker engine can run here."; fi
    make_namespaces
fi

title "What can be captured"
show "$WHALETAP" ls "${SELECTORS[@]}"

title "Both of them, in one file, for $DURATION seconds"
rm -f "$FILE"
show "$WHALETAP" capture "${SELECTORS[@]}" --duration "${DURATION}s" -w "$FILE" -- tcp port 80

title "The first $FRAMES frames"
frames=$({ tcpdump -n -r "$FILE" 2>/dev/null || true; } | wc -l)
[ "$frames" -gt 0 ] || die "nothing was captured: $FILE has no frames"
first_frames

title "The file"
say "$FILE ($(stat -c %s "$FILE") bytes) has $frames frames, and stays. What the demo started is removed now."
