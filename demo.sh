#!/usr/bin/env bash
# Shows p2pfs at work: peers on this machine find each other and exchange files, by both
# versions of the protocol. Needs bash, the usual small tools and a Rust toolchain.
#
#   studio  shares a folder and a file by version 1, without a registry
#   getter  fetches them
#
# With a registry of version 0, which lists nobody:
#
#   peer-1  has dummyfile.txt, wants piratedGame
#   peer-2  has piratedGame
#   peer-3  wants dummyfile.txt
#
# Peer 3 hears no beacons of the others: it fetches by version 0 of the protocol, with
# the registry; the others fetch by version 1, without.
#
# Each peer pretends once for each file that its checksum was wrong, so each is
# fetched twice. A folder initial_peer_folders/peer-4 (and so on) adds a peer
# that shares what is in it and wants everything that the others have.
#
# Exit code: 0 all files arrived and match; 1 not so; 2 bad P2PFS_DEMO_PORTS;
# 11 a port is taken; 130 and 143 interrupted.
set -euo pipefail

readonly files_within_s=25 # the whole demo has 30 s after the build
readonly stop_within_s=4
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly root
readonly originals=$root/initial_peer_folders
readonly ports=${P2PFS_DEMO_PORTS:-5000,5001,5002,5003,8000}
readonly ports_hint='P2PFS_DEMO_PORTS=5000,5001,5002,5003,8000 (registry, peers 1 to 3, offers; the two ports after it are for beacons)'

work=''             # the temporary folder
names=() pids=()    # the processes, in the order of their start
prefixer_pids=()    # what shows their lines
expected=()         # PEER/FILE that has to be there in the end

main() {
    trap clean_up EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 141' PIPE
    trap 'exit 143' TERM

    local registry peer_1 peer_2 peer_3 offers
    check_ports
    IFS=, read -r registry peer_1 peer_2 peer_3 offers <<<"$ports"

    build
    work=$(mktemp -d -t p2pfs-demo.XXXXXX)
    cd "$work" # where the peers make their folders
    work=$PWD
    SECONDS=0

    start registry registry --no-v1 --listen "127.0.0.1:$registry"
    await_listening registry
    local peer=(--host 127.0.0.1 --registry "127.0.0.1:$registry"
        --broadcast "127.255.255.255:$offers" --offer-interval 1s
        --initial-folders "$originals" --simulate-checksum-failure)
    start_peer 1 "$peer_1" piratedGame
    start_peer 2 "$peer_2"
    peer+=(--beacon-port "$((offers + 2))")
    start_peer 3 "$peer_3" dummyfile.txt
    unset 'peer[-1]' 'peer[-1]'
    start_further_peers
    local name
    for name in "${names[@]:1}"; do await_listening "$name"; done

    share_and_get "$offers"
    await_files
    stop_all || fail "a process did not stop within $stop_within_s s and was killed"
    show_table
}

# share_and_get OFFERS: a tree and a file go from `studio` to `getter`, by version 1.
share_and_get() {
    local network=(--interface 127.0.0.1 --broadcast "127.255.255.255:$1")
    mkdir -p shared/photos/2024 shared/photos/2025
    head -c 3000001 /dev/urandom >shared/photos/2024/harbour.jpg
    head -c 70000 /dev/urandom >shared/photos/2025/ferry.jpg
    head -c 20000003 /dev/urandom >shared/movie.mkv
    start studio share shared/photos shared/movie.mkv --name studio --port 0 --no-v0 "${network[@]}"
    await_listening studio
    start getter get photos/ movie.mkv -o fetched/ --timeout "${files_within_s}s" "${network[@]}"
    await_end getter
    diff -r shared fetched || fail 'what was fetched by version 1 is not what is shared'
    say 'photos/ and movie.mkv are there by version 1, and match'
}

