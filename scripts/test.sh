#!/bin/sh
# Runs all tests of a module, in the directory $1 or here, with the race detector. It prints a line for
# each package, the failures and the skipped tests. build/skipped has the names of the skipped tests of
# all modules.
#
# Tests may take their time: a machine that is slow or shared needs more than the ten minutes of go test.
set -u
cd "$(dirname "$0")/.." || exit 1
module=${1:-.}
name=test
[ "$module" = . ] || name=test-$(basename "$module")
mkdir -p build/skips

log=$PWD/build/$name.log
(cd "$module" && ${GO:-go} test -race -v -timeout=40m ./...) >"$log" 2>&1
status=$?
if [ $status != 0 ]; then
	# Only what belongs to a failure: passing and skipped tests fill the rest of the log.
	grep -vE '^ *(=== (RUN|PAUSE|CONT)|--- PASS|PASS$)' "$log"
	echo "the whole log is in build/$name.log"
else
	grep -E '^(ok|\?)' "$log"
fi

sed -n 's/^ *--- SKIP: \([^ ]*\).*/\1/p' "$log" >build/skips/$name
cat build/skips/* >build/skipped
if [ -s build/skips/$name ]; then
	echo "skipped:"
	sed 's/^/  /' build/skips/$name
fi
exit $status
