#!/bin/sh
# Installs the programs that the tests run beside, on Debian and its relatives. If it cannot, the tests
# that need them are skipped, and the test script names them. It also installs a C compiler, which the
# race detector needs.
set -u

missing=""
have() { /usr/bin/python3 -c "import $1" 2>/dev/null; }
have oslo_concurrency || missing="$missing python3-oslo.concurrency"
have fasteners || missing="$missing python3-fasteners"
have filelock || missing="$missing python3-filelock"
have tooz || missing="$missing python3-tooz"
have psycopg2 || missing="$missing python3-psycopg2"
command -v flock >/dev/null || missing="$missing util-linux"
command -v tmux >/dev/null || missing="$missing tmux"
command -v chromium >/dev/null || missing="$missing chromium"
command -v cc >/dev/null || command -v gcc >/dev/null || missing="$missing gcc libc6-dev"
[ -n "$missing" ] || exit 0

sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo -n"
if command -v apt-get >/dev/null && { [ -z "$sudo" ] || $sudo true 2>/dev/null; }; then
	echo "installing$missing"
	export DEBIAN_FRONTEND=noninteractive
	# shellcheck disable=SC2086
	{ $sudo apt-get update -q && $sudo apt-get install -q -y --no-install-recommends $missing; } >/dev/null && exit 0
fi
echo "could not install$missing: the tests that need them will be skipped"