# await_end NAME: waits for the process that was started last, which has to succeed.
await_end() {
    local name=$1 status=0
    local -i at=$((${#pids[@]} - 1))
    while is_alive "${pids[at]}"; do
        ((SECONDS < files_within_s)) || fail "$name has not ended after $files_within_s s"
        sleep 0.05
    done
    wait "${pids[at]}" || status=$?
    wait "${prefixer_pids[at]}" 2>/dev/null || true
    unset "names[at]" "pids[at]" "prefixer_pids[at]"
    ((status == 0)) || fail "$name ended with exit code $status"
}

check_ports() {
    local number='([1-9][0-9]{0,4})'
    [[ $ports =~ ^$number,$number,$number,$number,$number$ ]] ||
        usage_error "'$ports' is not five port numbers"
    local port seen=' '
    for port in "${BASH_REMATCH[@]:1}"; do
        ((port <= 65535)) || usage_error "port $port is not within 1 to 65535"
    done
    ((port < 65534)) || usage_error "there are no two ports for beacons after $port"
    for port in "${BASH_REMATCH[@]:1:4}"; do # the fifth is UDP and may be any
        [[ $seen != *" $port "* ]] || usage_error "port $port is named twice"
        seen+="$port "
    done
}

# Sets `binary` to what cargo says it built, wherever that is.
build() {
    say 'building the release binary ...'
    local messages line
    messages=$(cd "$root" &&
        cargo build --release --bin p2pfs --message-format json-render-diagnostics) ||
        fail 'the build failed'
    binary=''
    while IFS= read -r line; do
        if [[ $line =~ \"executable\":\"([^\"]+)\" ]]; then binary=${BASH_REMATCH[1]}; fi
    done <<<"$messages"
    [[ -x $binary ]] || fail 'cargo built no binary'
}

# start NAME ARGUMENT...: runs the binary and shows its lines behind its name. Its
# stdout, which carries only `listening ADDRESS:PORT`, goes to a file.
start() {
    local name=$1 colour=''
    shift
    if [[ -t 1 && -z ${NO_COLOR:-} ]]; then colour=$'\e['$((32 + ${#pids[@]} % 5))m; fi
    mkfifo "$name.fifo"
    : >"$name.stdout"
    show_lines "$name" "$colour" <"$name.fifo" &
    prefixer_pids+=($!)
    "$binary" "$@" </dev/null >"$name.stdout" 2>"$name.fifo" &
    names+=("$name")
    pids+=($!)
}

# start_peer ID PORT WANTED...
start_peer() {
    local id=$1 port=$2 path name arguments=()
    shift 2
    for path in "$originals/peer-$id"/*; do
        if [[ -f $path ]]; then expected+=("peer-$id/${path##*/}"); fi
    done
    for name in "$@"; do
        arguments+=(--want "$name")
        expected+=("peer-$id/$name")
    done
    start "peer-$id" peer --id "$id" --port "$port" "${peer[@]}" "${arguments[@]}"
}

start_further_peers() {
    local folder id path name
    for folder in "$originals"/peer-*/; do
        folder=${folder%/}
        id=${folder##*/peer-}
        if [[ ! $id =~ ^[1-9][0-9]*$ ]] || ((id <= 3)); then continue; fi
        local -A wanted=()
        for path in "$originals"/peer-*/*; do
            name=${path##*/}
            if [[ -f $path && ! -e $folder/$name ]]; then wanted[$name]=1; fi
        done
        start_peer "$id" 0 "${!wanted[@]}"
    done
}

show_lines() {
    local name=$1 colour=$2 line
    trap '' HUP INT TERM # it ends with the process whose lines it shows
    trap - PIPE
    while IFS= read -r line || [[ -n $line ]]; do
        printf '%s\n' "$line" >>"$name.log"
        printf '%s%-8s |%s %s\n' "$colour" "$name" "${colour:+$'\e[0m'}" "$line"
    done
}

await_listening() {
    local name=$1 line=''
    until read -r line <"$name.stdout" && [[ $line == 'listening '* ]]; do
        check_alive
        ((SECONDS < files_within_s)) || fail "$name does not listen after $files_within_s s"
        sleep 0.05
    done
    say "$name is listening on ${line#listening }"
}

# A file has its name only once it is verified.
await_files() {
    local file
    for file in "${expected[@]}"; do
        until [[ -f $file ]]; do
            check_alive
            ((SECONDS < files_within_s)) || fail "$file is not there after $files_within_s s"
            sleep 0.05
        done
    done
}

# Ends the demo if one of the processes did.
check_alive() {
    local at name status=0 line words=''
    for at in "${!pids[@]}"; do
        if is_alive "${pids[at]}"; then continue; fi
        wait "${pids[at]}" 2>/dev/null || status=$?
        wait "${prefixer_pids[at]}" 2>/dev/null || true
        name=${names[at]}
        if [[ -f $name.log ]]; then
            while IFS= read -r line; do words=$line; done <"$name.log"
        fi
        if ((status == 11)); then
            words=${words#*p2pfs: }
            complain "$name: ${words%%;*}; move the ports with $ports_hint"
            exit 11
        fi
        fail "$name ended with exit code $status: $words"
    done
}

is_alive() { kill -0 "$1" 2>/dev/null; }

# Stops the peers, then the registry; fails if one of them had to be killed.
stop_all() {
    local -i were_killed=0
    stop $((stop_within_s * 20)) TERM "${pids[@]:1}" || were_killed=1
    stop $((stop_within_s * 20)) TERM "${pids[@]:0:1}" || were_killed=1
    # These end by themselves with their writer, unless it died before it was one.
    stop 20 '' "${prefixer_pids[@]}" || true
    pids=() prefixer_pids=()
    return "$were_killed"
}

# stop TRIES SIGNAL PID...: waits 50 ms a try for all together, then kills.
stop() {
    local -i tries=$1 were_killed=0
    local signal=$2 pid
    shift 2
    for pid in "$@"; do
        if [[ -n $signal ]]; then kill -s "$signal" "$pid" 2>/dev/null || true; fi
    done
    for pid in "$@"; do
        while is_alive "$pid" && ((tries-- > 0)); do sleep 0.05; done
        if is_alive "$pid"; then
            kill -s KILL "$pid" 2>/dev/null || true
            were_killed=1
        fi
        wait "$pid" 2>/dev/null || true
    done
    return "$were_killed"
}

# Who holds which file, against the originals of that name.
show_table() {
    local path name sum held verdict all_match=1
    local -A is_original=()
    for path in "$originals"/peer-*/*; do
        if [[ ! -f $path ]]; then continue; fi
        is_original["${path##*/}/$(sha256 "$path")"]=1
    done
    printf '\n%-8s %-20s %-64s %s\n' peer file SHA-256 original
    for held in "${expected[@]}"; do
        name=${held#*/} sum='' verdict=missing
        if [[ -f $held ]]; then
            sum=$(sha256 "$held")
            verdict=different
            if [[ -n ${is_original["$name/$sum"]:-} ]]; then verdict=same; fi
        fi
        if [[ $verdict != same ]]; then all_match=0; fi
        printf '%-8s %-20s %-64s %s\n' "${held%%/*}" "$name" "$sum" "$verdict"
    done
    ((all_match)) || fail 'not all files match their originals'
    say "all files are there and match, after $SECONDS s"
}

sha256() {
    local sum
    sum=$(sha256sum <"$1")
    printf '%s' "${sum%% *}"
}

clean_up() {
    local status=$?
    set +e
    trap '' HUP INT PIPE TERM # it is bounded, and comes to its end
    stop_all
    if [[ -n $work ]]; then
        cd /
        rm -rf -- "$work"
    fi
    exit "$status"
}

say() { printf 'demo: %s\n' "$*"; }

complain() { printf 'demo: %s\n' "$*" >&2; }

fail() {
    complain "$*"
    exit 1
}

usage_error() {
    complain "$*; set $ports_hint"
    exit 2
}

main
