#!/bin/sh
# Installs what the end-to-end tests and the demo need, where it is missing. It may be run again and again.
#
#   e2e/install.sh demo   the npm packages of the demo page; Redis from Debian's packages, where that needs no password
#   e2e/install.sh test   the same; Redis, Chromium, PHP, Python with Django, and Ruby with Puma from Debian's packages
#   e2e/install.sh rehearsal   Redis and HAProxy from Debian's packages
#   e2e/install.sh dashboard   Redis and Prometheus from Debian's packages
#   e2e/install.sh chart   Redis from Debian's packages
set -eu

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

case "${1-}" in
  demo | test | rehearsal | dashboard | chart) ;;
  *) die "usage: $0 demo|test|rehearsal|dashboard|chart" ;;
esac

if [ "$(id -u)" = 0 ]; then sudo=; else sudo=sudo; fi
debian() { # packages…
  command -v apt-get >/dev/null || return 1
  say "installing $*"
  $sudo apt-get update -q >&2 && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "$@" >&2
}

case "$1" in rehearsal | dashboard | chart)
  missing=
  command -v redis-server >/dev/null || missing="$missing redis-server"
  case "$1" in
    dashboard) command -v prometheus >/dev/null || missing="$missing prometheus" ;;
    rehearsal) PATH="$PATH:/usr/sbin" command -v haproxy >/dev/null || missing="$missing haproxy" ;;
  esac
  if [ -n "$missing" ]; then
    # shellcheck disable=SC2086 # words on purpose
    debian $missing || die "please install:$missing"
  fi
  exit
esac

command -v node >/dev/null || die "Node.js 20 or newer is needed: https://nodejs.org"
command -v npm >/dev/null || die "npm is needed; it comes with Node.js"
node -e 'process.exit(+process.versions.node.split(".")[0] < 20 ? 1 : 0)' || die "Node.js $(node --version) is too old; 20 or newer is needed"

if [ "$1" = test ]; then
  missing=
  command -v redis-server >/dev/null || missing="$missing redis-server"
  command -v chromium >/dev/null || missing="$missing chromium"
  command -v php >/dev/null || missing="$missing php-cli"
  command -v python3 >/dev/null || missing="$missing python3"
  python3 -c 'import django' 2>/dev/null || /usr/bin/python3 -c 'import django' 2>/dev/null || missing="$missing python3-django"
  command -v ruby >/dev/null || missing="$missing ruby"
  command -v puma >/dev/null || missing="$missing puma"
  if [ -n "$missing" ]; then
    # shellcheck disable=SC2086 # words on purpose
    debian $missing || die "please install:$missing"
  fi
elif ! command -v redis-server >/dev/null; then
  # The demo can do without: it says so, and runs one node.
  if [ -z "$sudo" ] || sudo -n true 2>/dev/null; then debian redis-server || true; fi
fi

cd "$(dirname "$0")/js"
stamp=node_modules/.installed
want="$(cksum package.json package-lock.json clients/*/package.json | cksum) $(node --version)"
if [ "$(cat $stamp 2>/dev/null || true)" != "$want" ]; then
  say "installing the JavaScript clients"
  npm ci --no-progress --loglevel=error >&2
  printf '%s\n' "$want" >$stamp
fi
