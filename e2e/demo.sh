#!/bin/sh
# Builds and runs the demo: three proxies with a Redis between them, an example back-end and a page in which browser windows count together. Ctrl+C ends it.
# Arguments go to the demo program, -help lists them.
set -eu
cd "$(dirname "$0")/.."
command -v go >/dev/null || { echo "Go is needed: https://go.dev/dl" >&2; exit 1; }
e2e/install.sh demo
make -s build
go build -o bin/logux-demo ./e2e/demo
exec bin/logux-demo "$@"
