# Increments the ledger in the directory $1, as the workers of the Go tests do. It runs under flock(1).
set -e
exec 8<>"$1/ledger"
if ! flock -n 8; then
	printf x >>"$1/overlaps"
	exit 1
fi
read -r n <&8 || n=0
printf '%20d\n' "$((n + 1))" 1<>"$1/ledger"
