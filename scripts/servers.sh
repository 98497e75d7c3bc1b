#!/bin/sh
# Installs the server $1, of a lock service or of metrics, on Debian and its relatives, without starting
# it: the tests start servers of their own. If it cannot, the tests that need the server are skipped,
# and the test script names them.
set -u

case "${1:-}" in
etcd) programs="etcd" packages="etcd-server" services="etcd" ;;
postgres) programs="pg_ctlcluster pgbouncer" packages="postgresql pgbouncer" services="postgresql pgbouncer" ;;
redis) programs="redis-server redis-sentinel" packages="redis-server redis-sentinel" services="redis-server redis-sentinel" ;;
prometheus) programs="prometheus promtool" packages="prometheus" services="prometheus" ;;
*) echo "usage: $0 etcd|postgres|redis|prometheus" >&2 && exit 2 ;;
esac
have() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null; }
missing=""
for program in $programs; do
	have "$program" || missing="$packages"
done
[ -n "$missing" ] || exit 0

sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo -n"
install() {
	export DEBIAN_FRONTEND=noninteractive
	# A package starts its service unless this file forbids it.
	policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy && $sudo chmod +x $policy || return
		trap '$sudo rm -f $policy' EXIT
	fi
	# shellcheck disable=SC2086
	$sudo apt-get update -q && $sudo apt-get install -q -y --no-install-recommends $packages || return
	for service in $services; do
		$sudo systemctl disable "$service" 2>&1 || true
		$sudo update-rc.d "$service" disable 2>&1 || true
	done
}
if command -v apt-get >/dev/null && { [ -z "$sudo" ] || $sudo true 2>/dev/null; }; then
	echo "installing $packages"
	mkdir -p build
	install >build/servers.log && exit 0
fi
echo "could not install $packages: the tests that need them will be skipped"
