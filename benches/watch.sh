#!/usr/bin/env bash
# ./bench watch [verdicts|schedule|probes|rows|truth]: all of them, or one. Each measured process has core 0 for itself.
set -euo pipefail
cd "$(dirname "$0")/.."

bench=$(cargo bench --bench watch --no-run --message-format short 2>&1 | sed -n 's/.*(\(target[^)]*\)).*/\1/p' | tail -1)
[[ -x "$bench" ]] || { echo "the benchmark was not built: cargo bench --bench watch --no-run" >&2; exit 2; }
load() { echo "load $(cut -d' ' -f1-3 /proc/loadavg), $(nproc) cores"; }

# One SMTP server with STARTTLS, ours, on the other cores; then as many probes of it as one core allows: by a real
# watcher process, and by blackbox_exporter, whose probes are asked for 16 at a time.
probes() {
    local seconds=${1:-60} dir port exporter server
    exporter=$(command -v prometheus-blackbox-exporter) ||
        { echo "apt-get install prometheus-blackbox-exporter" >&2; exit 2; }
    dir=$(mktemp -d)
    target/release/varde init --dir "$dir/mail" >/dev/null
    port=$((20000 + RANDOM % 10000))
    taskset -c 1 target/release/varde mail --service mx --dir "$dir/mail" --port-offset "$port" >"$dir/mx.log" 2>&1 &
    server=$!
    printf '%s\n' 'modules:' '  smtp_starttls:' '    prober: tcp' '    timeout: 5s' '    tcp:' '      query_response:' \
        '        - expect: "^220 "' '        - send: "EHLO prober\r"' '        - expect: "^250[ -]STARTTLS"' \
        '        - send: "STARTTLS\r"' '        - expect: "^220"' '        - starttls: true' '        - send: "EHLO prober\r"' \
        '        - expect: "^250[ -]"' '        - send: "QUIT\r"' '      tls_config:' "        ca_file: $dir/mail/tls/ca.pem" \
        '        server_name: mx.varde.test' >"$dir/blackbox.yml"
    GOMAXPROCS=1 taskset -c 0 "$exporter" --config.file="$dir/blackbox.yml" --log.level=error \
        --web.listen-address="127.0.0.1:$((port + 1))" >"$dir/exporter.log" 2>&1 &
    exporter=$!
    trap "kill $server $exporter 2>/dev/null || true; rm -rf '$dir'" EXIT
    sleep 3
    python3 benches/watch/ask.py "127.0.0.1:$((port + 1))" "127.0.0.1:$((port + 2525))" "$seconds" "$exporter"
    TRUST="$dir/mail/tls/ca.pem" "$bench" probes "127.0.0.1:$((port + 2525))" "$seconds"
    kill $server $exporter; wait 2>/dev/null || true
}

load
case "${1:-all}" in
    probes) shift; probes "$@" ;;
    all) "$bench" verdicts; echo; "$bench" schedule; echo; probes; echo; "$bench" rows; echo; "$bench" truth ;;
    *) "$bench" "$@" ;;
esac
load
